//! Datagrams: UDP and UDP-Lite, connected and unconnected, with many clients, with several peers, and at a high rate.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::feature::{protocol_name, require};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult, port_from},
    lab::{LabNamespace, Link},
    scenario::Scenario,
    socket::Socket,
};

const UDP: i32 = libc::IPPROTO_UDP;
const REQUEST_BYTES: usize = 1000;
const RESPONSE_BYTES: usize = 700;
const EXCHANGES: usize = 50;

/// The system calls with which datagrams are sent and received.
#[derive(Clone, Copy, PartialEq)]
enum DatagramCalls {
    /// send(2) and recv(2) on a connected socket.
    Connected,
    /// sendto(2) and recvfrom(2) on an unconnected socket.
    Unconnected,
    /// sendto(2) and recv(2) on an unconnected socket: the receiver does not get the address of the sender.
    UnconnectedRecv,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for link in [Link::Ipv4, Link::Ipv6, Link::Loopback4, Link::Loopback6, Link::Mapped] {
        all.push(request_and_response(
            &format!("udp-connected-{}", link.name()),
            link,
            UDP,
            DatagramCalls::Connected,
        ));
        all.push(request_and_response(
            &format!("udp-unconnected-{}", link.name()),
            link,
            UDP,
            DatagramCalls::Unconnected,
        ));
    }
    all.push(request_and_response("udp-plain-recv-ipv4", Link::Ipv4, UDP, DatagramCalls::UnconnectedRecv));
    all.push(request_and_response("udp-plain-recv-ipv6", Link::Ipv6, UDP, DatagramCalls::UnconnectedRecv));
    for link in [Link::Ipv4, Link::Ipv6] {
        let id = format!("udplite-{}", link.name());
        all.push(request_and_response(&id, link, libc::IPPROTO_UDPLITE, DatagramCalls::Unconnected));
    }
    all.push(many_clients());
    all.push(several_peers());
    all.push(high_rate());
    all
}

/// Opens a datagram socket with a port at the server's end of a link.
pub(super) fn server_socket(link: Link, protocol: i32) -> ActorResult<Socket> {
    open_bound(link, protocol, SocketAddr::new(link.server_address(), 0))
}

/// Opens a datagram socket with a port at the client's end of a link.
pub(super) fn client_socket(link: Link, protocol: i32) -> ActorResult<Socket> {
    open_bound(link, protocol, SocketAddr::new(link.client_address(), 0))
}

fn open_bound(link: Link, protocol: i32, address: SocketAddr) -> ActorResult<Socket> {
    let feature = protocol_name(protocol);
    let socket = require(Socket::open(link.family(), libc::SOCK_DGRAM, protocol), feature)?;
    require(socket.bind(address), feature)?;
    Ok(socket)
}

/// Exchanges the ports of both ends at a barrier. Returns the addresses of server and client.
pub(super) fn exchange_addresses(
    actor: &ActorProcess,
    link: Link,
    socket: &Socket,
) -> ActorResult<(SocketAddr, SocketAddr)> {
    let values = actor.publish_port(socket.local()?)?;
    let server = SocketAddr::new(link.server_address(), port_from(&values, "server")?);
    let client = SocketAddr::new(link.client_address(), port_from(&values, "client")?);
    Ok((server, client))
}

/// Sends many requests, each after the response to the one before, so that the kernel drops no datagram.
fn request_and_response(id: &str, link: Link, protocol: i32, calls: DatagramCalls) -> Scenario {
    Scenario::new(id)
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = server_socket(link, protocol)?;
            let (_, client) = exchange_addresses(actor, link, &socket)?;
            if calls == DatagramCalls::Connected {
                socket.connect(client)?;
            }
            actor.barrier("ready")?;
            for _ in 0..EXCHANGES {
                receive_datagram(&mut socket, calls, client, REQUEST_BYTES)?;
                send_datagram(&mut socket, calls, client, RESPONSE_BYTES)?;
            }
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = client_socket(link, protocol)?;
            let (server, _) = exchange_addresses(actor, link, &socket)?;
            if calls == DatagramCalls::Connected {
                socket.connect(server)?;
            }
            actor.barrier("ready")?;
            for _ in 0..EXCHANGES {
                send_datagram(&mut socket, calls, server, REQUEST_BYTES)?;
                receive_datagram(&mut socket, calls, server, RESPONSE_BYTES)?;
            }
            Ok(socket.report_flows()?)
        })
}

fn send_datagram(
    socket: &mut Socket,
    calls: DatagramCalls,
    peer: SocketAddr,
    bytes: usize,
) -> ActorResult<()> {
    let datagram = vec![0x33; bytes];
    match calls {
        DatagramCalls::Connected => socket.send(&datagram, 0)?,
        DatagramCalls::Unconnected | DatagramCalls::UnconnectedRecv => socket.send_to(&datagram, peer)?,
    };
    Ok(())
}

fn receive_datagram(
    socket: &mut Socket,
    calls: DatagramCalls,
    peer: SocketAddr,
    bytes: usize,
) -> ActorResult<()> {
    let mut buffer = [0; 2000];
    let received = match calls {
        DatagramCalls::Connected => socket.recv(&mut buffer, 0)?,
        DatagramCalls::Unconnected => socket.recv_from(&mut buffer, 0)?.0,
        DatagramCalls::UnconnectedRecv => {
            // Only the peer knows the port, so that it is the sender.
            socket.set_peer(peer);
            socket.recv(&mut buffer, 0)?
        }
    };
    match received == bytes {
        true => Ok(()),
        false => Err(ActorError::Failed(format!("a datagram of {received} bytes, expected {bytes}"))),
    }
}

fn many_clients() -> Scenario {
    const CLIENTS: usize = 5;
    let link = Link::Ipv4;
    Scenario::new("udp-5-clients")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = server_socket(link, UDP)?;
            actor.publish_port(socket.local()?)?;
            for _ in 0..CLIENTS * 10 {
                let (bytes, from) = socket.recv_from(&mut [0; 2000], 0)?;
                let from =
                    from.ok_or_else(|| ActorError::Failed("a datagram without a sender".to_owned()))?;
                socket.send_to(&vec![1; bytes / 2], from)?;
            }
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let server = actor.server(link)?;
            let mut sockets = (0..CLIENTS)
                .map(|_| Socket::open(link.family(), libc::SOCK_DGRAM, UDP))
                .collect::<Result<Vec<_>, _>>()?;
            for round in 0..10 {
                for (number, socket) in sockets.iter_mut().enumerate() {
                    socket.send_to(&vec![2; 100 * (number + 1) + round], server)?;
                    socket.recv_from(&mut [0; 2000], 0)?;
                }
            }
            sockets.iter().try_for_each(|socket| Ok(socket.report_flows()?))
        })
}

/// One socket is connected to two peers, one after the other. The bytes must be recorded for the right peer.
fn several_peers() -> Scenario {
    let link = Link::Ipv4;
    let server = move |actor: &ActorProcess| {
        let mut socket = server_socket(link, UDP)?;
        actor.publish_port(socket.local()?)?;
        socket.recv_from(&mut [0; 2000], 0)?;
        Ok(socket.report_flows()?)
    };
    Scenario::new("udp-reconnected")
        .actor("server", link.server_namespace(), server)
        .actor("other", link.server_namespace(), server)
        .actor("client", LabNamespace::First, move |actor| {
            let values = actor.barrier("")?;
            let mut socket = client_socket(link, UDP)?;
            for (role, bytes) in [("server", 401), ("other", 902)] {
                socket.connect(SocketAddr::new(link.server_address(), port_from(&values, role)?))?;
                socket.send(&vec![3; bytes], 0)?;
            }
            Ok(socket.report_flows()?)
        })
}

/// Sends datagrams of 64 bytes for one second, 30,000 a second or as many as the machine can. The kernel drops datagrams that do
/// not fit into the receive buffer, so that each end is compared with its own counters.
fn high_rate() -> Scenario {
    const RATE: usize = 30_000;
    const BYTES: usize = 64;
    let link = Link::Ipv4;
    Scenario::new("udp-30000-per-second")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = server_socket(link, UDP)?;
            actor.publish_port(socket.local()?)?;
            let mut buffer = [0; 2000];
            // The last datagram is shorter; it is sent again until it is answered.
            let last = loop {
                match socket.recv_from(&mut buffer, 0)? {
                    (BYTES, _) => {}
                    (_, from) => break from,
                }
            };
            let client = last.ok_or_else(|| ActorError::Failed("a datagram without a sender".to_owned()))?;
            socket.send_to(&[5; BYTES], client)?;
            actor.barrier("over")?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = client_socket(link, UDP)?;
            socket.connect(actor.server(link)?)?;
            let start = Instant::now();
            for number in 0..RATE {
                let due = Duration::from_micros(number as u64 * 1_000_000 / RATE as u64);
                if let Some(early) = due.checked_sub(start.elapsed()).filter(|early| early.as_millis() > 0) {
                    thread::sleep(early);
                }
                socket.send(&[4; BYTES], 0)?;
            }
            loop {
                socket.send(&[4; BYTES - 1], 0)?;
                if socket.wait(libc::POLLIN, 200)? {
                    break;
                }
            }
            socket.recv(&mut [0; BYTES], 0)?;
            actor.barrier("over")?;
            Ok(socket.report_flows()?)
        })
}
