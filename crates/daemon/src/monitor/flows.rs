//! Sends flows and open sockets to the recorder, each with the id of its context.

use std::time::Instant;

use super::{
    context_ids::{ContextUpdate, FlowOrigin},
    state::Monitor,
};
use crate::{error::MonitorError, messages::ToRecorder};
use capture::FlowDelta;
use identity::Ancestry;
use live::connections::ListKind;
use model::{Counters, Flow};

/// Flows in one message at most.
const MAX_FLOWS: usize = 256;

impl Monitor {
    /// Sends flows in messages of the kind that `message` makes, and new contexts before their first flow.
    pub(super) fn send_flows(
        &mut self,
        flows: &[FlowDelta],
        message: fn(Vec<Flow>) -> ToRecorder,
    ) -> Result<(), MonitorError> {
        let (unknown, now) = (Ancestry::default(), Instant::now());
        let mut batch = Vec::new();
        let mut updates = Vec::new();
        for flow in flows {
            let process = self.processes.get(flow.id.process);
            if process.is_none() && flow.id.ended && flow.counters == Counters::default() {
                continue; // Its process has ended long ago.
            }
            let ancestry = process.map_or(&unknown, |process| &process.ancestry);
            let origin = FlowOrigin {
                uid: flow.id.uid,
                network_namespace: flow.id.network_namespace,
                cgroup: self.cgroups.path(flow.cgroup),
            };
            let executables = match &mut self.executables {
                Some(executables) => ancestry.programs().map(|running| executables.id_of(running, now)),
                None => [None; 3],
            };
            let context = self.contexts.id(ancestry, executables, origin, &mut updates);
            for update in updates.drain(..) {
                // The flows before this one belong to contexts that the recorder is about to forget.
                if !batch.is_empty() && matches!(update, ContextUpdate::ForgetBefore(_)) {
                    self.recorder.send(&message(std::mem::take(&mut batch)), None)?;
                }
                self.recorder.send(&update.into(), None)?;
            }
            self.has_open_drain = true;
            batch.push(Flow { context, id: flow.id, tuple: flow.tuple.clone(), counters: flow.counters });
            if batch.len() == MAX_FLOWS {
                self.recorder.send(&message(std::mem::take(&mut batch)), None)?;
            }
        }
        self.contexts.forget_recent();
        if !batch.is_empty() {
            self.recorder.send(&message(batch), None)?;
        }
        Ok(())
    }

    /// Lists open sockets at the end of a drain, if the list is due and the recorder keeps up.
    pub(super) fn send_open_sockets(&mut self, now: Instant) -> Result<(), MonitorError> {
        let Some(lists) = &mut self.open_sockets else { return Ok(()) };
        if self.recorder.free_messages() > 0
            && let Some(due) = lists.take_due(now)
        {
            match self.capture.open_flows() {
                Ok(open) => {
                    if due.active {
                        self.send_flows(&open.flows, ToRecorder::OpenSockets)?;
                        self.recorder.send(&ToRecorder::OpenSocketsEnd(ListKind::ActiveFlows), None)?;
                    }
                    self.send_flows(&open.idle, ToRecorder::OpenSockets)?;
                    self.recorder.send(&ToRecorder::OpenSocketsEnd(ListKind::IdleSockets), None)?;
                }
                Err(error) => {
                    lists.set_failed(&due);
                    self.recorder.report(model::error_chain(&error))?;
                }
            }
        }
        Ok(())
    }
}

impl From<ContextUpdate> for ToRecorder {
    fn from(update: ContextUpdate) -> Self {
        match update {
            ContextUpdate::Add { id, context, executables } => Self::Context { id, context, executables },
            ContextUpdate::ForgetBefore(id) => Self::ForgetContexts(id),
        }
    }
}
