//! Where the log stores the values of each dimension.

use super::dimension::Dimension;
use crate::rollup::{GroupKey, KeyFields};

/// A field of a [`GroupKey`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyField {
    Context,
    Endpoint,
    Time,
    RemotePort,
    LocalPort,
}

impl KeyField {
    /// The table that the field refers to; `None` if the field itself is a value.
    pub fn table(self) -> Option<&'static str> {
        match self {
            Self::Context => Some("context"),
            Self::Endpoint => Some("endpoint"),
            Self::Time | Self::RemotePort | Self::LocalPort => None,
        }
    }

    /// The key with this value of the field alone.
    pub fn key(self, value: i64) -> GroupKey {
        let mut key = GroupKey::default();
        *match self {
            Self::Context => &mut key.context,
            Self::Endpoint => &mut key.endpoint,
            Self::Time => &mut key.time,
            Self::RemotePort => &mut key.remote_port,
            Self::LocalPort => &mut key.local_port,
        } = value;
        key
    }

    pub fn of(self, key: &GroupKey) -> i64 {
        match self {
            Self::Context => key.context,
            Self::Endpoint => key.endpoint,
            Self::Time => key.time,
            Self::RemotePort => key.remote_port,
            Self::LocalPort => key.local_port,
        }
    }
}

/// The column with the values of a dimension.
pub(super) struct DimensionColumn {
    pub field: KeyField,
    /// The column of table `context` or `endpoint`; empty if the field itself is the value.
    pub column: &'static str,
    /// The table that `column` refers to, and the column there with the value; `None` if `column` has the value.
    pub referenced: Option<(&'static str, &'static str)>,
}

impl DimensionColumn {
    pub fn of(dimension: Dimension) -> Self {
        let context = |column, table, value| Self {
            field: KeyField::Context,
            column,
            referenced: Some((table, value)),
        };
        let endpoint = |column, table, value| Self {
            field: KeyField::Endpoint,
            column,
            referenced: Some((table, value)),
        };
        let direct = |field, column| Self { field, column, referenced: None };
        match dimension {
            Dimension::Executable => context("program", "program", "path"),
            Dimension::Name => context("program", "program", "name"),
            Dimension::CommandLine => context("program", "program", "command_line"),
            Dimension::Sha256 => context("program", "program", "sha256"),
            Dimension::ParentExecutable => context("parent", "program", "path"),
            Dimension::ParentName => context("parent", "program", "name"),
            Dimension::ParentCommandLine => context("parent", "program", "command_line"),
            Dimension::ParentSha256 => context("parent", "program", "sha256"),
            Dimension::GrandparentExecutable => context("grandparent", "program", "path"),
            Dimension::GrandparentName => context("grandparent", "program", "name"),
            Dimension::GrandparentCommandLine => context("grandparent", "program", "command_line"),
            Dimension::GrandparentSha256 => context("grandparent", "program", "sha256"),
            Dimension::Cgroup => context("cgroup", "cgroup", "path"),
            Dimension::Unit => context("cgroup", "cgroup", "unit"),
            Dimension::Container => context("cgroup", "cgroup", "container"),
            Dimension::App => context("cgroup", "cgroup", "app"),
            Dimension::Country => endpoint("country", "country", "name"),
            Dimension::Asn => endpoint("network", "network", "number"),
            Dimension::Network => endpoint("network", "network", "name"),
            Dimension::Uid => direct(KeyField::Context, "uid"),
            Dimension::NetworkNamespace => direct(KeyField::Context, "network_namespace"),
            Dimension::Protocol => direct(KeyField::Endpoint, "protocol"),
            Dimension::Family => direct(KeyField::Endpoint, "family"),
            Dimension::Domain => endpoint("domain", "domain", "name"),
            Dimension::DomainSource => direct(KeyField::Endpoint, "domain_source"),
            Dimension::Address => endpoint("remote_address", "address", "bytes"),
            Dimension::LocalAddress => endpoint("local_address", "address", "bytes"),
            // The scope is that of the address.
            Dimension::Scope => endpoint("remote_address", "address", "bytes"),
            Dimension::Port => direct(KeyField::RemotePort, ""),
            Dimension::LocalPort => direct(KeyField::LocalPort, ""),
            Dimension::Time
            | Dimension::Hour
            | Dimension::Day
            | Dimension::Week
            | Dimension::Month
            | Dimension::Year
            | Dimension::Weekday
            | Dimension::HourOfDay => direct(KeyField::Time, ""),
            // A log does not have the name of its machine: all records have the same value.
            Dimension::Host => direct(KeyField::Context, "0"),
        }
    }
}

/// The fields that the values of these dimensions depend on, without those of the calendar.
pub(super) fn key_fields(dimensions: impl Iterator<Item = Dimension>) -> KeyFields {
    let mut fields = KeyFields::default();
    for dimension in dimensions.filter(|dimension| !dimension.is_calendar()) {
        *match DimensionColumn::of(dimension).field {
            KeyField::Context => &mut fields.context,
            KeyField::Endpoint => &mut fields.endpoint,
            KeyField::Time => &mut fields.time,
            KeyField::RemotePort => &mut fields.remote_port,
            KeyField::LocalPort => &mut fields.local_port,
        } = true;
    }
    fields
}
