//! The hand-over of a running capture.

use std::{collections::HashSet, io};

use super::{
    HandOver, TakenOver,
    change::{Change, ReconcilerState},
    journal::{Journal, Replayed, replay, series_of},
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
    /// The series of drains that was taken over.
    series: Option<u64>,
    /// `None` until [`Capture::begin`].
    journal: Option<Journal>,
}

/// Whether [`Capture::start`] will find what an earlier run has left. Makes nothing.
pub fn can_take_over(settings: &Settings) -> bool {
    series_to_take_over(settings).is_some()
}

/// The series of drains that an earlier run with the same object and settings has left.
fn series_to_take_over(settings: &Settings) -> Option<u64> {
    let place = settings.hand_over.as_ref()?;
    series_of(&place.journal, object_number(settings)).filter(|_| place.pins.exists())
}

impl HandOverState {
    /// Looks for what an earlier run has left. What cannot be taken over leaves the kernel.
    pub(crate) fn prepare(settings: &Settings) -> Self {
        let Some(place) = settings.hand_over.clone() else { return Self::default() };
        let object = object_number(settings);
        let series = series_to_take_over(settings);
        if series.is_none() {
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
        self.leaving.as_ref().is_some_and(|leaving| leaving.series.is_some())
    }

    /// Leaves nothing for the next run, for this reason.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.end();
        self.why_gap = Some(why.to_owned());
    }

    /// Leaves nothing for the next run.
    pub(crate) fn end(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            leaving.pins.remove();
            if let Some(journal) = leaving.journal {
                journal.remove();
            }
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
            None => {
                self.learn_earlier_sockets()?;
                None
            }
            Some(replayed) => Some(self.resume(replayed)?),
        };
        self.begin_journal();
        Ok(taken_over)
    }

    /// Goes on with the table of an earlier run. Without its journal, what is counted so far is taken to be recorded.
    fn resume(&mut self, replayed: io::Result<Replayed>) -> Result<TakenOver, CaptureError> {
        let sockets = self.sockets()?;
        let open: HashSet<u64> = sockets.iter().map(|socket| socket.socket).collect();
        let entries = self.drain.table.read()?;
        let clock = (self.variables.tick(), self.variables.expire_ticks());
        let mut taken_over = TakenOver::default();
        let state = match replayed {
            Ok(replayed) => {
                taken_over.lost_bytes = replayed.lost_bytes;
                replayed.state
            }
            Err(error) => {
                taken_over.problem = Some(error.to_string());
                sockets.iter().for_each(|socket| self.drain.reconciler.add_existing_socket(socket));
                let flows = entries.iter().map(|entry| (entry.key, entry.counters)).collect();
                ReconcilerState { flows, losses: self.loss_counters(), ..ReconcilerState::default() }
            }
        };
        self.drain.removals = self.drain.reconciler.resume(&state, &entries, &open, clock);
        self.end_drain();
        taken_over.processes = state.processes.into_values().collect();
        Ok(taken_over)
    }

    /// Why the next restart will be a gap in what is recorded, in words; `None` if it will be none.
    pub fn why_gap(&self) -> Option<&str> {
        self.hand_over.why_gap.as_deref()
    }

    fn replay(&self, recorded: Option<DrainId>) -> Option<io::Result<Replayed>> {
        let leaving = self.hand_over.leaving.as_ref()?;
        Some(replay(&leaving.place.journal, leaving.series?, recorded))
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

    /// Removes the flows from the table that the last drain has read to their end, now that it is sent.
    pub fn end_drain(&mut self) {
        let removals = std::mem::take(&mut self.drain.removals);
        self.drain.table.remove(&removals);
    }

    /// Takes note that the log has all flows up to a drain. The journal is shortened if it has become long.
    pub fn set_recorded(&mut self, recorded: DrainId, process: impl Fn(ProcessId) -> Option<Vec<u8>>) {
        let Some(journal) = self.hand_over.leaving.as_mut().and_then(|leaving| leaving.journal.as_mut())
        else {
            return;
        };
        journal.forget_before(recorded);
        if journal.is_long() {
            let changes = remembered(self.drain.reconciler.state(), process);
            if let Err(error) = journal.begin_file(changes) {
                self.hand_over.give_up(&format!("the journal of drains cannot be written: {error}"));
            }
        }
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
