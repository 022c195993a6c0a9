//! Whether it records, as far as the user who asks can see.

use std::{fs::File, io::Read};

use super::check::{Check, Rating};
use crate::cli::daemon_state;
use config::layout::Layout;
use daemon::monitor::looks_like_daemon;
use live::{
    client::{ClientError, LiveClient},
    protocol::HelloLine,
};

/// Bytes of a pid file that are read.
const MAX_BYTES: u64 = 64;

/// Whether it records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Recording,
    /// Why not.
    NotRecording(String),
    /// Why that is not known.
    NotKnown(String),
}

/// What was found out about the daemon.
pub(super) struct Found {
    pub state: State,
    /// What it says; `None` if it does not run, or not to this user.
    pub daemon: Option<HelloLine>,
    /// What only root can find out about a daemon that runs.
    pub hidden: Vec<Check>,
}

/// Asks the daemon. One that does not answer to this user is looked at from outside.
pub(super) fn find(layout: &Layout) -> Found {
    let found = |state| Found { state, daemon: None, hidden: Vec::new() };
    match LiveClient::connect(&layout.run_dir.join(live::SOCKET_NAME)) {
        Ok(client) => {
            let daemon = client.status().clone();
            let state = match daemon_state::is_stopped(daemon.monitor) {
                true => stopped(daemon.monitor),
                false => State::Recording,
            };
            Found { daemon: Some(daemon), ..found(state) }
        }
        Err(ClientError::NotRunning) => found(not_running()),
        Err(ClientError::NotAllowed) => from_outside(layout),
        Err(error) => found(State::NotKnown(format!("{:#}", daemon_state::explain(error, layout)))),
    }
}

fn stopped(monitor: u32) -> State {
    State::NotRecording(format!("its monitor is stopped: let it go on with `sudo kill -CONT {monitor}`"))
}

fn not_running() -> State {
    State::NotRecording(format!("picosnitch is not running. Start it: {}", model::service::command("start")))
}

/// What every user can see of a daemon: its pid file, and its process.
fn from_outside(layout: &Layout) -> Found {
    let state = match read(&layout.pid_file()) {
        Some(text) => match pid(&text) {
            Some(monitor) if !looks_like_daemon(monitor) => not_running(),
            Some(monitor) if daemon_state::is_stopped(monitor) => stopped(monitor),
            Some(monitor) => State::NotKnown(format!(
                "picosnitch runs (process {monitor}), but it tells only root and the members of the group picosnitch what it records \
                 and misses: sudo picosnitch doctor"
            )),
            // A daemon that has ended in order leaves an empty file.
            None => not_running(),
        },
        None => State::NotKnown(
            "only root and the members of the group picosnitch can see whether picosnitch runs: sudo picosnitch doctor"
                .to_owned(),
        ),
    };
    let hidden = match state {
        State::NotKnown(_) => vec![
            Check::needs_root("losses", "what was lost since the start"),
            Check::needs_root("capabilities", "which rights the monitor has"),
            Check::needs_root("version", "which version the daemon is"),
        ],
        _ => Vec::new(),
    };
    Found { state, daemon: None, hidden }
}

fn read(path: &std::path::Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn pid(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The state with the reason why nothing can be recorded on this machine, if that is known: `refused` by an attempt, else by a
/// check.
pub(super) fn with_reason(state: State, refused: Option<&str>, checks: &[Check]) -> State {
    let fatal = || checks.iter().find(|check| check.rating == Rating::Fatal).map(|check| &*check.text);
    match (&state, refused.or_else(fatal)) {
        (State::NotRecording(_), Some(why)) => State::NotRecording(why.to_owned()),
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A process with the command line of a daemon.
    fn daemon() -> Child {
        let mut command = Command::new("sh");
        command
            .args(["-c", "read line", "picosnitch", "start-no-daemon"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn at(place: &Path, pid: Option<&str>) -> Found {
        let layout = Layout::new(Some(place), None);
        fs::create_dir_all(&layout.run_dir).unwrap();
        let _ = fs::remove_file(layout.pid_file());
        if let Some(pid) = pid {
            fs::write(layout.pid_file(), pid).unwrap();
        }
        from_outside(&layout)
    }

    #[test]
    fn a_user_who_may_not_ask_the_daemon_sees_whether_it_runs() {
        let place = tempfile::tempdir().unwrap();
        let mut child = daemon();
        let pid = format!("{}\n", child.id());
        // sh has the arguments once it is executed.
        while !looks_like_daemon(child.id()) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let runs = at(place.path(), Some(&pid));
        let State::NotKnown(why) = &runs.state else { panic!("{:?}", runs.state) };
        assert!(why.contains(&format!("runs (process {})", child.id())), "{why}");
        assert!(why.ends_with("sudo picosnitch doctor"), "{why}");
        let needs_root = |check: &Check| check.rating == Rating::Unknown && check.advice.is_some();
        assert!(runs.hidden.len() > 1 && runs.hidden.iter().all(needs_root));
        child.kill().unwrap();
        child.wait().unwrap();
        // It was killed, has ended in order, or its number is another process's by now.
        let other = std::process::id().to_string();
        for left in [pid.as_str(), "", &other, "\u{1b}[31m"] {
            let ended = at(place.path(), Some(left));
            assert_eq!(ended.state, not_running(), "{left:?}");
            assert!(ended.hidden.is_empty());
        }
        let hidden = at(place.path(), None);
        assert!(matches!(&hidden.state, State::NotKnown(why) if why.contains("only root")));
    }

    #[test]
    fn the_reason_is_that_of_the_machine_if_nothing_can_be_recorded() {
        let checks = [
            Check::good("kernel", "Linux", "6.1"),
            Check::new("btf", Rating::Fatal, "this kernel has no BTF", "no"),
        ];
        let because = |why: &str| State::NotRecording(why.to_owned());
        assert_eq!(with_reason(not_running(), None, &checks), because("this kernel has no BTF"));
        assert_eq!(with_reason(not_running(), Some("tried"), &checks), because("tried"));
        assert_eq!(with_reason(not_running(), None, &checks[..1]), not_running());
        assert_eq!(with_reason(State::Recording, Some("tried"), &checks), State::Recording);
    }
}
