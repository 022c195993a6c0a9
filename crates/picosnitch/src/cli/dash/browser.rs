//! Opening a browser on the desktop of the user.

use std::{
    env,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::unistd::Uid;

/// The user who called sudo; `None` without one, or if it is root.
pub(super) fn sudo_user() -> Option<u32> {
    let uid = env::var("SUDO_UID").ok()?.parse().ok();
    uid.filter(|uid| *uid != 0 && Uid::effective().is_root())
}

/// Opens an address in the browser of the user, if there is a desktop. The browser is never run as root. Returns the process that
/// opens it, which is to be waited for.
pub(super) fn open(url: &str) -> Option<Child> {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktop: Vec<&str> = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter().filter(is_set).collect();
    if desktop.is_empty() {
        return None;
    }
    let mut command = match (Uid::effective().is_root(), sudo_user()) {
        (false, _) => Command::new("xdg-open"),
        (true, Some(uid)) => as_user(uid, &desktop),
        (true, None) => return None,
    };
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Signals for this process are not meant for the browser.
    command.process_group(0);
    // Without xdg-open there is still the printed address.
    command.spawn().ok()
}

/// xdg-open as the user who called sudo, with what sudo took out of the environment.
fn as_user(uid: u32, desktop: &[&str]) -> Command {
    let mut command = Command::new("sudo");
    command.args(["-n", "-H", "-u", &format!("#{uid}"), "--", "env"]);
    for name in desktop {
        command.arg(format!("{name}={}", env::var(name).unwrap_or_default()));
    }
    let runtime = format!("/run/user/{uid}");
    if Path::new(&runtime).exists() {
        command.arg(format!("XDG_RUNTIME_DIR={runtime}"));
        command.arg(format!("DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"));
    }
    command.arg("xdg-open");
    command
}
