//! Addresses of sockets.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::many::MANY;

/// The address of one end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IPv4 or IPv6 address; IPv4 over an IPv6 socket is IPv4.
    Ip(IpAddr),
    /// The context id of a virtual machine (`svm_cid`, vsock(7)).
    Vsock(u32),
    /// More than one address: that of a folded record.
    Many,
}

impl Address {
    /// The IP address; `None` for an address of another family.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Vsock(_) | Self::Many => None,
        }
    }
}

impl<T: Into<IpAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Ip(address.into())
    }
}

/// Prefix of a vsock address in text, as in `vsock:2`.
const VSOCK_PREFIX: &str = "vsock:";

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Vsock(context_id) => write!(formatter, "{VSOCK_PREFIX}{context_id}"),
            Self::Many => formatter.write_str(MANY),
        }
    }
}

/// The error of a text that is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError;

impl fmt::Display for AddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an address is 192.0.2.1, 2001:db8::1, {VSOCK_PREFIX}2 or {MANY}")
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(VSOCK_PREFIX) {
            _ if text == MANY => Ok(Self::Many),
            Some(context_id) => context_id.parse().map(Self::Vsock).map_err(|_| AddressError),
            None => text.parse().map(Self::Ip).map_err(|_| AddressError),
        }
    }
}

/// The encoding of an address in formats that are not human-readable: the channels between the processes.
#[derive(Serialize, Deserialize)]
enum BinaryAddress {
    Ip(IpAddr),
    Vsock(u32),
    Many,
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        match self {
            Self::Ip(address) => BinaryAddress::Ip(*address).serialize(serializer),
            Self::Vsock(context_id) => BinaryAddress::Vsock(*context_id).serialize(serializer),
            Self::Many => BinaryAddress::Many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        Ok(match BinaryAddress::deserialize(deserializer)? {
            BinaryAddress::Ip(address) => Self::Ip(address),
            BinaryAddress::Vsock(context_id) => Self::Vsock(context_id),
            BinaryAddress::Many => Self::Many,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_forms_read_back() {
        for text in ["192.0.2.1", "2001:db8::1", "vsock:2", "vsock:4294967295", "many"] {
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
}
