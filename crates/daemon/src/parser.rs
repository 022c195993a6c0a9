//! The parser: looks into one C library without any rights, answers where its functions are, and ends. The file may be damaged,
//! and the monitor, which asks, must not parse it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use crate::poll::poll_until;
use capture::ResolverFunction;
use ipc::{Channel, Received};
use sandbox::{Role, User};

/// How long the parser may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Functions of one library at most: each may come in two versions.
const MAX_FUNCTIONS: usize = 6;

/// The question, which comes with the descriptor of the library.
#[derive(Serialize, Deserialize)]
enum Question {
    FindFunctions,
}

/// The functions of a library with their offsets in its file.
pub(crate) type Functions = Vec<(ResolverFunction, u64)>;

/// Looks into a library through a parser, which is started for it. The monitor calls this.
///
/// # Errors
/// The parser cannot be started, or has not answered.
pub(crate) fn functions_of(library: &File) -> io::Result<Functions> {
    let (mut channel, theirs) = Channel::pair()?;
    let mut child = sandbox::command(Role::Parser, User::nobody()).stdin(Stdio::from(theirs)).spawn()?;
    let answer = ask(&mut channel, library);
    // One that is ending already keeps its status.
    let _ = child.kill();
    let status = child.wait()?;
    let failed = || io::Error::other(format!("the process that looks into C libraries failed ({status})"));
    let size = library.metadata()?.len();
    Ok(plausible(answer?.ok_or_else(failed)?, size))
}

/// The answer; `None` if the parser has ended without one.
fn ask(channel: &mut Channel, library: &File) -> io::Result<Option<Functions>> {
    channel.send(&Channel::encode(&Question::FindFunctions)?, Some(library.as_fd()))?;
    let until = Instant::now() + PATIENCE;
    loop {
        match channel.receive::<Functions>()? {
            Received::Message(functions, _) => return Ok(Some(functions)),
            Received::Closed => return Ok(None),
            Received::Nothing if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
            Received::Nothing => {
                poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], Some(until))?;
            }
        }
    }
}

/// The functions that can be in a file of this size. The parser may have been taken over by what it has read.
fn plausible(mut functions: Functions, size: u64) -> Functions {
    functions.retain(|(_, offset)| *offset > 0 && *offset < size);
    functions.truncate(MAX_FUNCTIONS);
    functions
}

/// Runs the role; standard input is its end of the channel.
///
/// # Errors
/// The rights cannot be given up, or standard input is not a channel.
pub fn run() -> io::Result<ExitCode> {
    sandbox::enter(Role::Parser)?;
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut channel = Channel::new(stdin);
    poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], Some(Instant::now() + PATIENCE))?;
    let Received::Message(Question::FindFunctions, Some(library)) = channel.receive()? else {
        return Ok(ExitCode::FAILURE);
    };
    let symbols = ResolverFunction::ALL.map(ResolverFunction::symbol);
    let found = names::function_offsets(&mut File::from(library), &symbols);
    let functions =
        found.into_iter().filter_map(|(at, offset)| Some((*ResolverFunction::ALL.get(at)?, offset)));
    channel.send(&Channel::encode(&functions.collect::<Functions>())?, None)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_beyond_the_file_are_not_used() {
        let functions =
            |offsets: &[u64]| offsets.iter().map(|at| (ResolverFunction::GetAddrInfo, *at)).collect();
        assert_eq!(plausible(functions(&[0, 1, 99, 100, u64::MAX]), 100), functions(&[1, 99]));
        assert_eq!(plausible(functions(&[7; 100]), 100).len(), MAX_FUNCTIONS);
    }
}
