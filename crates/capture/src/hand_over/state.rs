//! The hand-over of a running capture.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
};

use super::{
    HandOver, TakenOver,
    change::{Change, ReconcilerState},
    journal::{EarlierSeries, Journal, Replayed, earlier_series, random, replay},
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
    /// The maps are those of an earlier run.
    is_taken_over: bool,
    /// Why a restart is a gap in what is recorded, if it is.
    why_gap: Option<String>,
}

struct Leaving {
    place: HandOver,
    object: u64,
    pins: Pins,
    pins_name: u64,
    /// The series of drains of the earlier run.
    earlier: Option<u64>,
    /// What that run said about its processes, for the journal.
    processes: HashMap<ProcessId, Vec<u8>>,
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
    let Some(place) = &settings.hand_over else { return LeftBehind::Nothing };
    match earlier_series(&place.journal) {
        None => LeftBehind::Nothing,
        Some(earlier) if has_hooks(&earlier, place, object_number(settings)) => LeftBehind::Hooks,
        Some(_) => LeftBehind::Journal,
    }
}

/// Whether the hooks and maps of an earlier run are there and can be taken over.
fn has_hooks(earlier: &EarlierSeries, place: &HandOver, object: u64) -> bool {
    earlier.object == object && pins_of(place, earlier.pins).exists()
}

/// A directory for the pins of one loaded object. The journal names it: pins of a start that failed belong to no journal.
fn pins_of(place: &HandOver, name: u64) -> PathBuf {
    place.pins.join(format!("{name:x}"))
}

impl HandOverState {
    /// Looks for what an earlier run has left. What cannot be taken over leaves the kernel.
    pub(crate) fn prepare(settings: &Settings) -> Self {
        let Some(place) = settings.hand_over.clone() else { return Self::default() };
        let object = object_number(settings);
        let earlier = earlier_series(&place.journal);
        let taken_over = earlier.filter(|earlier| has_hooks(earlier, &place, object));
        if taken_over.is_none() {
            let _ = super::remove_pins(&place.pins);
        }
        let made = taken_over.map_or_else(random, |earlier| Ok(earlier.pins)).and_then(|name| {
            Pins::make(&place.pins)?;
            Ok((name, Pins::make(&pins_of(&place, name))?))
        });
        let mut state = Self::default();
        state.is_taken_over = taken_over.is_some();
        match made {
            Ok((pins_name, pins)) => {
                let earlier = earlier.map(|earlier| earlier.series);
                let processes = HashMap::new();
                state.leaving =
                    Some(Leaving { place, object, pins, pins_name, earlier, processes, journal: None });
            }
            Err(error) => {
                // The journal would not know what this run records.
                let _ = std::fs::remove_dir_all(&place.journal);
                state.why_gap = Some(format!("hooks cannot be pinned in {}: {error}", place.pins.display()));
            }
        }
        state
    }

    pub(crate) fn pins(&self) -> Option<&Pins> {
        self.leaving.as_ref().map(|leaving| &leaving.pins)
    }

    pub(crate) fn has_link(&self, hook: HookId) -> bool {
        self.pins().is_some_and(|pins| pins.link(hook).exists())
    }

    /// Whether the maps are those of an earlier run.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.is_taken_over
    }

    /// Whether the hooks are left if the capture ends now: not those of a start that has failed.
    pub(crate) fn leaves_hooks(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| self.is_taken_over || leaving.journal.is_some())
    }

    /// Leaves nothing to the next run, for this reason.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.end();
        if let Some(Leaving { place, .. }) = self.leaving.take() {
            let _ = std::fs::remove_dir_all(place.journal);
        }
        self.why_gap = Some(why.to_owned());
    }

    fn reason(&self) -> String {
        self.why_gap.clone().unwrap_or_default()
    }

    /// Leaves no hooks to the next run.
    pub(crate) fn end(&mut self) {
        if let Some(leaving) = &self.leaving {
            leaving.pins.remove();
        }
    }
}

impl Drop for HandOverState {
    fn drop(&mut self) {
        if !self.leaves_hooks() {
            self.end();
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
        taken_over.processes = state.processes.values().cloned().collect();
        if let Some(leaving) = &mut self.hand_over.leaving {
            leaving.processes = state.processes;
        }
        Ok(taken_over)
    }

    /// Why the next restart will be a gap in what is recorded, in words; `None` if it will be none.
    pub fn why_gap(&self) -> Option<&str> {
        self.hand_over.why_gap.as_deref()
    }

    fn replay(&self, recorded: Option<DrainId>) -> Option<io::Result<Replayed>> {
        match &self.hand_over.leaving {
            Some(leaving) => Some(replay(&leaving.place.journal, leaving.earlier?, recorded)),
            // It was given up after its maps were taken over.
            None if self.hand_over.is_taken_over => Some(Err(io::Error::other(self.hand_over.reason()))),
            None => None,
        }
    }

    fn begin_journal(&mut self) {
        let mut state = self.drain.reconciler.state();
        let Some(leaving) = &mut self.hand_over.leaving else { return };
        state.processes = std::mem::take(&mut leaving.processes);
        match Journal::begin(&leaving.place.journal, leaving.object, leaving.pins_name, state) {
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
            self.give_up_journal(&error);
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
                self.give_up_journal(&error);
            }
        }
    }

    /// The next drain reports that a restart will be a gap.
    fn give_up_journal(&mut self, error: &io::Error) {
        let why = format!("the journal of drains cannot be written: {error}");
        self.hand_over.give_up(&why);
        self.drain
            .problems
            .push(format!("A restart of picosnitch will be a gap in what is recorded: {why}."));
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
