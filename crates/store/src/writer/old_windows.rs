//! Writing windows of another log: they say nothing about the clock of this one, and grow it as far as they grew the other.

use std::collections::BTreeSet;

use model::{Event, Port, ProcessContext, Record, Window};
use rusqlite::{TransactionBehavior, params};

use super::{
    Writer,
    records::{ContextDetail, RecordWriter},
};
use crate::{
    clock::ClockReading,
    error::{StoreError, sql_error},
    event::EventCount,
    port_seen,
    program_seen::{self, ProgramSeen},
    rollup::{self, CatchUp},
    seen_times::{self, SeenTimes},
};

/// The records of another log that were written in one second.
#[derive(Clone, Debug, Default)]
pub(crate) struct OldWindow {
    /// The end of their windows, unix seconds UTC.
    pub time: i64,
    pub records: Vec<(Record, ContextDetail)>,
}

impl OldWindow {
    /// The contexts whose program is known, for the table `program_seen`.
    fn contexts(&self) -> Vec<&ProcessContext> {
        let is_known = |detail| matches!(detail, ContextDetail::Whole | ContextDetail::ManyCommandLines);
        let known = self.records.iter().filter(|(_, detail)| is_known(*detail));
        known.map(|(record, _)| &*record.context).collect()
    }
}

impl Writer {
    /// Writes windows of another log in one transaction, with new numbers, and events. Their rollups are missing then.
    ///
    /// # Errors
    /// The errors of SQLite; nothing is written then.
    pub(crate) fn write_old(&mut self, windows: &[OldWindow], events: &[Event]) -> Result<(), StoreError> {
        let before = self.event_count;
        match self.write_old_transaction(windows, events) {
            Ok(last_window) => {
                self.finish_old_write(last_window, windows.iter().map(|window| window.time));
                Ok(())
            }
            Err(error) => {
                self.event_count = before;
                self.roll_back_caches();
                Err(sql_error(&self.path, "cannot write windows of another log")(error))
            }
        }
    }

    /// Takes note that windows of these times were committed.
    pub(super) fn finish_old_write(&mut self, last_window: i64, times: impl Iterator<Item = i64>) {
        self.commit_caches();
        self.identity.last_window = last_window;
        if let Some(file) = &self.identity_file {
            // As in `finish_write`.
            let _ = file.write(self.identity);
        }
        self.last_time = times.chain(self.last_time).max();
        self.catch_up = CatchUp::default();
        self.file.note(&self.path);
    }

    /// Returns the number of the last window.
    fn write_old_transaction(&mut self, windows: &[OldWindow], events: &[Event]) -> rusqlite::Result<i64> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut number = self.identity.last_window;
        for old in windows {
            rollup::invalidate(&transaction, self.detail_since, old.time)?;
            self.interner.set_time(old.time);
            let window = Window { time: old.time, ..Window::default() };
            let mut rows = RecordWriter::new(&transaction, &mut self.interner, &window)?;
            for (record, detail) in &old.records {
                rows.insert_old(record, *detail)?;
            }
            number += 1;
            // Another log's boots are not those of this one.
            rows.insert_window(number, ClockReading { time: old.time, boot: 0, uptime: 0 })?;
            drop(rows);
            self.seen_programs.add(&transaction, old.time, &old.contexts())?;
        }
        let quarters: BTreeSet<i64> = windows.iter().map(|old| rollup::quarter_start(old.time)).collect();
        for quarter in quarters {
            seen_times::settle(&transaction, quarter)?;
        }
        self.event_count.insert(&transaction, events)?;
        transaction.execute("UPDATE log SET last_window = ?1", params![number])?;
        transaction.commit()?;
        Ok(number)
    }

    /// Takes over when programs and ports were seen in another log.
    ///
    /// # Errors
    /// The errors of SQLite; nothing is written then.
    pub(crate) fn merge_seen(
        &mut self,
        programs: &[ProgramSeen],
        ports: &[(Port, SeenTimes)],
    ) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot write when programs and ports were seen");
        let merged = self.connection.transaction().and_then(|transaction| {
            program_seen::merge(&transaction, programs)?;
            port_seen::add(&transaction, ports.iter().copied())?;
            transaction.commit()
        });
        self.clear_caches();
        self.file.note(&self.path);
        merged.map_err(fail)
    }

    /// The number of events of other logs for which there is room without deleting events of this one.
    pub(crate) fn room_for_events(&self) -> usize {
        EventCount::room(self.event_count)
    }
}
