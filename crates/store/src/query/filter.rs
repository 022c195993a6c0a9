//! Filters: conditions on one dimension of a record.

use std::net::IpAddr;

use calendar::TimeZone;
use ipnetwork::IpNetwork;
use model::{
    Address, MANY, PORT_MANY, Scope, Sha256,
    text::{command_line, lossless::from_text},
};
use thiserror::Error;

use super::{
    calendar_parts::calendar_value,
    dimension::{Dimension, ValueType},
    pattern::{Needle, Pattern},
    value::Value,
    value_names::{asn_number, domain_source_number, family_number, protocol_number},
};

/// The operand that the value of a record is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilterOperand {
    Value(Value),
    /// Addresses from the first to the last, both of one family.
    Network(IpAddr, IpAddr),
    Pattern(Pattern),
}

/// A text to find in the values of one dimension. Letters match in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// One of these must match.
    pub(crate) alternatives: Vec<Filter>,
}

impl Find {
    /// Selects the records whose value contains `text` (escapes stand for their bytes), or is one of `others`: values that
    /// the user knows by another name.
    pub fn new(dimension: Dimension, text: &[u8], others: impl IntoIterator<Item = Value>) -> Self {
        let needle = Pattern::Contains(Needle::new(&from_text(text)));
        let found = Filter { dimension, operand: FilterOperand::Pattern(needle), exclude: false };
        let others = others.into_iter().map(|value| Filter::equal(dimension, value, false));
        Self { alternatives: [found].into_iter().chain(others).collect() }
    }

    /// The dimension whose values are searched.
    pub fn dimension(&self) -> Option<Dimension> {
        self.alternatives.first().map(Filter::dimension)
    }

    /// Whether a value of the dimension is found.
    pub fn matches(&self, value: &Value) -> bool {
        self.alternatives.iter().any(|filter| filter.matches(value))
    }
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
        let scope = match &value {
            Value::Bytes(name) if dimension == Dimension::Scope => {
                Scope::ALL.into_iter().find(|scope| scope.name().as_bytes() == name)
            }
            _ => None,
        };
        // The log stores the address, not its scope.
        let operand = scope.map_or(FilterOperand::Value(value), |scope| Pattern::Scope(scope).into());
        Self { dimension, operand, exclude }
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

    /// The value that the filter selects; `None` if it may select several.
    pub fn single_value(&self) -> Option<&Value> {
        match &self.operand {
            FilterOperand::Value(value) => Some(value),
            FilterOperand::Network(..) | FilterOperand::Pattern(_) => None,
        }
    }

    /// For one that may select several values: a text that all of them contain, byte for byte, unless it is of command lines.
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.operand {
            FilterOperand::Pattern(pattern) => pattern.literal(),
            FilterOperand::Value(_) | FilterOperand::Network(..) => None,
        }
    }

    /// Whether a value passes the condition.
    fn matches(&self, value: &Value) -> bool {
        match (&self.operand, value) {
            (FilterOperand::Value(operand), value) => operand == value,
            (FilterOperand::Network(first, last), Value::Address(address)) => {
                address.ip().is_some_and(|ip| (*first..=*last).contains(&ip))
            }
            (FilterOperand::Network(..), _) => false,
            (FilterOperand::Pattern(pattern), value) => pattern.matches(self.dimension, value),
        }
    }

    /// Reads the filters that a typed value stands for: one, or several that are alternatives. An empty value selects records
    /// without one, `many` those with several addresses, ports, domains or executables.
    ///
    /// * Texts: as they are, with escapes (`\\xff`); `*` stands for anything. A path without a slash is the name of the file, also
    ///   one with `*`.
    ///   A domain with a dot in front includes its sub-domains. A container, application or unit may lack its kind.
    /// * Numbers, and names of protocols, families and days of the week.
    /// * Addresses and networks (`10.0.0.0/8`); IPv4 in IPv6 (`::ffff:10.0.0.1`) is IPv4.
    /// * Digests in hexadecimal, or their first digits.
    /// * Times, and parts of the calendar by a point of time in them, in `zone`.
    ///
    /// # Errors
    /// The value does not fit the dimension.
    pub fn parse(
        dimension: Dimension,
        value: &[u8],
        exclude: bool,
        zone: &TimeZone,
    ) -> Result<Vec<Self>, FilterError> {
        let text = String::from_utf8_lossy(value);
        let (operands, expected) = match dimension.value_type() {
            ValueType::Bytes => (text_operands(dimension, value), ""),
            ValueType::Scope => (scope_operand(&text), "expected internet, local or unknown"),
            ValueType::Sha256 | ValueType::Address if value.is_empty() => (vec![Value::None.into()], ""),
            ValueType::Sha256 => (
                digest_operand(&text),
                "expected 64 hexadecimal digits or the first of them, at least 4, or nothing for an unknown one",
            ),
            ValueType::Address => (
                parse_address(&text).into_iter().collect(),
                "expected an address, a network (10.0.0.0/8), many, or nothing for none",
            ),
            ValueType::Integer => {
                let (number, expected) = parse_number(dimension, &text, zone);
                (number.map(|number| Value::Integer(number).into()).into_iter().collect(), expected)
            }
        };
        if operands.is_empty() {
            return Err(FilterError { dimension, value: text.into_owned(), expected });
        }
        Ok(operands.into_iter().map(|operand| Self { dimension, operand, exclude }).collect())
    }
}

impl From<Value> for FilterOperand {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Pattern> for FilterOperand {
    fn from(pattern: Pattern) -> Self {
        Self::Pattern(pattern)
    }
}

/// The operands that a typed text stands for.
fn text_operands(dimension: Dimension, value: &[u8]) -> Vec<FilterOperand> {
    let mut operands: Vec<FilterOperand> = match dimension {
        _ if names_many(dimension) && value == MANY.as_bytes() => return vec![Value::Many.into()],
        _ if dimension.is_command_line() => command_line_values(value),
        Dimension::Domain => vec![Value::Bytes(from_text(value.to_ascii_lowercase())).into()],
        _ => vec![Value::Bytes(from_text(value)).into()],
    };
    if value.is_empty() {
        return operands;
    }
    let literal = from_text(value);
    match dimension {
        _ if value.contains(&b'*') => {
            let text =
                if dimension == Dimension::Domain { value.to_ascii_lowercase() } else { value.to_vec() };
            operands.extend(Pattern::glob(&text).map(FilterOperand::from));
            if is_path(dimension) && !literal.contains(&b'/') {
                operands.extend(Pattern::file_name_glob(&text).map(FilterOperand::from));
            }
        }
        _ if is_path(dimension) && !literal.contains(&b'/') => {
            operands.push(Pattern::FileName(literal).into());
        }
        Dimension::Domain => {
            if let Some(domain) = literal.to_ascii_lowercase().strip_prefix(b".") {
                return vec![Pattern::DomainAndBelow(domain.to_vec()).into()];
            }
        }
        Dimension::Container | Dimension::App | Dimension::Unit => {
            operands.push(Pattern::Named(literal).into());
        }
        _ => {}
    }
    operands
}

/// Whether the values are the paths of executables.
fn is_path(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable
    )
}

/// The bytes of command lines that a typed text may mean.
fn command_line_values(text: &[u8]) -> Vec<FilterOperand> {
    command_line::candidates(text).into_iter().map(|line| Value::Bytes(line).into()).collect()
}

fn scope_operand(text: &str) -> Vec<FilterOperand> {
    let scope = Scope::ALL.into_iter().find(|scope| scope.name() == text);
    let pattern = |scope: Scope| Pattern::Scope(scope).into();
    match text {
        "" => vec![Value::None.into()],
        _ => scope.map(pattern).into_iter().collect(),
    }
}

fn digest_operand(text: &str) -> Vec<FilterOperand> {
    /// Fewer digits are hardly meant.
    const MIN_DIGITS: usize = 4;
    if let Some(digest) = Sha256::from_hex(text) {
        return vec![Value::Sha256(digest).into()];
    }
    let is_prefix =
        (MIN_DIGITS..64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_prefix.then(|| Pattern::DigestPrefix(text.to_ascii_lowercase()).into()).into_iter().collect()
}

/// Whether the text "many" stands for several values of the dimension.
fn names_many(dimension: Dimension) -> bool {
    dimension == Dimension::Domain || is_path(dimension)
}

/// The number of a dimension's value, and what the user can type instead if there is none.
fn parse_number(dimension: Dimension, text: &str, zone: &TimeZone) -> (Option<i64>, &'static str) {
    let number = text.parse::<i64>().ok();
    let in_range = |last: i64| number.filter(|number| (0..=last).contains(number));
    match dimension {
        Dimension::Protocol => (
            protocol_number(text).or(in_range(0xffff)),
            "expected a protocol's name (tcp, udp, icmp, ...) or number",
        ),
        Dimension::Asn => (
            asn_number(text).or(in_range(u32::MAX.into())),
            "expected a number, with or without AS before it",
        ),
        Dimension::DomainSource => (
            domain_source_number(text).or(in_range(0xff)),
            "expected resolver, dns, tls, quic, http, namespace, reverse, unknown or a number",
        ),
        Dimension::Family => {
            (family_number(text).or(in_range(0xffff)), "expected ipv4, ipv6, packet, vsock or a number")
        }
        Dimension::Port | Dimension::LocalPort => (
            (text == MANY).then_some(PORT_MANY).or(number.filter(|number| (-1..=0xffff).contains(number))),
            "expected a port from 0 to 65535 or the name of a service (https); 0 is none, -1 an executed program, many \
             several",
        ),
        Dimension::Uid => (in_range(u32::MAX.into()), "expected the name of a user or a number from 0 on"),
        Dimension::Weekday => (
            weekday_number(text).or(number.filter(|number| (1..=7).contains(number))),
            "expected monday to sunday, or 1 to 7",
        ),
        Dimension::HourOfDay => (in_range(23), "expected a number from 0 to 23"),
        Dimension::Time => (
            calendar::parse_part(text, model::text::time::now(), zone).ok().map(|part| part.start),
            "expected a point of time: \"2026-11-28 14:30:10\", with or without an offset, or unix seconds",
        ),
        Dimension::Hour | Dimension::Day | Dimension::Week | Dimension::Month | Dimension::Year => {
            let part = calendar::parse_part(text, model::text::time::now(), zone).ok();
            (
                part.map(|part| calendar_value(dimension, part.start, zone)),
                "expected a point of time in it: 2026-11-28, \"2026-11-28 14:00\", yesterday, or unix seconds",
            )
        }
        _ => (number, "expected an integer"),
    }
}

/// The number of a day of the week by its name, or the first letters of it.
fn weekday_number(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let is_long_enough = text.len() >= 2;
    (1..=7).find(|number| {
        is_long_enough && calendar::weekday_name(*number).is_some_and(|name| name.starts_with(&text))
    })
}

/// Reads an address, or a network of IP addresses with the length of its prefix.
fn parse_address(text: &str) -> Option<FilterOperand> {
    let Some((address, prefix_length)) = text.split_once('/') else {
        return text.parse().ok().map(|address| Value::Address(canonical(address)).into());
    };
    let network = IpNetwork::new(address.parse().ok()?, prefix_length.parse().ok()?).ok()?;
    let (first, last) = (network.network().to_canonical(), network.broadcast().to_canonical());
    // A network around ::ffff:0:0/96 has addresses of both families: it stays one of IPv6.
    match first.is_ipv4() == last.is_ipv4() {
        true => Some(FilterOperand::Network(first, last)),
        false => Some(FilterOperand::Network(network.network(), network.broadcast())),
    }
}

/// The address as the log stores it: IPv4 in IPv6 is IPv4.
fn canonical(address: Address) -> Address {
    match address {
        Address::Ip(address) => Address::Ip(address.to_canonical()),
        other => other,
    }
}
