//! Filters: conditions on one dimension of a record.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use model::{MANY, PORT_MANY, Sha256};
use thiserror::Error;

use super::{
    dimension::{Dimension, ValueType},
    value::Value,
    value_names::{asn_number, domain_source_number, family_number, protocol_number},
};

/// The operand that the value of a record is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilterOperand {
    Value(Value),
    /// Addresses from the first to the last, both of one family.
    Network(IpAddr, IpAddr),
}

/// A condition on one dimension: the record's value must equal the operand, or with `exclude` must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(crate) dimension: Dimension,
    pub(crate) operand: FilterOperand,
    pub(crate) exclude: bool,
}

/// The value of a filter does not fit its dimension.
#[derive(Debug, Error)]
#[error("{dimension} cannot be {value:?}: {expected}")]
pub struct FilterError {
    dimension: Dimension,
    value: String,
    expected: &'static str,
}

impl Filter {
    /// A filter for one value, as it is in the answer to a query.
    pub fn equal(dimension: Dimension, value: Value, exclude: bool) -> Self {
        Self { dimension, operand: FilterOperand::Value(value), exclude }
    }

    /// The dimension whose value is compared.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Whether records that match are excluded.
    pub fn is_exclude(&self) -> bool {
        self.exclude
    }

    /// Whether a thing with these values passes the filters, as a record does in a [`Query`](super::Query): for each dimension
    /// with filters, it matches one of the including ones and none of the excluding ones.
    pub fn pass(filters: &[Self], value_of: impl Fn(Dimension) -> Value) -> bool {
        filters.iter().all(|filter| match filter.exclude {
            true => !filter.matches(&value_of(filter.dimension)),
            false => filters
                .iter()
                .filter(|other| !other.exclude && other.dimension == filter.dimension)
                .any(|other| other.matches(&value_of(other.dimension))),
        })
    }

    /// Whether a value equals the operand.
    fn matches(&self, value: &Value) -> bool {
        match (&self.operand, value) {
            (FilterOperand::Value(operand), value) => operand == value,
            (FilterOperand::Network(first, last), Value::Address(address)) => {
                address.ip().is_some_and(|ip| (*first..=*last).contains(&ip))
            }
            (FilterOperand::Network(..), _) => false,
        }
    }

    /// Reads a filter from what the user typed: bytes as they are, numbers, names of protocols and families,
    /// addresses and networks (`10.0.0.0/8`), digests in hexadecimal. An empty value selects records without one, `many` those
    /// with several addresses, ports, domains or executables. No executable and hardly a domain is called so; a name or a
    /// command line may be.
    ///
    /// # Errors
    /// The value does not fit the dimension.
    pub fn parse(dimension: Dimension, value: &[u8], exclude: bool) -> Result<Self, FilterError> {
        let text = String::from_utf8_lossy(value);
        let (operand, expected) = match dimension.value_type() {
            ValueType::Bytes if names_many(dimension) && value == MANY.as_bytes() => {
                (Some(FilterOperand::Value(Value::Many)), "")
            }
            ValueType::Bytes => (Some(FilterOperand::Value(Value::Bytes(value.to_vec()))), ""),
            ValueType::Sha256 | ValueType::Address if value.is_empty() => {
                (Some(FilterOperand::Value(Value::None)), "")
            }
            ValueType::Sha256 => (
                Sha256::from_hex(&text).map(|digest| FilterOperand::Value(Value::Sha256(digest))),
                "expected 64 hexadecimal digits, or nothing for an unknown one",
            ),
            ValueType::Address => (
                parse_address(&text),
                "expected an address, a network (10.0.0.0/8), many, or nothing for none",
            ),
            ValueType::Integer => {
                let (number, expected) = parse_number(dimension, &text);
                (number.map(|number| FilterOperand::Value(Value::Integer(number))), expected)
            }
        };
        let operand = operand.ok_or_else(|| FilterError { dimension, value: text.into_owned(), expected })?;
        Ok(Self { dimension, operand, exclude })
    }
}

/// Whether the text "many" stands for several values of the dimension.
fn names_many(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Domain
            | Dimension::Executable
            | Dimension::ParentExecutable
            | Dimension::GrandparentExecutable
    )
}

/// The number of a dimension's value, and what the user can type instead if there is none.
fn parse_number(dimension: Dimension, text: &str) -> (Option<i64>, &'static str) {
    let (named, expected) = match dimension {
        Dimension::Protocol => {
            (protocol_number(text), "expected a protocol's name (tcp, udp, icmp, ...) or number")
        }
        Dimension::Asn => (asn_number(text), "expected a number, with or without AS before it"),
        Dimension::DomainSource => (
            domain_source_number(text),
            "expected resolver, dns, tls, quic, http, namespace, reverse, unknown or a number",
        ),
        Dimension::Family => (family_number(text), "expected ipv4, ipv6, packet, vsock or a number"),
        Dimension::Port | Dimension::LocalPort => (
            (text == MANY).then_some(PORT_MANY),
            "expected a port, many, 0 for none or -1 for an executed program",
        ),
        _ => (None, "expected an integer"),
    };
    (named.or_else(|| text.parse().ok()), expected)
}

/// Reads an address, or a network of IP addresses with the length of its prefix.
fn parse_address(text: &str) -> Option<FilterOperand> {
    let Some((address, prefix_length)) = text.split_once('/') else {
        return text.parse().ok().map(|address| FilterOperand::Value(Value::Address(address)));
    };
    let network = IpNetwork::new(address.parse().ok()?, prefix_length.parse().ok()?).ok()?;
    Some(FilterOperand::Network(network.network(), network.broadcast()))
}
