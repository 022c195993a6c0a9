//! Handles each message of the monitor in the recorder.

use std::{fs::File, os::fd::OwnedFd};

use super::{
    exporter_link::ExporterLink,
    file_changes::Inode,
    state::{DrainMessage, Recorder},
};
use crate::messages::ToRecorder;
use identity::digests::FileState;
use model::{Flow, Loss, ProcessContext};

impl Recorder {
    pub(super) fn handle(&mut self, message: ToRecorder, descriptor: Option<OwnedFd>) {
        match message {
            ToRecorder::Flows(flows) => self.open_drain.push(DrainMessage::Flows(flows)),
            ToRecorder::OpenSockets(flows) => {
                self.connections.add_open_sockets(flows, &mut self.names, &mut self.contexts);
            }
            ToRecorder::OpenSocketsEnd(listed) => self.connections.end_list(listed),
            ToRecorder::DrainEnd(drain) => {
                self.add_open_drain();
                self.last_drain = drain;
                self.has_journal &= drain.is_some();
                self.connections.end_drain(&mut self.contexts);
            }
            ToRecorder::Context { id, context, executables } => self.add_context(id, *context, executables),
            ToRecorder::Executable { id, file_is, inode } => {
                self.add_executable(id, file_is, inode, descriptor)
            }
            ToRecorder::Written(id, writer) => self.reporter.add_writer(id, writer),
            ToRecorder::Unhashed(id, why) => self.contexts.digests().fail(id, why),
            ToRecorder::ForgetContexts(id) => self.open_drain.push(DrainMessage::ForgetContexts(id)),
            ToRecorder::ForgetExecutables(id) => {
                self.reporter.forget_executables(id, &self.contexts);
                self.contexts.digests().forget_before(id);
            }
            ToRecorder::NameObservations(observations) => {
                observations.iter().for_each(|observation| self.names.observe(observation));
            }
            ToRecorder::ResolvedConnection => match descriptor {
                Some(connection) => self.names.set_resolved(connection),
                None => self
                    .problems
                    .report("The connection to systemd-resolved did not arrive: out of descriptors."),
            },
            ToRecorder::ExporterSocket => self.exporter = descriptor.map(ExporterLink::new),
            ToRecorder::Losses(losses) => self.add_losses(losses),
            ToRecorder::Unseen(unseen) => self.reporter.set_unseen(unseen),
            ToRecorder::ReopenLogs => {
                self.reporter.reopen();
                self.sinks.reopen();
            }
            ToRecorder::NewSettings(settings, text) => self.apply(&settings, text),
            ToRecorder::AreYouAlive => self.alive_wanted = true,
            ToRecorder::Problem(text) => self.problems.report(&text),
            ToRecorder::PacketRing { user, text } => {
                self.problems.report_of_user(user, "AF_PACKET ring", &text);
            }
            ToRecorder::Lock => self.lock = descriptor,
            ToRecorder::Settings(_) | ToRecorder::End => {}
        }
    }

    /// Takes over the messages of the drain that has ended.
    fn add_open_drain(&mut self) {
        for message in std::mem::take(&mut self.open_drain) {
            match message {
                DrainMessage::Flows(flows) => self.add_flows(flows),
                DrainMessage::ForgetContexts(id) => {
                    self.connections.forget_before(id);
                    self.contexts.forget_before(id);
                }
            }
        }
    }

    /// Does what is right with a drain in which the monitor was killed: the next run records it, if it can.
    pub(super) fn settle_interrupted_drain(&mut self) {
        if !self.has_journal {
            self.add_open_drain();
        }
    }

    fn add_flows(&mut self, flows: Vec<Flow>) {
        for mut flow in flows {
            let unnamed = self.names.name(&mut flow);
            self.connections.add(&flow, unnamed, &mut self.contexts);
            self.window.add(flow, unnamed);
        }
    }

    fn add_context(&mut self, id: u32, context: ProcessContext, executables: [Option<u32>; 3]) {
        self.reporter.add_context(&self.channel, &context, executables, &self.contexts);
        self.contexts.insert(id, context, executables);
    }

    fn add_executable(&mut self, id: u32, file_is: FileState, inode: Inode, descriptor: Option<OwnedFd>) {
        let digests = self.contexts.digests();
        match descriptor {
            Some(descriptor) => {
                let file = File::from(descriptor);
                self.reporter.add_executable(id, &file, inode);
                digests.add(id, file, file_is);
            }
            None => digests.fail(id, "its descriptor did not arrive: out of descriptors".into()),
        }
    }

    fn add_losses(&mut self, losses: Vec<Loss>) {
        self.reporter.add_losses(&losses);
        self.connections.add_losses(&losses);
        losses.into_iter().for_each(|loss| self.window.add_loss(loss));
    }
}
