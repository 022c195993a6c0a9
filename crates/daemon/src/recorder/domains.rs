//! Names the peers of flows: by observations, or by the answers of name servers if the user wants reverse look-ups.

use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::{PollFd, PollFlags};

use super::resolved_connection::ResolvedConnection;
use crate::messages::Settings;
use config::log_rules::LogRules;
use model::{Address, DomainSource, Flow, FlowTuple, NameObservation, boot_time};
use names::{DomainDecision, Domains, RemoteEndpoint, ResolvedAnswer, ReverseNames};

/// Nanoseconds, at most, between the arrival of an answer at the program that resolved the name, and its arrival here.
const RESOLVED_DELAY: u64 = 1_000_000_000;

/// Finds the domains of flows.
pub(super) struct DomainNamer {
    domains: Domains,
    /// `None` if name servers are not asked.
    reverse: Option<ReverseNames>,
    resolved: Option<ResolvedConnection>,
    /// The network namespace of systemd-resolved.
    network_namespace: u32,
    /// No name server is asked for an address that is not logged.
    rules: LogRules,
}

impl DomainNamer {
    /// Knows no names yet. Name servers are asked only if the user wants that.
    pub(super) fn new(settings: &Settings) -> Self {
        let reverse = settings.reverse_dns.then(ReverseNames::default);
        Self {
            domains: Domains::default(),
            reverse,
            resolved: None,
            network_namespace: settings.network_namespace,
            rules: settings.rules.clone(),
        }
    }

    /// The next address whose name a name server is to be asked for.
    pub(super) fn next_reverse(&mut self) -> Option<IpAddr> {
        self.reverse.as_mut()?.take_next()
    }

    /// Takes the answer of a name server.
    pub(super) fn set_reverse(&mut self, address: IpAddr, name: Option<&[u8]>) {
        if let Some(reverse) = &mut self.reverse {
            reverse.set_name(address, name);
        }
    }

    /// Takes note that what was asked for gets no answer.
    pub(super) fn ask_reverse_again(&mut self) {
        if let Some(reverse) = &mut self.reverse {
            reverse.ask_again();
        }
    }

    /// Sets the rules of the log.
    pub(super) fn set_rules(&mut self, rules: LogRules) {
        self.rules = rules;
    }

    /// Sets the connection to systemd-resolved.
    pub(super) fn set_resolved(&mut self, connection: OwnedFd) {
        self.resolved = Some(ResolvedConnection::new(connection, self.network_namespace));
    }

    /// The event to wait for before [`DomainNamer::read_resolved`].
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        self.resolved.as_ref().map(|resolved| PollFd::new(resolved.as_fd(), PollFlags::POLLIN))
    }

    /// Reads the names that systemd-resolved has resolved, without waiting. Returns false if its connection has just
    /// ended.
    pub(super) fn read_resolved(&mut self) -> bool {
        let Some(resolved) = &mut self.resolved else { return true };
        match resolved.read_answers() {
            Some(answers) => {
                // The program that wanted the answer may have connected by now.
                let time = boot_time().saturating_sub(RESOLVED_DELAY);
                for ResolvedAnswer { name, addresses } in answers {
                    self.domains.observe_systemd_resolved(resolved.network_namespace, time, name, &addresses);
                }
                true
            }
            None => {
                self.resolved = None;
                false
            }
        }
    }

    pub(super) fn observe(&mut self, observation: &NameObservation) {
        self.domains.observe(observation);
    }

    /// Names the peer of a flow, if its domain is known by now. Returns whether it may be known when the window ends.
    pub(super) fn name(&mut self, flow: &mut Flow) -> bool {
        let unnamed = self.domains.name_flow(flow);
        if flow.tuple.domain.is_empty()
            && flow.id.socket != 0
            && let (Some(reverse), Some(address)) =
                (&mut self.reverse, flow.tuple.remote_address.and_then(Address::ip))
            && self.rules.addresses
            && !self.rules.ignores_tuple(&flow.tuple)
        {
            reverse.request(address);
            return true;
        }
        unnamed
    }

    /// Gives the peer of a flow the domain that was found for it before, and changes nothing else. Returns whether the
    /// domain may become known.
    pub(super) fn apply_decided(&mut self, flow: &mut Flow) -> bool {
        self.domains.apply_decided(flow)
    }

    /// Decides the domain of a peer at the end of a window.
    pub(super) fn decide(&mut self, socket: u64, tuple: &FlowTuple) -> DomainDecision {
        let Some(endpoint) = RemoteEndpoint::new(socket, tuple) else { return DomainDecision::Unknown };
        let reverse = |names: &mut Option<ReverseNames>| names.as_mut()?.name(endpoint.address());
        match self.domains.decide(endpoint, boot_time()) {
            DomainDecision::Unknown => reverse(&mut self.reverse).map_or(DomainDecision::Unknown, |name| {
                DomainDecision::Decided((name, DomainSource::Reverse))
            }),
            decision => decision,
        }
    }
}
