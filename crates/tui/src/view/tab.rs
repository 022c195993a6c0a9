//! The tabs of `view`: one for each dimension of the log, and one for events.

use store::Dimension;

/// A tab, which groups the log by its dimension, or lists events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Programs,
    Names,
    Commands,
    Sha256,
    Parents,
    ParentNames,
    ParentCommands,
    ParentSha256,
    Grandparents,
    GrandparentNames,
    GrandparentCommands,
    GrandparentSha256,
    Users,
    Units,
    Containers,
    Applications,
    Cgroups,
    NetworkNamespaces,
    Domains,
    DomainSources,
    Addresses,
    Countries,
    Networks,
    NetworkNumbers,
    Scopes,
    Ports,
    Protocols,
    Families,
    LocalAddresses,
    LocalPorts,
    Time,
    Hours,
    Days,
    Weeks,
    Months,
    Years,
    Weekdays,
    HoursOfDay,
    Events,
    /// Only of a server.
    Hosts,
}

/// The constant properties of a tab.
struct Facts {
    dimension: Option<Dimension>,
    title: &'static str,
    detail: Tab,
    empty_value: &'static str,
}

const fn facts(dimension: Dimension, title: &'static str, detail: Tab, empty_value: &'static str) -> Facts {
    Facts { dimension: Some(dimension), title, detail, empty_value }
}

impl Tab {
    /// All tabs of a log, from left to right.
    pub const ALL: [Self; 39] = [
        Self::Programs,
        Self::Names,
        Self::Commands,
        Self::Sha256,
        Self::Parents,
        Self::ParentNames,
        Self::ParentCommands,
        Self::ParentSha256,
        Self::Grandparents,
        Self::GrandparentNames,
        Self::GrandparentCommands,
        Self::GrandparentSha256,
        Self::Users,
        Self::Units,
        Self::Containers,
        Self::Applications,
        Self::Cgroups,
        Self::NetworkNamespaces,
        Self::Domains,
        Self::DomainSources,
        Self::Addresses,
        Self::Countries,
        Self::Networks,
        Self::NetworkNumbers,
        Self::Scopes,
        Self::Ports,
        Self::Protocols,
        Self::Families,
        Self::LocalAddresses,
        Self::LocalPorts,
        Self::Time,
        Self::Hours,
        Self::Days,
        Self::Weeks,
        Self::Months,
        Self::Years,
        Self::Weekdays,
        Self::HoursOfDay,
        Self::Events,
    ];

    /// All tabs of a log, or of a server: that of the hosts is the first of these.
    pub fn all(is_of_server: bool) -> &'static [Self] {
        const OF_SERVER: [Tab; 40] = {
            let mut tabs = [Tab::Hosts; 40];
            let mut at = 0;
            while at < Tab::ALL.len() {
                tabs[at + 1] = Tab::ALL[at];
                at += 1;
            }
            tabs
        };
        if is_of_server { &OF_SERVER } else { &Self::ALL }
    }

    const fn facts(self) -> Facts {
        use Dimension as D;
        match self {
            Self::Programs => facts(D::Executable, "Programs", Self::Addresses, "(unknown program)"),
            Self::Names => facts(D::Name, "Names", Self::Programs, "(no name)"),
            Self::Commands => facts(D::CommandLine, "Commands", Self::Addresses, "(no command line)"),
            Self::Sha256 => facts(D::Sha256, "SHA-256", Self::Programs, "(not known)"),
            Self::Parents => facts(D::ParentExecutable, "Parents", Self::Programs, "(none)"),
            Self::ParentNames => facts(D::ParentName, "Parent names", Self::Programs, "(none)"),
            Self::ParentCommands => facts(D::ParentCommandLine, "Parent commands", Self::Programs, "(none)"),
            Self::ParentSha256 => facts(D::ParentSha256, "Parent SHA-256", Self::Programs, "(not known)"),
            Self::Grandparents => facts(D::GrandparentExecutable, "Grandparents", Self::Programs, "(none)"),
            Self::GrandparentNames => {
                facts(D::GrandparentName, "Grandparent names", Self::Programs, "(none)")
            }
            Self::GrandparentCommands => {
                facts(D::GrandparentCommandLine, "Grandparent commands", Self::Programs, "(none)")
            }
            Self::GrandparentSha256 => {
                facts(D::GrandparentSha256, "Grandparent SHA-256", Self::Programs, "(not known)")
            }
            Self::Users => facts(D::Uid, "Users", Self::Programs, ""),
            Self::Units => facts(D::Unit, "Units", Self::Programs, "(no unit)"),
            Self::Containers => facts(D::Container, "Containers", Self::Programs, "(no container)"),
            Self::Applications => facts(D::App, "Applications", Self::Programs, "(no application)"),
            Self::Cgroups => facts(D::Cgroup, "Cgroups", Self::Programs, "(not known)"),
            Self::NetworkNamespaces => facts(D::NetworkNamespace, "Network namespaces", Self::Programs, ""),
            Self::Domains => facts(D::Domain, "Domains", Self::Programs, "(not known)"),
            Self::DomainSources => facts(D::DomainSource, "Domain sources", Self::Domains, ""),
            Self::Addresses => facts(D::Address, "Addresses", Self::Programs, "(no address)"),
            Self::Countries => facts(D::Country, "Countries", Self::Addresses, "(not known)"),
            Self::Networks => facts(D::Network, "Networks", Self::Addresses, "(not known)"),
            Self::NetworkNumbers => facts(D::Asn, "Network numbers", Self::Addresses, ""),
            Self::Scopes => facts(D::Scope, "Scope", Self::Addresses, "(no address)"),
            Self::Ports => facts(D::Port, "Ports", Self::Programs, ""),
            Self::Protocols => facts(D::Protocol, "Protocols", Self::Programs, ""),
            Self::Families => facts(D::Family, "Families", Self::Programs, ""),
            Self::LocalAddresses => facts(D::LocalAddress, "Local addresses", Self::Programs, "(not known)"),
            Self::LocalPorts => facts(D::LocalPort, "Local ports", Self::Programs, ""),
            Self::Time => facts(D::Time, "Time", Self::Programs, ""),
            Self::Hours => facts(D::Hour, "Hours", Self::Programs, ""),
            Self::Days => facts(D::Day, "Days", Self::Programs, ""),
            Self::Weeks => facts(D::Week, "Weeks", Self::Programs, ""),
            Self::Months => facts(D::Month, "Months", Self::Programs, ""),
            Self::Years => facts(D::Year, "Years", Self::Programs, ""),
            Self::Weekdays => facts(D::Weekday, "Days of the week", Self::Programs, ""),
            Self::HoursOfDay => facts(D::HourOfDay, "Hours of the day", Self::Programs, ""),
            Self::Hosts => facts(D::Host, "Hosts", Self::Programs, "(no name)"),
            Self::Events => {
                Facts { dimension: None, title: "Events", detail: Self::Addresses, empty_value: "" }
            }
        }
    }

    /// The tab of a dimension.
    pub fn of(dimension: Dimension) -> Self {
        let mut tabs = Self::all(true).iter().copied();
        tabs.find(|tab| tab.dimension() == Some(dimension)).unwrap_or(Self::Programs)
    }

    /// The dimension whose values are the rows; `None` for events.
    pub fn dimension(self) -> Option<Dimension> {
        self.facts().dimension
    }

    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// The tab that a filter on a row of this one leads to, because the user wants to know that next.
    pub fn detail(self) -> Self {
        self.facts().detail
    }

    /// The label of an empty value.
    pub fn empty_value(self) -> &'static str {
        self.facts().empty_value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_one_tab() {
        for dimension in Dimension::ALL {
            assert_eq!(
                Tab::ALL.iter().filter(|tab| tab.dimension() == Some(dimension)).count(),
                1,
                "{dimension}"
            );
        }
    }

    #[test]
    fn the_list_of_tabs_is_in_the_order_of_the_enum() {
        assert!(Tab::ALL.iter().enumerate().all(|(index, tab)| *tab as usize == index));
    }
}
