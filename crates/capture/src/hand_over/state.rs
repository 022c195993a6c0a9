//! The hand-over of a running capture.

use std::{collections::HashSet, io};

use super::{
    HandOver, TakenOver,
    change::{Change, ReconcilerState},
    journal::{Journal, Replayed, replay, series_of},
    open_sockets::{CountedSocket, since},
    pins::{Pins, object_number},
};
use crate::{Capture, CaptureError, FlowDelta, hook_id::HookId, load::Settings};
use model::{DrainId, ProcessId};

/// What is left for the next run, and taken over from the one before.
#[derive(Default)]
pub(crate) struct HandOverState {
    /// `None` if nothing is left.
    leaving: Option<Leaving>,
    /// Why a restart is a gap in what is recorded, if it is.
    why_gap: Option<String>,
}

struct Leaving {
    place: HandOver,
    object: u64,
    pins: Pins,
    /// The series of drains of the earlier run, and whether its hooks and maps were taken over.
    series: Option<(u64, bool)>,
    /// `None` until [`Capture::begin`].
    journal: Option<Journal>,
}

/// What an earlier run has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    /// Nothing that is of use.
    Nothing,
    /// What it has recorded: sockets that are still open tell what they moved since.
    Journal,
    /// Its hooks, too, which count.
    Hooks,
}

/// What [`Capture::start`] will find. Changes nothing.
pub fn left_behind(settings: &Settings) -> LeftBehind {
    match find_series(settings) {
        None => LeftBehind::Nothing,
        Some((_, false)) => LeftBehind::Journal,
        Some((_, true)) => LeftBehind::Hooks,
    }
}

/// The series of drains of an earlier run, and whether its hooks and maps can be taken over.
fn find_series(settings: &Settings) -> Option<(u64, bool)> {
    let place = settings.hand_over.as_ref()?;
    let (series, is_same_object) = series_of(&place.journal, object_number(settings))?;
    Some((series, is_same_object && place.pins.exists()))
}

impl HandOverState {
    /// Looks for what an earlier run has left. What cannot be taken over leaves the kernel.
    pub(crate) fn prepare(settings: &Settings) -> Self {
        let Some(place) = settings.hand_over.clone() else { return Self::default() };
        let object = object_number(settings);
        let series = find_series(settings);
        if !matches!(series, Some((_, true))) {
            let _ = super::remove_pins(&place.pins);
        }
        match Pins::make(&place.pins) {
            Ok(pins) => {
                Self { leaving: Some(Leaving { place, object, pins, series, journal: None }), why_gap: None }
            }
            Err(error) => Self {
                leaving: None,
                why_gap: Some(format!("hooks cannot be pinned in {}: {error}", place.pins.display())),
            },
        }
    }

    pub(crate) fn pins(&self) -> Option<&Pins> {
        self.leaving.as_ref().map(|leaving| &leaving.pins)
    }

    pub(crate) fn has_link(&self, hook: HookId) -> bool {
        self.pins().is_some_and(|pins| pins.link(hook).exists())
    }

    /// Whether the maps are those of an earlier run.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| matches!(leaving.series, Some((_, true))))
    }

    /// Leaves nothing to the next run, for this reason.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.end();
        if let Some(Leaving { place, .. }) = self.leaving.take() {
            let _ = std::fs::remove_dir_all(place.journal);
        }
        self.why_gap = Some(why.to_owned());
    }

    /// Leaves no hooks to the next run.
    pub(crate) fn end(&mut self) {
        if let Some(leaving) = &self.leaving {
            leaving.pins.remove();
        }
    }
}

impl Capture {
    /// Takes over what an earlier run has left, or else reads the sockets that are open already, whose connections are not new.
    /// `recorded` is the last drain whose flows are in the log. Returns what was taken over; `None` for a new beginning.
    ///
    /// # Errors
    /// When the flow table or an iterator cannot be read.
    pub fn begin(&mut self, recorded: Option<DrainId>) -> Result<Option<TakenOver>, CaptureError> {
        let taken_over = match self.replay(recorded) {
            Some(replayed) if self.hand_over.is_taken_over() => Some(self.resume(replayed)?),
            Some(Ok(replayed)) => Some(self.recover(replayed)?),
            _ => {
                self.learn_earlier_sockets(&HashSet::new())?;
                None
            }
        };
        self.begin_journal();
        Ok(taken_over)
    }

    /// Reads the sockets that are open already: their connections are not new.
    fn learn_earlier_sockets(
        &mut self,
        users: &HashSet<ProcessId>,
    ) -> Result<Vec<CountedSocket>, CaptureError> {
        let sockets = self.counted_sockets(users)?;
        for socket in &sockets {
            self.drain.reconciler.add_existing_socket(socket.open.socket.socket, socket.saved());
        }
        if sockets.iter().any(|socket| socket.open.socket.needs_packets) {
            self.attach_packet_hooks();
        }
        Ok(sockets)
    }

    /// Takes what sockets have moved since an earlier run from their own counters.
    fn recover(&mut self, replayed: Replayed) -> Result<TakenOver, CaptureError> {
        let users = replayed.state.flows.keys().map(|key| key.process).collect();
        let sockets = self.learn_earlier_sockets(&users)?;
        self.drain.recovered = since(&replayed.state, &sockets);
        let processes = replayed.state.processes.into_values().collect();
        Ok(TakenOver { processes, lost_bytes: replayed.lost_bytes, ..TakenOver::default() })
    }

    /// Goes on with the table of an earlier run. Without its journal, what is counted so far is taken to be recorded.
    fn resume(&mut self, replayed: io::Result<Replayed>) -> Result<TakenOver, CaptureError> {
        let sockets = self.sockets()?;
        let open: HashSet<u64> = sockets.iter().map(|socket| socket.socket).collect();
        let entries = self.drain.table.read()?;
        let clock = (self.variables.tick(), self.variables.expire_ticks());
        let mut taken_over = TakenOver { has_hooks: true, ..TakenOver::default() };
        let state = match replayed {
            Ok(replayed) => {
                taken_over.lost_bytes = replayed.lost_bytes;
                replayed.state
            }
            Err(error) => {
                taken_over.problem = Some(error.to_string());
                self.learn_earlier_sockets(&HashSet::new())?;
                let flows = entries.iter().map(|entry| (entry.key, entry.counters)).collect();
                ReconcilerState { flows, losses: self.loss_counters(), ..ReconcilerState::default() }
            }
        };
        self.drain.removals = self.drain.reconciler.resume(&state, &entries, &open, clock);
        self.remove_ended();
        taken_over.processes = state.processes.into_values().collect();
        Ok(taken_over)
    }

    /// Why the next restart will be a gap in what is recorded, in words; `None` if it will be none.
    pub fn why_gap(&self) -> Option<&str> {
        self.hand_over.why_gap.as_deref()
    }

    fn replay(&self, recorded: Option<DrainId>) -> Option<io::Result<Replayed>> {
        let leaving = self.hand_over.leaving.as_ref()?;
        Some(replay(&leaving.place.journal, leaving.series?.0, recorded))
    }

    fn begin_journal(&mut self) {
        let state = self.drain.reconciler.state();
        let Some(leaving) = &mut self.hand_over.leaving else { return };
        match Journal::begin(&leaving.place.journal, leaving.object, state) {
            Ok(journal) => {
                leaving.journal = Some(journal);
                self.drain.reconciler.keep_changes();
            }
            Err(error) => {
                self.hand_over.give_up(&format!("the journal of drains cannot be written: {error}"))
            }
        }
    }

    /// Writes to the journal that the last drain is recorded, before its flows are sent. `process` returns what the next run
    /// needs of a process. Returns the number of the drain, if there is a journal.
    pub fn write_journal(
        &mut self,
        flows: &[FlowDelta],
        process: impl Fn(ProcessId) -> Option<Vec<u8>>,
    ) -> Option<DrainId> {
        let mut changes = self.drain.reconciler.take_changes();
        let journal = self.hand_over.leaving.as_mut()?.journal.as_mut()?;
        let new: HashSet<ProcessId> = flows.iter().map(|flow| flow.id.process).collect();
        let new = new.into_iter().filter(|id| !journal.has_process(*id));
        changes.extend(new.filter_map(|id| Some(Change::Process(id, process(id)?))));
        if !changes.is_empty()
            && let Err(error) = journal.add(changes)
        {
            self.hand_over.give_up(&format!("the journal of drains cannot be written: {error}"));
            return None;
        }
        Some(journal_of(&self.hand_over)?.last_drain())
    }

    /// Ends a drain that is sent: the flows that it has read to their end leave the table. A file of the journal that has become
    /// long is followed by another one.
    pub fn end_drain(&mut self, process: impl Fn(ProcessId) -> Option<Vec<u8>>) {
        self.remove_ended();
        let journal = self.hand_over.leaving.as_mut().and_then(|leaving| leaving.journal.as_mut());
        if let Some(journal) = journal.filter(|journal| journal.is_long()) {
            let changes = remembered(self.drain.reconciler.state(), process);
            if let Err(error) = journal.begin_file(changes) {
                self.hand_over.give_up(&format!("the journal of drains cannot be written: {error}"));
            }
        }
    }

    pub(crate) fn remove_ended(&mut self) {
        let removals = std::mem::take(&mut self.drain.removals);
        self.drain.table.remove(&removals);
    }

    /// Takes note that the log has all flows up to a drain: the journal need not reach further back.
    pub fn set_recorded(&mut self, recorded: DrainId) {
        if let Some(journal) = self.hand_over.leaving.as_mut().and_then(|leaving| leaving.journal.as_mut()) {
            journal.forget_before(recorded);
        }
    }

    /// Prepares for the last drain before [`Capture::leave`]: events that come after it are left in the ring buffer.
    pub fn prepare_to_leave(&mut self) {
        self.drain.ring.end_thread();
    }

    /// Leaves the hooks to the next run: they go on counting. `processes` are those that may end before it.
    pub fn leave(&mut self, processes: Vec<(ProcessId, Vec<u8>)>) -> bool {
        let changes = processes.into_iter().map(|(id, process)| Change::Process(id, process)).collect();
        let Some(journal) = self.hand_over.leaving.as_mut().and_then(|leaving| leaving.journal.as_mut())
        else {
            return false;
        };
        if journal.add(changes).is_err() {
            return false;
        }
        self.links.leave();
        true
    }
}

fn journal_of(hand_over: &HandOverState) -> Option<&Journal> {
    hand_over.leaving.as_ref()?.journal.as_ref()
}

/// All that is remembered, with the processes that have flows.
fn remembered(mut state: ReconcilerState, process: impl Fn(ProcessId) -> Option<Vec<u8>>) -> Vec<Change> {
    let ids: HashSet<ProcessId> = state.flows.keys().map(|key| key.process).collect();
    state.processes = ids.into_iter().filter_map(|id| Some((id, process(id)?))).collect();
    state.into_changes()
}
