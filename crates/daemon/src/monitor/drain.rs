//! A drain: reads the flow table and the events of the kernel, and sends the resulting messages to the recorder.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::state::Monitor;
use crate::{error::MonitorError, messages::ToRecorder};
use capture::{DrainMode, DrainOutput, Event, FlowDelta};
use model::{
    Consequence, Counters, FlowId, FlowTuple, Loss, LossKind, Losses, PORT_EXECUTION, ProcessEvent, ProcessId,
};
use sandbox::User;

/// Drains that may fail one after the other.
const MAX_FAILED_DRAINS: u32 = 20;
/// How often the last drain is tried, and the time between two tries.
const FINAL_TRIES: u32 = 5;
const FINAL_PAUSE: Duration = Duration::from_millis(100);
/// Time between two reads of the whole process table at least.
const RESYNC_PAUSE: Duration = Duration::from_secs(1);
/// Processes with `AF_PACKET` rings that are remembered, so that each is reported once.
const MAX_PACKET_RINGS: usize = 1024;

/// The record of a program that was executed (`monitor.every_exe`): a flow with the port [`PORT_EXECUTION`] and without counters.
fn execution(event: &ProcessEvent) -> FlowDelta {
    FlowDelta {
        id: FlowId { process: event.id, uid: event.uid, ..FlowId::default() },
        cgroup: event.cgroup,
        tuple: FlowTuple { local_port: PORT_EXECUTION, remote_port: PORT_EXECUTION, ..FlowTuple::default() },
        counters: Counters::default(),
    }
}

impl Monitor {
    /// With `monitor.every_exe`, sends a record of each process that ran before the monitor.
    pub(super) fn send_existing(&mut self) -> Result<(), MonitorError> {
        let existing = std::mem::take(&mut self.existing);
        if !self.every_exe {
            return Ok(());
        }
        let executions: Vec<FlowDelta> = existing
            .iter()
            .filter_map(|event| match event {
                Event::Existing(event) if !event.kernel => Some(execution(event)),
                _ => None,
            })
            .collect();
        self.send_flows(&executions, ToRecorder::Flows)
    }

    /// Reads the data of the kernel half and sends it to the recorder. Returns whether the next drain should come soon.
    pub(super) fn drain(&mut self, mode: DrainMode) -> Result<bool, MonitorError> {
        if mode != DrainMode::Regular {
            self.sampled = Instant::now();
        }
        let drained = match mode {
            DrainMode::Final => self.read_kernel_last()?,
            DrainMode::Regular | DrainMode::SampleSockets => self.read_kernel(mode)?,
        };
        let Some(drained) = drained else { return Ok(false) };
        for text in &drained.problems {
            self.recorder.report(text.clone())?;
        }
        // Observations are read after the flow table: each one that belongs to a flow in it has arrived by now.
        self.send_observations()?;
        let now = Instant::now();
        self.collect_executables()?;
        let executions = self.apply_events(&drained.events, now)?;
        self.resync_if_needed(&drained)?;
        if let Some(executables) = &mut self.executables {
            self.app_images.resolve(&mut self.processes, executables, now);
        }
        self.send_writers()?;
        let processes = &self.processes;
        let drain = self.capture.write_journal(&drained.flows, |id| processes.save(id));
        self.send_flows(&executions, ToRecorder::Flows)?;
        self.send_flows(&drained.flows, ToRecorder::Flows)?;
        self.send_losses(drained.losses)?;
        self.send_open_sockets(now)?;
        if self.has_open_drain || self.open_sockets.is_some() {
            self.recorder.send(&ToRecorder::DrainEnd(drain), None)?;
            self.has_open_drain = false;
        }
        let processes = &self.processes;
        self.capture.end_drain(|id| processes.save(id));
        self.processes.forget_ended(now);
        if let Some(executables) = &mut self.executables {
            executables.tick(now);
        }
        self.send_executables()?;
        self.send_name_sources(now)?;
        Ok(drained.drain_soon)
    }

    /// Drains the kernel; `None` if that fails. Nothing is lost then: the next drain gets it.
    fn read_kernel(&mut self, mode: DrainMode) -> Result<Option<DrainOutput>, MonitorError> {
        match self.capture.drain(mode) {
            Ok(drained) => {
                self.failed_drains = 0;
                Ok(Some(drained))
            }
            Err(error) if self.failed_drains < MAX_FAILED_DRAINS => {
                self.failed_drains += 1;
                self.recorder.report(format!("{}. It is tried again.", model::error_chain(&error)))?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Drains the kernel for the last time; `None` if that fails however often it is tried.
    fn read_kernel_last(&mut self) -> Result<Option<DrainOutput>, MonitorError> {
        let mut tries = 1;
        loop {
            match self.capture.drain(DrainMode::Final) {
                Ok(drained) => return Ok(Some(drained)),
                Err(_) if tries < FINAL_TRIES => {
                    tries += 1;
                    thread::sleep(FINAL_PAUSE);
                }
                Err(error) => {
                    let error = model::error_chain(&error);
                    self.recorder.report(format!(
                        "{error}. The traffic since it was read last is in no record, because picosnitch ends now."
                    ))?;
                    return Ok(None);
                }
            }
        }
    }

    /// Applies events to the tables of processes and cgroups. Returns the records of executed programs.
    fn apply_events(&mut self, events: &[Event], now: Instant) -> Result<Vec<FlowDelta>, MonitorError> {
        let mut executions = Vec::new();
        for event in events {
            match event {
                Event::Cgroup(id, path) => self.cgroups.insert(*id, path.clone(), now),
                Event::ReceiveRing(id) => self.report_packet_ring(*id)?,
                event => self.processes.apply(event, now),
            }
            if let Event::Executed(event) = event {
                let executables =
                    self.executables.as_mut().filter(|_| !self.processes.is_in_app_image(event.id));
                let id = executables.and_then(|executables| executables.add_executed(event, now));
                if let Some(id) = id {
                    self.processes.set_executable(event.id, id);
                }
                self.name_sources.add_process(event, now);
                if !self.processes.is_in_app_image(event.id) {
                    self.app_images.add_process(event, now);
                }
                if self.every_exe {
                    executions.push(execution(event));
                }
            }
        }
        Ok(executions)
    }

    /// Reads the whole process table again if a flow of an unknown process shows that events were lost.
    fn resync_if_needed(&mut self, drained: &DrainOutput) -> Result<(), MonitorError> {
        let mut moved = drained.flows.iter().filter(|flow| flow.counters != Counters::default());
        self.resync_wanted |= moved.any(|flow| self.processes.get(flow.id.process).is_none())
            || drained.losses.iter().any(|loss| loss.kind == LossKind::ProcessEvents);
        if !self.resync_wanted || self.resynced.is_some_and(|last| last.elapsed() <= RESYNC_PAUSE) {
            return Ok(());
        }
        self.resynced = Some(Instant::now());
        match self.capture.processes() {
            Ok(processes) => {
                self.processes.resync(&processes, Instant::now());
                self.resync_wanted = false;
            }
            // The flows of this drain must not be lost with it.
            Err(error) => self.recorder.report(format!(
                "{}. Traffic may lack its program until that succeeds; it is tried again.",
                model::error_chain(&error)
            ))?,
        }
        Ok(())
    }

    fn send_losses(&mut self, mut losses: Vec<Loss>) -> Result<(), MonitorError> {
        losses.extend(self.recorder.take_losses());
        if losses.is_empty() {
            return Ok(());
        }
        // A release that was noticed late loses no bytes: the log mentions it, but it is no problem for the user.
        for (consequence, sentence) in Losses::new(&losses).sentences() {
            if consequence != Consequence::NothingMissing {
                self.recorder.report(sentence)?;
            }
        }
        self.recorder.send(&ToRecorder::Losses(losses), None)
    }

    fn report_packet_ring(&mut self, id: ProcessId) -> Result<(), MonitorError> {
        if !self.packet_rings.insert(id) {
            return Ok(());
        }
        if self.packet_rings.len() > MAX_PACKET_RINGS {
            self.packet_rings.clear();
        }
        let program = self.processes.get(id).map(|process| &process.ancestry.process.program);
        let path = program.map(|program| String::from_utf8_lossy(&program.path)).unwrap_or_default();
        // A process that has ended shares its rate with all others that have.
        let user = User::of_process(id.tgid).map_or(u32::MAX, |user| user.uid.as_raw());
        let text = format!(
            "{path} (process {}) receives through an AF_PACKET ring: the kernel shows no byte of what it takes from \
             there, so its received bytes are not in the log.",
            id.tgid
        );
        self.recorder.send(&ToRecorder::PacketRing { user, text }, None)?;
        let loss = Loss { kind: LossKind::UncountableSocket, count: 1 };
        self.recorder.send(&ToRecorder::Losses(vec![loss]), None)
    }
}
