//! Sockets of stream protocols: opening a connection, moving an exact number of bytes, closing.

use std::net::SocketAddr;

use super::feature::{protocol_name, require};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::Link,
    socket::Socket,
};

/// Bytes that are passed to one system call.
pub(super) const CHUNK: usize = 16 * 1024;

/// Opens a socket that listens for the clients of a link.
pub(super) fn listener(link: Link, protocol: i32) -> ActorResult<Socket> {
    let feature = protocol_name(protocol);
    let socket = require(Socket::open(link.family(), libc::SOCK_STREAM, protocol), feature)?;
    require(socket.bind(SocketAddr::new(link.server_address(), 0)), feature)?;
    socket.listen(512)?;
    Ok(socket)
}

/// Listens, passes the port to the clients at a barrier, and accepts one connection.
pub(super) fn accept_one(actor: &ActorProcess, link: Link, protocol: i32) -> ActorResult<Socket> {
    let listener = listener(link, protocol)?;
    actor.publish_port(listener.local()?)?;
    Ok(listener.accept()?)
}

/// Waits at a barrier for the port of the server and connects to it.
pub(super) fn connect_one(actor: &ActorProcess, link: Link, protocol: i32) -> ActorResult<Socket> {
    let mut socket =
        require(Socket::open(link.family(), libc::SOCK_STREAM, protocol), protocol_name(protocol))?;
    socket.connect(actor.server(link)?)?;
    Ok(socket)
}

pub(super) fn send_all(socket: &mut Socket, total: usize) -> ActorResult<()> {
    let bytes = [0x5a; CHUNK];
    let mut left = total;
    while left > 0 {
        left -= socket.send(&bytes[..left.min(CHUNK)], 0)?;
    }
    Ok(())
}

/// Receives exactly `total` bytes, and fails if the stream ends before.
pub(super) fn receive_exactly(socket: &mut Socket, total: usize) -> ActorResult<()> {
    let mut buffer = [0; CHUNK];
    let mut left = total;
    while left > 0 {
        match socket.recv(&mut buffer[..left.min(CHUNK)], 0)? {
            0 => return Err(ActorError::Failed(format!("the peer ended {left} bytes early"))),
            count => left -= count,
        }
    }
    Ok(())
}

/// Receives until the peer has shut down its sending direction. Returns the number of bytes.
pub(super) fn receive_to_end(socket: &mut Socket) -> ActorResult<usize> {
    let mut buffer = [0; CHUNK];
    let mut total = 0;
    loop {
        match socket.recv(&mut buffer, 0)? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

/// Shuts down the sending direction and waits until the peer has done the same. The peer must not send any more bytes.
pub(super) fn finish_stream(socket: &mut Socket) -> ActorResult<()> {
    match socket.end_sending().map_err(ActorError::from).and_then(|()| receive_to_end(socket)) {
        // SCTP has no half-closed state, so that the shutdown of the peer may already have closed the association.
        Err(ActorError::System(error))
            if error.is(libc::ENOTCONN) && socket.protocol() == libc::IPPROTO_SCTP =>
        {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(0) => Ok(()),
        Ok(count) => Err(ActorError::Failed(format!("{count} unexpected bytes"))),
    }
}
