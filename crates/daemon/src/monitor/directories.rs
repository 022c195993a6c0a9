//! The directories of the daemon: makes those that are missing, and refuses those in which the recorder could not work.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::error::{MonitorError, io_error};
use config::layout::Layout;
use sandbox::{AccessWanted, Denied, User};

const CANNOT_TRY: &str = "it cannot be tried what the user that writes the log may do";

/// Checks what the machine and its limits allow, and makes the directories that are missing, once it is sure that the user who writes the log can work in all of them.
/// Directories that were there stay as they are.
///
/// # Errors
/// [`MonitorError::Capture`], [`MonitorError::Directory`] or [`MonitorError::Unusable`]: what is the reason, and what to do.
pub fn prepare(layout: &Layout) -> Result<(), MonitorError> {
    capture::check_machine()?;
    if let Some(problem) = sandbox::limit_problem() {
        return Err(MonitorError::Unusable(problem));
    }
    let user =
        User::of_log(&layout.database).map_err(io_error("the directory of the log cannot be examined"))?;
    layout.check(user.uid, user.gid)?;
    layout.hand_over_directories(user.gid)?;
    for directory in layout.log_directories() {
        let wanted = if directory.exists() { AccessWanted::Directory } else { AccessWanted::Pass };
        let there = directory.ancestors().find(|prefix| prefix.exists()).unwrap_or(Path::new("/"));
        if let Some(denied) = user.find_denied(there, wanted).map_err(io_error(CANNOT_TRY))? {
            return Err(MonitorError::Unusable(explain(&user, &denied, directory)));
        }
    }
    Ok(layout.prepare(user.uid, user.gid)?)
}

/// Gives the files of the log that root made to the user who writes it, and checks that this user may write to all of them.
pub(super) fn hand_over_files(layout: &Layout, user: &User) -> Result<(), MonitorError> {
    layout.hand_over(user.uid, user.gid).map_err(io_error("the files of the log cannot be handed over"))?;
    let mut refused = Vec::new();
    for file in layout.existing_log_files() {
        if let Some(denied) = user.find_denied(&file, AccessWanted::File).map_err(io_error(CANNOT_TRY))? {
            if denied.is_on_the_way || denied.errno != libc::EACCES {
                return Err(MonitorError::Unusable(explain(user, &denied, &file)));
            }
            refused.push(denied.path);
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(MonitorError::Unusable(explain_files(user, &refused))) }
}

/// Says which files the user may not write to, and the command that changes that for all of them.
fn explain_files(user: &User, files: &[PathBuf]) -> String {
    let (name, group) = user.names();
    let described = files.iter().map(|path| format!("{}{}", path.display(), state_of(path)));
    let quoted: Vec<String> = files.iter().map(|path| format!("'{}'", path.display())).collect();
    let quoted = quoted.join(" ");
    format!(
        "the user {name}, who writes the log, may not write to {}: run `sudo chown {name}:{group} {quoted} && sudo chmod 640 \
         {quoted}`, or move {} away",
        described.collect::<Vec<_>>().join(", "),
        if files.len() == 1 { "the file" } else { "the files" }
    )
}

/// Owner, group and mode of a file, in brackets, as far as they can be read.
fn state_of(path: &Path) -> String {
    fs::metadata(path).map_or_else(
        |_| String::new(),
        |found| {
            format!(" (owner {}, group {}, mode {:04o})", found.uid(), found.gid(), found.mode() & 0o7777)
        },
    )
}

/// Says which directory stops the user, and what to do.
fn explain(user: &User, denied: &Denied, target: &Path) -> String {
    let (name, group) = user.names();
    let (path, target) = (denied.path.display(), target.display());
    let elsewhere = "or choose another directory with --base-dir";
    if denied.errno == libc::EROFS {
        return format!(
            "{path} is on a read-only file system, so that nothing can be recorded: mount it writable, {elsewhere}"
        );
    }
    if denied.errno != libc::EACCES {
        let error = io::Error::from_raw_os_error(denied.errno);
        return format!("the user {name}, who writes the log, cannot use {path}: {error}; {elsewhere}");
    }
    let state = state_of(&denied.path);
    if denied.is_on_the_way {
        return format!(
            "the user {name}, who writes the log, may not pass through the directory {path}{state}, and so cannot write to \
             {target}: let it pass with `sudo chmod o+x '{path}'`, {elsewhere}"
        );
    }
    format!(
        "the user {name}, who writes the log, may not make files in the directory {path}{state}, and picosnitch does not \
         change a directory that was there: run `sudo chown root:{group} '{path}' && sudo chmod 1770 '{path}'`, or name one \
         with --base-dir that does not exist yet"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_where_and_what_to_do() {
        let user = User { uid: 65_534.into(), gid: 65_534.into() };
        let explain = |path: &str, is_on_the_way, errno| {
            explain(&user, &Denied { path: path.into(), is_on_the_way, errno }, Path::new("/root/x/base"))
        };
        let text = explain("/", true, libc::EACCES);
        assert!(text.contains("may not pass through the directory / (owner 0, group 0, mode 0"), "{text}");
        assert!(text.contains("/root/x/base") && text.contains("chmod o+x '/'"), "{text}");
        let text = explain("/", false, libc::EACCES);
        assert!(text.contains("may not make files in") && text.contains("chmod 1770 '/'"), "{text}");
        let text = explain_files(&user, &["/proc/self/comm".into(), "/x/y".into()]);
        assert!(
            text.contains("may not write to /proc/self/comm (owner") && text.contains(", /x/y: run"),
            "{text}"
        );
        assert!(text.contains("chmod 640 '/proc/self/comm' '/x/y'`, or move the files away"), "{text}");
        assert!(explain("/", false, libc::EROFS).contains("read-only"));
        assert!(explain("/", false, libc::ELOOP).contains("--base-dir"));
    }
}
