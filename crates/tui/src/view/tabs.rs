//! The tabs: one line for each dimension, in the order in which they stand.

use store::Dimension;

/// A tab.
#[derive(Debug)]
pub struct Tab {
    /// What the log is grouped by.
    pub dimension: Dimension,
    /// Its title.
    pub title: &'static str,
    /// The tab that a filter on a row of this one leads to: what one wants to know next.
    pub next: Dimension,
    /// What an empty value is called.
    pub unknown: &'static str,
}

const fn tab(dimension: Dimension, title: &'static str, next: Dimension, unknown: &'static str) -> Tab {
    Tab { dimension, title, next, unknown }
}

use Dimension as D;

/// All of them. A new dimension is a line here.
pub const TABS: [Tab; 30] = [
    tab(D::Executable, "Programs", D::Address, "(unknown program)"),
    tab(D::Name, "Names", D::Executable, "(no name)"),
    tab(D::CommandLine, "Commands", D::Address, "(no command line)"),
    tab(D::Sha256, "SHA-256", D::Executable, "(not known)"),
    tab(D::ParentExecutable, "Parents", D::Executable, "(none)"),
    tab(D::ParentName, "Parent names", D::Executable, "(none)"),
    tab(D::ParentCommandLine, "Parent commands", D::Executable, "(none)"),
    tab(D::ParentSha256, "Parent SHA-256", D::Executable, "(not known)"),
    tab(D::GrandparentExecutable, "Grandparents", D::Executable, "(none)"),
    tab(D::GrandparentName, "Grandparent names", D::Executable, "(none)"),
    tab(D::GrandparentCommandLine, "Grandparent commands", D::Executable, "(none)"),
    tab(D::GrandparentSha256, "Grandparent SHA-256", D::Executable, "(not known)"),
    tab(D::Uid, "Users", D::Executable, ""),
    tab(D::Unit, "Units", D::Executable, "(no unit)"),
    tab(D::Container, "Containers", D::Executable, "(no container)"),
    tab(D::App, "Applications", D::Executable, "(no application)"),
    tab(D::Cgroup, "Cgroups", D::Executable, "(not known)"),
    tab(D::NetworkNamespace, "Network namespaces", D::Executable, ""),
    tab(D::Domain, "Domains", D::Executable, "(not known)"),
    tab(D::DomainSource, "Domain sources", D::Domain, ""),
    tab(D::Address, "Addresses", D::Executable, "(no address)"),
    tab(D::Country, "Countries", D::Address, "(not known)"),
    tab(D::Network, "Networks", D::Address, "(not known)"),
    tab(D::Asn, "Network numbers", D::Address, ""),
    tab(D::Port, "Ports", D::Executable, ""),
    tab(D::Protocol, "Protocols", D::Executable, ""),
    tab(D::Family, "Families", D::Executable, ""),
    tab(D::LocalAddress, "Local addresses", D::Executable, "(not known)"),
    tab(D::LocalPort, "Local ports", D::Executable, ""),
    tab(D::Time, "Time", D::Executable, ""),
];

/// The tab of a dimension.
pub fn index(dimension: Dimension) -> usize {
    TABS.iter().position(|tab| tab.dimension == dimension).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_one_tab() {
        for dimension in Dimension::ALL {
            assert_eq!(TABS.iter().filter(|tab| tab.dimension == dimension).count(), 1, "{dimension}");
        }
    }
}
