//! Names of numbers: protocols, address families, sources of domains.

use model::DomainSource;

/// IP protocols by their names in `/etc/protocols` (IANA); MPTCP by `IPPROTO_MPTCP` of Linux.
const PROTOCOLS: [(&str, u16); 8] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6-icmp", 58),
    ("sctp", 132),
    ("udplite", 136),
    ("raw", 255),
    ("mptcp", 262),
];

/// `AF_INET`, `AF_INET6`, `AF_PACKET`, `AF_VSOCK` (`<linux/socket.h>`).
const FAMILIES: [(&str, u16); 4] = [("ipv4", 2), ("ipv6", 10), ("packet", 17), ("vsock", 40)];

fn number_in(table: &[(&str, u16)], text: &str) -> Option<i64> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| i64::from(*number))
}

fn name_in(table: &[(&'static str, u16)], number: i64) -> Option<&'static str> {
    table.iter().find(|(_, known)| i64::from(*known) == number).map(|(name, _)| *name)
}

pub(super) fn protocol_number(text: &str) -> Option<i64> {
    number_in(&PROTOCOLS, text)
}

pub(super) fn family_number(text: &str) -> Option<i64> {
    number_in(&FAMILIES, text)
}

pub(super) fn domain_source_number(text: &str) -> Option<i64> {
    let known = DomainSource::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, source)| *source as i64)
}

/// Reads the number of an autonomous system with its prefix, for example `AS64496`.
pub(super) fn asn_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as"))?;
    digits.parse::<u32>().ok().map(i64::from)
}

/// The name of an IP protocol; `None` for a number without a name here.
pub fn protocol_name(number: i64) -> Option<&'static str> {
    name_in(&PROTOCOLS, number)
}

/// The name of a source of domains; `None` for an unknown number.
pub fn domain_source_name(number: i64) -> Option<&'static str> {
    DomainSource::NAMES.iter().find(|(_, source)| *source as i64 == number).map(|(name, _)| *name)
}

/// The name of an address family; `None` for a number without a name here.
pub fn family_name(number: i64) -> Option<&'static str> {
    name_in(&FAMILIES, number)
}
