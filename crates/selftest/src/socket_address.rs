//! Conversion between [`SocketAddr`] and the address types of the kernel.

use std::{
    mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Converts an address for a system call; returns it with its length.
pub(crate) fn to_kernel(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid address storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let kernel = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every address type.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(kernel) };
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let kernel = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: the storage is large enough and aligned for every address type.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(kernel) };
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

/// Converts an address that the kernel wrote. `None` for other families than IPv4 and IPv6.
pub(crate) fn from_kernel(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds this type.
            let kernel = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let address = Ipv4Addr::from(kernel.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((address, u16::from_be(kernel.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds this type.
            let kernel = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let address = Ipv6Addr::from(kernel.sin6_addr.s6_addr);
            Some(SocketAddr::from((address, u16::from_be(kernel.sin6_port))))
        }
        _ => None,
    }
}
