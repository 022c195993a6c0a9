//! What the daemon told: programs, connections, alerts. No input or output happens here.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::rates::{Bytes, Clock, MINUTE, Rates, SecondRate};
use crate::term::text;
use live::protocol::{ConnectionLine, ContextLine, TickLine, TrafficLine};
use model::{Address, Port};
use store::protocol_name;

/// Slots are at least so long: drains that come early do not make one.
const SLOT: Duration = Duration::from_millis(400);
/// How long a connection that has ended is still shown.
const AFTERGLOW: Duration = Duration::from_secs(10);
/// Bounds: connections, those of them that have ended, families, contexts, alerts.
const MAX_CONNECTIONS: usize = 200_000;
const MAX_ENDED: usize = 20_000;
const MAX_FAMILIES: usize = 10_000;
const MAX_TALKERS: usize = 100_000;
const MAX_ALERTS: usize = 100;
const MAX_MARKS: usize = 1000;
/// Seconds after which what a connection has moved before it was told is not traffic of this moment.
const FRESH: f64 = 5.0;

/// Paths of grandparent, parent and program.
pub type Chain = [Vec<u8>; 3];

/// The contexts that have the same three programs.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub chain: Chain,
    /// What `find` looks at: paths, names, arguments, unit, container, application.
    pub words: String,
    pub open: u64,
    pub listening: u64,
    /// Connections that have ended and are still shown.
    pub ended: u64,
    pub rates: Rates,
    /// What all its connections have moved that were open since this listens.
    pub total: Bytes,
}

/// Why something stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    New,
    Wrong,
}

/// A connection, or a socket that listens.
#[derive(Clone, Debug)]
pub struct Connection {
    pub family: usize,
    pub process: u32,
    pub listens: bool,
    pub opened: bool,
    /// Safe text: the peer, or where it listens.
    pub peer: String,
    /// Safe text: the own end.
    pub local: String,
    pub local_port: Port,
    pub protocol: String,
    /// How the domain in `peer` is known; empty without one.
    pub source: String,
    /// Unix seconds.
    pub began: Option<f64>,
    pub total: Bytes,
    pub rate: SecondRate,
    pub ended: Option<Instant>,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Unix seconds.
    pub time: i64,
    pub mark: Mark,
    /// Safe text.
    pub text: String,
}

/// Where the lines come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Waiting,
    Connected,
    /// Why there are none.
    Lost(String),
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub ascii: bool,
    pub source: Source,
    pub families: Vec<Family>,
    index: HashMap<Chain, usize>,
    contexts: HashMap<u32, usize>,
    pub connections: HashMap<u64, Connection>,
    ended: VecDeque<(Instant, u64)>,
    pub alerts: VecDeque<Notice>,
    /// Programs that were announced, by their paths.
    pub marks: HashMap<Vec<u8>, Mark>,
    pub clock: Clock,
    /// All traffic of a minute, in bytes a second of each slot, and whether something was lost in it.
    pub minute: VecDeque<(Bytes, bool)>,
    now: Bytes,
    lost: bool,
    /// Which daemon it is, and since when; safe text.
    pub daemon: String,
    /// The slot that is open; `None` before the first tick: what was before belongs to no slot.
    slot: Option<Instant>,
    /// The daemon's clock at the last tick, unix seconds.
    pub time: f64,
    /// Connections that are not told of.
    pub untold: u64,
    /// Lines that made no sense.
    pub unreadable: u64,
}

impl Model {
    /// Nothing was told yet. Only ASCII may be shown, or anything.
    pub fn new(ascii: bool) -> Self {
        Self { ascii, ..Self::default() }
    }

    /// A daemon answers, perhaps another one: what is open comes anew.
    pub fn connected(&mut self, daemon: String) {
        self.source = Source::Connected;
        self.daemon = daemon;
        self.contexts.clear();
        self.connections.clear();
        self.ended.clear();
        for family in &mut self.families {
            (family.open, family.listening, family.ended) = (0, 0, 0);
            // What is still open is told with all that it has moved.
            family.total = Bytes::default();
        }
        self.slot = None;
    }

    pub fn context(&mut self, line: ContextLine) {
        if self.contexts.len() >= MAX_TALKERS {
            let used: std::collections::HashSet<usize> =
                self.connections.values().map(|connection| connection.family).collect();
            self.contexts.retain(|_, family| used.contains(family));
        }
        let chain = [&line.grandparent, &line.parent, &line.program].map(|program| program.path.0.clone());
        let mut words = String::new();
        for bytes in [
            &line.program.path,
            &line.program.name,
            &line.program.command_line,
            &line.parent.path,
            &line.grandparent.path,
            &line.unit,
            &line.container,
            &line.app,
        ] {
            words.push_str(&text::safe(&bytes.0, self.ascii).to_lowercase());
            words.push('\n');
        }
        let family = self.family(chain);
        self.families[family].words = words;
        self.contexts.insert(line.id, family);
    }

    fn family(&mut self, chain: Chain) -> usize {
        if let Some(family) = self.index.get(&chain) {
            return *family;
        }
        // More programs than anyone looks at share the place of the unknown ones.
        let chain = if self.families.len() >= MAX_FAMILIES { Chain::default() } else { chain };
        let families = &mut self.families;
        *self.index.entry(chain.clone()).or_insert_with(|| {
            families.push(Family { chain, ..Family::default() });
            families.len() - 1
        })
    }

    pub fn connection(&mut self, line: &ConnectionLine) {
        let family = match self.contexts.get(&line.context) {
            Some(family) => *family,
            None => self.family(Chain::default()),
        };
        let total = Bytes { sent: line.sent, received: line.received };
        let known = self.connections.get(&line.id);
        if known.is_none() && self.connections.len() >= MAX_CONNECTIONS {
            self.untold += 1;
            return;
        }
        let listens = line.event == "listening";
        let (mut before, rate, ended) =
            known.map_or_else(Default::default, |known| (known.total, known.rate, known.ended));
        if known.is_none() {
            let family = &mut self.families[family];
            *if listens { &mut family.listening } else { &mut family.open } += 1;
            if line.began.is_none_or(|began| began < self.time - FRESH) {
                family.total.add(total);
                before = total;
            }
        }
        let (peer, local) = self.ends(line);
        let connection = Connection {
            family,
            process: line.process,
            listens,
            opened: line.opened,
            peer,
            local,
            local_port: line.local_port,
            protocol: protocol(line),
            source: text::safe(line.domain_source.as_bytes(), true),
            began: line.began,
            total: before,
            rate,
            ended,
        };
        self.connections.insert(line.id, connection);
        self.moved(line.id, total);
    }

    /// Both ends as text.
    fn ends(&self, line: &ConnectionLine) -> (String, String) {
        let end = |address: Option<Address>, domain: &[u8], port: Port| {
            let host = match (domain.is_empty(), address) {
                (false, _) => text::safe(domain, self.ascii),
                (true, Some(Address::Ip(IpAddr::V6(address)))) if port != 0 => format!("[{address}]"),
                (true, Some(address)) => address.to_string(),
                (true, None) => "*".to_owned(),
            };
            if port == 0 { host } else { format!("{host}:{port}") }
        };
        let local = end(line.local_address, &[], line.local_port);
        match &*line.event {
            "listening" => (local, String::new()),
            _ => (end(line.remote_address, &line.domain.0, line.remote_port), local),
        }
    }

    pub fn traffic(&mut self, line: &TrafficLine, now: Instant) {
        for (id, sent, received) in &line.connections {
            self.moved(*id, Bytes { sent: *sent, received: *received });
        }
        for id in &line.ended {
            self.end(*id, now);
        }
    }

    fn moved(&mut self, id: u64, total: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let delta = total.since(connection.total);
        connection.total = total;
        let family = &mut self.families[connection.family];
        family.total.add(delta);
        if self.slot.is_some() {
            connection.rate.now.add(delta);
            family.rates.now.add(delta);
            self.now.add(delta);
        }
    }

    fn end(&mut self, id: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id).filter(|known| known.ended.is_none()) else {
            return;
        };
        connection.ended = Some(now);
        let family = &mut self.families[connection.family];
        let open = if connection.listens { &mut family.listening } else { &mut family.open };
        *open = open.saturating_sub(1);
        family.ended += 1;
        self.ended.push_back((now, id));
    }

    /// All up to now was told.
    pub fn tick(&mut self, line: &TickLine, now: Instant) {
        (self.time, self.untold) = (line.time, line.omitted);
        while let Some((when, id)) = self.ended.front().copied()
            && (now.saturating_duration_since(when) > AFTERGLOW || self.ended.len() > MAX_ENDED)
        {
            self.ended.pop_front();
            if let Some(gone) = self.connections.remove(&id) {
                let family = &mut self.families[gone.family];
                family.ended = family.ended.saturating_sub(1);
            }
        }
        let length = now.saturating_duration_since(*self.slot.get_or_insert(now));
        if length < SLOT {
            return;
        }
        self.slot = Some(now);
        self.clock.close(length);
        self.minute.push_back((std::mem::take(&mut self.now).over(length), std::mem::take(&mut self.lost)));
        if self.minute.len() > MINUTE {
            self.minute.pop_front();
        }
        self.families.iter_mut().for_each(|family| family.rates.close());
        self.connections.values_mut().for_each(|connection| connection.rate.close());
    }

    pub fn notice(&mut self, notice: Notice) {
        self.alerts.push_front(notice);
        self.alerts.truncate(MAX_ALERTS);
    }

    /// Something was lost in the slot that is open.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// A program was announced; its context may come a moment later.
    pub fn mark(&mut self, path: Vec<u8>, mark: Mark) {
        if self.marks.len() >= MAX_MARKS {
            self.marks.clear();
        }
        let known = self.marks.entry(path).or_insert(mark);
        *known = mark.max(*known);
    }
}

fn protocol(line: &ConnectionLine) -> String {
    let number = i64::from(line.protocol);
    match (line.family, protocol_name(number)) {
        (17, _) => format!("packet {number:04x}"),
        (_, Some(name)) => name.to_owned(),
        _ => format!("ip {number}"),
    }
}
