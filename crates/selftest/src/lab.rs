//! The lab: two network namespaces joined by a pair of interfaces. Nothing outside sees its traffic.
//!
//! The namespaces have no names: the descriptors hold them, so that they are gone with the last process.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread,
};

use super::{netlink::Netlink, scenario::Place};

/// Name of the interface that leads to the other namespace, in both of them.
pub const INTERFACE: &str = "lab";

const HERE4: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 1);
const THERE4: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 2);
const HERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x213, 0, 0, 0, 0, 0, 1);
const THERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x213, 0, 0, 0, 0, 0, 2);

/// A way between a client in the first namespace and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// IPv4 to the second namespace.
    Ipv4,
    /// IPv6 to the second namespace.
    Ipv6,
    /// IPv4 to the second namespace over IPv6 sockets (addresses like `::ffff:10.0.0.1`).
    Mapped,
    /// IPv4 within the first namespace.
    Loopback4,
    /// IPv6 within the first namespace.
    Loopback6,
}

impl Link {
    /// How identifiers of scenarios call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mapped => "mapped",
            Self::Loopback4 => "loopback-ipv4",
            Self::Loopback6 => "loopback-ipv6",
        }
    }

    /// The family of its sockets.
    pub fn family(self) -> i32 {
        match self {
            Self::Ipv4 | Self::Loopback4 => libc::AF_INET,
            Self::Ipv6 | Self::Mapped | Self::Loopback6 => libc::AF_INET6,
        }
    }

    /// Where its server runs.
    pub fn server_place(self) -> Place {
        match self {
            Self::Loopback4 | Self::Loopback6 => Place::Here,
            Self::Ipv4 | Self::Ipv6 | Self::Mapped => Place::There,
        }
    }

    /// The address of its server, in the form that its sockets take.
    pub fn server_address(self) -> IpAddr {
        match self {
            Self::Ipv4 => THERE4.into(),
            Self::Ipv6 => THERE6.into(),
            Self::Mapped => THERE4.to_ipv6_mapped().into(),
            Self::Loopback4 => Ipv4Addr::LOCALHOST.into(),
            Self::Loopback6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The address of its client, in the form that its sockets take.
    pub fn client_address(self) -> IpAddr {
        match self {
            Self::Ipv4 => HERE4.into(),
            Self::Ipv6 => HERE6.into(),
            Self::Mapped => HERE4.to_ipv6_mapped().into(),
            Self::Loopback4 | Self::Loopback6 => self.server_address(),
        }
    }
}

/// Something of the lab that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the private network of the selftest: {what}")]
pub struct LabError {
    what: String,
    #[source]
    source: io::Error,
}

/// Names the step that failed.
fn step<T>(what: &str, result: io::Result<T>) -> Result<T, LabError> {
    result.map_err(|source| LabError { what: what.to_owned(), source })
}

/// The two namespaces.
pub struct Lab {
    here: OwnedFd,
    there: OwnedFd,
}

impl Lab {
    /// Makes both namespaces, joins them and gives them addresses. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    pub fn new() -> Result<Self, LabError> {
        let there = in_new_namespace(|| Ok(()))?;
        let other = step("keep a namespace", there.try_clone())?;
        let here = in_new_namespace(move || {
            let netlink = step("open rtnetlink", Netlink::open())?;
            step("join the namespaces (veth)", netlink.make_pair(INTERFACE, other.as_fd()))?;
            configure(HERE4, HERE6)
        })?;
        let lab = Self { here, there };
        let other = step("keep a namespace", lab.there.try_clone())?;
        on_thread(move || {
            step("enter a namespace", enter(other.as_raw_fd()))?;
            configure(THERE4, THERE6)
        })?;
        Ok(lab)
    }

    /// The descriptor of a namespace.
    pub fn namespace(&self, place: Place) -> &OwnedFd {
        match place {
            Place::Here => &self.here,
            Place::There => &self.there,
        }
    }
}

/// Moves the calling thread into a network namespace. Calls nothing but `setns`: it may be used after fork.
pub fn enter(namespace: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    match unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the loopback interface of the calling thread's namespace up.
pub fn set_loopback_up() -> io::Result<()> {
    Netlink::open()?.set_up("lo")
}

fn configure(ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<(), LabError> {
    // These may be missing (IPv6 off, old kernels): the scenarios that need them are skipped then.
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

/// Makes a namespace, runs `work` in it and returns its descriptor.
fn in_new_namespace(
    work: impl FnOnce() -> Result<(), LabError> + Send + 'static,
) -> Result<OwnedFd, LabError> {
    on_thread(move || {
        // SAFETY: no pointers are passed; only this thread, which ends with `work`, changes its namespace.
        let returned = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        let made = if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        step("make a network namespace", made)?;
        let file = step("open a network namespace", File::open("/proc/thread-self/ns/net"))?;
        work()?;
        Ok(file.into())
    })
}

/// Runs `work` on a thread of its own, because a thread that changed its namespace is good for nothing else.
fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    thread::spawn(work)
        .join()
        .unwrap_or_else(|_| step("run a thread", Err(io::Error::other("the thread panicked"))))
}
