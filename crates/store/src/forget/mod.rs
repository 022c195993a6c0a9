//! Deletes the history of a program, a domain, an address or a span of time, so that no byte of it is left.
//!
//! One transaction takes the records out, with their sums in the rollups, and replaces what is forgotten in other values. It
//! can be done again after a crash. Then the file is made anew, since pages keep bytes of what was deleted.

mod seen;
mod selection;
mod text;
mod values;

use std::{net::IpAddr, path::PathBuf};

use model::{Bytes, Event, EventKind, text::time};
use nix::unistd::AccessFlags;
use rusqlite::{Transaction, TransactionBehavior};

pub use self::text::TextMatcher;
use self::{selection::Selection, values::replace_values};
use crate::{
    error::{StoreError, sql_error},
    event::EventCount,
    query::{Dimension, Filter, FilterOperand, Range, Value},
    rollup::{self, CatchUp},
    writer::Writer,
};

/// Stands in the place of a value that had what was forgotten.
pub(crate) const FORGOTTEN: &str = "(forgotten)";

/// The history that is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget(Target);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Path of an executable.
    Program(Bytes),
    Domain(Bytes),
    Address(Value),
    Network(IpAddr, IpAddr),
    /// Unix seconds, both included.
    Time(i64, i64),
}

impl Forget {
    /// The history that a filter selects; `None` unless it is about one executable, domain, address or network.
    pub fn of_filter(filter: &Filter) -> Option<Self> {
        if filter.exclude {
            return None;
        }
        let target = match (filter.dimension, &filter.operand) {
            (Dimension::Executable, FilterOperand::Value(Value::Bytes(path))) if !path.is_empty() => {
                Target::Program(path.clone())
            }
            (Dimension::Domain, FilterOperand::Value(Value::Bytes(name))) if !name.is_empty() => {
                Target::Domain(name.clone())
            }
            (Dimension::Address, FilterOperand::Value(value @ Value::Address(address)))
                if *address != model::Address::Many =>
            {
                Target::Address(value.clone())
            }
            (Dimension::Address, FilterOperand::Network(first, last)) => Target::Network(*first, *last),
            _ => return None,
        };
        Some(Self(target))
    }

    /// The history of a range of time; `None` without a limit on either side, or if it has no second.
    pub fn of_time(range: Range) -> Option<Self> {
        let (since, until) = range.bounds();
        let is_bounded = range.since.is_some() || range.until.is_some();
        (is_bounded && since <= until).then_some(Self(Target::Time(since, until)))
    }

    /// The request as bytes, for a file.
    pub fn to_bytes(&self) -> Bytes {
        let value = match &self.0 {
            Target::Program(path) => hex::encode(path),
            Target::Domain(name) => hex::encode(name),
            Target::Address(Value::Address(address)) => address.to_string(),
            Target::Address(_) => String::new(),
            Target::Network(first, last) => format!("{first} {last}"),
            Target::Time(first, last) => format!("{first} {last}"),
        };
        format!("picosnitch forget\n{} {value}\nend\n", self.kind()).into_bytes()
    }

    /// Reads what [`Forget::to_bytes`] makes; `None` for anything else, such as the beginning of it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let line = text.strip_prefix("picosnitch forget\n")?.strip_suffix("\nend\n")?;
        let (kind, value) = line.split_once(' ')?;
        let pair = || value.split_once(' ');
        Some(Self(match kind {
            "program" => Target::Program(hex::decode(value).ok()?),
            "domain" => Target::Domain(hex::decode(value).ok()?),
            "address" => Target::Address(Value::Address(value.parse().ok()?)),
            "network" => pair().and_then(|(a, b)| Some(Target::Network(a.parse().ok()?, b.parse().ok()?)))?,
            "time" => pair().and_then(|(a, b)| Some(Target::Time(a.parse().ok()?, b.parse().ok()?)))?,
            _ => return None,
        }))
    }

    /// What kind of thing it is: `program`, `domain`, `address`, `network` or `time`.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Target::Program(_) => "program",
            Target::Domain(_) => "domain",
            Target::Address(_) => "address",
            Target::Network(..) => "network",
            Target::Time(..) => "time",
        }
    }

    /// Finds it in text.
    pub fn matcher(&self) -> TextMatcher {
        match &self.0 {
            Target::Program(path) => TextMatcher::path(path),
            Target::Domain(name) => TextMatcher::host(name),
            Target::Address(Value::Address(address)) => TextMatcher::address(*address),
            Target::Network(first, last) => TextMatcher::network(*first, *last),
            Target::Address(_) | Target::Time(..) => TextMatcher::nothing(),
        }
    }

    /// The first and the last second, if it is a span of time.
    pub fn span(&self) -> Option<(i64, i64)> {
        match self.0 {
            Target::Time(since, until) => Some((since, until)),
            _ => None,
        }
    }
}

/// What is forgotten in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Records that were deleted.
    pub records: u64,
    /// Sums, in the time of which the log has sums only.
    pub sums: u64,
    /// First and last second of them, unix time.
    pub span: Option<(i64, i64)>,
    /// Events that were deleted.
    pub events: u64,
    /// Other values that had it, and are replaced or deleted.
    pub values: u64,
    /// The seconds that went beyond a span of time, because sums are of quarters of an hour: the first and the last second
    /// that are forgotten then.
    pub widened: Option<(i64, i64)>,
}

impl Forgotten {
    /// Whether there was nothing.
    pub fn is_nothing(&self) -> bool {
        self.records + self.sums + self.events + self.values == 0
    }

    fn event(&self, what: &Forget, now: i64) -> Event {
        let span = match self.span {
            Some((first, last)) => format!(" from {} to {}", time::local(first), time::local(last)),
            None => String::new(),
        };
        let kind = match what.kind() {
            "time" => "a span of time".to_owned(),
            "address" => "an address".to_owned(),
            kind => format!("a {kind}"),
        };
        let sums = if self.sums > 0 { format!(" and {} sums", self.sums) } else { String::new() };
        let text = format!(
            "The history of {kind} was deleted (picosnitch forget): {} records{sums}{span}.",
            self.records
        );
        let mut event = Event::new(EventKind::Forget, now, text);
        (event.subject, event.count) = (what.kind().to_owned(), self.records);
        event.begin = self.span.map(|(first, _)| first);
        event
    }
}

impl Writer {
    /// Counts what [`Writer::forget`] would delete.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn preview_forget(&mut self, what: &Forget) -> Result<Forgotten, StoreError> {
        let fail = sql_error(&self.path, "cannot look for what is to be forgotten");
        let max_rows = self.max_rollup_rows;
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let forgotten = forget(&transaction, what, max_rows).map_err(&fail)?;
        transaction.rollback().map_err(&fail)?;
        Ok(forgotten)
    }

    /// Deletes the records of what is to be forgotten with their sums, and what else the log has of it, in one transaction, and
    /// adds an event about it. Bytes of it stay in the file until [`Writer::erase_deleted`].
    ///
    /// # Errors
    /// The errors of SQLite; nothing is deleted then.
    pub fn forget(&mut self, what: &Forget) -> Result<Forgotten, StoreError> {
        let fail = sql_error(&self.path, "cannot forget");
        let before = self.event_count;
        let forgotten = self.forget_in_transaction(what);
        self.clear_caches();
        self.catch_up = CatchUp::default();
        self.note_file();
        if forgotten.is_err() {
            self.event_count = before;
        }
        forgotten.map_err(fail)
    }

    fn forget_in_transaction(&mut self, what: &Forget) -> rusqlite::Result<Forgotten> {
        self.connection.pragma_update(None, "secure_delete", true)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let forgotten = forget(&transaction, what, self.max_rollup_rows)?;
        self.event_count = EventCount::read(&transaction)?;
        if !forgotten.is_nothing() {
            self.event_count.insert(&transaction, [&forgotten.event(what, time::now())])?;
        }
        transaction.commit()?;
        Ok(forgotten)
    }

    /// Makes the file anew without the rows to which nothing refers any more, and without the bytes of what was deleted. It
    /// takes as much room as the log for its write-ahead log beside it, and as much again in [`temporary_directory`].
    ///
    /// # Errors
    /// The errors of SQLite; it can be done again. [`StoreError::is_transient`] holds if a reader keeps the log.
    pub fn erase_deleted(&mut self) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot make the file of the log anew");
        while self.catch_up()? {}
        self.delete_orphans()?;
        self.connection
            .execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY")
            .map_err(&fail)?;
        self.note_file();
        let is_busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.note_file();
        match is_busy.map_err(&fail)? {
            0 => Ok(()),
            _ => Err(fail(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("another process reads the log".to_owned()),
            ))),
        }
    }
}

/// The directory in which SQLite makes the temporary files of [`Writer::erase_deleted`]; `None` if it would find none.
pub fn temporary_directory() -> Option<PathBuf> {
    let variables = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp", "."].into_iter().map(PathBuf::from);
    first_usable(variables.map(PathBuf::from).chain(usual))
}

/// The first path that is a directory in which this process may make files.
fn first_usable(mut paths: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    paths.find(|path| path.is_dir() && nix::unistd::access(path, flags).is_ok())
}

/// Deletes and replaces what is to be forgotten.
fn forget(transaction: &Transaction<'_>, what: &Forget, max_rows: usize) -> rusqlite::Result<Forgotten> {
    let since = rollup::detail_since(transaction)?;
    let mut forgotten = Forgotten::default();
    let selection = Selection::new(transaction, what)?;
    let mut four_weeks = match what.span() {
        Some((from, to)) => rollup::delete_between(transaction, from.max(since.unwrap_or(i64::MIN)), to)?,
        None => Default::default(),
    };
    let removed = selection.delete_records(transaction)?;
    forgotten.records = removed.count;
    let cut = selection.widened(since);
    forgotten.widened = cut.filter(|_| what.span() != cut);
    let (of_rollups, changed) = rollup::rewrite(transaction, &|key| selection.fate(key, cut))?;
    four_weeks.extend(changed);
    rollup::make_four_weeks(transaction, max_rows, &four_weeks)?;
    forgotten.sums = of_rollups.count;
    forgotten.span = union(of_rollups.times, removed.times);
    selection.delete_rows(transaction)?;
    let ports = removed.remote_ports.union(&of_rollups.remote_ports).copied().collect();
    seen::correct(transaction, what, &ports)?;
    (forgotten.events, forgotten.values) = replace_values(transaction, what)?;
    forgotten.values += selection.replaced;
    Ok(forgotten)
}

fn union(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_go_to_the_first_directory_that_takes_them() {
        let directory = tempfile::tempdir().unwrap();
        let (missing, file) = (directory.path().join("missing"), directory.path().join("file"));
        std::fs::write(&file, "").unwrap();
        let found = first_usable([missing.clone(), file, directory.path().to_owned()].into_iter());
        assert_eq!(found.as_deref(), Some(directory.path()));
        assert_eq!(first_usable([missing].into_iter()), None);
        assert!(temporary_directory().is_some());
    }
}
