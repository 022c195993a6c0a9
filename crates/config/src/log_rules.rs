//! The rules about what is logged: `log.ignore`, `log.addresses`, `log.commands`, `log.ports`, `monitor.bandwidth`.

use serde::{Deserialize, Serialize};

use crate::{ignore::IgnoreRule, sections::Config};
use model::{Address, Counters, FlowTuple, ProcessContext, Sha256};

/// Seconds for which traffic waits for the digest of its program if a rule is about digests. Hashing nearly always takes less;
/// after that the traffic is logged as if no rule matched.
pub const MAX_DIGEST_WAIT_SECONDS: u32 = 600;

/// The rules for the content of the log. They apply to the full record; fields are blanked after that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRules {
    /// Store bytes; if false, only connections are counted.
    pub bandwidth: bool,
    /// Store local and remote addresses and domains.
    pub addresses: bool,
    /// Store the command lines of programs.
    pub commands: bool,
    /// Store local and remote ports.
    pub ports: bool,
    /// Records that match one of these are not logged.
    pub ignore: Vec<IgnoreRule>,
}

impl LogRules {
    /// The rules of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            bandwidth: config.monitor.bandwidth,
            addresses: config.log.addresses,
            commands: config.log.commands,
            ports: config.log.ports,
            ignore: config.log.ignore.clone(),
        }
    }

    /// Whether a rule ignores traffic with this tuple, of any program.
    pub fn ignores_tuple(&self, tuple: &FlowTuple) -> bool {
        self.ignore.iter().any(|rule| match rule {
            IgnoreRule::Hash(_) => false,
            IgnoreRule::Port(port) => [tuple.local_port, tuple.remote_port].contains(port),
            IgnoreRule::Domain(domain) => is_at_or_below(&tuple.domain, domain.as_bytes()),
            IgnoreRule::ReversedDomainPrefix(prefix) => starts_reversed(&tuple.domain, prefix.as_bytes()),
            IgnoreRule::Network(network) => {
                tuple.remote_address.and_then(Address::ip).is_some_and(|remote| network.contains(remote))
            }
        })
    }

    /// Whether a rule ignores traffic of programs with this digest, with any peer.
    pub fn ignores_digest(&self, digest: Option<Sha256>) -> bool {
        digest.is_some_and(|digest| self.ignore.contains(&IgnoreRule::Hash(digest)))
    }

    /// Whether a rule is about digests.
    pub fn has_digest_rules(&self) -> bool {
        self.ignore.iter().any(|rule| matches!(rule, IgnoreRule::Hash(_)))
    }

    /// Whether a rule is about domains.
    pub fn has_domain_rules(&self) -> bool {
        self.ignore
            .iter()
            .any(|rule| matches!(rule, IgnoreRule::Domain(_) | IgnoreRule::ReversedDomainPrefix(_)))
    }

    /// Whether different records may become equal when they are blanked.
    pub fn blanks_anything(&self) -> bool {
        !self.addresses || !self.commands || !self.ports
    }

    /// Blanks the fields of a context that are not stored.
    pub fn blank_context(&self, context: &mut ProcessContext) {
        if !self.commands {
            for program in [&mut context.program, &mut context.parent, &mut context.grandparent] {
                program.command_line.clear();
            }
        }
    }

    /// Blanks the fields of a tuple that are not stored.
    pub fn blank_tuple(&self, tuple: &mut FlowTuple) {
        if !self.addresses {
            (tuple.local_address, tuple.remote_address) = (None, None);
            tuple.domain.clear();
            tuple.domain_source = Default::default();
        }
        if !self.ports {
            // Negative numbers stand for no port of a connection.
            for port in [&mut tuple.local_port, &mut tuple.remote_port] {
                *port = (*port).min(0);
            }
        }
    }

    /// Sets the counters that are not stored to zero.
    pub fn blank_counters(&self, counters: &mut Counters) {
        if !self.bandwidth {
            (counters.sent, counters.received) = (0, 0);
        }
    }
}

/// Whether a domain is that of a rule or a sub-domain of it. Case and a final dot make no difference (RFC 4343, RFC 1034
/// section 3.1).
fn is_at_or_below(domain: &[u8], rule: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let Some(position) = domain.len().checked_sub(rule.len()) else { return false };
    let (rest, end) = domain.split_at(position);
    end.eq_ignore_ascii_case(rule) && (rest.is_empty() || rest.ends_with(b"."))
}

/// Whether the domain with its labels in reverse order starts with `prefix`.
fn starts_reversed(domain: &[u8], prefix: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let reversed = domain.rsplit(|byte| *byte == b'.').flat_map(|label| label.iter().chain(b"."));
    prefix.len() <= domain.len()
        && reversed.zip(prefix).all(|(byte, expected)| byte.eq_ignore_ascii_case(expected))
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
    fn port_rules_match_both_ends() {
        let tuple = to("192.0.2.1", "");
        assert!(rules("443").ignores_tuple(&tuple) && rules("1, 50000").ignores_tuple(&tuple));
        assert!(!rules("44, 5000, -1").ignores_tuple(&tuple));
        let executed = FlowTuple { local_port: -1, remote_port: -1, ..FlowTuple::default() };
        assert!(rules("-1").ignores_tuple(&executed));
        assert!(!rules("0").ignores_tuple(&executed));
    }

    #[test]
    fn ports_are_left_out_and_rules_about_them_still_hold() {
        let rules = LogRules { ports: false, ..rules("443") };
        let mut tuple = to("192.0.2.1", "");
        assert!(rules.blanks_anything() && rules.ignores_tuple(&tuple));
        rules.blank_tuple(&mut tuple);
        assert_eq!((tuple.local_port, tuple.remote_port), (0, 0));
        assert!(tuple.remote_address.is_some());
        let mut executed = FlowTuple { local_port: -1, remote_port: -1, ..FlowTuple::default() };
        rules.blank_tuple(&mut executed);
        assert_eq!((executed.local_port, executed.remote_port), (-1, -1));
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
        // The notation of the IPv6 socket; the record has 192.0.2.1.
        assert!(rules(r#""::ffff:192.0.2.0/120""#).ignores_tuple(&to("192.0.2.1", "")));
        // Traffic without an address matches no network.
        assert!(!rules(r#""0.0.0.0/0", "::/0""#).ignores_tuple(&FlowTuple::default()));
    }

    #[test]
    fn a_domain_rule_matches_sub_domains_too() {
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
    fn prefixes_of_the_original_match_in_the_middle_of_a_name() {
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
    fn digest_rules_are_about_the_program() {
        let (digest, other) = (Sha256([0xab; 32]), Sha256([1; 32]));
        let rules = rules(&format!("\"{}\"", digest.to_hex().to_uppercase()));
        assert!(rules.has_digest_rules() && rules.ignores_digest(Some(digest)));
        assert!(!rules.ignores_digest(Some(other)) && !rules.ignores_digest(None));
    }
}
