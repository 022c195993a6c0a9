//! Draining the kernel half: reads the ring buffer, the flow table and, if needed, the open sockets, and passes
//! them to the reconciler.

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use libbpf_rs::{MapCore, MapFlags};

use crate::{
    abi::{self, types},
    capture::Capture,
    error::CaptureError,
    event::{Event, SocketEvent},
    flow::{FlowDelta, FlowEntry, SocketAddress},
    hook_id::HookId,
    losses::loss_counters,
    reconciler::{DrainInput, DrainOutcome, LossCounters, datagram_remotes},
};
use model::{Loss, boot_time};

/// How long a drain waits for the second event of an execve(2), and how often.
const EXECVE_WAIT: Duration = Duration::from_millis(1);
const MAX_EXECVE_WAITS: usize = 20;

/// The sources that a drain reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Reads events and flows only.
    Regular,
    /// Samples the open sockets too, which show bytes that passed no hook, and `AF_PACKET` rings.
    SampleSockets,
    /// Samples the open sockets, and holds no flow back, because no other drain follows.
    Final,
}

/// Everything that happened since the last drain.
#[derive(Debug, Default)]
pub struct DrainOutput {
    /// Events of processes and sockets, in order.
    pub events: Vec<Event>,
    /// The traffic of the flows, in the order in which they began.
    pub flows: Vec<FlowDelta>,
    /// The losses since the last drain.
    pub losses: Vec<Loss>,
    /// Hooks that could not be attached when they were needed, and a reader that has ended, as sentences.
    pub problems: Vec<String>,
    /// Number of entries in the flow table. Only a test reads it, to see that it has filled the table.
    pub table_entries: usize,
    /// The first flow of a process waits for a fact that the next drain will know: the next drain should come soon.
    pub drain_soon: bool,
}

impl Capture {
    /// A descriptor that is readable when the ring buffer fills up, or a process has its first flow: then the next drain
    /// should come at once.
    pub fn urgent_fd(&self) -> BorrowedFd<'_> {
        self.drain.ring.as_fd()
    }

    /// Whether open sockets have to be sampled now and then, because bytes or rings pass no hook on this kernel.
    pub fn needs_sampling(&self) -> bool {
        let hooks = [HookId::TcpSpliceRead, HookId::TcpZerocopyReceive, HookId::PacketSetRing];
        hooks.into_iter().any(|hook| self.is_missing(hook))
    }

    /// Returns everything that happened since the last drain. Call [`Capture::write_journal`] before the result is sent, and
    /// [`Capture::end_drain`] after it.
    ///
    /// # Errors
    /// When the flow table or an iterator cannot be read. Nothing is lost by that: the next drain returns it.
    pub fn drain(&mut self, mode: DrainMode) -> Result<DrainOutput, CaptureError> {
        self.remove_ended();
        self.advance_tick();
        // The ring is read before the table: the flows of a socket whose release is read here are final in the table.
        self.read_events()?;
        if mode != DrainMode::Final {
            self.attach_packet_hooks_if_requested();
        }
        self.drain.problems.extend(self.drain.ring.take_problem());
        let samples = if mode == DrainMode::Regular { Vec::new() } else { self.sockets()? };
        // The open sockets are read before the table, too, for the same reason.
        let open_sockets = self.open_sockets_after_lost_releases(mode, &samples)?;
        let entries = self.drain.table.read()?;
        // One time decides for all of the drain which flows are young.
        let now = boot_time();
        let samples = if samples.is_empty() { self.sample_for(&entries, now)? } else { samples };
        let (events, ended) = (self.drain.unreconciled.events.len(), self.drain.unreconciled.ended.len());
        // The ring is read again: every process with a flow in the table has sent its events by now.
        self.read_events_after_table()?;
        let later_events = self.drain.unreconciled.split_off(events, ended);
        let table_entries = entries.len();
        let outcome = self.drain.reconciler.reconcile(DrainInput {
            events: std::mem::take(&mut self.drain.unreconciled),
            later_events,
            datagram_remotes: self.datagram_remotes(&entries),
            entries,
            samples,
            open_sockets,
            loss_counters: self.loss_counters(),
            now,
            is_final: mode == DrainMode::Final,
        });
        let DrainOutcome { events, mut flows, losses, removals, expire_ticks, drain_soon } = outcome;
        self.drain.removals = removals;
        if let Some(ticks) = expire_ticks {
            self.variables.set_expire_ticks(ticks);
        }
        flows.splice(..0, std::mem::take(&mut self.drain.recovered));
        let problems = std::mem::take(&mut self.drain.problems);
        Ok(DrainOutput { events, flows, losses, problems, table_entries, drain_soon })
    }

    /// Reads the events that are in the ring now.
    fn read_events(&mut self) -> Result<(), CaptureError> {
        let mut batch = self.drain.ring.take()?;
        self.drain.reconciler.add_first_flows(std::mem::take(&mut batch.first_flows));
        self.drain.unreconciled.append(batch);
        Ok(())
    }

    /// Reads the events that are in the ring now, and waits if the last one is the first of the two of an execve.
    fn read_events_after_table(&mut self) -> Result<(), CaptureError> {
        self.read_events()?;
        for _ in 0..MAX_EXECVE_WAITS {
            if !self.drain.unreconciled.ends_within_execve() {
                break;
            }
            std::thread::sleep(EXECVE_WAIT);
            self.read_events()?;
        }
        Ok(())
    }

    /// Attaches the packet hooks if a socket needs them. Each that cannot be attached is a problem.
    fn attach_packet_hooks_if_requested(&mut self) {
        if !self.variables.packet_hooks_requested() {
            return;
        }
        let known = self.blind_spots().len();
        self.attach_packet_hooks();
        let missing = self.blind_spots().iter().skip(known);
        let problems: Vec<String> =
            missing.map(|spot| format!("Not seen from now on: {} ({}).", spot.unseen, spot.why)).collect();
        self.drain.problems.extend(problems);
    }

    /// Returns the inode numbers of all open sockets if release events were lost: a socket that no process has open is
    /// closed. The samples show all of them, unless the mode has none.
    fn open_sockets_after_lost_releases(
        &self,
        mode: DrainMode,
        samples: &[SocketEvent],
    ) -> Result<Option<HashSet<u64>>, CaptureError> {
        let can_iterate = !self.is_missing(HookId::IterTaskFile);
        if !(self.drain.reconciler.has_lost_releases() && can_iterate) {
            return Ok(None);
        }
        let numbers = |sockets: &[SocketEvent]| sockets.iter().map(|socket| socket.socket).collect();
        Ok(Some(if mode == DrainMode::Regular { numbers(&self.sockets()?) } else { numbers(samples) }))
    }

    /// Samples the open sockets if entries need their local ends.
    fn sample_for(&mut self, entries: &[FlowEntry], now: u64) -> Result<Vec<SocketEvent>, CaptureError> {
        if self.drain.reconciler.needs_samples(entries, now) {
            let samples = self.sockets()?;
            if !samples.is_empty() {
                return Ok(samples);
            }
        }
        let begin = Instant::now();
        if !self.drain.reconciler.needs_first_flow_samples(entries, begin) {
            return Ok(Vec::new());
        }
        let samples = self.sockets()?;
        self.drain.reconciler.set_first_flows_sampled(begin, begin.elapsed());
        Ok(samples)
    }

    /// Remote ends that the packet hooks saw, for the datagram flows that lack them.
    pub(crate) fn datagram_remotes(&self, entries: &[FlowEntry]) -> HashMap<u64, SocketAddress> {
        let maps = &self.skeleton.maps;
        datagram_remotes(
            entries,
            |socket| pending_peer(&maps.last_sent_peers, socket),
            |socket| pending_peer(&maps.last_received_peers, socket),
        )
    }

    pub(crate) fn loss_counters(&self) -> LossCounters {
        loss_counters(&self.variables, &self.primary_programs)
    }

    fn advance_tick(&mut self) {
        let tick = self.drain.reconciler.advance_tick(Instant::now());
        self.variables.set_tick(tick);
    }
}

fn pending_peer(map: &impl MapCore, socket: u64) -> Option<SocketAddress> {
    let bytes = map.lookup(&socket.to_ne_bytes(), MapFlags::ANY).ok()??;
    let peer = abi::read::<types::pending_peer>(&bytes)?;
    Some((peer.address, peer.port))
}
