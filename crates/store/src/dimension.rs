//! What a record can be grouped and filtered by.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use thiserror::Error;

use model::{Address, Bytes, DomainSource, Sha256};

/// A property of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Path of the executable.
    Executable,
    /// Name of the process.
    Name,
    /// Command line.
    CommandLine,
    /// Digest of the executable.
    Sha256,
    /// Real user id.
    Uid,
    /// Path of the parent's executable.
    ParentExecutable,
    /// Name of the parent.
    ParentName,
    /// Command line of the parent.
    ParentCommandLine,
    /// Digest of the parent's executable.
    ParentSha256,
    /// Path of the grandparent's executable.
    GrandparentExecutable,
    /// Name of the grandparent.
    GrandparentName,
    /// Command line of the grandparent.
    GrandparentCommandLine,
    /// Digest of the grandparent's executable.
    GrandparentSha256,
    /// Domain of the peer.
    Domain,
    /// How that domain is known.
    DomainSource,
    /// Remote address.
    Address,
    /// Remote port.
    Port,
    /// Local address.
    LocalAddress,
    /// Local port.
    LocalPort,
    /// IP protocol; EtherType for `AF_PACKET`.
    Protocol,
    /// Address family.
    Family,
    /// Network namespace (inode number).
    NetworkNamespace,
    /// Path of the cgroup.
    Cgroup,
    /// systemd unit.
    Unit,
    /// Container: its engine and its name.
    Container,
    /// Flatpak, Snap or application of the desktop.
    App,
    /// Country of the peer, or the purpose of its address.
    Country,
    /// Number of the peer's autonomous system; 0 when unknown.
    Asn,
    /// Name of the peer's autonomous system.
    Network,
    /// End of the window, unix seconds UTC.
    Time,
}

/// Of what type the values of a dimension are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bytes,
    Integer,
    Address,
    Sha256,
}

impl Dimension {
    /// Every dimension, in the order in which they are listed to the user.
    pub const ALL: [Self; 30] = [
        Self::Executable,
        Self::Name,
        Self::CommandLine,
        Self::Sha256,
        Self::Uid,
        Self::ParentExecutable,
        Self::ParentName,
        Self::ParentCommandLine,
        Self::ParentSha256,
        Self::GrandparentExecutable,
        Self::GrandparentName,
        Self::GrandparentCommandLine,
        Self::GrandparentSha256,
        Self::Domain,
        Self::DomainSource,
        Self::Address,
        Self::Port,
        Self::LocalAddress,
        Self::LocalPort,
        Self::Protocol,
        Self::Family,
        Self::NetworkNamespace,
        Self::Cgroup,
        Self::Unit,
        Self::Container,
        Self::App,
        Self::Country,
        Self::Asn,
        Self::Network,
        Self::Time,
    ];

    /// The name that the user types and reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Executable => "exe",
            Self::Name => "name",
            Self::CommandLine => "cmdline",
            Self::Sha256 => "sha256",
            Self::Uid => "uid",
            Self::ParentExecutable => "pexe",
            Self::ParentName => "pname",
            Self::ParentCommandLine => "pcmdline",
            Self::ParentSha256 => "psha256",
            Self::GrandparentExecutable => "gpexe",
            Self::GrandparentName => "gpname",
            Self::GrandparentCommandLine => "gpcmdline",
            Self::GrandparentSha256 => "gpsha256",
            Self::Domain => "domain",
            Self::DomainSource => "domain-source",
            Self::Address => "address",
            Self::Port => "port",
            Self::LocalAddress => "laddress",
            Self::LocalPort => "lport",
            Self::Protocol => "protocol",
            Self::Family => "family",
            Self::NetworkNamespace => "netns",
            Self::Cgroup => "cgroup",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::App => "app",
            Self::Country => "country",
            Self::Asn => "asn",
            Self::Network => "network",
            Self::Time => "time",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Sha256 | Self::ParentSha256 | Self::GrandparentSha256 => Kind::Sha256,
            Self::Address | Self::LocalAddress => Kind::Address,
            Self::Uid
            | Self::Port
            | Self::LocalPort
            | Self::Protocol
            | Self::Family
            | Self::DomainSource
            | Self::NetworkNamespace
            | Self::Asn
            | Self::Time => Kind::Integer,
            _ => Kind::Bytes,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No dimension has this name.
#[derive(Debug, Error)]
#[error("there is no dimension {0:?}; there are: {list}", list = Dimension::ALL.map(Dimension::name).join(", "))]
pub struct UnknownDimension(String);

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        let named = Self::ALL.into_iter().find(|dimension| dimension.name() == text);
        named.ok_or_else(|| UnknownDimension(text.to_owned()))
    }
}

/// A value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing is known: no address, no digest.
    None,
    /// A stranger's bytes.
    Bytes(Bytes),
    /// A number.
    Integer(i64),
    /// An address.
    Address(Address),
    /// A digest.
    Sha256(Sha256),
}

/// What a filter compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Value(Value),
    /// Addresses from the first to the last, of one family.
    Network(IpAddr, IpAddr),
}

/// Keeps (or with `exclude` drops) records by one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(super) dimension: Dimension,
    pub(super) wanted: Wanted,
    pub(super) exclude: bool,
}

/// The value of a filter does not fit its dimension.
#[derive(Debug, Error)]
#[error("{dimension} cannot be {value:?}: {expected}")]
pub struct FilterError {
    dimension: Dimension,
    value: String,
    expected: &'static str,
}

impl Filter {
    /// A filter for one value, as it came out of a query.
    pub fn equal(dimension: Dimension, value: Value, exclude: bool) -> Self {
        Self { dimension, wanted: Wanted::Value(value), exclude }
    }

    /// What it looks at.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Whether it drops what matches.
    pub fn is_exclude(&self) -> bool {
        self.exclude
    }

    /// A filter from what the user typed: bytes as they are, numbers, names of protocols and families,
    /// addresses and networks (`10.0.0.0/8`), digests in hexadecimal. Empty means that nothing is known.
    ///
    /// # Errors
    /// The value does not fit the dimension.
    pub fn parse(dimension: Dimension, value: &[u8], exclude: bool) -> Result<Self, FilterError> {
        let text = String::from_utf8_lossy(value);
        let (wanted, expected) = match dimension.kind() {
            Kind::Bytes => (Some(Wanted::Value(Value::Bytes(value.to_vec()))), ""),
            Kind::Sha256 if value.is_empty() => (Some(Wanted::Value(Value::None)), ""),
            Kind::Sha256 => (
                Sha256::from_hex(&text).map(|digest| Wanted::Value(Value::Sha256(digest))),
                "expected 64 hexadecimal digits, or nothing for an unknown one",
            ),
            Kind::Address if value.is_empty() => (Some(Wanted::Value(Value::None)), ""),
            Kind::Address => {
                (network(&text), "expected an address, a network (10.0.0.0/8), or nothing for none")
            }
            Kind::Integer => {
                let (named, expected) = match dimension {
                    Dimension::Protocol => {
                        (protocol_number(&text), "expected a protocol's name (tcp, udp, icmp, ...) or number")
                    }
                    Dimension::Asn => (asn_number(&text), "expected a number, with or without AS before it"),
                    Dimension::DomainSource => (
                        domain_source_number(&text),
                        "expected asked, dns, tls, quic, http, namespace, reverse, unknown or a number",
                    ),
                    Dimension::Family => (family_number(&text), "expected ipv4, ipv6, packet or a number"),
                    _ => (None, "expected an integer"),
                };
                let number = named.or_else(|| text.parse().ok());
                (number.map(|number| Wanted::Value(Value::Integer(number))), expected)
            }
        };
        let wanted = wanted.ok_or_else(|| FilterError { dimension, value: text.into_owned(), expected })?;
        Ok(Self { dimension, wanted, exclude })
    }
}

fn network(text: &str) -> Option<Wanted> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse().ok().map(|address| Wanted::Value(Value::Address(address)));
    };
    let network = IpNetwork::new(address.parse().ok()?, length.parse().ok()?).ok()?;
    Some(Wanted::Network(network.network(), network.broadcast()))
}

/// Protocols with a name: IANA's numbers (`/etc/protocols`); MPTCP is Linux's `IPPROTO_MPTCP`.
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

/// Address families with a name: `AF_INET`, `AF_INET6`, `AF_PACKET` (`<linux/socket.h>`).
const FAMILIES: [(&str, u16); 3] = [("ipv4", 2), ("ipv6", 10), ("packet", 17)];

fn number_of(table: &[(&str, u16)], text: &str) -> Option<i64> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| i64::from(*number))
}

fn name_of(table: &[(&'static str, u16)], number: i64) -> Option<&'static str> {
    table.iter().find(|(_, known)| i64::from(*known) == number).map(|(name, _)| *name)
}

fn protocol_number(text: &str) -> Option<i64> {
    number_of(&PROTOCOLS, text)
}

fn family_number(text: &str) -> Option<i64> {
    number_of(&FAMILIES, text)
}

fn domain_source_number(text: &str) -> Option<i64> {
    let known = DomainSource::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, source)| *source as i64)
}

fn asn_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as"))?;
    digits.parse::<u32>().ok().map(i64::from)
}

/// The name of a protocol, where it has one here.
pub fn protocol_name(number: i64) -> Option<&'static str> {
    name_of(&PROTOCOLS, number)
}

/// The name of a source of domains, where it has one here.
pub fn domain_source_name(number: i64) -> Option<&'static str> {
    DomainSource::NAMES.iter().find(|(_, source)| *source as i64 == number).map(|(name, _)| *name)
}

/// The name of an address family, where it has one here.
pub fn family_name(number: i64) -> Option<&'static str> {
    name_of(&FAMILIES, number)
}
