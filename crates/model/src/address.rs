//! Addresses of sockets.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The address of one end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IPv4 or IPv6 address; IPv4 over an IPv6 socket is IPv4.
    Ip(IpAddr),
    /// The context id of a virtual machine (`svm_cid`, vsock(7)).
    Vsock(u32),
}

impl Address {
    /// The IP address; `None` for an address of another family.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Vsock(_) => None,
        }
    }
}

impl<T: Into<IpAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Ip(address.into())
    }
}

/// What a vsock address begins with in text, as in socat's `vsock:2`.
const VSOCK_PREFIX: &str = "vsock:";

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Vsock(context_id) => write!(formatter, "{VSOCK_PREFIX}{context_id}"),
        }
    }
}

/// The text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError;

impl fmt::Display for AddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an address is 192.0.2.1, 2001:db8::1 or {VSOCK_PREFIX}2")
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(VSOCK_PREFIX) {
            Some(context_id) => context_id.parse().map(Self::Vsock).map_err(|_| AddressError),
            None => text.parse().map(Self::Ip).map_err(|_| AddressError),
        }
    }
}

/// The form that crosses the channel between the processes.
#[derive(Serialize, Deserialize)]
enum Binary {
    Ip(IpAddr),
    Vsock(u32),
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        match self {
            Self::Ip(address) => Binary::Ip(*address).serialize(serializer),
            Self::Vsock(context_id) => Binary::Vsock(*context_id).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        Ok(match Binary::deserialize(deserializer)? {
            Binary::Ip(address) => Self::Ip(address),
            Binary::Vsock(context_id) => Self::Vsock(context_id),
        })
    }
}

/// The first address of the network of `address` with `prefix_length` leading bits (RFC 4632).
pub fn first_address(address: IpAddr, prefix_length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// The last address of the network of `address` with `prefix_length` leading bits.
pub fn last_address(address: IpAddr, prefix_length: u8) -> IpAddr {
    match first_address(address, prefix_length) {
        IpAddr::V4(first) => {
            IpAddr::V4((u32::from(first) | u32::MAX.checked_shr(prefix_length.into()).unwrap_or(0)).into())
        }
        IpAddr::V6(first) => {
            IpAddr::V6((u128::from(first) | u128::MAX.checked_shr(prefix_length.into()).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_forms_read_back() {
        for text in ["192.0.2.1", "2001:db8::1", "vsock:2", "vsock:4294967295"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
        }
        for text in ["", "vsock:", "vsock:-1", "vsock:4294967296", "1.2.3", "2"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn networks_end_where_their_prefix_says() {
        let first = |text: &str, length| first_address(text.parse().unwrap(), length).to_string();
        let last = |text: &str, length| last_address(text.parse().unwrap(), length).to_string();
        assert_eq!(
            (first("192.0.2.200", 25), last("192.0.2.1", 25)),
            ("192.0.2.128".into(), "192.0.2.127".into())
        );
        assert_eq!(
            (first("192.0.2.200", 0), last("192.0.2.1", 0)),
            ("0.0.0.0".into(), "255.255.255.255".into())
        );
        assert_eq!(
            (first("2001:db8::1", 32), last("2001:db8::1", 128)),
            ("2001:db8::".into(), "2001:db8::1".into())
        );
    }
}
