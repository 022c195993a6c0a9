//! Closes the window and hands it to the sinks.

use std::{
    collections::{HashMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use super::state::Recorder;
use live::connections::SocketPeer;
use model::Address;
use names::DomainDecision;

impl Recorder {
    /// Closes the window: names the groups that wait for a domain, locates the peers and writes the records. With `last`
    /// no group waits for the next window.
    pub(super) fn close_window(&mut self, last: bool) {
        self.name_groups(last);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut window = self.window.close(now, &mut self.contexts, last);
        window.uptime = model::boot_seconds();
        window.last_drain = self.last_drain;
        window.events.extend(self.reporter.take_events(now));
        self.geography.reload_if_due().iter().for_each(|problem| self.problems.report(problem));
        for record in &mut window.records {
            // A blanked address is not located.
            record.geo = record
                .tuple
                .remote_address
                .and_then(Address::ip)
                .map(|address| self.geography.locate(address))
                .unwrap_or_default();
        }
        self.sinks.add(window);
    }

    /// Decides the domains of groups that wait for them, for the window and for open connections.
    pub(super) fn name_groups(&mut self, last: bool) {
        let names = &mut self.names;
        let (mut decided, mut pending) = (HashMap::new(), HashSet::new());
        let is_live = self.connections.is_wanted();
        self.window.name_groups(last, |socket, tuple| {
            let decision = names.decide(socket, tuple);
            if is_live && let Some(peer) = SocketPeer::new(socket, tuple) {
                match &decision {
                    DomainDecision::Decided(name) => drop(decided.insert(peer, name.clone())),
                    DomainDecision::Pending => drop(pending.insert(peer)),
                    DomainDecision::Unknown => {}
                }
            }
            decision
        });
        self.connections.set_domains(&decided, &pending);
    }
}
