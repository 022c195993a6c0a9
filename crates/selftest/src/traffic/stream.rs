//! Byte streams: TCP, MPTCP and SCTP in both directions; many, small, slow, refused and empty connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    feature::require,
    stream_socket::{
        CHUNK, accept_one, connect_one, finish_stream, listener, receive_exactly, receive_to_end, send_all,
    },
};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{LabNamespace, Link},
    scenario::{ExtraCheck, Scenario},
    socket::Socket,
    system_error::check,
};

const TCP: i32 = libc::IPPROTO_TCP;
const MEBIBYTE: usize = 1024 * 1024;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for link in [Link::Ipv4, Link::Ipv6, Link::Loopback4, Link::Loopback6] {
        all.push(exchange(&format!("tcp-up-{}", link.name()), link, TCP, MEBIBYTE + 11, 0));
        all.push(exchange(&format!("tcp-down-{}", link.name()), link, TCP, 0, MEBIBYTE + 7));
        all.push(exchange(&format!("tcp-both-{}", link.name()), link, TCP, MEBIBYTE + 3, 2 * MEBIBYTE + 1));
    }
    all.push(exchange("tcp-mapped", Link::Mapped, TCP, 100_001, 200_003));
    for link in [Link::Ipv4, Link::Ipv6] {
        let name = link.name();
        all.push(exchange(&format!("mptcp-{name}"), link, libc::IPPROTO_MPTCP, 300_007, 200_003));
        all.push(exchange(&format!("sctp-{name}"), link, libc::IPPROTO_SCTP, 100_003, 90_001));
    }
    all.push(small_connections());
    all.push(short_lived_processes());
    all.push(bursts());
    all.push(slow_stream());
    all.push(open_before_recorder());
    all.push(refused(Link::Loopback4));
    all.push(refused(Link::Loopback6));
    all.push(unreachable());
    all.push(no_bytes());
    all.push(nonblocking_connect());
    all
}

/// Both ends send and receive at the same time.
fn exchange(id: &str, link: Link, protocol: i32, up: usize, down: usize) -> Scenario {
    Scenario::new(id)
        .actor("server", link.server_namespace(), move |actor| {
            send_and_receive(accept_one(actor, link, protocol)?, down, up)
        })
        .actor("client", LabNamespace::First, move |actor| {
            send_and_receive(connect_one(actor, link, protocol)?, up, down)
        })
}

/// Sends and receives in parallel, with non-blocking calls, until both totals are reached.
fn send_and_receive(mut socket: Socket, mut to_send: usize, mut to_receive: usize) -> ActorResult<()> {
    let bytes = [0xa5; CHUNK];
    let mut buffer = [0; CHUNK];
    while to_send > 0 || to_receive > 0 {
        let events =
            if to_send > 0 { libc::POLLOUT } else { 0 } | if to_receive > 0 { libc::POLLIN } else { 0 };
        socket.wait(events, -1)?;
        if to_send > 0 {
            match socket.send(&bytes[..to_send.min(CHUNK)], libc::MSG_DONTWAIT) {
                Err(error) if error.is(libc::EAGAIN) => {}
                sent => to_send -= sent?,
            }
        }
        if to_receive > 0 {
            let length = to_receive.min(CHUNK);
            match socket.recv(&mut buffer[..length], libc::MSG_DONTWAIT) {
                Err(error) if error.is(libc::EAGAIN) => {}
                Ok(0) => return Err(ActorError::Failed(format!("the peer ended {to_receive} bytes early"))),
                received => to_receive -= received?,
            }
        }
    }
    finish_stream(&mut socket)?;
    Ok(socket.report_flows()?)
}

/// Accepts `count` connections, one after the other, and reads each to its end.
fn serve_many(actor: &ActorProcess, link: Link, count: usize) -> ActorResult<()> {
    let listener = listener(link, TCP)?;
    actor.publish_port(listener.local()?)?;
    for _ in 0..count {
        let mut socket = listener.accept()?;
        receive_to_end(&mut socket)?;
        socket.report_flows()?;
    }
    Ok(())
}

fn small_connections() -> Scenario {
    const COUNT: usize = 60;
    let link = Link::Ipv4;
    Scenario::new("tcp-60-small")
        .actor("server", link.server_namespace(), move |actor| serve_many(actor, link, COUNT))
        .actor("client", LabNamespace::First, move |actor| {
            let server = actor.server(link)?;
            for number in 0..COUNT {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(server)?;
                send_all(&mut socket, 100 + number)?;
                socket.report_flows()?;
            }
            Ok(())
        })
}

/// Each connection is opened by a process that exits at once.
fn short_lived_processes() -> Scenario {
    const COUNT: usize = 200;
    let link = Link::Ipv4;
    Scenario::new("tcp-200-processes")
        .actor("server", link.server_namespace(), move |actor| serve_many(actor, link, COUNT))
        .actor("client", LabNamespace::First, move |actor| {
            if let Ok(port) = actor.number(0) {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(SocketAddr::new(link.server_address(), port as u16))?;
                send_all(&mut socket, 4096)?;
                socket.report_flows()?;
                // Exits here, because only the first process of the role reports `done`.
                std::process::exit(0);
            }
            let port = actor.port_of("server")?.to_string();
            for _ in 0..COUNT / 4 {
                // Four run in parallel, which a slow machine can handle.
                let mut children = Vec::new();
                for _ in 0..4 {
                    let mut command = Command::new(actor.executable("client"));
                    command.args(actor.arguments("client", &[port.as_ref()])).stdin(Stdio::null());
                    children.push(command.spawn()?);
                }
                for mut child in children {
                    let status = child.wait()?;
                    if !status.success() {
                        return Err(ActorError::Failed(format!("a short-lived process ended with {status}")));
                    }
                }
            }
            Ok(())
        })
}

fn bursts() -> Scenario {
    const COUNT: usize = 30;
    const BYTES: usize = 40_000;
    let link = Link::Ipv4;
    Scenario::new("tcp-30-bursts")
        .actor("server", link.server_namespace(), move |actor| {
            let listener = listener(link, TCP)?;
            actor.publish_port(listener.local()?)?;
            let accepted = (0..COUNT).map(|_| listener.accept()).collect::<Result<Vec<_>, _>>()?;
            in_parallel(accepted, |mut socket| {
                receive_to_end(&mut socket)?;
                Ok(socket.report_flows()?)
            })
        })
        .actor("client", LabNamespace::First, move |actor| {
            let server = actor.server(link)?;
            in_parallel((0..COUNT).collect(), |number| {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(server)?;
                send_all(&mut socket, BYTES + number)?;
                Ok(socket.report_flows()?)
            })
        })
}

/// Runs `work` for all items in parallel, each on a thread of its own.
fn in_parallel<T: Send>(items: Vec<T>, work: impl Fn(T) -> ActorResult<()> + Sync) -> ActorResult<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(ActorError::Failed("a thread panicked".to_owned())))
        })
    })
}

/// Sends a few bytes each second, so that each window has some of them.
fn slow_stream() -> Scenario {
    const SECONDS: usize = 16;
    let link = Link::Ipv4;
    Scenario::new("tcp-drip")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, link, TCP)?;
            receive_to_end(&mut socket)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            for second in 0..SECONDS {
                send_all(&mut socket, 1 + second)?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(socket.report_flows()?)
        })
        .parallel()
        .with_check(ExtraCheck::MinWindows(4))
}

/// A connection that is open when the recorder starts. Its bytes count from then on; the connection itself does not.
fn open_before_recorder() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("tcp-open-before")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, link, TCP)?;
            receive_exactly(&mut socket, 1000)?;
            actor.barrier("")?;
            let mut socket = with_new_counters(socket)?;
            receive_exactly(&mut socket, 20_003)?;
            send_all(&mut socket, 30_001)?;
            finish_stream(&mut socket)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            send_all(&mut socket, 1000)?;
            actor.barrier("")?;
            let mut socket = with_new_counters(socket)?;
            send_all(&mut socket, 20_003)?;
            receive_exactly(&mut socket, 30_001)?;
            finish_stream(&mut socket)?;
            Ok(socket.report_flows()?)
        })
        .before_recorder(2)
}

/// Returns the same socket with counters at zero.
fn with_new_counters(socket: Socket) -> ActorResult<Socket> {
    // SAFETY: no pointers are passed.
    let copy = unsafe { libc::fcntl(socket.raw(), libc::F_DUPFD_CLOEXEC, 0) };
    check("fcntl", copy as isize)?;
    // SAFETY: the kernel just made this descriptor and nothing else owns it.
    let copy = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) };
    Ok(Socket::adopt(copy, Link::Ipv4.family(), libc::SOCK_STREAM, TCP))
}

fn refused(link: Link) -> Scenario {
    Scenario::new(format!("tcp-refused-{}", link.name())).actor("client", LabNamespace::First, move |_| {
        // A socket that is bound to the port but does not listen keeps other processes from using it.
        let bound = require(Socket::open(link.family(), libc::SOCK_STREAM, TCP), "IPv6")?;
        require(bound.bind(SocketAddr::new(link.server_address(), 0)), "IPv6")?;
        let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
        match socket.connect(bound.local()?) {
            Err(error) if error.is(libc::ECONNREFUSED) => Ok(socket.report_flows()?),
            other => Err(ActorError::Failed(format!("expected ECONNREFUSED, not {other:?}"))),
        }
    })
}

/// The lab has no default route, so that connect(2) fails before a packet is sent.
fn unreachable() -> Scenario {
    Scenario::new("tcp-unreachable").actor("client", LabNamespace::First, |_| {
        let mut socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, TCP)?;
        // 192.0.2.0/24 is reserved for documentation (RFC 5737).
        match socket.connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 443))) {
            Err(error) if error.is(libc::ENETUNREACH) => Ok(socket.report_flows()?),
            other => Err(ActorError::Failed(format!("expected ENETUNREACH, not {other:?}"))),
        }
    })
}

fn no_bytes() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("tcp-no-bytes")
        .actor("server", link.server_namespace(), move |actor| {
            Ok(accept_one(actor, link, TCP)?.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| Ok(connect_one(actor, link, TCP)?.report_flows()?))
}

fn nonblocking_connect() -> Scenario {
    let link = Link::Ipv6;
    Scenario::new("tcp-nonblocking")
        .actor("server", link.server_namespace(), move |actor| {
            send_and_receive(accept_one(actor, link, TCP)?, 0, 5001)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let kind = libc::SOCK_STREAM;
            let mut socket = require(Socket::open(link.family(), kind | libc::SOCK_NONBLOCK, TCP), "IPv6")?;
            match socket.connect(actor.server(link)?) {
                Err(error) if !error.is(libc::EINPROGRESS) => return Err(error.into()),
                _ => socket.wait(libc::POLLOUT, -1)?,
            };
            send_all(&mut socket, 5001)?;
            socket.end_sending()?;
            socket.wait(libc::POLLIN, -1)?;
            Ok(socket.report_flows()?)
        })
}
