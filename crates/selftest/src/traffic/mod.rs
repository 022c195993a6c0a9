//! The traffic makers: each module makes one group of scenarios.

use std::net::SocketAddr;

use super::{
    actor::{Outcome, Stage, Stop},
    lab::Link,
    scenario::Scenario,
    socket::{Socket, SystemError},
};

mod container;
mod datagram;
mod identity;
mod offload;
mod packet;
mod process;
mod raw;
mod stream;
mod uring;
mod zero_copy;

/// How much is given to one call.
const CHUNK: usize = 16 * 1024;

/// Every scenario, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(stream::scenarios());
    all.extend(datagram::scenarios());
    all.extend(raw::scenarios());
    all.extend(packet::scenarios());
    all.extend(zero_copy::scenarios());
    all.extend(offload::scenarios());
    all.extend(uring::scenarios());
    all.extend(process::scenarios());
    all.extend(identity::scenarios());
    all.extend(container::scenarios());
    all
}

/// A socket of a stream protocol that listens for the clients of a link.
fn listener(link: Link, protocol: i32) -> Outcome<Socket> {
    let what = protocol_name(protocol);
    let socket = skip(Socket::open(link.family(), libc::SOCK_STREAM, protocol), what)?;
    skip(socket.bind(SocketAddr::new(link.server_address(), 0)), what)?;
    socket.listen(512)?;
    Ok(socket)
}

/// Offers a port, waits for one client and accepts its connection.
fn accept_one(stage: &Stage, link: Link, protocol: i32) -> Outcome<Socket> {
    let listener = listener(link, protocol)?;
    stage.offer(listener.local()?)?;
    Ok(listener.accept()?)
}

/// Waits for the server and connects to it.
fn connect_one(stage: &Stage, link: Link, protocol: i32) -> Outcome<Socket> {
    let mut socket = skip(Socket::open(link.family(), libc::SOCK_STREAM, protocol), protocol_name(protocol))?;
    socket.connect(stage.server(link)?)?;
    Ok(socket)
}

/// Gives all of `total` bytes to the kernel.
fn send_all(socket: &mut Socket, total: usize) -> Outcome<()> {
    let bytes = [0x5a; CHUNK];
    let mut left = total;
    while left > 0 {
        left -= socket.send(&bytes[..left.min(CHUNK)], 0)?;
    }
    Ok(())
}

/// Takes exactly `total` bytes.
fn receive_exactly(socket: &mut Socket, total: usize) -> Outcome<()> {
    let mut buffer = [0; CHUNK];
    let mut left = total;
    while left > 0 {
        match socket.recv(&mut buffer[..left.min(CHUNK)], 0)? {
            0 => return Err(Stop::Failed(format!("the peer ended {left} bytes early"))),
            count => left -= count,
        }
    }
    Ok(())
}

/// Takes all bytes until the peer ends; returns how many.
fn receive_to_end(socket: &mut Socket) -> Outcome<usize> {
    let mut buffer = [0; CHUNK];
    let mut total = 0;
    loop {
        match socket.recv(&mut buffer, 0)? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

/// Both ends have nothing more to say: ends the sending direction and waits until the peer did the same.
fn part(socket: &mut Socket) -> Outcome<()> {
    match socket.end_sending().map_err(Stop::from).and_then(|()| receive_to_end(socket)) {
        // SCTP has no half-closed state: the peer's end may already have closed the association.
        Err(Stop::System(error)) if error.is(libc::ENOTCONN) && socket.protocol() == libc::IPPROTO_SCTP => {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(0) => Ok(()),
        Ok(count) => Err(Stop::Failed(format!("{count} bytes that nobody expected"))),
    }
}

fn protocol_name(protocol: i32) -> &'static str {
    match protocol {
        libc::IPPROTO_TCP => "TCP",
        libc::IPPROTO_UDP => "UDP",
        libc::IPPROTO_UDPLITE => "UDP-Lite",
        libc::IPPROTO_SCTP => "SCTP",
        libc::IPPROTO_MPTCP => "MPTCP",
        libc::IPPROTO_ICMP => "ICMP sockets",
        libc::IPPROTO_ICMPV6 => "ICMPv6 sockets",
        _ => "such sockets",
    }
}

/// Shorthand for [`super::actor::OrSkip`].
fn skip<T>(result: Result<T, SystemError>, what: &str) -> Outcome<T> {
    super::actor::OrSkip::or_skip(result, what)
}
