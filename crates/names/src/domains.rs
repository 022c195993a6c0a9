//! Attribution of domains to connections. In this order: a name that the process itself resolved, the server name in the
//! handshake of the connection, a name that others in the network namespace resolved. docs/names.md explains the order.
//!
//! The domain of a connection is decided once, so that a row of the log keeps its domain.

use std::{net::IpAddr, rc::Rc};

use hashlink::LruCache;

use crate::{
    address_cache::{AddressMatch, Resolution},
    dns_exchange::{Direction, DnsExchanges, PROTOCOL_UDP, is_name_service_port},
    dns_message::Message,
    domain_name::normalize_domain,
    handshake::Handshake,
    remote_endpoint::RemoteEndpoint,
    resolutions::Resolutions,
    server_name::ServerName,
};
use model::{Bytes, DomainSource, Flow, FlowId, NameObservation, ObservedPayload, ProcessId};

/// Number of connections whose handshake is incomplete.
const MAX_HANDSHAKES: usize = 512;
/// Number of connections that have a domain, and of those that have none yet.
const MAX_CONNECTIONS: usize = 16_384;

/// Bounds of the time to live of a DNS response, seconds.
const DNS_TTL: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Seconds for which an answer of the C library or of systemd-resolved is valid, since it has no time to live.
const RESOLVER_TTL: u64 = 600;
/// Nanoseconds after the start of a connection within which its handshake, or that of an earlier connection, may still be
/// observed.
const MAX_HANDSHAKE_DELAY: u64 = 2_000_000_000;

/// A domain, and how it is known.
pub(crate) type SourcedDomain = (Bytes, DomainSource);

/// The domain of a connection at the end of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainDecision {
    /// The domain is decided and does not change any more.
    Decided(SourcedDomain),
    /// The connection is young: its handshake may still show a better name than those that are known. It may be decided in
    /// the next window.
    Pending,
    /// No domain is known for this connection.
    Unknown,
}

/// A connection whose domain is not decided.
#[derive(Clone, Copy)]
struct UndecidedConnection {
    process: ProcessId,
    network_namespace: u32,
    uid: u32,
    /// Start of the connection, nanoseconds of boot time.
    began: u64,
}

/// The domains of connections, and the observations from which they are decided.
pub struct Domains {
    resolutions: Resolutions,
    dns: DnsExchanges,
    handshakes: LruCache<RemoteEndpoint, Handshake>,
    /// Server names from complete handshakes of connections that are not decided.
    server_names: LruCache<RemoteEndpoint, SourcedDomain>,
    undecided: LruCache<RemoteEndpoint, UndecidedConnection>,
    decided: LruCache<RemoteEndpoint, SourcedDomain>,
}

impl Default for Domains {
    fn default() -> Self {
        Self {
            resolutions: Resolutions::default(),
            dns: DnsExchanges::default(),
            handshakes: LruCache::new(MAX_HANDSHAKES),
            server_names: LruCache::new(MAX_CONNECTIONS),
            undecided: LruCache::new(MAX_CONNECTIONS),
            decided: LruCache::new(MAX_CONNECTIONS),
        }
    }
}

impl Domains {
    /// Adds one observation. It must be added before the flows that follow from it are named.
    pub fn observe(&mut self, observation: &NameObservation) {
        match &observation.payload {
            ObservedPayload::Resolved(name, addresses) => {
                let Some(name) = normalize_domain(name) else { return };
                let resolution =
                    Resolution::new(name, observation.time, RESOLVER_TTL, DomainSource::Resolver);
                for address in addresses {
                    self.resolutions.add(observation, *address, &resolution);
                }
            }
            ObservedPayload::Sent(bytes, uncaptured) => {
                if is_name_service_port(observation.remote_port) {
                    self.observe_dns(observation, Direction::Sent, bytes, *uncaptured);
                } else {
                    self.observe_handshake(observation, bytes, *uncaptured);
                }
            }
            ObservedPayload::Received(bytes, uncaptured) => {
                self.observe_dns(observation, Direction::Received, bytes, *uncaptured);
            }
        }
    }

    /// Adds an answer that systemd-resolved gave to a program in this network namespace at `time` (nanoseconds of boot time).
    pub fn observe_systemd_resolved(
        &mut self,
        network_namespace: u32,
        time: u64,
        name: Bytes,
        addresses: &[IpAddr],
    ) {
        let resolution = Resolution::new(name, time, RESOLVER_TTL, DomainSource::Dns);
        for address in addresses {
            self.resolutions.add_for_all_users(network_namespace, *address, &resolution);
        }
    }

    /// Sets the domain of a flow if it can be decided now. Flows must come in the order in which they began. Returns whether
    /// [`Domains::decide`] may find the domain later.
    pub fn name_flow(&mut self, flow: &mut Flow) -> bool {
        let Some(endpoint) = RemoteEndpoint::new(flow.id.socket, &flow.tuple) else { return false };
        if let Some((name, source)) = self.decided.get(&endpoint) {
            (flow.tuple.domain, flow.tuple.domain_source) = (name.clone(), *source);
            return false;
        }
        if self.undecided.contains_key(&endpoint) {
            return true;
        }
        // No name was resolved for a connection that was accepted.
        if !flow.id.opened || flow.id.socket == 0 {
            return false;
        }
        let FlowId { process, network_namespace, uid, began, .. } = flow.id;
        // If a connection was attributed to the resolution before, the handshake of this one may name another server.
        if let AddressMatch::One(resolution) =
            self.resolutions.find_of_process(process, endpoint.address, began)
            && resolution.is_unused()
        {
            resolution.mark_used();
            let domain = (resolution.name.clone(), resolution.source);
            (flow.tuple.domain, flow.tuple.domain_source) = domain.clone();
            self.decided.insert(endpoint, domain);
            return false;
        }
        self.undecided.insert(endpoint, UndecidedConnection { process, network_namespace, uid, began });
        true
    }

    /// Sets the domain of a flow to the one that was decided before, if there is one, and decides nothing. Returns whether
    /// [`Domains::decide`] may find the domain later.
    pub fn apply_decided(&mut self, flow: &mut Flow) -> bool {
        let Some(endpoint) = RemoteEndpoint::new(flow.id.socket, &flow.tuple) else { return false };
        if let Some((name, source)) = self.decided.get(&endpoint) {
            (flow.tuple.domain, flow.tuple.domain_source) = (name.clone(), *source);
        }
        self.undecided.contains_key(&endpoint)
    }

    /// Decides the domain of a connection at the end of a window, which is at `now` (nanoseconds of boot time).
    pub fn decide(&mut self, endpoint: RemoteEndpoint, now: u64) -> DomainDecision {
        if let Some(domain) = self.decided.get(&endpoint) {
            return DomainDecision::Decided(domain.clone());
        }
        let Some(connection) = self.undecided.get(&endpoint).copied() else { return DomainDecision::Unknown };
        let UndecidedConnection { process, network_namespace, uid, began } = connection;
        let resolved = self.resolutions.find_of_process(process, endpoint.address, began);
        let server_name = self.server_names.get(&endpoint).cloned();
        let is_young = now.saturating_sub(began) < MAX_HANDSHAKE_DELAY;
        let domain = match (resolved, server_name) {
            (AddressMatch::One(resolution), server_name) => {
                let domain = (resolution.name.clone(), resolution.source);
                let is_first_connection = resolution.is_unused();
                resolution.mark_used();
                server_name.filter(|(name, _)| *name != domain.0 && !is_first_connection).unwrap_or(domain)
            }
            // The handshake shows which of the names it is. The process resolved it, so that its source is the resolution.
            (AddressMatch::Ambiguous(resolutions), Some((name, source))) => {
                match resolutions.iter().find(|resolution| resolution.name == name) {
                    Some(resolution) => {
                        resolution.mark_used();
                        (name, resolution.source)
                    }
                    None => (name, source),
                }
            }
            (AddressMatch::Expired(_) | AddressMatch::None, Some(domain)) => domain,
            // The handshake may still be observed.
            (AddressMatch::Ambiguous(_) | AddressMatch::Expired(_), None) if is_young => {
                return DomainDecision::Pending;
            }
            (AddressMatch::Ambiguous(_), None) => return DomainDecision::Unknown,
            (AddressMatch::Expired(resolution), None) => (resolution.name.clone(), resolution.source),
            (AddressMatch::None, None) => {
                match self.resolutions.find_in_namespace(network_namespace, uid, endpoint.address, began) {
                    Some(_) if is_young => return DomainDecision::Pending,
                    Some(name) => (name, DomainSource::Namespace),
                    None => return DomainDecision::Unknown,
                }
            }
        };
        self.undecided.remove(&endpoint);
        self.server_names.remove(&endpoint);
        self.decided.insert(endpoint, domain.clone());
        DomainDecision::Decided(domain)
    }

    fn observe_dns(
        &mut self,
        observation: &NameObservation,
        direction: Direction,
        bytes: &[u8],
        uncaptured: u32,
    ) {
        for response in self.dns.observe(observation, direction, bytes, uncaptured) {
            self.add_response(observation, response);
        }
    }

    fn add_response(&mut self, observation: &NameObservation, response: Message) {
        // All addresses of a name in one response belong to one resolution.
        let mut resolutions: Vec<Rc<Resolution>> = Vec::new();
        for record in response.addresses {
            let ttl = u64::from(record.ttl).clamp(*DNS_TTL.start(), *DNS_TTL.end());
            let existing = resolutions.iter().find(|resolution| resolution.name == record.name).cloned();
            let resolution = existing.unwrap_or_else(|| {
                let resolution = Resolution::new(record.name, observation.time, ttl, DomainSource::Dns);
                resolutions.push(Rc::clone(&resolution));
                resolution
            });
            self.resolutions.add(observation, record.address, &resolution);
        }
    }

    fn observe_handshake(&mut self, observation: &NameObservation, bytes: &[u8], uncaptured: u32) {
        let Some(address) = observation.remote else { return };
        let endpoint = RemoteEndpoint { socket: observation.socket, address, port: observation.remote_port };
        if self.server_names.contains_key(&endpoint) {
            return;
        }
        let handshake = self.handshakes.entry(endpoint).or_insert_with(Handshake::default);
        let server_name = if observation.protocol == PROTOCOL_UDP {
            handshake.add_datagrams(bytes)
        } else {
            handshake.add_stream_bytes(bytes)
        };
        match server_name {
            ServerName::Incomplete if uncaptured == 0 => return,
            ServerName::Found(name, source) => {
                self.server_names.insert(endpoint, (name, source));
            }
            ServerName::Incomplete | ServerName::Absent => {}
        }
        self.handshakes.remove(&endpoint);
    }
}

#[cfg(test)]
#[path = "domains_tests.rs"]
mod tests;
