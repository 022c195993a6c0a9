//! The rows of a window, within the growth that each user has left.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use model::{
    Address, Counters, Event, EventKind, FlowTuple, GeoInfo, PORT_MANY, Port, ProcessContext, Record, Window,
};
use rusqlite::{CachedStatement, Connection, params};

use crate::{
    clock::ClockReading,
    growth_budget::{GrowthBudgets, GrowthBytes, Principal, RECORD_BYTES, context_bytes, endpoint_bytes},
    intern::{CommandLines, Interner, KnownContext},
    nonce,
};

/// How the context of a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextDetail {
    /// As it is.
    Whole,
    /// Its command lines, if it has any, are "many".
    ManyCommandLines,
    /// It stands for many programs of its user.
    ManyPrograms,
    /// Nothing, or not all of it, is known.
    Incomplete,
}

/// What a principal's records of a window took.
pub(crate) struct Spent {
    pub principal: Principal,
    /// Bytes that the principal has left.
    pub left: GrowthBytes,
    /// Groups that were summed.
    pub folded: u64,
}

/// The context of a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ContextId {
    Known(i64),
    /// The many programs of this user.
    Many(u32),
}

/// Family, protocol and direction, which summed records share.
type FoldKind = (u16, u16, bool);
/// What the summed records of a principal have in common.
type FoldKey = (ContextId, FoldKind);

/// Records that are summed to one.
struct Folded {
    uid: u32,
    tuple: FlowTuple,
    geo: GeoInfo,
    counters: Counters,
    groups: u64,
}

const INSERT_RECORD: &str = "INSERT INTO record (time, sequence, context, endpoint, local_port, remote_port, \
     connections, sent, received, folded) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Prepares the statement of [`insert_row`].
pub(super) fn prepare_insert(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(INSERT_RECORD)
}

/// Inserts the row of a record with this time and sequence, and these ids of its context and endpoint.
pub(super) fn insert_row(
    insert: &mut CachedStatement<'_>,
    (time, sequence): (i64, i64),
    (context, endpoint): (i64, i64),
    record: &Record,
) -> rusqlite::Result<()> {
    insert.execute(params![
        time,
        sequence,
        context,
        endpoint,
        stored_port(record.tuple.local_port),
        stored_port(record.tuple.remote_port),
        stored_counter(record.counters.connections),
        stored_counter(record.counters.sent),
        stored_counter(record.counters.received),
        i64::try_from(record.folded).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

/// The sequence of the next record of a second. Usually 0; more if the clock was set back, or the daemon restarted within a
/// second.
pub(super) fn next_sequence(connection: &Connection, time: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(sequence) + 1, 0) FROM record WHERE time = ?1";
    connection.prepare_cached(sql)?.query_row([time], |row| row.get(0))
}

/// Inserts the row of a window with a number of records, the first of which has this sequence.
pub(super) fn insert_window(
    connection: &Connection,
    id: i64,
    reading: ClockReading,
    (first_sequence, count): (i64, i64),
    nonce: Option<i64>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO window (id, time, boot, uptime, first_sequence, count, nonce) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let ClockReading { time, boot, uptime } = reading;
    let row = params![id, time, boot, uptime, first_sequence, count, nonce];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Inserts the records of one window.
pub(super) struct RecordWriter<'a> {
    connection: &'a Connection,
    interner: &'a mut Interner,
    insert: CachedStatement<'a>,
    window: &'a Window,
    first_sequence: i64,
    next_sequence: i64,
    /// Ids of the contexts of this window: records share them, and the content of each is hashed once.
    contexts: HashMap<*const ProcessContext, (i64, &'a ProcessContext)>,
    /// Contexts of this window for which there is no room.
    unaffordable: HashSet<*const ProcessContext>,
}

impl<'a> RecordWriter<'a> {
    pub fn new(
        connection: &'a Connection,
        interner: &'a mut Interner,
        window: &'a Window,
    ) -> rusqlite::Result<Self> {
        let first = next_sequence(connection, window.time)?;
        let insert = prepare_insert(connection)?;
        Ok(Self {
            connection,
            interner,
            insert,
            window,
            first_sequence: first,
            next_sequence: first,
            contexts: HashMap::new(),
            unaffordable: HashSet::new(),
        })
    }

    /// Inserts the records: all of them, or with budgets as much detail as each principal has left. Returns what each
    /// principal has left then.
    pub fn insert(&mut self, budgets: Option<&GrowthBudgets>) -> rusqlite::Result<Vec<Spent>> {
        let records = &self.window.records;
        let Some(budgets) = budgets else {
            records.iter().try_for_each(|record| self.insert_record(record))?;
            return Ok(Vec::new());
        };
        // Records share contexts: the principal of each context is made once.
        let mut by_context: Vec<Vec<&Record>> = Vec::new();
        let mut indexes: HashMap<*const ProcessContext, usize> = HashMap::new();
        for record in records {
            let index = *indexes.entry(Arc::as_ptr(&record.context)).or_insert(by_context.len());
            match by_context.get_mut(index) {
                Some(records) => records.push(record),
                None => by_context.push(vec![record]),
            }
        }
        let mut by_principal: BTreeMap<Principal, Vec<&Record>> = BTreeMap::new();
        for mut records in by_context {
            let principal = Principal::of(&records[0].context);
            by_principal.entry(principal).or_default().append(&mut records);
        }
        let mut all = Vec::with_capacity(by_principal.len());
        for (principal, records) in by_principal {
            let left = budgets.left(&principal, self.window.uptime);
            self.interner.take_grown();
            let (records, folded) = if at_most(&records).fits(left) {
                records.iter().try_for_each(|record| self.insert_record(record))?;
                (records.len(), 0)
            } else {
                self.insert_within(records, left)?
            };
            let mut left = left;
            left -= self.interner.take_grown();
            left -= GrowthBytes { detail: RECORD_BYTES * records as i64, programs: 0 };
            all.push(Spent { principal, left, folded });
        }
        Ok(all)
    }

    /// Inserts the largest records with all detail until `left` bytes are used, and sums the rest. Returns the number of
    /// rows, and that of the groups that were summed.
    fn insert_within(
        &mut self,
        mut records: Vec<&'a Record>,
        left: GrowthBytes,
    ) -> rusqlite::Result<(usize, u64)> {
        let bytes = |record: &Record| record.counters.sent.saturating_add(record.counters.received);
        records.sort_by_key(|record| std::cmp::Reverse((bytes(record), record.counters.connections)));
        // A part is kept for the sums, so that they have their own programs.
        let mut kinds = FoldKinds::default();
        let keys: HashSet<_> =
            records.iter().map(|record| (Arc::as_ptr(&record.context), kinds.of(record))).collect();
        let reserve = (RECORD_BYTES * keys.len() as i64).min(left.detail / 2).max(0);
        let (mut left, mut rows, mut groups) = (left, 0, 0);
        left.detail -= reserve;
        let mut folds: BTreeMap<FoldKey, Folded> = BTreeMap::new();
        for record in records {
            let context = self.affordable_context(record, &mut left)?;
            let has_endpoint =
                self.interner.is_endpoint_known(self.connection, &record.tuple, &record.geo)?;
            let bytes =
                RECORD_BYTES + if has_endpoint { 0 } else { endpoint_bytes(&record.tuple, &record.geo) };
            match context {
                ContextId::Known(id) if bytes <= left.detail => {
                    left.detail -= bytes;
                    rows += 1;
                    self.insert_row(id, record)?;
                }
                _ => {
                    groups += record.folded.max(1);
                    add_to_fold(&mut folds, (context, kinds.of(record)), record);
                }
            }
        }
        for (key, folded) in merge_unaffordable(folds, left.detail + reserve + left.programs.max(0)) {
            let id = match key.0 {
                ContextId::Known(id) => id,
                ContextId::Many(uid) => self.interner.many_programs(self.connection, uid)?,
            };
            rows += 1;
            self.insert_folded(id, folded)?;
        }
        Ok((rows, groups))
    }

    /// The context with as much detail as `left` allows; what it takes is subtracted.
    fn affordable_context(
        &mut self,
        record: &'a Record,
        left: &mut GrowthBytes,
    ) -> rusqlite::Result<ContextId> {
        let pointer = Arc::as_ptr(&record.context);
        if let Some((id, _)) = self.contexts.get(&pointer) {
            return Ok(ContextId::Known(*id));
        }
        // What is left does not grow.
        if self.unaffordable.contains(&pointer) {
            return Ok(ContextId::Many(record.context.uid));
        }
        for lines in [CommandLines::Kept, CommandLines::Many] {
            match self.interner.known_context(self.connection, &record.context, lines)? {
                KnownContext::There => {}
                KnownContext::Missing(bytes) if bytes.fits(*left) => *left -= bytes,
                KnownContext::Missing(_) => continue,
            }
            let id = self.interner.context(self.connection, &record.context, lines)?;
            self.contexts.insert(pointer, (id, &record.context));
            return Ok(ContextId::Known(id));
        }
        self.unaffordable.insert(pointer);
        Ok(ContextId::Many(record.context.uid))
    }

    /// Inserts a record of another log, whose context may stand for more than one.
    pub fn insert_old(&mut self, record: &'a Record, detail: ContextDetail) -> rusqlite::Result<()> {
        let (connection, context) = (self.connection, &record.context);
        let id = match detail {
            ContextDetail::Whole | ContextDetail::Incomplete => return self.insert_record(record),
            ContextDetail::ManyCommandLines => {
                self.interner.context(connection, context, CommandLines::Many)?
            }
            ContextDetail::ManyPrograms => self.interner.many_programs(connection, context.uid)?,
        };
        self.insert_row(id, record)
    }

    fn insert_record(&mut self, record: &'a Record) -> rusqlite::Result<()> {
        let context = match self.contexts.entry(Arc::as_ptr(&record.context)) {
            Entry::Occupied(known) => known.get().0,
            Entry::Vacant(new) => {
                let id = self.interner.context(self.connection, &record.context, CommandLines::Kept)?;
                new.insert((id, &record.context)).0
            }
        };
        self.insert_row(context, record)
    }

    fn insert_row(&mut self, context: i64, record: &Record) -> rusqlite::Result<()> {
        let endpoint = self.interner.endpoint(self.connection, &record.tuple, &record.geo)?;
        insert_row(&mut self.insert, (self.window.time, self.next_sequence), (context, endpoint), record)?;
        self.next_sequence += 1;
        Ok(())
    }

    fn insert_folded(&mut self, context: i64, folded: Folded) -> rusqlite::Result<()> {
        let Folded { tuple, geo, counters, groups, .. } = folded;
        // Many addresses are in no one place.
        let geo = if tuple.remote_address == Some(Address::Many) { GeoInfo::default() } else { geo };
        let record = Record { context: Arc::default(), geo, tuple, counters, opened: false, folded: groups };
        self.insert_row(context, &record)
    }

    /// The contexts of which there are rows with their own program.
    pub fn into_contexts(self) -> Vec<&'a ProcessContext> {
        self.contexts.into_values().map(|(_, context)| context).collect()
    }

    /// Inserts the row of the window itself.
    pub fn insert_window(&self, id: i64, reading: ClockReading) -> rusqlite::Result<()> {
        let count = self.next_sequence - self.first_sequence;
        insert_window(self.connection, id, reading, (self.first_sequence, count), nonce::random())
    }
}

/// Bytes that records take at most, if all that they refer to is new.
fn at_most(records: &[&Record]) -> GrowthBytes {
    let mut context: *const ProcessContext = std::ptr::null();
    let mut bytes = GrowthBytes::default();
    for record in records {
        // Records of one context are mostly neighbours; one that is counted twice makes the sum larger.
        if !std::ptr::eq(context, Arc::as_ptr(&record.context)) {
            context = Arc::as_ptr(&record.context);
            bytes += context_bytes(&record.context);
        }
        bytes.detail += RECORD_BYTES + endpoint_bytes(&record.tuple, &record.geo);
    }
    bytes
}

/// The kinds of sums of one principal. A program chooses its protocols: of very many, the rest are summed together.
#[derive(Default)]
struct FoldKinds(HashSet<FoldKind>);

impl FoldKinds {
    const MAX: usize = 16;

    /// The kind of the sum of a record: its protocol is 0 if there are too many.
    fn of(&mut self, record: &Record) -> FoldKind {
        let kind = (record.tuple.family, record.tuple.protocol, record.opened);
        if self.0.contains(&kind) || self.0.len() < Self::MAX {
            self.0.insert(kind);
            return kind;
        }
        (record.tuple.family, 0, record.opened)
    }
}

fn add_to_fold(folds: &mut BTreeMap<FoldKey, Folded>, key: FoldKey, record: &Record) {
    let groups = record.folded.max(1);
    match folds.get_mut(&key) {
        Some(folded) => {
            folded.tuple.fold(&record.tuple);
            folded.counters += record.counters;
            folded.groups += groups;
        }
        None => {
            let (mut tuple, geo, counters) = (record.tuple.clone(), record.geo.clone(), record.counters);
            tuple.protocol = key.1.1;
            let uid = record.context.uid;
            folds.insert(key, Folded { uid, tuple, geo, counters, groups });
        }
    }
}

/// Merges the sums of contexts for which `left` bytes have no room with those of many programs.
fn merge_unaffordable(folds: BTreeMap<FoldKey, Folded>, left: i64) -> BTreeMap<FoldKey, Folded> {
    let rows = usize::try_from(left / RECORD_BYTES).unwrap_or(0);
    if folds.len() <= rows {
        return folds;
    }
    let mut merged: BTreeMap<FoldKey, Folded> = BTreeMap::new();
    let mut sums: Vec<(FoldKey, Folded)> = folds.into_iter().collect();
    sums.sort_by_key(|(_, folded)| {
        std::cmp::Reverse(folded.counters.sent.saturating_add(folded.counters.received))
    });
    for (index, (key, folded)) in sums.into_iter().enumerate() {
        let key = if index < rows { key } else { (ContextId::Many(folded.uid), key.1) };
        match merged.get_mut(&key) {
            Some(sum) => {
                sum.tuple.fold(&folded.tuple);
                sum.counters += folded.counters;
                sum.groups += folded.groups;
            }
            None => drop(merged.insert(key, folded)),
        }
    }
    merged
}

/// The event about groups of a user that were summed because the log grew too fast.
pub(super) fn fold_event(uid: u32, groups: u64, time: i64) -> Event {
    let text = format!(
        "{groups} groups of traffic of user {uid} are summed as \"many\": this user's programs made the log grow too fast. \
         All bytes are counted."
    );
    let mut event = Event::new(EventKind::Fold, time, text);
    (event.uid, event.count) = (Some(uid), groups);
    event
}

/// Limits a counter to 2^52 (4.5 petabytes): SQLite's integers and their sums are signed, and no sum over a log may
/// overflow.
pub(super) fn stored_counter(counter: u64) -> i64 {
    const MAX: i64 = 1 << 52;
    i64::try_from(counter).map_or(MAX, |counter| counter.min(MAX))
}

/// Stores 0, "no port", for a port that is none: for `VMADDR_PORT_ANY` (`u32::MAX`, vsock(7)), whose bits in
/// packed rows mean [`model::PORT_EXECUTION`].
pub(super) fn stored_port(port: Port) -> Port {
    const MAX: Port = u32::MAX as Port - 1;
    if (PORT_MANY..=MAX).contains(&port) { port } else { 0 }
}
