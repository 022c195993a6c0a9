//! The file opener: opens one executable with the rights of the user that runs it. A FUSE file system (an AppImage) shows
//! its files to that user only, not even to root.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use crate::poll::poll_until;
use ipc::{Channel, Received};
use sandbox::{Role, User};

/// How long a FUSE file system may take to open a file.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the file opener waits for its end, which the monitor brings about.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The message from the file opener to the monitor.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// The file is open; its descriptor comes with the message.
    Opened,
    /// The error number of open(2).
    Failed(i32),
}

/// Opens the executable of a process as the user of the process. The monitor calls this.
///
/// # Errors
/// The errors of open(2); `PermissionDenied` for a process of root, `TimedOut` if the file system does not answer.
pub(crate) fn open_as_user(tgid: u32) -> io::Result<File> {
    let user = User::of_process(tgid)?;
    if user.uid.is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (mut channel, theirs) = Channel::pair()?;
    let mut child =
        sandbox::command(Role::FileOpener, user).arg(tgid.to_string()).stdin(Stdio::from(theirs)).spawn()?;
    let file = receive_file(&mut channel);
    let _ = child.kill();
    let _ = child.wait();
    file
}

fn receive_file(channel: &mut Channel) -> io::Result<File> {
    if !wait_for_input(channel, PATIENCE)? {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the file system of its executable does not answer",
        ));
    }
    match channel.receive::<Reply>()? {
        Received::Message(Reply::Opened, Some(descriptor)) => Ok(File::from(descriptor)),
        Received::Message(Reply::Failed(code), _) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::other("the process that opens files as their user failed")),
    }
}

/// Waits until there is a message, or the channel is closed. Returns false if there is none in time.
fn wait_for_input(channel: &Channel, patience: Duration) -> io::Result<bool> {
    poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], Some(Instant::now() + patience))
}

/// Runs the role for the executable of process `tgid`; standard input is its end of the channel.
///
/// # Errors
/// Standard input is not a channel.
pub fn run(tgid: u32) -> io::Result<ExitCode> {
    sandbox::enter(Role::FileOpener)?;
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let channel = Channel::new(stdin);
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = File::options().read(true).custom_flags(flags).open(format!("/proc/{tgid}/exe"));
    let (reply, file) = match opened {
        Ok(file) => (Reply::Opened, Some(file)),
        Err(error) => (Reply::Failed(error.raw_os_error().unwrap_or(libc::EIO)), None),
    };
    channel.send(&Channel::encode(&reply)?, file.as_ref().map(AsFd::as_fd))?;
    // The monitor closes the channel, or kills this process, once it has the descriptor.
    let _ = wait_for_input(&channel, LAST_WAIT);
    Ok(ExitCode::SUCCESS)
}
