//! Datagrams: UDP and UDP-Lite, connected and not, many clients, a high rate, many in one call.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{protocol_name, skip};
use crate::{
    actor::{Outcome, Stage, Stop, port_in},
    lab::Link,
    scenario::{Place, Scenario},
    socket::Socket,
};

const UDP: i32 = libc::IPPROTO_UDP;
/// Question and answer of one exchange, bytes.
const QUESTION: usize = 1000;
const ANSWER: usize = 700;
const EXCHANGES: usize = 50;

/// How the calls name the peer.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// The socket is connected: send, recv.
    Connected,
    /// The socket is not connected: sendto, recvfrom.
    Addressed,
    /// The socket is not connected, and the receiver does not ask from whom: sendto, recv.
    Unasked,
}

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for link in [Link::Ipv4, Link::Ipv6, Link::Loopback4, Link::Loopback6, Link::Mapped] {
        all.push(questions(&format!("udp-connected-{}", link.name()), link, UDP, Style::Connected));
        all.push(questions(&format!("udp-unconnected-{}", link.name()), link, UDP, Style::Addressed));
    }
    all.push(questions("udp-plain-recv-ipv4", Link::Ipv4, UDP, Style::Unasked));
    all.push(questions("udp-plain-recv-ipv6", Link::Ipv6, UDP, Style::Unasked));
    for link in [Link::Ipv4, Link::Ipv6] {
        let id = format!("udplite-{}", link.name());
        all.push(questions(&id, link, libc::IPPROTO_UDPLITE, Style::Addressed));
    }
    all.push(many_clients());
    all.push(several_peers());
    all.push(high_rate());
    all
}

/// A datagram socket with a port on the server's side of a link.
pub fn server_socket(link: Link, protocol: i32) -> Outcome<Socket> {
    bound(link, protocol, SocketAddr::new(link.server_address(), 0))
}

/// A datagram socket with a port on the client's side of a link.
pub fn client_socket(link: Link, protocol: i32) -> Outcome<Socket> {
    bound(link, protocol, SocketAddr::new(link.client_address(), 0))
}

fn bound(link: Link, protocol: i32, address: SocketAddr) -> Outcome<Socket> {
    let what = protocol_name(protocol);
    let socket = skip(Socket::open(link.family(), libc::SOCK_DGRAM, protocol), what)?;
    skip(socket.bind(address), what)?;
    Ok(socket)
}

/// Both sides offer their ports; returns the addresses of server and client.
pub fn introduce(stage: &Stage, link: Link, socket: &Socket) -> Outcome<(SocketAddr, SocketAddr)> {
    let words = stage.offer(socket.local()?)?;
    let server = SocketAddr::new(link.server_address(), port_in(&words, "server")?);
    let client = SocketAddr::new(link.client_address(), port_in(&words, "client")?);
    Ok((server, client))
}

/// One question, one answer, many times: nothing is lost, because no more than one datagram is under way.
fn questions(id: &str, link: Link, protocol: i32, style: Style) -> Scenario {
    Scenario::new(id)
        .actor("server", link.server_place(), move |stage| {
            let mut socket = server_socket(link, protocol)?;
            let (_, client) = introduce(stage, link, &socket)?;
            if style == Style::Connected {
                socket.connect(client)?;
            }
            stage.meet("ready")?;
            for _ in 0..EXCHANGES {
                take(&mut socket, style, client, QUESTION)?;
                give(&mut socket, style, client, ANSWER)?;
            }
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let mut socket = client_socket(link, protocol)?;
            let (server, _) = introduce(stage, link, &socket)?;
            if style == Style::Connected {
                socket.connect(server)?;
            }
            stage.meet("ready")?;
            for _ in 0..EXCHANGES {
                give(&mut socket, style, server, QUESTION)?;
                take(&mut socket, style, server, ANSWER)?;
            }
            Ok(socket.publish()?)
        })
}

fn give(socket: &mut Socket, style: Style, peer: SocketAddr, bytes: usize) -> Outcome<()> {
    let datagram = vec![0x33; bytes];
    match style {
        Style::Connected => socket.send(&datagram, 0)?,
        Style::Addressed | Style::Unasked => socket.send_to(&datagram, peer)?,
    };
    Ok(())
}

fn take(socket: &mut Socket, style: Style, peer: SocketAddr, bytes: usize) -> Outcome<()> {
    let mut buffer = [0; 2000];
    let received = match style {
        Style::Connected => socket.recv(&mut buffer, 0)?,
        Style::Addressed => socket.recv_from(&mut buffer, 0)?.0,
        Style::Unasked => {
            // Nobody else knows the port: it comes from the one peer.
            socket.set_peer(peer);
            socket.recv(&mut buffer, 0)?
        }
    };
    match received == bytes {
        true => Ok(()),
        false => Err(Stop::Failed(format!("a datagram of {received} bytes, expected {bytes}"))),
    }
}

fn many_clients() -> Scenario {
    const CLIENTS: usize = 5;
    let link = Link::Ipv4;
    Scenario::new("udp-5-clients")
        .actor("server", link.server_place(), move |stage| {
            let mut socket = server_socket(link, UDP)?;
            stage.offer(socket.local()?)?;
            for _ in 0..CLIENTS * 10 {
                let (bytes, from) = socket.recv_from(&mut [0; 2000], 0)?;
                let from = from.ok_or_else(|| Stop::Failed("a datagram from nobody".to_owned()))?;
                socket.send_to(&vec![1; bytes / 2], from)?;
            }
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let server = stage.server(link)?;
            let mut sockets = (0..CLIENTS)
                .map(|_| Socket::open(link.family(), libc::SOCK_DGRAM, UDP))
                .collect::<Result<Vec<_>, _>>()?;
            for round in 0..10 {
                for (number, socket) in sockets.iter_mut().enumerate() {
                    socket.send_to(&vec![2; 100 * (number + 1) + round], server)?;
                    socket.recv_from(&mut [0; 2000], 0)?;
                }
            }
            sockets.iter().try_for_each(|socket| Ok(socket.publish()?))
        })
}

/// One socket is connected to one peer after the other: each gets its own bytes.
fn several_peers() -> Scenario {
    let link = Link::Ipv4;
    let server = move |stage: &Stage| {
        let mut socket = server_socket(link, UDP)?;
        stage.offer(socket.local()?)?;
        socket.recv_from(&mut [0; 2000], 0)?;
        Ok(socket.publish()?)
    };
    Scenario::new("udp-reconnected")
        .actor("server", link.server_place(), server)
        .actor("other", link.server_place(), server)
        .actor("client", Place::Here, move |stage| {
            let words = stage.meet("")?;
            let mut socket = client_socket(link, UDP)?;
            for (role, bytes) in [("server", 401), ("other", 902)] {
                socket.connect(SocketAddr::new(link.server_address(), port_in(&words, role)?))?;
                socket.send(&vec![3; bytes], 0)?;
            }
            Ok(socket.publish()?)
        })
}

/// 64-byte datagrams at 30,000 a second for one second, or as fast as the machine can. What the receiver's buffer
/// cannot hold is dropped by the kernel before anybody took it: each side is compared with what it counted itself.
fn high_rate() -> Scenario {
    const RATE: usize = 30_000;
    const BYTES: usize = 64;
    let link = Link::Ipv4;
    Scenario::new("udp-30000-per-second")
        .actor("server", link.server_place(), move |stage| {
            let mut socket = server_socket(link, UDP)?;
            stage.offer(socket.local()?)?;
            let mut buffer = [0; 2000];
            // The last datagram, which is sent until it is answered, is shorter.
            let last = loop {
                match socket.recv_from(&mut buffer, 0)? {
                    (BYTES, _) => {}
                    (_, from) => break from,
                }
            };
            let client = last.ok_or_else(|| Stop::Failed("a datagram from nobody".to_owned()))?;
            socket.send_to(&[5; BYTES], client)?;
            stage.meet("over")?;
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let mut socket = client_socket(link, UDP)?;
            socket.connect(stage.server(link)?)?;
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
            stage.meet("over")?;
            Ok(socket.publish()?)
        })
}
