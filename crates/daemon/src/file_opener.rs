//! The reader: opens one executable with the rights of the user who runs it. A FUSE file system (an AppImage) shows its
//! files to nobody else, not even to root.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use ipc::{Channel, Received};

/// How long the file system of a stranger may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reader's answer; a descriptor comes with it when it was opened.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Opened,
    Refused(i32),
}

/// Opens the executable of a process as its user. Called by the monitor.
///
/// # Errors
/// Those of opening; `TimedOut` when the file system does not answer.
pub fn open_as_user(tgid: u32) -> io::Result<File> {
    let (uid, gid) =
        ids(&std::fs::read_to_string(format!("/proc/{tgid}/status"))?).ok_or(io::ErrorKind::NotFound)?;
    if uid == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (mut channel, theirs) = Channel::pair()?;
    let mut child = Command::new("/proc/self/exe")
        .args(["role", "file-opener", &tgid.to_string()])
        .uid(uid)
        .gid(gid)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = answer(&mut channel);
    let _ = child.kill();
    let _ = child.wait();
    answer
}

fn answer(channel: &mut Channel) -> io::Result<File> {
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    if poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], patience)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the file system of its executable does not answer",
        ));
    }
    match channel.receive::<Answer>()? {
        Received::Message(Answer::Opened, Some(descriptor)) => Ok(File::from(descriptor)),
        Received::Message(Answer::Refused(code), _) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::other("the process that opens files as their user failed")),
    }
}

/// Real user and group id in a status file (proc_pid_status(5)).
fn ids(status: &str) -> Option<(u32, u32)> {
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some((first("Uid:")?, first("Gid:")?))
}

/// Runs the role; standard input is its end of the channel.
///
/// # Errors
/// When the channel is none.
pub fn run(tgid: u32) -> io::Result<ExitCode> {
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let channel = Channel::new(stdin);
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = File::options().read(true).custom_flags(flags).open(format!("/proc/{tgid}/exe"));
    let (answer, file) = match opened {
        Ok(file) => (Answer::Opened, Some(file)),
        Err(error) => (Answer::Refused(error.raw_os_error().unwrap_or(libc::EIO)), None),
    };
    channel.send(&Channel::encode(&answer)?, file.as_ref().map(AsFd::as_fd))?;
    // Ends when the monitor has it.
    let _ = poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000_u16));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_real_ones() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t100\t5\t5\t5\n";
        assert_eq!(ids(status), Some((1000, 100)));
        assert_eq!(ids("Name:\tUid:\n"), None);
    }
}
