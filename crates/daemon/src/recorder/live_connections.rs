//! Traffic on the live socket: the recorder's side. While nobody wants to hear of it, there is nothing here.

use std::collections::{HashMap, HashSet};

use super::contexts::ContextTable;
use super::domains::Naming;
use crate::messages::ToMonitor;
use config::log_rules::LogRules;
use ipc::Channel;
use live::connections::{End, Listed, OpenConnections};
use live::server::Live;
use model::{Bytes, DomainSource, Flow, Loss, LossKind};

/// What is open, while somebody wants to hear of it.
#[derive(Default)]
pub struct Traffic {
    open: Option<OpenConnections>,
    /// The monitor was told that lists are needed.
    asked: bool,
}

impl Traffic {
    /// Takes traffic.
    pub fn add(&mut self, flow: &Flow, waits: bool, contexts: &mut ContextTable) {
        if let Some(open) = &mut self.open {
            open.add(flow, waits, contexts);
        }
    }

    /// Takes a part of a list of what is open.
    pub fn list(&mut self, flows: Vec<Flow>, names: &mut Naming, contexts: &mut ContextTable) {
        let Some(open) = &mut self.open else { return };
        for mut flow in flows {
            let waits = names.recall(&mut flow);
            open.list(&flow, waits, contexts);
        }
    }

    /// A window ends: these domains are known now, and of these ends the domain will be known soon.
    pub fn name(&mut self, known: &HashMap<End, (Bytes, DomainSource)>, soon: &HashSet<End>) {
        if let Some(open) = &mut self.open {
            open.name(known, soon);
        }
    }

    /// Whether somebody wants to hear of traffic.
    pub fn is_told(&self) -> bool {
        self.open.is_some()
    }

    /// The list is complete.
    pub fn list_ends(&mut self, listed: Listed) {
        if let Some(open) = &mut self.open {
            open.list_ends(listed);
        }
    }

    /// A drain is complete.
    pub fn drained(&mut self, contexts: &mut ContextTable) {
        if let Some(open) = &mut self.open {
            open.close_round(contexts);
        }
    }

    /// ContextIds before this one will not talk again.
    pub fn forget_before(&mut self, context: u32) {
        if let Some(open) = &mut self.open {
            open.forget_before(context);
        }
    }

    /// Something was lost.
    pub fn lose(&mut self, losses: &[Loss]) {
        // Ends may be among the flows that did not come: a new list is needed.
        if losses.iter().any(|loss| loss.kind == LossKind::Channel) {
            self.asked = false;
        }
    }

    /// Tells those who want to hear. Never waits.
    pub fn serve(&mut self, live: &mut Live, channel: &Channel, rules: &LogRules) {
        let wanted = live.wants_traffic();
        if !wanted {
            self.open = None;
        }
        if wanted != self.asked {
            let message = Channel::encode(&ToMonitor::Traffic(wanted));
            if message.is_ok_and(|message| channel.send(&message, None).is_ok_and(|sent| sent)) {
                self.asked = wanted;
            }
        }
        if wanted {
            live.tell(self.open.get_or_insert_with(|| OpenConnections::new(rules.clone())));
        }
    }
}
