//! Desktop notifications, on session buses that the tests make.

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};

use super::{
    harness::{Daemon, base, fresh_address, picosnitch, root, root_alone, wait_until},
    programs::{lines, program, run},
    session_bus::RunUser,
};

/// System users without a desktop, for the sessions of the tests.
const USER: u32 = 2;
const OTHER_USER: u32 = 3;
/// Longest time from the start of an unknown program, a little before its first packet, to the notification.
const NOTIFIED_WITHIN: Duration = Duration::from_millis(500);

fn with_desktop(run_user: &RunUser, base: &Path) -> Daemon {
    let mut command = picosnitch(base, &["start-no-daemon"]);
    command.env("PICOSNITCH_RUN_USER", run_user.path());
    Daemon::start_as(command)
}

#[test]
#[ignore = "needs root"]
fn a_new_program_is_notified_at_once_while_the_hasher_is_busy() {
    // It runs alone: programs of other tests would be folded into the same notification.
    let _root = root_alone();
    let run_user = RunUser::new();
    let base = base("");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    // Four gibibytes without a block on the disk.
    let giant = program(base.path(), b"giant");
    File::options().append(true).open(&giant).unwrap().set_len(4 << 30).unwrap();
    let giant_runs = thread::spawn(move || run(&giant, fresh_address()));
    wait_until("the giant", || lines(base.path(), "exe.log").iter().any(|line| line.contains("/giant ")));
    thread::sleep(Duration::from_secs(3));
    // The best of several tries, since the machine may be busy. Waiting for the hasher would take seconds each time.
    let mut best = Duration::MAX;
    for number in 0..8 {
        let quick = program(base.path(), format!("quick{number}<b>").as_bytes());
        let started = run(&quick, fresh_address());
        // Beside many other new programs it may be folded into a notification that does not name it.
        if let Some(shown) = service.find(&format!("/quick{number}&lt;b&gt;")) {
            best = best.min(shown.at.saturating_duration_since(started));
            assert_eq!(shown.urgency, 1, "{shown:?}");
        }
        // Notifications that follow sooner are folded.
        thread::sleep(Duration::from_secs(2));
    }
    eprintln!("notified after {best:?}");
    assert!(best < NOTIFIED_WITHIN, "{best:?}");
    giant_runs.join().unwrap();
    let text = fs::read_to_string(base.path().join("run/picosnitch.pid")).unwrap();
    assert_eq!(text.trim(), daemon.monitor().to_string());
    // The notifier runs as that user without other rights.
    let notifier = notifiers(&daemon).pop().expect("no notifier");
    let status = fs::read_to_string(format!("/proc/{notifier}/status")).unwrap();
    for line in [
        format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        format!("Gid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        "NoNewPrivs:\t1".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
    ] {
        assert!(status.lines().any(|found| found.trim_end() == line), "{line}: {status}");
    }
    assert!(status.lines().any(|line| line.starts_with("Groups:") && line.split_whitespace().count() == 1));
    drop(service);
    daemon.stop(Signal::SIGTERM);
    wait_until("the end of the notifier", || !Path::new(&format!("/proc/{notifier}")).exists());
}

/// Process ids of the daemon's notifiers.
fn notifiers(daemon: &Daemon) -> Vec<u32> {
    daemon
        .children()
        .into_iter()
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).any(|word| word == b"notifier")
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn notifications_find_sessions_that_come_late_go_and_come_back() {
    let _root = root();
    let run_user = RunUser::new();
    let base = base("");
    let daemon = with_desktop(&run_user, base.path());
    run(&program(base.path(), b"before"), fresh_address());
    assert!(notifiers(&daemon).is_empty(), "a notifier without a session");
    // A session without a notification service, which comes later.
    let session = run_user.log_in(USER);
    run(&program(base.path(), b"without-service"), fresh_address());
    let service = session.service();
    service.wait_for("/before");
    service.wait_for("/without-service");
    // The service restarts.
    drop(service);
    run(&program(base.path(), b"between"), fresh_address());
    let service = session.service();
    service.wait_for("/between");
    // A killed notifier is started again.
    for notifier in notifiers(&daemon) {
        kill(nix::unistd::Pid::from_raw(notifier as i32), Signal::SIGKILL).unwrap();
    }
    run(&program(base.path(), b"after-kill"), fresh_address());
    service.wait_for("/after-kill");
    // The session goes and another one comes, and another user.
    drop(service);
    drop(session);
    wait_until("the notifier to end", || notifiers(&daemon).is_empty());
    run(&program(base.path(), b"nobody-there"), fresh_address());
    let (session, other) = (run_user.log_in(USER), run_user.log_in(OTHER_USER));
    let (service, other_service) = (session.service(), other.service());
    run(&program(base.path(), b"both"), fresh_address());
    for service in [&service, &other_service] {
        service.wait_for("/both");
    }
    service.wait_for("/nobody-there");
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn the_process_that_changed_a_program_is_named() {
    // It runs alone: programs of other tests would be folded into the same notification.
    let _root = root_alone();
    let run_user = RunUser::new();
    let base = base("");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (victim, writer) = (program(place.path(), b"victim"), program(place.path(), b"scribbler"));
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o777)).unwrap();
    run(&victim, fresh_address());
    wait_until("its first alert", || {
        lines(base.path(), "exe.log").iter().any(|line| line.contains("/victim (new name, exe)"))
    });
    // Notifications that follow sooner are folded.
    thread::sleep(Duration::from_secs(2));
    // A builtin of the shell: the process that writes is this one, and it ends at once.
    let mut child = Command::new(&writer)
        .args(["-c", "printf changed >> \"$1\"", "scribbler"])
        .arg(&victim)
        .uid(OTHER_USER)
        .gid(OTHER_USER)
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    run(&victim, fresh_address());
    let words = format!("changed by {} (process {pid}, uid {OTHER_USER})", writer.display());
    wait_until("the alert about the change", || {
        let is_changed = |line: &String| line.contains("/victim (new hash), ");
        lines(base.path(), "exe.log").iter().find(|line| is_changed(line)).is_some_and(|line| {
            assert!(line.ends_with(&words), "{line}");
            true
        })
    });
    service.wait_for(&words);
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_burst_is_folded() {
    let _root = root();
    let run_user = RunUser::new();
    let base = base("");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    let running: Vec<_> = (0..14)
        .map(|number| {
            let path = program(base.path(), format!("burst{number}").as_bytes());
            thread::spawn(move || run(&path, fresh_address()))
        })
        .collect();
    for thread in running {
        thread.join().unwrap();
    }
    service.wait_for("new programs");
    thread::sleep(Duration::from_secs(3));
    let shown = service.shown();
    assert!(shown.len() <= 8, "{shown:#?}");
    daemon.stop(Signal::SIGTERM);
    let told = lines(base.path(), "exe.log").into_iter().filter(|line| line.contains("/burst"));
    assert!(told.count() >= 14);
}

#[test]
#[ignore = "needs root"]
fn without_notifications_no_notifier_is_started() {
    let _root = root();
    let run_user = RunUser::new();
    let base = base("[notifications]\ndesktop = false\n");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    run(&program(base.path(), b"quiet"), fresh_address());
    wait_until("exe.log", || lines(base.path(), "exe.log").iter().any(|line| line.contains("/quiet ")));
    thread::sleep(Duration::from_millis(500));
    assert!(notifiers(&daemon).is_empty() && service.shown().is_empty());
    daemon.stop(Signal::SIGTERM);
}
