//! Attribution to processes: inherited, passed and shared sockets, threads, another user, exec during a connection, odd names.

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

use super::stream_socket::{
    accept_one, connect_one, finish_stream, receive_exactly, receive_to_end, send_all,
};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{LabNamespace, Link},
    private_directory::link_executable,
    scenario::Scenario,
    socket::Socket,
    system_error::{SystemError, check},
};

const TCP: i32 = libc::IPPROTO_TCP;
const LINK: Link = Link::Ipv4;
/// User and group id of `nobody`, `nogroup`.
const NOBODY: u32 = 65534;
/// The part of the odd path that every output shows unchanged.
const PATH_PART: &str = "odd-program-marker";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        client_and_server("fork", 40_003, 30_001, connect_and_fork),
        passed_socket(),
        shared_socket(),
        client_and_server("thread-name", 20_003, 10_001, send_in_named_thread),
        client_and_server("other-user", 5003, 4001, send_as_another_user),
        client_and_server("re-exec", 150_000, 30_000, send_and_exec).child_actor("after", send_after_exec),
        client_and_server("odd-names", 3003, 2001, exec_with_odd_name)
            .child_actor("inner", send_with_odd_name),
    ]
}

/// A scenario with a server that receives `up` bytes and sends `down` bytes, and a client that runs `client`.
fn client_and_server(
    id: &str,
    up: usize,
    down: usize,
    client: fn(&ActorProcess, usize, usize) -> ActorResult<()>,
) -> Scenario {
    Scenario::new(id)
        .actor("server", LINK.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, LINK, TCP)?;
            receive_exactly(&mut socket, up)?;
            send_all(&mut socket, down)?;
            finish_stream(&mut socket)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| client(actor, up, down))
}

fn send_and_receive(socket: &mut Socket, up: usize, down: usize) -> ActorResult<()> {
    send_all(socket, up)?;
    receive_exactly(socket, down)?;
    finish_stream(socket)?;
    Ok(socket.report_flows()?)
}

/// Takes over the socket behind a descriptor that was inherited or received.
fn adopt(fd: RawFd) -> Socket {
    // SAFETY: the descriptor was passed to this process for this purpose, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Socket::adopt(fd, LINK.family(), libc::SOCK_STREAM, TCP)
}

/// Duplicates a descriptor without close-on-exec.
fn duplicate_for_exec(socket: &Socket) -> ActorResult<RawFd> {
    // SAFETY: no pointers are passed.
    let copy = unsafe { libc::fcntl(socket.raw(), libc::F_DUPFD, 10) };
    check("fcntl", copy as isize)?;
    Ok(copy)
}

/// The parent connects; the child sends and receives.
fn connect_and_fork(actor: &ActorProcess, up: usize, down: usize) -> ActorResult<()> {
    let socket = connect_one(actor, LINK, TCP)?;
    socket.report_flows()?;
    let copy = duplicate_for_exec(&socket)?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let result = send_and_receive(&mut adopt(copy), up, down);
            // SAFETY: the child ends without running the exit handlers of the parent.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child if child > 0 => wait_for(child),
        _ => Err(SystemError::last("fork").into()),
    }
}

/// Waits for a child process, which must end with exit code 0.
pub(super) fn wait_for(child: libc::pid_t) -> ActorResult<()> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    check("waitpid", unsafe { libc::waitpid(child, &mut status, 0) } as isize)?;
    match libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        true => Ok(()),
        false => Err(ActorError::Failed(format!("the child ended with status {status:#x}"))),
    }
}

/// One program opens a connection and passes it to another one over a UNIX socket (SCM_RIGHTS).
fn passed_socket() -> Scenario {
    client_and_server("scm-rights", 30_003, 20_001, |actor, _, _| {
        let mut socket = connect_one(actor, LINK, TCP)?;
        send_all(&mut socket, 10_000)?;
        socket.report_flows()?;
        let to = UnixStream::connect(actor.directory.join("scm-rights"))?;
        let control = [ControlMessage::ScmRights(&[socket.raw()])];
        sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None)
            .map_err(std::io::Error::from)?;
        Ok(())
    })
    .actor("receiver", LabNamespace::First, |actor| {
        let listener = UnixListener::bind(actor.directory.join("scm-rights"))?;
        actor.barrier("")?;
        let (from, _) = listener.accept()?;
        let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; 1]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())
            .map_err(std::io::Error::from)?;
        let fd = message.cmsgs().map_err(std::io::Error::from)?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let fd = fd.ok_or_else(|| ActorError::Failed("no descriptor was received".to_owned()))?;
        send_and_receive(&mut adopt(fd), 20_003, 20_001)
    })
}

/// Two programs send and receive on the same connection at the same time.
fn shared_socket() -> Scenario {
    const FIRST: usize = 140_003;
    const SECOND: usize = 90_001;
    const DOWN: usize = 200_007;
    client_and_server("two-processes", FIRST + SECOND, DOWN, |actor, _, _| {
        let mut socket = connect_one(actor, LINK, TCP)?;
        let copy = duplicate_for_exec(&socket)?;
        let mut second = Command::new(actor.executable("second"))
            .args(actor.arguments("second", &[copy.to_string().as_ref()]))
            .stdin(Stdio::null())
            .spawn()?;
        send_all(&mut socket, FIRST)?;
        receive_to_end(&mut socket)?;
        socket.report_flows()?;
        match second.wait()? {
            status if status.success() => Ok(()),
            status => Err(ActorError::Failed(format!("the second process ended with {status}"))),
        }
    })
    .child_actor("second", |actor| {
        let mut socket = adopt(actor.number(0)?);
        send_all(&mut socket, SECOND)?;
        receive_to_end(&mut socket)?;
        Ok(socket.report_flows()?)
    })
}

/// The name of a thread must not be recorded as the name of its process.
fn send_in_named_thread(actor: &ActorProcess, up: usize, down: usize) -> ActorResult<()> {
    let mut socket = connect_one(actor, LINK, TCP)?;
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            set_thread_name(c"another-name")?;
            send_and_receive(&mut socket, up, down)
        });
        work.join().unwrap_or_else(|_| Err(ActorError::Failed("the thread panicked".to_owned())))
    })
}

/// Sets the name of the calling thread; that of the first thread is the name of the process.
fn set_thread_name(name: &CStr) -> ActorResult<()> {
    // SAFETY: the name ends with a zero byte.
    let returned = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    Ok(check("prctl", returned as isize).map(drop)?)
}

fn send_as_another_user(actor: &ActorProcess, up: usize, down: usize) -> ActorResult<()> {
    // SAFETY: no pointers are passed.
    check("setresgid", unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) } as isize)?;
    // SAFETY: no pointers are passed.
    check("setresuid", unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) } as isize)?;
    let mut socket = connect_one(actor, LINK, TCP)?;
    send_and_receive(&mut socket, up, down)
}

const BEFORE_EXEC: usize = 100_000;

/// The process executes another program and goes on with the same connection.
fn send_and_exec(actor: &ActorProcess, _: usize, _: usize) -> ActorResult<()> {
    let mut socket = connect_one(actor, LINK, TCP)?;
    send_all(&mut socket, BEFORE_EXEC)?;
    socket.report_flows()?;
    let copy = duplicate_for_exec(&socket)?;
    let error = Command::new(actor.executable("after"))
        .args(actor.arguments("after", &[copy.to_string().as_ref()]))
        .exec();
    Err(error.into())
}

fn send_after_exec(actor: &ActorProcess) -> ActorResult<()> {
    send_and_receive(&mut adopt(actor.number(0)?), 150_000 - BEFORE_EXEC, 30_000)
}

/// Executes the program under a path and with arguments that are not valid UTF-8 and contain newlines and terminal controls.
fn exec_with_odd_name(actor: &ActorProcess, _: usize, _: usize) -> ActorResult<()> {
    let mut name = PATH_PART.as_bytes().to_vec();
    name.extend_from_slice(b"\n\x1b[31m\xff\xfe\t\"'");
    let path = actor.directory.join("bin").join(OsString::from_vec(name));
    link_executable(&actor.directory, &path)?;
    let error = Command::new(&path)
        .args(actor.arguments("inner", &[OsStr::from_bytes(b"\n\x1b[2J\xfe\x07odd-argument")]))
        .exec();
    Err(error.into())
}

fn send_with_odd_name(actor: &ActorProcess) -> ActorResult<()> {
    set_thread_name(&CString::new(&b"odd\n\x1b[1m\xff"[..]).unwrap_or_default())?;
    let mut socket = connect_one(actor, LINK, TCP)?;
    socket.path_part = Some(PATH_PART.to_owned());
    socket.command_line_part = Some("odd-argument".to_owned());
    send_and_receive(&mut socket, 3003, 2001)
}
