//! Who moves the bytes: inherited, passed and shared sockets, threads, exec in mid-connection, odd names.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    process::{Command, Stdio},
    thread,
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::{accept_one, connect_one, part, receive_exactly, receive_to_end, send_all};
use crate::{
    actor::{Outcome, Stage, Stop},
    director,
    lab::Link,
    scenario::{Place, Scenario},
    socket::{Socket, SystemError, check},
};

const TCP: i32 = libc::IPPROTO_TCP;
const LINK: Link = Link::Ipv4;
/// The user and group that own nothing (`nobody`, `nogroup`).
const NOBODY: u32 = 65534;
/// A part of the odd path that any output shows as it is.
const MARKER: &str = "odd-program-marker";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        client_and_server("fork", 40_003, 30_001, over_fork),
        passed(),
        shared(),
        client_and_server("thread-name", 20_003, 10_001, in_a_named_thread),
        client_and_server("other-user", 5003, 4001, as_another_user),
        client_and_server("re-exec", 150_000, 30_000, before_exec).helper("after", after_exec),
        client_and_server("odd-names", 3003, 2001, with_an_odd_name).helper("inner", odd_inside),
    ]
}

/// A server that takes `up` bytes and gives `down`, and a client that does what the scenario is about.
fn client_and_server(
    id: &str,
    up: usize,
    down: usize,
    client: fn(&Stage, usize, usize) -> Outcome<()>,
) -> Scenario {
    Scenario::new(id)
        .actor("server", LINK.server_place(), move |stage| {
            let mut socket = accept_one(stage, LINK, TCP)?;
            receive_exactly(&mut socket, up)?;
            send_all(&mut socket, down)?;
            part(&mut socket)?;
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| client(stage, up, down))
}

fn question_and_answer(socket: &mut Socket, up: usize, down: usize) -> Outcome<()> {
    send_all(socket, up)?;
    receive_exactly(socket, down)?;
    part(socket)?;
    Ok(socket.publish()?)
}

/// The socket behind a descriptor that came from another process or another time.
fn adopted(fd: RawFd) -> Socket {
    // SAFETY: the descriptor was given to this process for this purpose and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Socket::adopt(fd, LINK.family(), libc::SOCK_STREAM, TCP)
}

/// A copy of a descriptor that stays open over exec.
fn for_exec(socket: &Socket) -> Outcome<RawFd> {
    // SAFETY: no pointers are passed.
    let copy = unsafe { libc::fcntl(socket.raw(), libc::F_DUPFD, 10) };
    check("fcntl", copy as isize)?;
    Ok(copy)
}

/// The parent connects, the child talks.
fn over_fork(stage: &Stage, up: usize, down: usize) -> Outcome<()> {
    let socket = connect_one(stage, LINK, TCP)?;
    socket.publish()?;
    let copy = for_exec(&socket)?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let result = question_and_answer(&mut adopted(copy), up, down);
            // SAFETY: the child ends without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child if child > 0 => wait_for(child),
        _ => Err(SystemError::last("fork").into()),
    }
}

/// Waits for a child, which must end with exit code 0.
pub fn wait_for(child: libc::pid_t) -> Outcome<()> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    check("waitpid", unsafe { libc::waitpid(child, &mut status, 0) } as isize)?;
    match libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        true => Ok(()),
        false => Err(Stop::Failed(format!("the child ended with status {status:#x}"))),
    }
}

/// A connection that one program opens and another one gets over a UNIX socket.
fn passed() -> Scenario {
    client_and_server("scm-rights", 30_003, 20_001, |stage, _, _| {
        let mut socket = connect_one(stage, LINK, TCP)?;
        send_all(&mut socket, 10_000)?;
        socket.publish()?;
        let to = UnixStream::connect(stage.directory.join("scm-rights"))?;
        let control = [ControlMessage::ScmRights(&[socket.raw()])];
        sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None)
            .map_err(std::io::Error::from)?;
        Ok(())
    })
    .actor("receiver", Place::Here, |stage| {
        let listener = UnixListener::bind(stage.directory.join("scm-rights"))?;
        stage.meet("")?;
        let (from, _) = listener.accept()?;
        let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; 1]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())
            .map_err(std::io::Error::from)?;
        let fd = message.cmsgs().map_err(std::io::Error::from)?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let fd = fd.ok_or_else(|| Stop::Failed("no descriptor came".to_owned()))?;
        question_and_answer(&mut adopted(fd), 20_003, 20_001)
    })
}

/// Two programs send and receive on one connection at the same time.
fn shared() -> Scenario {
    const FIRST: usize = 140_003;
    const SECOND: usize = 90_001;
    const DOWN: usize = 200_007;
    client_and_server("two-processes", FIRST + SECOND, DOWN, |stage, _, _| {
        let mut socket = connect_one(stage, LINK, TCP)?;
        let copy = for_exec(&socket)?;
        let mut second = Command::new(stage.executable("second"))
            .args(stage.arguments("second", &[copy.to_string().as_ref()]))
            .stdin(Stdio::null())
            .spawn()?;
        send_all(&mut socket, FIRST)?;
        receive_to_end(&mut socket)?;
        socket.publish()?;
        match second.wait()? {
            status if status.success() => Ok(()),
            status => Err(Stop::Failed(format!("the second process ended with {status}"))),
        }
    })
    .helper("second", |stage| {
        let mut socket = adopted(stage.number(0)?);
        send_all(&mut socket, SECOND)?;
        receive_to_end(&mut socket)?;
        Ok(socket.publish()?)
    })
}

/// The name of a thread is not the name of its program.
fn in_a_named_thread(stage: &Stage, up: usize, down: usize) -> Outcome<()> {
    let mut socket = connect_one(stage, LINK, TCP)?;
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            set_name(c"another-name")?;
            question_and_answer(&mut socket, up, down)
        });
        work.join().unwrap_or_else(|_| Err(Stop::Failed("the thread panicked".to_owned())))
    })
}

/// Names the calling thread; for the first thread that is the name of the process.
fn set_name(name: &CStr) -> Outcome<()> {
    // SAFETY: the name ends with a zero byte.
    let returned = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    Ok(check("prctl", returned as isize).map(drop)?)
}

fn as_another_user(stage: &Stage, up: usize, down: usize) -> Outcome<()> {
    // SAFETY: no pointers are passed.
    check("setresgid", unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) } as isize)?;
    // SAFETY: no pointers are passed.
    check("setresuid", unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) } as isize)?;
    let mut socket = connect_one(stage, LINK, TCP)?;
    question_and_answer(&mut socket, up, down)
}

const BEFORE_EXEC: usize = 100_000;

/// The same process, the same connection, but from here on another program.
fn before_exec(stage: &Stage, _: usize, _: usize) -> Outcome<()> {
    let mut socket = connect_one(stage, LINK, TCP)?;
    send_all(&mut socket, BEFORE_EXEC)?;
    socket.publish()?;
    let copy = for_exec(&socket)?;
    let error = Command::new(stage.executable("after"))
        .args(stage.arguments("after", &[copy.to_string().as_ref()]))
        .exec();
    Err(error.into())
}

fn after_exec(stage: &Stage) -> Outcome<()> {
    question_and_answer(&mut adopted(stage.number(0)?), 150_000 - BEFORE_EXEC, 30_000)
}

/// A path, arguments and a name that are no text and hold what ends lines and commands terminals.
fn with_an_odd_name(stage: &Stage, _: usize, _: usize) -> Outcome<()> {
    let mut name = MARKER.as_bytes().to_vec();
    name.extend_from_slice(b"\n\x1b[31m\xff\xfe\t\"'");
    let path = stage.directory.join("bin").join(OsString::from_vec(name));
    director::give_executable(&stage.directory, &path)?;
    let error = Command::new(&path)
        .args(stage.arguments("inner", &[OsStr::from_bytes(b"\n\x1b[2J\xfe\x07odd-argument")]))
        .exec();
    Err(error.into())
}

fn odd_inside(stage: &Stage) -> Outcome<()> {
    set_name(&CString::new(&b"odd\n\x1b[1m\xff"[..]).unwrap_or_default())?;
    let mut socket = connect_one(stage, LINK, TCP)?;
    socket.marker = Some(MARKER.to_owned());
    socket.command_line_part = Some("odd-argument".to_owned());
    question_and_answer(&mut socket, 3003, 2001)
}
