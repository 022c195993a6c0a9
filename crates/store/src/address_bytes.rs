//! Addresses as the log stores them.

use std::net::IpAddr;

use model::Address;

/// Address family of virtual machines (`<linux/socket.h>`).
const AF_VSOCK: u8 = 40;

/// The byte that stands for several addresses.
const MANY: u8 = 0xff;

/// The 4 or 16 bytes of an IP address in network order; for vsock `AF_VSOCK` and the context id in network order, 5 bytes;
/// for several addresses one byte.
pub(crate) fn address_to_bytes(address: Address) -> Vec<u8> {
    match address {
        Address::Ip(IpAddr::V4(address)) => address.octets().to_vec(),
        Address::Ip(IpAddr::V6(address)) => address.octets().to_vec(),
        Address::Many => vec![MANY],
        Address::Vsock(context_id) => [&[AF_VSOCK][..], &context_id.to_be_bytes()].concat(),
    }
}

/// Reads what [`address_to_bytes`] makes; `None` for anything else.
pub(crate) fn address_from_bytes(bytes: &[u8]) -> Option<Address> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets).into());
    }
    if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        return Some(IpAddr::from(octets).into());
    }
    if bytes == [MANY] {
        return Some(Address::Many);
    }
    let [AF_VSOCK, context_id @ ..] = bytes else { return None };
    Some(Address::Vsock(u32::from_be_bytes(context_id.try_into().ok()?)))
}
