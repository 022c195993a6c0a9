//! The reports of the daemon over the live socket: programs, connections, alerts. No input or output happens here.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    alert::{Alert, Highlight},
    connection::Connection,
    lineage::{self, Chain, Lineage},
    rates::{ByteCounts, MINUTE_SLOTS, SlotClock},
};
use live::protocol::{ConnectionLine, ContextLine, LossLine, TickLine, TrafficLine};
use model::Losses;

/// A slot is at least this long, so that an early drain does not make a slot of its own.
const MIN_SLOT: Duration = Duration::from_millis(400);
/// How long a connection is shown after it has ended.
const SHOW_ENDED: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 200_000;
/// Connections that have ended and are still shown.
const MAX_ENDED: usize = 20_000;
const MAX_LINEAGES: usize = 10_000;
const MAX_CONTEXTS: usize = 100_000;
const MAX_ALERTS: usize = 100;
const MAX_HIGHLIGHTS: usize = 1000;
/// Kinds of loss of one slot that are kept.
const MAX_SLOT_LOSSES: usize = 32;
/// The daemon sends a `tick` after each of its drains, several in this time.
const MAX_SILENCE: Duration = Duration::from_secs(3);
/// If a connection is older than this when it is first reported, in seconds, its bytes are not traffic of the open slot.
const MAX_NEW_AGE: f64 = 5.0;

/// Whether there is a connection to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FeedStatus {
    #[default]
    Waiting,
    Connected,
    /// The reason, as safe text.
    Lost(String),
}

/// All traffic of one slot.
#[derive(Clone, Debug)]
pub struct MinuteSlot {
    /// Bytes per second during the slot.
    pub rate: ByteCounts,
    /// Names and counts of what the daemon lost during the slot.
    pub lost: Vec<(String, u64)>,
}

/// The state that the lines of the daemon describe.
#[derive(Clone, Debug, Default)]
pub struct LiveState {
    /// Whether texts are ASCII only.
    pub ascii: bool,
    pub status: FeedStatus,
    /// Version, process and start of the daemon, as safe text.
    pub daemon: String,
    pub lineages: Vec<Lineage>,
    lineage_index: HashMap<Chain, usize>,
    /// Lineage of each context id.
    contexts: HashMap<u32, usize>,
    /// The number of contexts at which unused ones are forgotten next, if it is more than [`MAX_CONTEXTS`].
    sweep_contexts_at: usize,
    pub connections: HashMap<u64, Connection>,
    /// Ids of the connections that have ended, in that order.
    ended: VecDeque<(Instant, u64)>,
    /// Alerts and errors, the latest first.
    pub alerts: VecDeque<Alert>,
    /// Programs with an alert, by their paths.
    pub highlights: HashMap<Vec<u8>, Highlight>,
    pub clock: SlotClock,
    /// The slots of the last minute, the oldest first.
    pub minute: VecDeque<MinuteSlot>,
    /// Traffic of the open slot.
    slot_bytes: ByteCounts,
    /// Names and counts of what was lost in the open slot.
    slot_lost: Vec<(String, u64)>,
    /// When the open slot began; `None` before the first tick, because earlier traffic belongs to no slot.
    slot_start: Option<Instant>,
    /// The daemon's clock at the last tick, in unix seconds.
    pub time: f64,
    /// Connections that the daemon has left out because there are too many.
    pub omitted: u64,
    /// Connections of the daemon that are not shown because there are too many.
    pub omitted_here: u64,
    /// Lines that could not be parsed.
    pub unreadable: u64,
    /// When the daemon connected, or its last `tick` came.
    last_tick: Option<Instant>,
    /// How long no `tick` has come, in seconds, once that is too long.
    pub silent: Option<u64>,
}

impl LiveState {
    /// The state before the first line.
    pub fn new(ascii: bool) -> Self {
        Self { ascii, ..Self::default() }
    }

    /// Takes note that the daemon has counters up to now. Lines other than `tick` do not say that: a recorder sends some also
    /// while its monitor is stopped.
    pub fn heard(&mut self, now: Instant) {
        self.last_tick = Some(now);
        self.silent = None;
    }

    /// Finds out whether the daemon is silent for too long. Returns whether that has to be drawn.
    pub fn note_silence(&mut self, now: Instant) -> bool {
        let before = self.silent;
        let silence = self.last_tick.map(|last| now.saturating_duration_since(last));
        self.silent = silence.filter(|silence| *silence >= MAX_SILENCE).map(|silence| silence.as_secs());
        self.silent.is_some() && self.silent != before
    }

    /// Starts again with a daemon, perhaps another one, which reports everything that is open.
    pub fn connected(&mut self, daemon: String) {
        self.status = FeedStatus::Connected;
        self.daemon = daemon;
        self.contexts.clear();
        self.connections.clear();
        self.ended.clear();
        for lineage in &mut self.lineages {
            (lineage.open, lineage.listening, lineage.ended) = (0, 0, 0);
            // Open connections are reported with all bytes that they have moved.
            lineage.total = ByteCounts::default();
            lineage.rates.open = ByteCounts::default();
        }
        (self.slot_start, self.slot_bytes) = (None, ByteCounts::default());
        self.slot_lost.clear();
        self.omitted_here = 0;
    }

    /// Takes a `context` line, which may replace an earlier one with the same id.
    pub fn context(&mut self, line: &ContextLine) {
        // Only contexts that the daemon has, too, are left then, so that their number has its bound. The next search waits
        // until they are twice as many.
        if self.contexts.len() >= self.sweep_contexts_at.max(MAX_CONTEXTS) {
            let used: HashSet<usize> =
                self.connections.values().map(|connection| connection.lineage).collect();
            self.contexts.retain(|_, lineage| used.contains(lineage));
            self.sweep_contexts_at = self.contexts.len().saturating_mul(2);
        }
        let lineage = self.lineage(lineage::chain(line));
        self.lineages[lineage].words = lineage::words(line, self.ascii);
        self.contexts.insert(line.id, lineage);
    }

    /// The lineage with these programs. Beyond the bound, the lineage of unknown programs is used.
    fn lineage(&mut self, chain: Chain) -> usize {
        if let Some(lineage) = self.lineage_index.get(&chain) {
            return *lineage;
        }
        let chain = if self.lineages.len() >= MAX_LINEAGES { Chain::default() } else { chain };
        let lineages = &mut self.lineages;
        *self.lineage_index.entry(chain.clone()).or_insert_with(|| {
            lineages.push(Lineage { chain, ..Lineage::default() });
            lineages.len() - 1
        })
    }

    /// Takes a `connection` or `listening` line, which may replace an earlier one with the same id.
    pub fn connection(&mut self, line: &ConnectionLine) {
        let lineage = match self.contexts.get(&line.context) {
            Some(lineage) => *lineage,
            None => self.lineage(Chain::default()),
        };
        let total = ByteCounts { sent: line.sent, received: line.received };
        let mut connection = Connection::new(line, lineage, self.ascii);
        match self.connections.get(&line.id) {
            Some(earlier) => {
                connection.total = earlier.total;
                connection.rate = earlier.rate;
                connection.ended = earlier.ended;
                // Another program, or a socket that does not only listen any more: it is open there now.
                let has_ended = earlier.ended.is_some();
                self.lineages[earlier.lineage].count(earlier.is_listening, has_ended, false);
                self.lineages[lineage].count(connection.is_listening, has_ended, true);
            }
            None if self.connections.len() >= MAX_CONNECTIONS => {
                self.omitted_here += 1;
                return;
            }
            None => {
                let lineage = &mut self.lineages[lineage];
                lineage.count(connection.is_listening, false, true);
                if line.began.is_none_or(|began| began < self.time - MAX_NEW_AGE) {
                    lineage.total.add(total);
                    connection.total = total;
                }
            }
        }
        self.connections.insert(line.id, connection);
        self.set_total(line.id, total);
    }

    /// Takes a `traffic` line: new totals, and connections that have ended.
    pub fn traffic(&mut self, line: &TrafficLine, now: Instant) {
        for (id, sent, received) in &line.connections {
            self.set_total(*id, ByteCounts { sent: *sent, received: *received });
        }
        for id in &line.ended {
            self.end(*id, now);
        }
    }

    /// Counts the bytes that a connection has moved since its last total.
    fn set_total(&mut self, id: u64, total: ByteCounts) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let delta = total.since(connection.total);
        connection.total = total;
        let lineage = &mut self.lineages[connection.lineage];
        lineage.total.add(delta);
        if self.slot_start.is_some() {
            connection.rate.open.add(delta);
            lineage.rates.open.add(delta);
            self.slot_bytes.add(delta);
        }
    }

    fn end(&mut self, id: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id).filter(|found| found.ended.is_none()) else {
            return;
        };
        connection.ended = Some(now);
        let lineage = &mut self.lineages[connection.lineage];
        lineage.count(connection.is_listening, false, false);
        lineage.count(connection.is_listening, true, true);
        self.ended.push_back((now, id));
    }

    /// Takes a `tick` line: everything up to now has been reported.
    pub fn tick(&mut self, line: &TickLine, now: Instant) {
        self.heard(now);
        (self.time, self.omitted) = (line.time, line.omitted);
        self.remove_ended(now);
        let length = now.saturating_duration_since(*self.slot_start.get_or_insert(now));
        if length < MIN_SLOT {
            return;
        }
        self.slot_start = Some(now);
        self.clock.close(length);
        let rate = std::mem::take(&mut self.slot_bytes).over(length);
        self.minute.push_back(MinuteSlot { rate, lost: std::mem::take(&mut self.slot_lost) });
        if self.minute.len() > MINUTE_SLOTS {
            self.minute.pop_front();
        }
        self.lineages.iter_mut().for_each(|lineage| lineage.rates.close());
        self.connections.values_mut().for_each(|connection| connection.rate.close());
    }

    /// Removes connections that ended a while ago.
    fn remove_ended(&mut self, now: Instant) {
        while let Some((ended, id)) = self.ended.front().copied()
            && (now.saturating_duration_since(ended) > SHOW_ENDED || self.ended.len() > MAX_ENDED)
        {
            self.ended.pop_front();
            if let Some(connection) = self.connections.remove(&id) {
                self.lineages[connection.lineage].count(connection.is_listening, true, false);
            }
        }
    }

    pub fn add_alert(&mut self, alert: Alert) {
        self.alerts.push_front(alert);
        self.alerts.truncate(MAX_ALERTS);
    }

    /// Notes that something was lost in the open slot.
    pub fn add_loss(&mut self, line: LossLine) {
        if let Some((_, count)) = self.slot_lost.iter_mut().find(|(kind, _)| *kind == line.kind) {
            *count = count.saturating_add(line.count);
        } else if self.slot_lost.len() < MAX_SLOT_LOSSES {
            self.slot_lost.push((line.kind, line.count));
        }
    }

    /// The losses of the last minute.
    pub fn losses(&self) -> Losses {
        let slots = self.minute.iter().map(|slot| &slot.lost).chain([&self.slot_lost]);
        Losses::from_names(slots.flatten().map(|(kind, count)| (kind.as_str(), *count)))
    }

    /// Highlights a program; its context may arrive later.
    pub fn highlight(&mut self, path: Vec<u8>, highlight: Highlight) {
        if self.highlights.len() >= MAX_HIGHLIGHTS {
            self.highlights.clear();
        }
        let entry = self.highlights.entry(path).or_insert(highlight);
        *entry = highlight.max(*entry);
    }
}
