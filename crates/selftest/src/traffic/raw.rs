//! ICMP through raw and ping sockets, and an IP protocol that nobody has a socket type for.

use std::net::SocketAddr;

use super::{protocol_name, skip};
use crate::{
    actor::{Outcome, Stop},
    lab::Link,
    scenario::{Place, Scenario},
    socket::Socket,
};

/// For experiments and testing (RFC 3692).
const EXPERIMENT: i32 = 253;
const ROUNDS: u16 = 20;
/// Data bytes of an echo request.
const DATA: usize = 333;
/// `SOL_ICMPV6` and `ICMPV6_FILTER`, linux/icmpv6.h.
const ICMPV6_FILTER: i32 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;
/// An IPv4 header without options, which raw IPv4 sockets hand over too.
const IPV4_HEADER: usize = 20;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for link in [Link::Ipv4, Link::Ipv6] {
        for (word, kind) in [("raw", libc::SOCK_RAW), ("ping", libc::SOCK_DGRAM)] {
            let id = format!("icmp-{word}-{}", link.name());
            all.push(Scenario::new(id).actor("client", Place::Here, move |_| echo(link, kind)));
        }
        all.push(experiment(link));
    }
    all
}

/// Sends echo requests to the other namespace, whose kernel answers them.
fn echo(link: Link, kind: i32) -> Outcome<()> {
    let is_ipv4 = link.family() == libc::AF_INET;
    let protocol = if is_ipv4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
    let mut socket = match Socket::open(link.family(), kind, protocol) {
        Err(error) if error.is(libc::EACCES) => {
            return Err(Stop::Skipped(format!("ping sockets are not allowed here ({error})")));
        }
        result => skip(result, protocol_name(protocol))?,
    };
    let (request, reply) = if is_ipv4 { (ECHO_REQUEST, ECHO_REPLY) } else { (ECHO_REQUEST6, ECHO_REPLY6) };
    if kind == libc::SOCK_RAW && !is_ipv4 {
        // One bit a type, set bits are blocked: everything but the reply, or neighbour discovery comes in too.
        let mut filter = [u32::MAX; 8];
        filter[usize::from(reply / 32)] &= !(1 << (reply % 32));
        socket.set_option(libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
    }
    let peer = SocketAddr::new(link.server_address(), 0);
    let mark = std::process::id() as u16;
    let header = if is_ipv4 && kind == libc::SOCK_RAW { IPV4_HEADER } else { 0 };
    for round in 0..ROUNDS {
        let message = echo_message(request, mark, round);
        skip(socket.send_to(&message, peer), "ICMP")?;
        loop {
            let mut buffer = [0; 2000];
            let (length, _) = socket.recv_from(&mut buffer, 0)?;
            let answer = buffer.get(header..length).unwrap_or_default();
            // A ping socket puts a mark of its own in; a raw one sees the answers to everybody.
            let is_mine = kind == libc::SOCK_DGRAM || answer.get(4..6) == Some(&mark.to_be_bytes()[..]);
            if answer.first() == Some(&reply) && is_mine && answer.get(6..8) == Some(&round.to_be_bytes()[..])
            {
                break;
            }
        }
    }
    Ok(socket.publish()?)
}

/// An echo request with its checksum (which the kernel overwrites except on raw IPv4 sockets).
fn echo_message(kind: u8, mark: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&mark.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.resize(8 + DATA, 0x42);
    let checksum = internet_checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The checksum of RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn experiment(link: Link) -> Scenario {
    let open = move |own: std::net::IpAddr| -> Outcome<Socket> {
        let socket = skip(Socket::open(link.family(), libc::SOCK_RAW, EXPERIMENT), "raw sockets")?;
        skip(socket.bind(SocketAddr::new(own, 0)), "IPv6")?;
        Ok(socket)
    };
    Scenario::new(format!("ip-253-{}", link.name()))
        .actor("server", link.server_place(), move |stage| {
            let mut socket = open(link.server_address())?;
            stage.meet("")?;
            for _ in 0..ROUNDS {
                let (_, from) = socket.recv_from(&mut [0; 2000], 0)?;
                let from = from.ok_or_else(|| Stop::Failed("a packet from nobody".to_owned()))?;
                socket.send_to(&[7; 250], SocketAddr::new(from.ip(), 0))?;
            }
            Ok(socket.publish()?)
        })
        .actor("client", Place::Here, move |stage| {
            let mut socket = open(link.client_address())?;
            stage.meet("")?;
            for _ in 0..ROUNDS {
                socket.send_to(&[8; 400], SocketAddr::new(link.server_address(), 0))?;
                socket.recv_from(&mut [0; 2000], 0)?;
            }
            Ok(socket.publish()?)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet_checksum(&echo_message(ECHO_REQUEST, 77, 3)), 0);
    }
}
