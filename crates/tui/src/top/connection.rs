//! A connection or listening socket, as `top` shows it.

use std::{net::IpAddr, time::Instant};

use super::rates::{ByteCounts, ConnectionRate};
use crate::term::text;
use live::protocol::ConnectionLine;
use model::{Address, Port};
use store::protocol_name;

/// `AF_PACKET`, whose protocol is an EtherType.
const AF_PACKET: u16 = 17;

/// A connection or a listening socket.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Index of its lineage in the live state.
    pub lineage: usize,
    pub process: u32,
    pub is_listening: bool,
    /// Whether the program called `connect`; otherwise it accepted the connection.
    pub is_outgoing: bool,
    /// Safe text: the peer, or the address of a listening socket.
    pub peer: String,
    /// Safe text: the local address of a connection.
    pub local: String,
    pub local_port: Port,
    pub protocol: String,
    /// How the domain in `peer` is known; empty without a domain.
    pub domain_source: String,
    /// When it began, in unix seconds.
    pub began: Option<f64>,
    pub total: ByteCounts,
    pub rate: ConnectionRate,
    pub ended: Option<Instant>,
}

impl Connection {
    /// A connection without traffic, from the daemon's line about it. With `ascii` its texts are ASCII only.
    pub fn new(line: &ConnectionLine, lineage: usize, ascii: bool) -> Self {
        let local = endpoint(line.local_address, &[], line.local_port, ascii);
        let is_listening = line.event == "listening";
        let (peer, local) = match is_listening {
            true => (local, String::new()),
            false => (endpoint(line.remote_address, &line.domain.0, line.remote_port, ascii), local),
        };
        Self {
            lineage,
            process: line.process,
            is_listening,
            is_outgoing: line.opened,
            peer,
            local,
            local_port: line.local_port,
            protocol: protocol(line),
            domain_source: text::safe(line.domain_source.as_bytes(), true),
            began: line.began,
            total: ByteCounts::default(),
            rate: ConnectionRate::default(),
            ended: None,
        }
    }
}

/// One end as text: the domain if there is one, or the address, and the port.
fn endpoint(address: Option<Address>, domain: &[u8], port: Port, ascii: bool) -> String {
    let host = match (domain.is_empty(), address) {
        (false, _) => text::safe(domain, ascii),
        (true, Some(Address::Ip(IpAddr::V6(address)))) if port != 0 => format!("[{address}]"),
        (true, Some(address)) => address.to_string(),
        (true, None) => "*".to_owned(),
    };
    if port == 0 { host } else { format!("{host}:{port}") }
}

fn protocol(line: &ConnectionLine) -> String {
    let number = i64::from(line.protocol);
    match (line.family, protocol_name(number)) {
        (AF_PACKET, _) => format!("packet {number:04x}"),
        (_, Some(name)) => name.to_owned(),
        _ => format!("ip {number}"),
    }
}
