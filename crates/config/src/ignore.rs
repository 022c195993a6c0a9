//! `log.ignore`: the rules about what is not logged.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};

use super::{
    addresses,
    node::{Node, NodeValue, quoted},
    table_reader::TableReader,
};
use model::{PORT_EXECUTION, Port, Sha256};

/// A rule: records that match it are not logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IgnoreRule {
    /// The executable of the program has this digest.
    Hash(Sha256),
    /// The local or the remote port is this one; -1 is that of `monitor.every_exe`.
    Port(Port),
    /// The domain is this one (in lower case), or a sub-domain of it.
    Domain(String),
    /// The domain with its labels in reverse order (`com.example.www`) starts with this text: the rule of the original
    /// picosnitch, for its configuration files.
    ReversedDomainPrefix(String),
    /// The remote address is in this network; the bits after the prefix are zero.
    Network(IpNetwork),
}

impl fmt::Display for IgnoreRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(digest) => f.write_str(&digest.to_hex()),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Domain(domain) => f.write_str(domain),
            Self::ReversedDomainPrefix(prefix) => write!(f, "reversed domain {prefix}*"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl IgnoreRule {
    /// Explains in words which records match.
    pub fn explanation(&self) -> String {
        match self {
            Self::Hash(_) => "programs whose executable has this SHA-256".into(),
            Self::Port(-1) => "executed programs that are recorded because of monitor.every_exe".into(),
            Self::Port(port) => format!("the local or the remote port is {port}"),
            Self::Domain(domain) => format!("the domain is {domain} or ends with .{domain}"),
            Self::ReversedDomainPrefix(prefix) => {
                let usual: Vec<&str> = prefix.trim_end_matches('.').rsplit('.').collect();
                let whole = if prefix.ends_with('.') { "is below" } else { "is, is below or begins like" };
                format!("the domain, read from its end, starts with {prefix}: it {whole} {}", usual.join("."))
            }
            Self::Network(network) if network.network() == network.broadcast() => {
                format!("the remote address is {}", network.network())
            }
            Self::Network(network) => {
                format!("the remote address is one from {} to {}", network.network(), network.broadcast())
            }
        }
    }
}

/// Serialises the rules as the user writes them.
pub(super) fn serialize_as_text<S: Serializer>(
    rules: &[IgnoreRule],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(rules.len()))?;
    for rule in rules {
        sequence.serialize_element(&rule.to_string())?;
    }
    sequence.end()
}

/// The order in which the file writes the labels of domains.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum DomainOrder {
    /// As users write them: `www.example.com`.
    Forward,
    /// The top-level domain first: `com.example.www`.
    Reversed,
}

/// Reads the rules of `key`.
pub(super) fn read_rules(
    reader: &mut TableReader<'_>,
    key: &'static str,
    order: DomainOrder,
) -> Vec<IgnoreRule> {
    let Some(node) = reader.take(key) else { return Vec::new() };
    let items = match node.value {
        NodeValue::Array(items) => items,
        _ => {
            let message = format!("{} is not allowed; allowed: an array", node.description());
            reader.problem(node.line, key, message);
            return Vec::new();
        }
    };
    let mut rules = Vec::new();
    for item in items {
        match parse_rule(&item, order) {
            Ok(rule) => rules.push(rule),
            Err(message) => reader.problem(item.line.or(node.line), key, message),
        }
    }
    rules
}

/// Reads one rule; the error is the message for the user.
pub(super) fn parse_rule(item: &Node, order: DomainOrder) -> Result<IgnoreRule, String> {
    let text = match &item.value {
        NodeValue::Integer(port) => {
            return match *port {
                port if (PORT_EXECUTION..=65535).contains(&port) => Ok(IgnoreRule::Port(port)),
                _ => Err(format!("{} is not allowed; allowed: a port from -1 to 65535", item.description())),
            };
        }
        NodeValue::Text(text) => text,
        _ => {
            let description = item.description();
            return Err(format!(
                "{description} is not allowed; allowed: hashes, domains, addresses and ports"
            ));
        }
    };
    let reject = |why: &str| Err(format!("{} is not allowed: {why}", quoted(text)));
    if let Some(digest) = Sha256::from_hex(text) {
        return Ok(IgnoreRule::Hash(digest));
    }
    if text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return reject("a hash (SHA-256) has 64 hexadecimal digits");
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return reject("a port is a number, without quotation marks");
    }
    if let Some(network) = network(text) {
        return network.or_else(|why| reject(&why));
    }
    if let Some(hint) = addresses::hint(text, order) {
        return reject(&hint);
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A prefix may end in the middle of a name, also after a dot.
    let labels = if order == DomainOrder::Reversed { text.strip_suffix('.').unwrap_or(text) } else { text };
    if !text.is_ascii() {
        return reject("write an international domain in its ASCII form, xn--...");
    }
    if labels.len() > 253 || !labels.split('.').all(label) {
        return reject("neither a hash, nor an address or network, nor a domain");
    }
    let domain = text.to_ascii_lowercase();
    Ok(match order {
        DomainOrder::Forward => IgnoreRule::Domain(domain),
        DomainOrder::Reversed => IgnoreRule::ReversedDomainPrefix(domain),
    })
}

/// Reads `ADDRESS` or `ADDRESS/LENGTH`; `None` if the text does not look like one.
fn network(text: &str) -> Option<Result<IgnoreRule, String>> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        let hint = || addresses::hint(text, DomainOrder::Forward);
        return length.map(|_| Err(hint().unwrap_or_else(|| "not a network: ADDRESS/LENGTH".to_owned())));
    };
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(bits), |length| length.parse().ok());
    // IPv4 over an IPv6 socket is recorded as IPv4.
    let (address, length) = match (address, length) {
        (IpAddr::V6(mapped), Some(length @ 96..=128)) => match mapped.to_ipv4_mapped() {
            Some(address) => (IpAddr::V4(address), Some(length - 96)),
            None => (IpAddr::V6(mapped), Some(length)),
        },
        other => other,
    };
    let network = length.and_then(|length| IpNetwork::new(address, length).ok());
    let first = network.and_then(|network| IpNetwork::new(network.network(), network.prefix()).ok());
    let error = || format!("the length of the network is a number from 0 to {bits}");
    Some(first.map(IgnoreRule::Network).ok_or_else(error))
}
