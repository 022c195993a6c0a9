//! Values of a row, of any type, as numbers and texts.

use std::net::IpAddr;

use model::{Address, Bytes, PORT_EXECUTION, Port};
use rusqlite::types::ValueRef;

use crate::oddity::{Oddities, Oddity};

/// The real user id of a record whose user is unknown.
const UNKNOWN_USER: u32 = u32::MAX;

/// A value as it stands in the source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Cell<'a> {
    /// The format has no such value.
    #[default]
    None,
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(bytes) => Self::Text(bytes),
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl Cell<'_> {
    /// Appends the value to bytes that tell values apart.
    pub fn add_to_key(self, key: &mut Vec<u8>) {
        let (kind, number, bytes): (u8, u64, &[u8]) = match self {
            Self::None => (0, 0, &[]),
            Self::Null => (1, 0, &[]),
            Self::Integer(value) => (2, value.cast_unsigned(), &[]),
            Self::Real(value) => (3, value.to_bits(), &[]),
            Self::Text(bytes) => (4, bytes.len() as u64, bytes),
            Self::Blob(bytes) => (5, bytes.len() as u64, bytes),
        };
        key.push(kind);
        key.extend_from_slice(&number.to_le_bytes());
        key.extend_from_slice(bytes);
    }

    /// The value as text of at most `max` bytes.
    pub fn text(self, max: usize, odd: &mut Oddities) -> Bytes {
        let bytes = match self {
            Self::None => return Bytes::new(),
            Self::Null => {
                odd.add(Oddity::MissingValue);
                return Bytes::new();
            }
            Self::Integer(value) => {
                odd.add(Oddity::WrongType);
                return value.to_string().into_bytes();
            }
            Self::Real(value) => {
                odd.add(Oddity::WrongType);
                return value.to_string().into_bytes();
            }
            // Python stores bytes that are not UTF-8 as a BLOB.
            Self::Text(bytes) | Self::Blob(bytes) => bytes,
        };
        if bytes.contains(&0) {
            odd.add(Oddity::Nul);
        }
        if bytes.len() > max {
            odd.add(Oddity::Shortened);
        }
        bytes[..bytes.len().min(max)].to_vec()
    }

    /// The value as a number; `None` if it is none, which is odd unless the format has no such value.
    pub fn number(self, odd: &mut Oddities) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Null => {
                odd.add(Oddity::MissingValue);
                None
            }
            Self::Integer(value) => Some(value),
            Self::Real(value) => {
                odd.add(Oddity::WrongType);
                // A number that is too large becomes the largest one, NaN 0.
                Some(value as i64)
            }
            Self::Text(bytes) | Self::Blob(bytes) => {
                odd.add(Oddity::WrongType);
                parse(bytes)
            }
        }
    }

    /// The value as a count; a negative one is 0.
    pub fn count(self, odd: &mut Oddities) -> u64 {
        let number = self.number(odd).unwrap_or(0);
        u64::try_from(number).unwrap_or_else(|_| {
            odd.add(Oddity::WrongType);
            0
        })
    }

    /// The value as a port.
    pub fn port(self, odd: &mut Oddities) -> Port {
        match self.number(odd).unwrap_or(0) {
            port if (PORT_EXECUTION..=65_535).contains(&port) => port,
            _ => {
                odd.add(Oddity::BadPort);
                0
            }
        }
    }

    /// The value as a user id.
    pub fn user(self, odd: &mut Oddities) -> u32 {
        let number = self.number(odd);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or_else(|| {
            odd.add(Oddity::BadUser);
            UNKNOWN_USER
        })
    }

    /// The value as a number of 16 or 32 bits, such as a protocol; 0 if it is none.
    pub fn small<T: TryFrom<i64> + Default>(self, odd: &mut Oddities) -> T {
        let number = self.number(odd).unwrap_or(0);
        T::try_from(number).unwrap_or_else(|_| {
            odd.add(Oddity::WrongType);
            T::default()
        })
    }

    /// The value as an address; IPv4 over an IPv6 socket is IPv4.
    pub fn address(self, odd: &mut Oddities) -> Option<Address> {
        const MAX_BYTES: usize = 256;
        let text = self.text(MAX_BYTES, odd);
        if text.is_empty() {
            return None;
        }
        let text = str::from_utf8(&text).unwrap_or_default().trim();
        // fe80::1%eth0: the name of the interface is no part of the address.
        let text = text.split('%').next().unwrap_or_default();
        match text.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical().into()),
            Err(_) => {
                odd.add(Oddity::BadAddress);
                None
            }
        }
    }
}

/// A number in text.
fn parse(bytes: &[u8]) -> Option<i64> {
    str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// A field of a text log: a number is a number there.
pub(crate) fn of_field(field: &[u8]) -> Cell<'_> {
    match parse(field) {
        Some(number) => Cell::Integer(number),
        None => Cell::Text(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(read: impl FnOnce(&mut Oddities)) -> Vec<Oddity> {
        let mut odd = Oddities::default();
        read(&mut odd);
        odd.iter().collect()
    }

    #[test]
    fn values_of_any_type_are_read_and_what_is_odd_is_noted() {
        let mut none = Oddities::default();
        assert_eq!(Cell::Text(b"ab\xff").text(9, &mut none), b"ab\xff");
        assert_eq!((Cell::Integer(-1).port(&mut none), Cell::None.port(&mut none)), (-1, 0));
        assert_eq!(Cell::Text(b"::ffff:192.0.2.1").address(&mut none), "192.0.2.1".parse().ok());
        assert_eq!(Cell::Text(b"fe80::1%eth0").address(&mut none), "fe80::1".parse().ok());
        assert_eq!(Cell::Text(b"").address(&mut none), None);
        assert_eq!(none, Oddities::default());
        assert_eq!(odd(|odd| assert_eq!(Cell::Null.count(odd), 0)), [Oddity::MissingValue]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Text(b" 7").count(odd), 7)), [Oddity::WrongType]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Real(f64::NAN).count(odd), 0)), [Oddity::WrongType]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Integer(-5).count(odd), 0)), [Oddity::WrongType]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Integer(70_000).port(odd), 0)), [Oddity::BadPort]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Integer(-2).user(odd), u32::MAX)), [Oddity::BadUser]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Text(b"x.y").address(odd), None)), [Oddity::BadAddress]);
        assert_eq!(odd(|odd| assert_eq!(Cell::Integer(7).text(9, odd), b"7")), [Oddity::WrongType]);
        assert_eq!(
            odd(|odd| assert_eq!(Cell::Blob(b"a\0b").text(2, odd), b"a\0")),
            [Oddity::Nul, Oddity::Shortened]
        );
        assert_eq!(odd(|odd| assert_eq!(Cell::Integer(-3).small::<u16>(odd), 0)), [Oddity::WrongType]);
    }
}
