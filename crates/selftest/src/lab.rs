//! The private network of the selftest: two network namespaces, joined by a pair of interfaces (veth).
//!
//! The namespaces have no names. Descriptors hold them, so that the kernel removes them with the last process.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread,
};

use crate::netlink::Netlink;

/// Name of the interface to the other namespace, in both of them.
pub(crate) const INTERFACE: &str = "lab";

const FIRST_IPV4: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 1);
const SECOND_IPV4: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 2);
const FIRST_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x213, 0, 0, 0, 0, 0, 1);
const SECOND_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x213, 0, 0, 0, 0, 0, 2);

/// One of the two network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabNamespace {
    /// The namespace of all clients, and of the servers on its loopback interface.
    First,
    Second,
}

/// A path between a client in the first namespace and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// IPv4 to the second namespace.
    Ipv4,
    /// IPv6 to the second namespace.
    Ipv6,
    /// IPv4 to the second namespace over IPv6 sockets, with IPv4-mapped addresses (`::ffff:10.0.0.1`).
    Mapped,
    /// IPv4 within the first namespace.
    Loopback4,
    /// IPv6 within the first namespace.
    Loopback6,
}

impl Link {
    /// Returns the name of the link in the ids of scenarios.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mapped => "mapped",
            Self::Loopback4 => "loopback-ipv4",
            Self::Loopback6 => "loopback-ipv6",
        }
    }

    /// Returns the address family of its sockets.
    pub(crate) fn family(self) -> i32 {
        match self {
            Self::Ipv4 | Self::Loopback4 => libc::AF_INET,
            Self::Ipv6 | Self::Mapped | Self::Loopback6 => libc::AF_INET6,
        }
    }

    /// Returns the namespace in which its server runs.
    pub(crate) fn server_namespace(self) -> LabNamespace {
        match self {
            Self::Loopback4 | Self::Loopback6 => LabNamespace::First,
            Self::Ipv4 | Self::Ipv6 | Self::Mapped => LabNamespace::Second,
        }
    }

    /// Returns the address of its server, as its sockets use it.
    pub(crate) fn server_address(self) -> IpAddr {
        match self {
            Self::Ipv4 => SECOND_IPV4.into(),
            Self::Ipv6 => SECOND_IPV6.into(),
            Self::Mapped => SECOND_IPV4.to_ipv6_mapped().into(),
            Self::Loopback4 => Ipv4Addr::LOCALHOST.into(),
            Self::Loopback6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Returns the address of its client, as its sockets use it.
    pub(crate) fn client_address(self) -> IpAddr {
        match self {
            Self::Ipv4 => FIRST_IPV4.into(),
            Self::Ipv6 => FIRST_IPV6.into(),
            Self::Mapped => FIRST_IPV4.to_ipv6_mapped().into(),
            Self::Loopback4 | Self::Loopback6 => self.server_address(),
        }
    }
}

/// A step in the setup of the private network that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the private network of the selftest: {step}")]
pub struct LabError {
    step: String,
    #[source]
    source: io::Error,
}

/// Adds the name of the step to its error.
fn step<T>(name: &str, result: io::Result<T>) -> Result<T, LabError> {
    result.map_err(|source| LabError { step: name.to_owned(), source })
}

/// The two namespaces, as descriptors.
pub(crate) struct Lab {
    first: OwnedFd,
    second: OwnedFd,
}

impl Lab {
    /// Makes both namespaces, joins them and gives them addresses. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    pub(crate) fn new() -> Result<Self, LabError> {
        let second = in_new_namespace(|| Ok(()))?;
        let other = step("keep a namespace", second.try_clone())?;
        let first = in_new_namespace(move || {
            let netlink = step("open rtnetlink", Netlink::open())?;
            step("join the namespaces (veth)", netlink.make_pair(INTERFACE, other.as_fd()))?;
            configure(FIRST_IPV4, FIRST_IPV6)
        })?;
        let lab = Self { first, second };
        let other = step("keep a namespace", lab.second.try_clone())?;
        on_thread(move || {
            step("enter a namespace", enter(other.as_raw_fd()))?;
            configure(SECOND_IPV4, SECOND_IPV6)
        })?;
        Ok(lab)
    }

    /// Returns the descriptor of a namespace.
    pub(crate) fn descriptor(&self, namespace: LabNamespace) -> &OwnedFd {
        match namespace {
            LabNamespace::First => &self.first,
            LabNamespace::Second => &self.second,
        }
    }
}

/// Moves the calling thread into a network namespace. Calls only setns(2), so that it may be used between fork and exec.
pub(crate) fn enter(namespace: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    match unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Brings up the loopback interface in the namespace of the calling thread.
pub(crate) fn set_loopback_up() -> io::Result<()> {
    Netlink::open()?.set_up("lo")
}

fn configure(ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<(), LabError> {
    // These may be missing (IPv6 disabled, old kernels). Then the scenarios that need them are skipped.
    for (file, value) in [
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
        ("ipv4/tcp_fastopen", "3"),
    ] {
        let _ = fs::write(format!("/proc/sys/net/{file}"), value);
    }
    let netlink = step("open rtnetlink", Netlink::open())?;
    for interface in ["lo", INTERFACE] {
        step("set an interface up", netlink.set_up(interface))?;
    }
    step("add an IPv4 address", netlink.add_address(INTERFACE, ipv4.into(), 24))?;
    match netlink.add_address(INTERFACE, ipv6.into(), 64) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        result => step("add an IPv6 address", result),
    }
}

/// Makes a namespace, runs `work` in it and returns the descriptor of the namespace.
fn in_new_namespace(
    work: impl FnOnce() -> Result<(), LabError> + Send + 'static,
) -> Result<OwnedFd, LabError> {
    on_thread(move || {
        // SAFETY: no pointers are passed; only this thread, which ends with `work`, changes its namespace.
        let returned = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        let result = if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        step("make a network namespace", result)?;
        let file = step("open a network namespace", File::open("/proc/thread-self/ns/net"))?;
        work()?;
        Ok(file.into())
    })
}

/// Runs `work` on a thread of its own, since a thread that changed its namespace must not do anything else.
fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    thread::spawn(work)
        .join()
        .unwrap_or_else(|_| step("run a thread", Err(io::Error::other("the thread panicked"))))
}
