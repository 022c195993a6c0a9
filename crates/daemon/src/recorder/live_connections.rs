//! The open connections that clients of the live socket see. The recorder keeps none while no client wants them.

use std::collections::{HashMap, HashSet};

use super::{contexts::ContextTable, domains::DomainNamer};
use crate::messages::ToMonitor;
use config::log_rules::LogRules;
use ipc::Channel;
use live::{
    connections::{ListKind, OpenConnections, SocketPeer},
    server::LiveServer,
};
use model::{Bytes, DomainSource, Flow, Loss, LossKind};

/// The open connections, while a client wants them.
#[derive(Default)]
pub(super) struct LiveConnections {
    open: Option<OpenConnections>,
    /// The last id of the tables before: no id is used again.
    last_id: u64,
    /// Whether the monitor lists open sockets.
    requested: bool,
}

impl LiveConnections {
    /// Forgets what is open: it was collected under other rules.
    pub(super) fn begin_anew(&mut self) {
        if let Some(open) = self.open.take() {
            self.last_id = open.last_id();
        }
        self.requested = false;
    }

    /// Adds a flow. `unnamed`: its domain may become known when the window ends.
    pub(super) fn add(&mut self, flow: &Flow, unnamed: bool, contexts: &mut ContextTable) {
        if let Some(open) = &mut self.open {
            open.add(flow, unnamed, contexts);
        }
    }

    /// Adds a part of a list of open sockets.
    pub(super) fn add_open_sockets(
        &mut self,
        flows: Vec<Flow>,
        names: &mut DomainNamer,
        contexts: &mut ContextTable,
    ) {
        let Some(open) = &mut self.open else { return };
        for mut flow in flows {
            let unnamed = names.apply_decided(&mut flow);
            open.add_listed(&flow, unnamed, contexts);
        }
    }

    /// Ends the list of open sockets.
    pub(super) fn end_list(&mut self, listed: ListKind) {
        if let Some(open) = &mut self.open {
            open.finish_list(listed);
        }
    }

    /// Sets the domains that were decided at the end of a window; those of `pending` are decided at the end of a later one.
    pub(super) fn set_domains(
        &mut self,
        decided: &HashMap<SocketPeer, (Bytes, DomainSource)>,
        pending: &HashSet<SocketPeer>,
    ) {
        if let Some(open) = &mut self.open {
            open.set_domains(decided, pending);
        }
    }

    /// Whether a client wants the open connections.
    pub(super) fn is_wanted(&self) -> bool {
        self.open.is_some()
    }

    /// Ends a drain: its flows may be sent to clients.
    pub(super) fn end_drain(&mut self, contexts: &mut ContextTable) {
        if let Some(open) = &mut self.open {
            open.close_round(contexts);
        }
    }

    /// Takes note that no flow of a context before this id comes any more.
    pub(super) fn forget_before(&mut self, context: u32) {
        if let Some(open) = &mut self.open {
            open.forget_contexts_before(context);
        }
    }

    /// Takes note of losses: the monitor must list open sockets again if flows were lost.
    pub(super) fn add_losses(&mut self, losses: &[Loss]) {
        // Among the lost flows may be those that end a connection.
        if losses.iter().any(|loss| loss.kind == LossKind::Channel) {
            self.requested = false;
        }
    }

    /// Sends changes to the clients, and asks the monitor for lists of open sockets if a client wants them. Never waits.
    pub(super) fn serve(&mut self, live: &mut LiveServer, channel: &Channel, rules: &LogRules) {
        let wanted = live.has_traffic_subscribers();
        if !wanted && let Some(open) = self.open.take() {
            self.last_id = open.last_id();
        }
        if wanted != self.requested && ToMonitor::ListOpenSockets(wanted).try_send(channel) {
            self.requested = wanted;
        }
        if wanted {
            live.send_traffic(
                self.open.get_or_insert_with(|| OpenConnections::new(rules.clone(), self.last_id)),
            );
        }
    }
}
