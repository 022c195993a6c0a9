//! Whether a remote address is on the internet or in the local networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Address;

/// Where a remote address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// An address of the internet.
    Internet,
    /// Loopback, private, link-local, multicast, shared (carrier-grade NAT), broadcast or unspecified; a virtual machine.
    Local,
    /// Several addresses: those of a folded record.
    Unknown,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Internet, Self::Local, Self::Unknown];

    /// The scope of an address. An IPv4 address in an IPv6 address (`::ffff:10.0.0.1`) counts as itself.
    pub fn of(address: Address) -> Self {
        let is_local = match address {
            Address::Many => return Self::Unknown,
            Address::Vsock(_) => true,
            Address::Ip(address) => match address.to_canonical() {
                IpAddr::V4(address) => is_local_v4(address),
                IpAddr::V6(address) => is_local_v6(address),
            },
        };
        if is_local { Self::Local } else { Self::Internet }
    }

    /// The name for the user: `internet`, `local` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        // "This network" (RFC 791).
        || first == 0
        // Addresses that providers share between customers (RFC 6598): 100.64.0.0/10.
        || first == 100 && second & 0xc0 == 64
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_networks_are_not_the_internet() {
        let local = [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "224.0.0.251",
            "100.64.0.1",
            "100.127.255.255",
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::fb",
            "::ffff:10.0.0.1",
            "vsock:2",
        ];
        let internet = [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "240.0.0.1",
        ];
        for text in local {
            assert_eq!(Scope::of(text.parse().unwrap()), Scope::Local, "{text}");
        }
        for text in internet {
            assert_eq!(Scope::of(text.parse().unwrap()), Scope::Internet, "{text}");
        }
        assert_eq!(Scope::of(Address::Many), Scope::Unknown);
    }
}
