//! ICMP through raw and ping sockets, and an IP protocol without a socket type of its own.

use std::net::SocketAddr;

use super::feature::{protocol_name, require};
use crate::{
    actor_process::{ActorError, ActorResult},
    lab::{LabNamespace, Link},
    scenario::Scenario,
    socket::Socket,
};

/// Protocol number for experiments and testing (RFC 3692).
const EXPERIMENTAL_PROTOCOL: i32 = 253;
const ROUNDS: u16 = 20;
/// Length of the data in an echo request.
const DATA_BYTES: usize = 333;
// `ICMPV6_FILTER`, linux/icmpv6.h.
const ICMPV6_FILTER: i32 = 1;
const ICMP_ECHO_REQUEST: u8 = 8;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;
/// Length of an IPv4 header without options; raw IPv4 sockets return the header too.
const IPV4_HEADER_BYTES: usize = 20;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for link in [Link::Ipv4, Link::Ipv6] {
        for (name, kind) in [("raw", libc::SOCK_RAW), ("ping", libc::SOCK_DGRAM)] {
            let id = format!("icmp-{name}-{}", link.name());
            all.push(Scenario::new(id).actor("client", LabNamespace::First, move |_| echo(link, kind)));
        }
        all.push(experimental_protocol(link));
    }
    all
}

/// Sends echo requests to the other namespace, where the kernel answers them.
fn echo(link: Link, kind: i32) -> ActorResult<()> {
    let is_ipv4 = link.family() == libc::AF_INET;
    let protocol = if is_ipv4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
    let mut socket = match Socket::open(link.family(), kind, protocol) {
        Err(error) if error.is(libc::EACCES) => {
            return Err(ActorError::Skipped(format!("ping sockets are not allowed here ({error})")));
        }
        result => require(result, protocol_name(protocol))?,
    };
    let (request, reply) =
        if is_ipv4 { (ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY) } else { (ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY) };
    if kind == libc::SOCK_RAW && !is_ipv4 {
        // One bit for each type; set bits are blocked. All types but the reply are blocked, among them neighbour discovery.
        let mut filter = [u32::MAX; 8];
        filter[usize::from(reply / 32)] &= !(1 << (reply % 32));
        socket.set_option(libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
    }
    let peer = SocketAddr::new(link.server_address(), 0);
    let id = std::process::id() as u16;
    let header = if is_ipv4 && kind == libc::SOCK_RAW { IPV4_HEADER_BYTES } else { 0 };
    for round in 0..ROUNDS {
        let message = echo_message(request, id, round);
        require(socket.send_to(&message, peer), "ICMP")?;
        loop {
            let mut buffer = [0; 2000];
            let (length, _) = socket.recv_from(&mut buffer, 0)?;
            let message = buffer.get(header..length).unwrap_or_default();
            // The kernel replaces the id on a ping socket; a raw socket receives the replies to every process.
            let is_own = kind == libc::SOCK_DGRAM || message.get(4..6) == Some(&id.to_be_bytes()[..]);
            if message.first() == Some(&reply)
                && is_own
                && message.get(6..8) == Some(&round.to_be_bytes()[..])
            {
                break;
            }
        }
    }
    Ok(socket.report_flows()?)
}

/// Makes an echo request with its checksum, which the kernel overwrites except on raw IPv4 sockets.
fn echo_message(kind: u8, id: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.resize(8 + DATA_BYTES, 0x42);
    let checksum = internet_checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Computes the checksum of RFC 1071.
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

fn experimental_protocol(link: Link) -> Scenario {
    let open = move |local: std::net::IpAddr| -> ActorResult<Socket> {
        let socket =
            require(Socket::open(link.family(), libc::SOCK_RAW, EXPERIMENTAL_PROTOCOL), "raw sockets")?;
        require(socket.bind(SocketAddr::new(local, 0)), "IPv6")?;
        Ok(socket)
    };
    Scenario::new(format!("ip-253-{}", link.name()))
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = open(link.server_address())?;
            actor.barrier("")?;
            for _ in 0..ROUNDS {
                let (_, from) = socket.recv_from(&mut [0; 2000], 0)?;
                let from = from.ok_or_else(|| ActorError::Failed("a packet without a sender".to_owned()))?;
                socket.send_to(&[7; 250], SocketAddr::new(from.ip(), 0))?;
            }
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = open(link.client_address())?;
            actor.barrier("")?;
            for _ in 0..ROUNDS {
                socket.send_to(&[8; 400], SocketAddr::new(link.server_address(), 0))?;
                socket.recv_from(&mut [0; 2000], 0)?;
            }
            Ok(socket.report_flows()?)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet_checksum(&echo_message(ICMP_ECHO_REQUEST, 77, 3)), 0);
    }
}
