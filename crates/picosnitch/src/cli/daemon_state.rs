//! The processes of a daemon that does not answer: whether they are stopped.

use std::{fs, io};

use config::layout::Layout;
use live::client::ClientError;

/// The pid file has a number and a line feed.
const MAX_PID_DIGITS: usize = 10;

/// The text of an error of the live socket. For a daemon that runs and does not answer, the text says which of its processes
/// is the reason, and what to do.
pub(super) fn explain(error: ClientError, layout: &Layout) -> anyhow::Error {
    let ClientError::Io(path, source) = &error else { return error.into() };
    let path = path.display();
    match source.kind() {
        io::ErrorKind::NotADirectory => {
            return anyhow::anyhow!(
                "there can be no picosnitch at {path}: a part of the path is a file; choose another directory with --base-dir"
            );
        }
        io::ErrorKind::InvalidInput => {
            return anyhow::anyhow!(
                "there can be no picosnitch at {path}: the path is too long for a socket; choose another directory with \
                 --base-dir"
            );
        }
        _ => {}
    }
    if !matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return error.into();
    }
    let monitor = fs::read_to_string(layout.run_dir.join("picosnitch.pid")).ok();
    let monitor =
        monitor.and_then(|text| text.trim().get(..MAX_PID_DIGITS.min(text.trim().len()))?.parse().ok());
    let Some(monitor) = monitor.filter(|pid| state(*pid).is_some()) else {
        return anyhow::anyhow!("the process that serves {path} does not answer");
    };
    // The recorder serves the socket; it is the first child of the monitor.
    let recorder = first_child(monitor);
    match recorder.filter(|recorder| is_stopped(*recorder)) {
        Some(recorder) => anyhow::anyhow!(
            "picosnitch is running (process {monitor}), but its recorder (process {recorder}) does not answer: it is stopped. \
             Let it go on with `sudo kill -CONT {recorder}`; until then nothing is written, and traffic waits in memory"
        ),
        None => anyhow::anyhow!(
            "picosnitch is running (process {monitor}), but its recorder does not answer: it is very busy, or waits for a disk. \
             error.log may say more; if this stays, restart picosnitch ({})",
            model::service::command("restart")
        ),
    }
}

/// Whether a process is stopped by a signal or a debugger.
pub(super) fn is_stopped(pid: u32) -> bool {
    matches!(state(pid), Some('T' | 't'))
}

/// The state of a process (proc_pid_stat(5)); `None` if there is none of this number.
pub(super) fn state(pid: u32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_end + 2).map(|byte| char::from(*byte))
}

pub(super) fn first_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_stopped_process_is_known() {
        let script = "kill -STOP $$; read line";
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        while !is_stopped(child.id()) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!is_stopped(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(state(child.id()), None);
    }
}
