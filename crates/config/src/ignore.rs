//! `log.ignore`: what is not logged.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};

use super::node::{Node, Raw, Reader, quoted};
use model::{PORT_EXECUTION, Port, Sha256};

/// A rule: records that match it are not logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IgnoreRule {
    /// The program has this digest.
    Hash(Sha256),
    /// The local or the remote port is this one; -1 is that of `monitor.every_exe`.
    Port(Port),
    /// The domain is this one, in lower case, or below it.
    Domain(String),
    /// The domain, its labels in reverse order (`com.example.www`), starts with this text: the original's
    /// way, kept for its configuration files.
    ReversedDomainPrefix(String),
    /// The remote address lies in this network (CIDR); bits of `address` beyond `prefix_length` are zero.
    Network {
        /// First address of the network.
        address: IpAddr,
        /// Number of leading bits that count: at most 32 or 128.
        prefix_length: u8,
    },
}

impl fmt::Display for IgnoreRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(digest) => f.write_str(&digest.to_hex()),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Domain(domain) => f.write_str(domain),
            Self::ReversedDomainPrefix(prefix) => write!(f, "reversed domain {prefix}*"),
            Self::Network { address, prefix_length } => write!(f, "{address}/{prefix_length}"),
        }
    }
}

impl IgnoreRule {
    /// Which records match: a sentence for people, without its subject.
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
            Self::Network { address, prefix_length } => match model::last_address(*address, *prefix_length) {
                last if last == *address => format!("the remote address is {address}"),
                last => format!("the remote address is one from {address} to {last}"),
            },
        }
    }
}

/// The rules as the user writes them.
pub(super) fn as_text<S: Serializer>(rules: &[IgnoreRule], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(rules.len()))?;
    for rule in rules {
        sequence.serialize_element(&rule.to_string())?;
    }
    sequence.end()
}

/// How a file writes domains.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spelling {
    /// `www.example.com`
    Usual,
    /// `com.example.www`
    Reversed,
}

/// Reads the rules of `key`.
pub(super) fn read(reader: &mut Reader<'_>, key: &'static str, spelling: Spelling) -> Vec<IgnoreRule> {
    let Some(node) = reader.take(key) else { return Vec::new() };
    let items = match node.raw {
        Raw::Array(items) => items,
        _ => {
            let message = format!("{} is not allowed; allowed: an array", node.shown());
            reader.problem(node.line, key, message);
            return Vec::new();
        }
    };
    let mut rules = Vec::new();
    for item in items {
        match rule(&item, spelling) {
            Ok(rule) => rules.push(rule),
            Err(message) => reader.problem(item.line.or(node.line), key, message),
        }
    }
    rules
}

fn rule(item: &Node, spelling: Spelling) -> Result<IgnoreRule, String> {
    let text = match &item.raw {
        Raw::Integer(port) => {
            return match *port {
                port if (PORT_EXECUTION..=65535).contains(&port) => Ok(IgnoreRule::Port(port)),
                _ => Err(format!("{} is not allowed; allowed: a port from -1 to 65535", item.shown())),
            };
        }
        Raw::Text(text) => text,
        _ => {
            let shown = item.shown();
            return Err(format!("{shown} is not allowed; allowed: hashes, domains, addresses and ports"));
        }
    };
    let refuse = |why: &str| Err(format!("{} is not allowed: {why}", quoted(text)));
    if let Some(digest) = Sha256::from_hex(text) {
        return Ok(IgnoreRule::Hash(digest));
    }
    if text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return refuse("a hash (SHA-256) has 64 hexadecimal digits");
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse("a port is a number, without quotation marks");
    }
    if let Some(network) = network(text) {
        return network.or_else(|why| refuse(&why));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A prefix may end in the middle of a name, also right behind a dot.
    let labels = if spelling == Spelling::Reversed { text.strip_suffix('.').unwrap_or(text) } else { text };
    if !text.is_ascii() {
        return refuse("write an international domain in its ASCII form, xn--...");
    }
    if labels.len() > 253 || !labels.split('.').all(label) {
        return refuse("neither a hash, nor an address or network, nor a domain");
    }
    let domain = text.to_ascii_lowercase();
    Ok(match spelling {
        Spelling::Usual => IgnoreRule::Domain(domain),
        Spelling::Reversed => IgnoreRule::ReversedDomainPrefix(domain),
    })
}

/// Reads `ADDRESS` or `ADDRESS/LENGTH`; `None` if it does not look like one.
fn network(text: &str) -> Option<Result<IgnoreRule, String>> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return length.map(|_| Err("not a network: ADDRESS/LENGTH".to_owned()));
    };
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length = match length {
        None => bits,
        Some(length) => match length.parse() {
            Ok(length) if length <= bits => length,
            _ => return Some(Err(format!("the length of the network is a number from 0 to {bits}"))),
        },
    };
    // IPv4 over an IPv6 socket is recorded as IPv4.
    let (address, prefix_length) = match address {
        IpAddr::V6(mapped) if prefix_length >= 96 => match mapped.to_ipv4_mapped() {
            Some(address) => (IpAddr::V4(address), prefix_length - 96),
            None => (address, prefix_length),
        },
        _ => (address, prefix_length),
    };
    let address = model::first_address(address, prefix_length);
    Some(Ok(IgnoreRule::Network { address, prefix_length }))
}
