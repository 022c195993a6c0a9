//! How the recorder names the peers of traffic: by what was heard, or by what name servers say if the user wants them asked.

use std::{io, os::fd::OwnedFd};

use nix::poll::{PollFd, PollFlags};

use crate::{messages::Settings, resolved::Resolved};
use config::log_rules::LogRules;
use model::{Address, DomainSource, Flow, FlowTuple, NameObservation, boot_time};
use names::{DomainDecision, Domains, RemoteEndpoint, ResolvedAnswer, ReverseDns};

/// An answer of systemd-resolved comes here so many nanoseconds, at most, after it reached who asked for it.
const RESOLVED_BEFORE: u64 = 1_000_000_000;

/// All that knows domains.
pub struct Naming {
    domains: Domains,
    /// `None` when name servers are not asked.
    reverse: Option<ReverseDns>,
    resolved: Option<Resolved>,
    /// Of what is not logged no name server is told.
    rules: LogRules,
}

impl Naming {
    /// As the user wants it.
    ///
    /// # Errors
    /// When the thread that asks name servers cannot be started.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let reverse =
            (settings.reverse_dns && settings.rules.addresses).then(ReverseDns::start).transpose()?;
        Ok(Self { domains: Domains::default(), reverse, resolved: None, rules: settings.rules.clone() })
    }

    /// Takes over a connection to systemd-resolved.
    pub fn listen_to_resolved(&mut self, connection: OwnedFd) {
        self.resolved = Some(Resolved::new(connection));
    }

    /// What to wait for.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        self.resolved.as_ref().map(|resolved| PollFd::new(resolved.as_fd(), PollFlags::POLLIN))
    }

    /// Takes what systemd-resolved has told, without waiting; false when that has just ended.
    pub fn serve(&mut self) -> bool {
        let Some(resolved) = &mut self.resolved else { return true };
        match resolved.take() {
            Some(answers) => {
                // Who asked may have connected by now.
                let time = boot_time().saturating_sub(RESOLVED_BEFORE);
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

    /// Something was heard.
    pub fn hear(&mut self, heard: &NameObservation) {
        self.domains.observe(heard);
    }

    /// Names the peer of a flow, if that is known by now. Returns whether it may be known when the window ends.
    pub fn name(&mut self, flow: &mut Flow) -> bool {
        let waits = self.domains.name_flow(flow);
        if flow.tuple.domain.is_empty()
            && flow.id.socket != 0
            && let (Some(reverse), Some(address)) =
                (&self.reverse, flow.tuple.remote_address.and_then(Address::ip))
            && !self.rules.ignores_tuple(&flow.tuple)
        {
            reverse.request(address);
            return true;
        }
        waits
    }

    /// Gives the peer of a flow the domain that was found for it before; changes nothing else. Returns whether it may become
    /// known.
    pub fn recall(&mut self, flow: &mut Flow) -> bool {
        self.domains.apply_decided(flow)
    }

    /// The domain of a peer that waited for it.
    pub fn settle(&mut self, socket: u64, tuple: &FlowTuple) -> DomainDecision {
        let (Some(address), Ok(port)) =
            (tuple.remote_address.and_then(Address::ip), u16::try_from(tuple.remote_port))
        else {
            return DomainDecision::Unknown;
        };
        let reverse = || self.reverse.as_ref()?.name(address);
        match self.domains.decide(RemoteEndpoint { socket, address, port }, boot_time()) {
            DomainDecision::Unknown => reverse().map_or(DomainDecision::Unknown, |name| {
                DomainDecision::Decided((name, DomainSource::Reverse))
            }),
            settled => settled,
        }
    }
}
