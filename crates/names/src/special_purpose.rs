//! Addresses of special purpose, which belong to no country (IANA's special-purpose registries, RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// First address, length of the prefix in bits, and name. The first entry that contains an address counts.
const IPV4: [(Ipv4Addr, u8, &str); 15] = [
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier NAT"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

const IPV6: [(Ipv6Addr, u8, &str); 7] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
];

/// Returns the name of the purpose of an address; `None` for an address that has an owner.
pub(crate) fn special_purpose(address: IpAddr) -> Option<&'static str> {
    let contains =
        |first, length| IpNetwork::new(first, length).is_ok_and(|network| network.contains(address));
    match address {
        IpAddr::V4(_) => {
            IPV4.iter().find(|(first, length, _)| contains((*first).into(), *length)).map(|found| found.2)
        }
        IpAddr::V6(_) => {
            IPV6.iter().find(|(first, length, _)| contains((*first).into(), *length)).map(|found| found.2)
        }
    }
}

/// Returns the IPv4 address that an IPv6 address contains: mapped (RFC 4291), translated (64:ff9b::/96,
/// RFC 6052) or 6to4 (2002::/16, RFC 3056). Any other address is returned as it is.
pub(crate) fn embedded_ipv4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address else { return address };
    let octets = outer.octets();
    let at = |start: usize| {
        let four = [octets[start], octets[start + 1], octets[start + 2], octets[start + 3]];
        IpAddr::V4(Ipv4Addr::from(four))
    };
    match outer.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => at(12),
        [0x2002, ..] => at(2),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_purposes_are_named() {
        for (address, name) in [
            ("192.168.1.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("100.64.0.1", Some("carrier NAT")),
            ("100.128.0.1", None),
            ("169.254.1.1", Some("link-local")),
            ("224.0.0.251", Some("multicast")),
            ("255.255.255.255", Some("broadcast")),
            ("254.0.0.1", Some("reserved")),
            ("127.1.2.3", Some("loopback")),
            ("8.8.8.8", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", None),
            ("fe80::1", Some("link-local")),
            ("fd12::1", Some("private")),
            ("ff02::fb", Some("multicast")),
            ("2001:db8::1", Some("documentation")),
            ("2a00:1450::1", None),
        ] {
            assert_eq!(special_purpose(address.parse().unwrap()), name, "{address}");
        }
    }

    #[test]
    fn embedded_ipv4_addresses_are_found() {
        for (outer, expected) in [
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("64:ff9b::8.8.8.8", "8.8.8.8"),
            ("2002:808:808::1", "8.8.8.8"),
            ("2a00::1", "2a00::1"),
            ("8.8.4.4", "8.8.4.4"),
        ] {
            assert_eq!(embedded_ipv4(outer.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{outer}");
        }
    }
}
