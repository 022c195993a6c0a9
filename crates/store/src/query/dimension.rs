//! Dimensions: the properties of a record that queries group and filter by.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A property of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Path of the executable of the program.
    Executable,
    /// Name of the program (`comm`).
    Name,
    /// Command line of the program.
    CommandLine,
    /// SHA-256 digest of the executable.
    Sha256,
    /// Real user id of the process.
    Uid,
    /// Path of the parent's executable.
    ParentExecutable,
    /// Name of the parent (`comm`).
    ParentName,
    /// Command line of the parent.
    ParentCommandLine,
    /// SHA-256 digest of the parent's executable.
    ParentSha256,
    /// Path of the grandparent's executable.
    GrandparentExecutable,
    /// Name of the grandparent (`comm`).
    GrandparentName,
    /// Command line of the grandparent.
    GrandparentCommandLine,
    /// SHA-256 digest of the grandparent's executable.
    GrandparentSha256,
    /// Domain of the remote end; empty when unknown.
    Domain,
    /// How the domain is known ([`model::DomainSource`]).
    DomainSource,
    /// Address of the remote end.
    Address,
    /// Port of the remote end.
    Port,
    /// Address of the local end.
    LocalAddress,
    /// Port of the local end.
    LocalPort,
    /// IP protocol number; EtherType for `AF_PACKET`.
    Protocol,
    /// Address family of the traffic (`AF_INET`).
    Family,
    /// Network namespace of the socket (inode number).
    NetworkNamespace,
    /// Path of the process's cgroup.
    Cgroup,
    /// systemd unit of the cgroup.
    Unit,
    /// Engine and name of the container.
    Container,
    /// Flatpak, Snap or desktop application.
    App,
    /// Country of the remote address, or its purpose (`private`).
    Country,
    /// Number of the remote address's autonomous system; 0 when unknown.
    Asn,
    /// Name of the remote address's autonomous system.
    Network,
    /// Whether the remote address is on the internet ([`model::Scope`]); none without an address.
    Scope,
    /// End of the window, unix seconds UTC.
    Time,
    /// Start of the hour of local time, unix seconds UTC.
    Hour,
    /// Start of the day of local time, unix seconds UTC.
    Day,
    /// Start of the week of local time (a Monday), unix seconds UTC.
    Week,
    /// Start of the month of local time, unix seconds UTC.
    Month,
    /// Start of the year of local time, unix seconds UTC.
    Year,
    /// Day of the week in local time: 1 is Monday, 7 is Sunday (ISO 8601).
    Weekday,
    /// Hour of the day in local time, 0 to 23.
    HourOfDay,
    /// Name of the machine that recorded. Only servers with copies of several logs know it; it is not in [`Dimension::ALL`].
    Host,
}

/// The type of a dimension's values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Bytes,
    Integer,
    Address,
    Sha256,
    /// The name of the scope of the address that is stored.
    Scope,
}

impl Dimension {
    /// Every dimension of a log, in the order of lists for the user.
    pub const ALL: [Self; 38] = [
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
        Self::Scope,
        Self::Time,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Year,
        Self::Weekday,
        Self::HourOfDay,
    ];

    /// Whether the values are parts of the calendar in local time, which depend on the time zone of the query.
    pub fn is_calendar(self) -> bool {
        matches!(
            self,
            Self::Hour | Self::Day | Self::Week | Self::Month | Self::Year | Self::Weekday | Self::HourOfDay
        )
    }

    /// Whether the values are command lines, whose arguments are separated by NUL.
    pub(crate) fn is_command_line(self) -> bool {
        matches!(self, Self::CommandLine | Self::ParentCommandLine | Self::GrandparentCommandLine)
    }

    /// Whether the log knows when each value was first and last seen.
    pub fn is_seen(self) -> bool {
        !matches!(self, Self::Time | Self::LocalPort | Self::Host) && !self.is_calendar()
    }

    /// Whether the values are points of time, unix seconds UTC.
    pub fn is_time(self) -> bool {
        self == Self::Time || self.is_calendar() && !matches!(self, Self::Weekday | Self::HourOfDay)
    }

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
            Self::Scope => "scope",
            Self::Time => "time",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Weekday => "weekday",
            Self::HourOfDay => "hour-of-day",
            Self::Host => "host",
        }
    }

    pub(super) fn value_type(self) -> ValueType {
        match self {
            Self::Sha256 | Self::ParentSha256 | Self::GrandparentSha256 => ValueType::Sha256,
            Self::Address | Self::LocalAddress => ValueType::Address,
            Self::Uid
            | Self::Port
            | Self::LocalPort
            | Self::Protocol
            | Self::Family
            | Self::DomainSource
            | Self::NetworkNamespace
            | Self::Asn
            | Self::Time
            | Self::Hour
            | Self::Day
            | Self::Week
            | Self::Month
            | Self::Year
            | Self::Weekday
            | Self::HourOfDay => ValueType::Integer,
            Self::Scope => ValueType::Scope,
            _ => ValueType::Bytes,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no dimension with this name.
#[derive(Debug, Error)]
#[error("there is no dimension {0:?}; there are: {list}", list = Dimension::ALL.map(Dimension::name).join(", "))]
pub struct UnknownDimension(String);

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        let named = Self::ALL.into_iter().chain([Self::Host]).find(|dimension| dimension.name() == text);
        named.ok_or_else(|| UnknownDimension(text.to_owned()))
    }
}
