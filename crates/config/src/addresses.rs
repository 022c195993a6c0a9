//! Texts that look like addresses and are none. As domains they would match nothing, and the user would believe that such
//! traffic is not logged.

use super::ignore::DomainOrder;

const RANGE: &str = "write a network with the length of its prefix, such as 10.0.0.0/24 or 2001:db8::/32; there are no ranges, \
                     patterns or masks";

/// What to write instead of a text that looks like an address or network but is none; `None` if it looks like something else.
pub(super) fn hint(text: &str, order: DomainOrder) -> Option<String> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    if address.contains(':') {
        return Some(ipv6_hint(address).to_owned());
    }
    let labels: Vec<&str> = address.split('.').collect();
    // No top-level domain is a number (WHATWG URL, "ends in a number"); a reversed domain begins with it.
    let top = match order {
        DomainOrder::Forward => labels.iter().rev().find(|label| !label.is_empty()),
        DomainOrder::Reversed => labels.first(),
    };
    let is_pattern = |label: &&str| label.is_empty() || matches!(*label, "*" | "x" | "X");
    let is_numeric = top.is_some_and(|top| is_number(top) || is_range(top))
        || labels.iter().all(|label| is_number(label) || is_range(label) || is_pattern(label))
            && labels.iter().any(|label| is_number(label));
    if !is_numeric {
        return None;
    }
    let end = labels.len() - labels.iter().rev().take_while(|label| is_pattern(label)).count();
    let octets: Option<Vec<u8>> = labels[..end].iter().map(|label| label.parse().ok()).collect();
    let has_zeros = labels.iter().any(|label| label.len() > 1 && label.starts_with('0') && is_decimal(label));
    Some(match octets {
        _ if has_zeros => {
            "an address has decimal numbers without zeros at the front; other programs read them as octal"
                .into()
        }
        Some(octets) if (1..4).contains(&octets.len()) => {
            let bits = length.and_then(|length| length.parse().ok()).filter(|bits: &usize| *bits <= 32);
            let bits = bits.unwrap_or(8 * octets.len());
            let parts: Vec<String> = (0..4).map(|at| octets.get(at).unwrap_or(&0).to_string()).collect();
            format!("an address has four numbers; write {}/{bits} for the network", parts.join("."))
        }
        _ if labels.iter().any(|label| is_range(label) || label.contains('*')) => RANGE.into(),
        _ if labels.iter().any(|label| label.parse::<u32>().is_ok_and(|number| number > 255)) => {
            "each number of an address is at most 255".into()
        }
        _ => format!("not an address of four numbers from 0 to 255; {RANGE}"),
    })
}

fn ipv6_hint(address: &str) -> &'static str {
    if address.contains(['*', '-']) {
        RANGE
    } else if address.contains('%') {
        "write the address without its interface"
    } else if address.starts_with('[') {
        "write the address without brackets, and a port as a rule of its own"
    } else if address.matches(':').count() == 1 {
        "neither an address nor a domain has a colon and a port; a port is a rule of its own, as a number"
    } else {
        "not an IPv6 address: eight groups of one to four hexadecimal digits, or fewer with one \"::\"; a network has the length of \
         its prefix, such as 2001:db8::/32"
    }
}

fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    is_decimal(label) || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_decimal(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Two numbers with a hyphen, as between two addresses or within one.
fn is_range(label: &str) -> bool {
    label.split_once('-').is_some_and(|(from, to)| is_number(from) && is_number(to))
}
