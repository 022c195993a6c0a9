//! Byte streams: TCP, MPTCP and SCTP in both directions, many at once, small, slow, refused, empty.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    CHUNK, accept_one, connect_one, listener, part, receive_exactly, receive_to_end, send_all, skip,
};
use crate::{
    actor::{Outcome, Stage, Stop},
    lab::Link,
    scenario::{Extra, Place, Scenario},
    socket::Socket,
};

const TCP: i32 = libc::IPPROTO_TCP;
const MEBIBYTE: usize = 1024 * 1024;

pub fn scenarios() -> Vec<Scenario> {
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
    all.push(drip());
    all.push(open_before_recorder());
    all.push(refused(Link::Loopback4));
    all.push(refused(Link::Loopback6));
    all.push(unreachable());
    all.push(without_bytes());
    all.push(connect_without_waiting());
    all
}

/// Both ends send and receive at the same time.
fn exchange(id: &str, link: Link, protocol: i32, up: usize, down: usize) -> Scenario {
    Scenario::new(id)
        .actor("server", link.server_place(), move |stage| {
            both_at_once(accept_one(stage, link, protocol)?, down, up)
        })
        .actor("client", Place::Here, move |stage| {
            both_at_once(connect_one(stage, link, protocol)?, up, down)
        })
}

/// Sends and receives whatever is possible at the moment, until both totals are reached.
fn both_at_once(mut socket: Socket, mut to_send: usize, mut to_receive: usize) -> Outcome<()> {
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
            let wanted = to_receive.min(CHUNK);
            match socket.recv(&mut buffer[..wanted], libc::MSG_DONTWAIT) {
                Err(error) if error.is(libc::EAGAIN) => {}
                Ok(0) => return Err(Stop::Failed(format!("the peer ended {to_receive} bytes early"))),
                received => to_receive -= received?,
            }
        }
    }
    part(&mut socket)?;
    Ok(socket.publish()?)
}

/// Accepts `count` connections one after the other and reads each to its end.
fn serve_many(stage: &Stage, link: Link, count: usize) -> Outcome<()> {
    let listener = listener(link, TCP)?;
    stage.offer(listener.local()?)?;
    for _ in 0..count {
        let mut socket = listener.accept()?;
        receive_to_end(&mut socket)?;
        socket.publish()?;
    }
    Ok(())
}

fn small_connections() -> Scenario {
    const COUNT: usize = 60;
    let link = Link::Ipv4;
    Scenario::new("tcp-60-small")
        .actor("server", link.server_place(), move |stage| serve_many(stage, link, COUNT))
        .actor("client", Place::Here, move |stage| {
            let server = stage.server(link)?;
            for number in 0..COUNT {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(server)?;
                send_all(&mut socket, 100 + number)?;
                socket.publish()?;
            }
            Ok(())
        })
}

/// Processes that are gone before anyone could look at them.
fn short_lived_processes() -> Scenario {
    const COUNT: usize = 200;
    let link = Link::Ipv4;
    Scenario::new("tcp-200-processes")
        .actor("server", link.server_place(), move |stage| serve_many(stage, link, COUNT))
        .actor("client", Place::Here, move |stage| {
            if let Ok(port) = stage.number(0) {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(SocketAddr::new(link.server_address(), port as u16))?;
                send_all(&mut socket, 4096)?;
                socket.publish()?;
                // No clean-up, and no `done` either: only the first process of the role says that.
                std::process::exit(0);
            }
            let port = stage.port_of("server")?.to_string();
            for _ in 0..COUNT / 4 {
                // Four at a time: neither one after the other nor a crowd that a slow machine cannot hold.
                let mut children = Vec::new();
                for _ in 0..4 {
                    let mut command = Command::new(stage.executable("client"));
                    command.args(stage.arguments("client", &[port.as_ref()])).stdin(Stdio::null());
                    children.push(command.spawn()?);
                }
                for mut child in children {
                    let status = child.wait()?;
                    if !status.success() {
                        return Err(Stop::Failed(format!("a short-lived process ended with {status}")));
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
        .actor("server", link.server_place(), move |stage| {
            let listener = listener(link, TCP)?;
            stage.offer(listener.local()?)?;
            let accepted = (0..COUNT).map(|_| listener.accept()).collect::<Result<Vec<_>, _>>()?;
            in_parallel(accepted, |mut socket| {
                receive_to_end(&mut socket)?;
                Ok(socket.publish()?)
            })
        })
        .actor("client", Place::Here, move |stage| {
            let server = stage.server(link)?;
            in_parallel((0..COUNT).collect(), |number| {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                socket.connect(server)?;
                send_all(&mut socket, BYTES + number)?;
                Ok(socket.publish()?)
            })
        })
}

/// Does `work` on each of `items`, all at the same time.
fn in_parallel<T: Send>(items: Vec<T>, work: impl Fn(T) -> Outcome<()> + Sync) -> Outcome<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Stop::Failed("a thread panicked".to_owned())))
        })
    })
}

/// A little every second: each window has its part.
fn drip() -> Scenario {
    const SECONDS: usize = 16;
    let link = Link::Ipv4;
    Scenario::new("tcp-drip")
        .actor("server", link.server_place(), move |stage| {
            let mut socket = accept_one(stage, link, TCP)?;
            receive_to_end(&mut socket)?;
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let mut socket = connect_one(stage, link, TCP)?;
            for second in 0..SECONDS {
                send_all(&mut socket, 1 + second)?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(socket.publish()?)
        })
        .overlapping()
        .also(Extra::Windows(4))
}

/// A connection that exists when the recorder starts: what it moves from then on counts, its opening does not.
fn open_before_recorder() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("tcp-open-before")
        .actor("server", link.server_place(), move |stage| {
            let mut socket = accept_one(stage, link, TCP)?;
            receive_exactly(&mut socket, 1000)?;
            stage.meet("")?;
            let mut socket = from_now_on(socket)?;
            receive_exactly(&mut socket, 20_003)?;
            send_all(&mut socket, 30_001)?;
            part(&mut socket)?;
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let mut socket = connect_one(stage, link, TCP)?;
            send_all(&mut socket, 1000)?;
            stage.meet("")?;
            let mut socket = from_now_on(socket)?;
            send_all(&mut socket, 20_003)?;
            receive_exactly(&mut socket, 30_001)?;
            part(&mut socket)?;
            Ok(socket.publish()?)
        })
        .before_recorder(2)
}

/// The same socket, counted anew.
fn from_now_on(socket: Socket) -> Outcome<Socket> {
    // SAFETY: no pointers are passed.
    let copy = unsafe { libc::fcntl(socket.raw(), libc::F_DUPFD_CLOEXEC, 0) };
    crate::socket::check("fcntl", copy as isize)?;
    // SAFETY: the kernel just made this descriptor and nothing else owns it.
    let copy = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) };
    Ok(Socket::adopt(copy, Link::Ipv4.family(), libc::SOCK_STREAM, TCP))
}

fn refused(link: Link) -> Scenario {
    Scenario::new(format!("tcp-refused-{}", link.name())).actor("client", Place::Here, move |_| {
        // A socket that has the port but does not listen keeps others from it.
        let taken = skip(Socket::open(link.family(), libc::SOCK_STREAM, TCP), "IPv6")?;
        skip(taken.bind(SocketAddr::new(link.server_address(), 0)), "IPv6")?;
        let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
        match socket.connect(taken.local()?) {
            Err(error) if error.is(libc::ECONNREFUSED) => Ok(socket.publish()?),
            other => Err(Stop::Failed(format!("expected a refusal, not {other:?}"))),
        }
    })
}

/// The lab has no default route: the connect fails before a packet exists.
fn unreachable() -> Scenario {
    Scenario::new("tcp-unreachable").actor("client", Place::Here, |_| {
        let mut socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, TCP)?;
        // 192.0.2.0/24 is reserved for documentation (RFC 5737).
        match socket.connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 443))) {
            Err(error) if error.is(libc::ENETUNREACH) => Ok(socket.publish()?),
            other => Err(Stop::Failed(format!("expected an unreachable network, not {other:?}"))),
        }
    })
}

fn without_bytes() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("tcp-no-bytes")
        .actor("server", link.server_place(), move |stage| Ok(accept_one(stage, link, TCP)?.publish()?))
        .actor("client", Place::Here, move |stage| Ok(connect_one(stage, link, TCP)?.publish()?))
}

fn connect_without_waiting() -> Scenario {
    let link = Link::Ipv6;
    Scenario::new("tcp-nonblocking")
        .actor("server", link.server_place(), move |stage| {
            both_at_once(accept_one(stage, link, TCP)?, 0, 5001)
        })
        .actor("client", Place::Here, move |stage| {
            let kind = libc::SOCK_STREAM;
            let mut socket = skip(Socket::open(link.family(), kind | libc::SOCK_NONBLOCK, TCP), "IPv6")?;
            match socket.connect(stage.server(link)?) {
                Err(error) if !error.is(libc::EINPROGRESS) => return Err(error.into()),
                _ => socket.wait(libc::POLLOUT, -1)?,
            };
            send_all(&mut socket, 5001)?;
            socket.end_sending()?;
            socket.wait(libc::POLLIN, -1)?;
            Ok(socket.publish()?)
        })
}
