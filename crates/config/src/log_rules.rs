//! What of the traffic is logged: `log.ignore`, `log.addresses`, `log.commands`, `monitor.bandwidth`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Config, IgnoreRule};
use model::{Address, Counters, FlowTuple, ProcessContext, Sha256, first_address};

/// Seconds for which traffic waits for the digest of its program where a rule is about digests: nearly always longer than
/// hashing takes, but not for ever.
pub const RULES_PATIENCE_SECONDS: u32 = 600;

/// What is logged. Rules look at the full record: what is blanked is blanked after them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRules {
    /// Keep bytes; without it only connections count.
    pub bandwidth: bool,
    /// Keep addresses and domains.
    pub addresses: bool,
    /// Keep command lines.
    pub commands: bool,
    /// Records that match one of these are not logged.
    pub ignore: Vec<IgnoreRule>,
}

impl LogRules {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            bandwidth: config.monitor.bandwidth,
            addresses: config.log.addresses,
            commands: config.log.commands,
            ignore: config.log.ignore.clone(),
        }
    }

    /// Whether traffic with this peer is ignored, whoever talks.
    pub fn ignores_tuple(&self, tuple: &FlowTuple) -> bool {
        self.ignore.iter().any(|rule| match rule {
            IgnoreRule::Hash(_) => false,
            IgnoreRule::Port(port) => [tuple.local_port, tuple.remote_port].contains(port),
            IgnoreRule::Domain(domain) => is_at_or_below(&tuple.domain, domain.as_bytes()),
            IgnoreRule::ReversedDomainPrefix(prefix) => starts_reversed(&tuple.domain, prefix.as_bytes()),
            IgnoreRule::Network { address, prefix_length } => tuple
                .remote_address
                .and_then(Address::ip)
                .is_some_and(|remote| is_within(remote, *address, *prefix_length)),
        })
    }

    /// Whether traffic of programs with this digest is ignored, whoever the peer is.
    pub fn ignores_digest(&self, digest: Option<Sha256>) -> bool {
        digest.is_some_and(|digest| self.ignore.contains(&IgnoreRule::Hash(digest)))
    }

    /// Whether a rule needs to know the digest.
    pub fn need_digests(&self) -> bool {
        self.ignore.iter().any(|rule| matches!(rule, IgnoreRule::Hash(_)))
    }

    /// Whether a rule needs to know the domain.
    pub fn need_domains(&self) -> bool {
        self.ignore
            .iter()
            .any(|rule| matches!(rule, IgnoreRule::Domain(_) | IgnoreRule::ReversedDomainPrefix(_)))
    }

    /// Whether records that differ may be the same once they are blanked.
    pub fn blank_anything(&self) -> bool {
        !self.addresses || !self.commands
    }

    /// Blanks what is not to be stored of a context.
    pub fn blank_context(&self, context: &mut ProcessContext) {
        if !self.commands {
            for program in [&mut context.program, &mut context.parent, &mut context.grandparent] {
                program.command_line.clear();
            }
        }
    }

    /// Blanks what is not to be stored of a peer.
    pub fn blank_tuple(&self, tuple: &mut FlowTuple) {
        if !self.addresses {
            (tuple.local_address, tuple.remote_address) = (None, None);
            tuple.domain.clear();
            tuple.domain_source = Default::default();
        }
    }

    /// Blanks what is not to be stored of counters.
    pub fn blank_counters(&self, counters: &mut Counters) {
        if !self.bandwidth {
            (counters.sent, counters.received) = (0, 0);
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, prefix_length: u8) -> bool {
    address.is_ipv4() == network.is_ipv4() && first_address(address, prefix_length) == network
}

/// Domains are compared without regard to case and to a dot at the end (RFC 4343, RFC 1034 section 3.1).
fn is_at_or_below(domain: &[u8], rule: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let Some(cut) = domain.len().checked_sub(rule.len()) else { return false };
    let (rest, end) = domain.split_at(cut);
    end.eq_ignore_ascii_case(rule) && (rest.is_empty() || rest.ends_with(b"."))
}

fn starts_reversed(domain: &[u8], prefix: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let labels: Vec<&[u8]> = domain.rsplit(|byte| *byte == b'.').collect();
    let reversed = labels.join(&b'.');
    reversed.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ignore: &str) -> LogRules {
        LogRules::of(&Config::from_toml(&format!("[log]\nignore = [{ignore}]")).unwrap())
    }

    fn reversed(prefix: &str) -> LogRules {
        LogRules::of(&Config::from_json(&format!(r#"{{"Log ignore": ["{prefix}"]}}"#)).unwrap())
    }

    fn to(address: &str, domain: &str) -> FlowTuple {
        FlowTuple {
            remote_address: Some(address.parse().unwrap()),
            local_port: 50000,
            remote_port: 443,
            domain: domain.into(),
            ..FlowTuple::default()
        }
    }

    #[test]
    fn ports_of_both_ends_count() {
        let tuple = to("192.0.2.1", "");
        assert!(rules("443").ignores_tuple(&tuple) && rules("1, 50000").ignores_tuple(&tuple));
        assert!(!rules("44, 5000, -1").ignores_tuple(&tuple));
        let executed = FlowTuple { local_port: -1, remote_port: -1, ..FlowTuple::default() };
        assert!(rules("-1").ignores_tuple(&executed));
        assert!(!rules("0").ignores_tuple(&executed));
    }

    #[test]
    fn networks_are_exact_to_the_bit() {
        let network = rules(r#""192.0.2.128/25""#);
        assert!(
            network.ignores_tuple(&to("192.0.2.128", "")) && network.ignores_tuple(&to("192.0.2.255", ""))
        );
        assert!(
            !network.ignores_tuple(&to("192.0.2.127", "")) && !network.ignores_tuple(&to("192.0.3.0", ""))
        );
        assert!(rules(r#""0.0.0.0/0""#).ignores_tuple(&to("255.255.255.255", "")));
        assert!(!rules(r#""0.0.0.0/0""#).ignores_tuple(&to("::1", "")));
        assert!(!rules(r#""::/0""#).ignores_tuple(&to("192.0.2.1", "")));
        assert!(rules(r#""2001:db8::/33""#).ignores_tuple(&to("2001:db8:7fff::1", "")));
        assert!(!rules(r#""2001:db8::/33""#).ignores_tuple(&to("2001:db8:8000::1", "")));
        // As it is written by who thinks of the socket; the record says 192.0.2.1.
        assert!(rules(r#""::ffff:192.0.2.0/120""#).ignores_tuple(&to("192.0.2.1", "")));
        // Traffic without an address has none to match.
        assert!(!rules(r#""0.0.0.0/0", "::/0""#).ignores_tuple(&FlowTuple::default()));
    }

    #[test]
    fn a_domain_stands_for_those_below_it_too() {
        let domain = rules(r#""Example.com""#);
        for (name, matches) in [
            ("example.com", true),
            ("EXAMPLE.com.", true),
            ("www.example.com", true),
            ("a.b.example.com", true),
            ("notexample.com", false),
            ("example.com.evil.org", false),
            ("com", false),
            ("", false),
        ] {
            assert_eq!(domain.ignores_tuple(&to("192.0.2.1", name)), matches, "{name}");
        }
    }

    #[test]
    fn the_originals_prefixes_match_in_the_middle_of_a_name() {
        for (prefix, name, matches) in [
            ("com.example", "example.com", true),
            ("com.example", "www.example.com", true),
            ("com.example", "example2.com", true),
            ("com.example.", "example2.com", false),
            ("com.example.", "www.Example.com", true),
            ("com.example.", "example.com", false),
            ("com.example", "example.org", false),
        ] {
            assert_eq!(reversed(prefix).ignores_tuple(&to("192.0.2.1", name)), matches, "{prefix} {name}");
        }
    }

    #[test]
    fn hashes_are_of_the_program() {
        let (digest, other) = (Sha256([0xab; 32]), Sha256([1; 32]));
        let rules = rules(&format!("\"{}\"", digest.to_hex().to_uppercase()));
        assert!(rules.need_digests() && rules.ignores_digest(Some(digest)));
        assert!(!rules.ignores_digest(Some(other)) && !rules.ignores_digest(None));
    }
}
