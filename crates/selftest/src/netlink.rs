//! The requests of rtnetlink(7) that the lab needs: making a pair of interfaces, adding addresses, bringing interfaces up.

use std::{
    io, mem,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

// `VETH_INFO_PEER`, linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
// `NLA_F_NESTED`, linux/netlink.h.
const NLA_F_NESTED: u16 = 1 << 15;

/// A request to which attributes can be added.
struct Message(Vec<u8>);

impl Message {
    /// Starts a request of type `kind` with its fixed part.
    fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        bytes.extend_from_slice(&1_u32.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.attribute(kind | NLA_F_NESTED, &[]);
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// Makes the `struct ifinfomsg` of an interface with `flags` set.
fn interface_header(index: u32, flags: i32) -> Vec<u8> {
    let mut bytes = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes
}

/// A connection to rtnetlink in the network namespace of the calling thread.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd: RawFd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes a pair of veth interfaces of the same name, the second one in another network namespace.
    pub(crate) fn make_pair(&self, name: &str, other: BorrowedFd) -> io::Result<()> {
        let name = zero_terminated(name);
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWLINK, flags, &interface_header(0, 0));
        message.attribute(libc::IFLA_IFNAME, &name);
        message.nested(libc::IFLA_LINKINFO, |message| {
            message.attribute(libc::IFLA_INFO_KIND, b"veth");
            message.nested(libc::IFLA_INFO_DATA, |message| {
                message.nested(VETH_INFO_PEER, |message| {
                    message.0.extend_from_slice(&interface_header(0, 0));
                    message.attribute(libc::IFLA_IFNAME, &name);
                    message.attribute(libc::IFLA_NET_NS_FD, &other.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.request(message)
    }

    pub(crate) fn set_up(&self, name: &str) -> io::Result<()> {
        let header = interface_header(interface_index(name)?, libc::IFF_UP);
        self.request(Message::new(libc::RTM_NEWLINK, 0, &header))
    }

    /// Adds an address to an interface, without duplicate address detection, so that it is usable at once.
    pub(crate) fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> io::Result<()> {
        let (family, bytes) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let mut header = vec![family as u8, prefix, libc::IFA_F_NODAD as u8, 0];
        header.extend_from_slice(&interface_index(name)?.to_ne_bytes());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWADDR, flags, &header);
        message.attribute(libc::IFA_LOCAL, &bytes);
        message.attribute(libc::IFA_ADDRESS, &bytes);
        self.request(message)
    }

    fn request(&self, message: Message) -> io::Result<()> {
        let bytes = message.finish();
        // SAFETY: the pointer and the length describe `bytes`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut response = [0_u8; 4096];
        // SAFETY: the pointer and the length describe `response`.
        let received =
            unsafe { libc::recv(self.0.as_raw_fd(), response.as_mut_ptr().cast(), response.len(), 0) };
        let header = mem::size_of::<libc::nlmsghdr>();
        match usize::try_from(received) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(length) if length < header + 4 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {
                // The response to a request with NLM_F_ACK is `struct nlmsgerr`, which begins with a negative errno or 0.
                let code =
                    [response[header], response[header + 1], response[header + 2], response[header + 3]];
                match i32::from_ne_bytes(code) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                }
            }
        }
    }
}

/// Returns the index of an interface in the network namespace of the calling thread.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = zero_terminated(name);
    // SAFETY: the name ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr().cast()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn zero_terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
