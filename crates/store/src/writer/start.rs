//! What the writer finds at its start: which log it is, which boot and configuration, and since when nothing was recorded.

use model::{Continuity, DrainId, Event, EventKind, text::time};
use rusqlite::{OptionalExtension, ToSql, TransactionBehavior, params};

use super::Writer;
use crate::{
    error::{StoreError, sql_error},
    identity::{Identity, IdentityFile},
};

impl Writer {
    /// Compares the log with the file that remembers its identity. Returns the event about what has become of the log.
    pub(super) fn take_identity(&mut self, is_new: bool) -> Option<Event> {
        match IdentityFile::open(&self.path) {
            Ok((file, remembered)) => {
                self.identity_file = Some(file);
                self.compare_identity(remembered?, is_new)
            }
            Err(error) => {
                self.notices.push(format!(
                    "{}: {error}. A log that is removed or restored from a copy will not be noticed at the next start.",
                    self.path.with_extension("identity").display()
                ));
                None
            }
        }
    }

    fn compare_identity(&mut self, remembered: Identity, is_new: bool) -> Option<Event> {
        let text = if is_new {
            "A new log was begun: the one before it was removed or moved away.".to_owned()
        } else if remembered.uuid != self.identity.uuid {
            "The log is another one than before.".to_owned()
        } else if remembered.epoch > self.identity.epoch {
            "The log is an older copy than the last one that was written.".to_owned()
        } else if remembered.epoch == self.identity.epoch
            && remembered.last_window > self.identity.last_window
        {
            format!(
                "The log ends {} windows before the last one that was written: it is an older copy, or the last windows were \
                 lost with a crash of the machine.",
                remembered.last_window - self.identity.last_window
            )
        } else {
            return None;
        };
        if is_new {
            self.identity.uuid = remembered.uuid;
        }
        self.identity.epoch = self.identity.epoch.max(remembered.epoch) + 1;
        self.notices.push(text.clone());
        Some(Event::new(EventKind::Log, time::now(), text))
    }

    /// Stores the identity, if it is not that of the log, with its event.
    pub(super) fn begin_epoch_if_due(&mut self, event: Option<Event>) -> rusqlite::Result<()> {
        let Some(event) = event else { return Ok(()) };
        let Identity { uuid, epoch, .. } = self.identity;
        self.change_log("UPDATE log SET uuid = ?1, epoch = ?2", params![uuid, epoch], &[event])
    }

    /// Changes the row of the log, and stores the events about that, in one transaction.
    fn change_log(&mut self, sql: &str, values: &[&dyn ToSql], events: &[Event]) -> rusqlite::Result<()> {
        let before = self.event_count;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = transaction
            .execute(sql, values)
            .and_then(|_| self.event_count.insert(&transaction, events))
            .and_then(|()| transaction.commit());
        if changed.is_err() {
            self.event_count = before;
        }
        self.file.note(&self.path);
        changed
    }

    /// Sets the id of the boot (`/proc/sys/kernel/random/boot_id`), by which windows of one boot are known.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn set_boot(&mut self, boot_id: &str) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot write the boot");
        let known = self
            .connection
            .query_row("SELECT id FROM boot WHERE boot_id = ?1", [boot_id], |row| row.get(0))
            .optional()
            .map_err(&fail)?;
        self.boot = match known {
            Some(id) => id,
            None => {
                self.connection
                    .execute("INSERT INTO boot (boot_id) VALUES (?1)", [boot_id])
                    .map_err(&fail)?;
                self.connection.last_insert_rowid()
            }
        };
        Ok(())
    }

    /// Takes note of the configuration, a line for each key. Another one than at the start before is an event.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn set_configuration(&mut self, lines: &str) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot write the configuration");
        let before: String = self
            .connection
            .query_row("SELECT configuration FROM log", [], |row| row.get(0))
            .map_err(&fail)?;
        if before == lines {
            return Ok(());
        }
        let changed: Vec<&str> =
            lines.lines().filter(|line| !before.lines().any(|known| known == *line)).collect();
        let text = format!("The configuration has changed: {}", changed.join(", "));
        let event = (!before.is_empty()).then(|| Event::new(EventKind::Configuration, time::now(), text));
        let sql = "UPDATE log SET configuration = ?1";
        self.change_log(sql, params![lines], event.as_slice()).map_err(fail)
    }

    /// The last drain whose flows are in the log; `None` if it knows none.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn last_drain(&self) -> Result<Option<DrainId>, StoreError> {
        let numbers: (Option<i64>, Option<i64>) = self
            .connection
            .query_row("SELECT drain_series, drain_number FROM log", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(sql_error(&self.path, "cannot read the last drain"))?;
        Ok(match numbers {
            (Some(series), Some(number)) => Some(DrainId { series: series as u64, number: number as u64 }),
            _ => None,
        })
    }

    /// Stores the configuration, a line for each key, of which the caller has stored an event.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn store_configuration(&mut self, lines: &str) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot write the configuration");
        self.change_log("UPDATE log SET configuration = ?1", params![lines], &[]).map_err(fail)
    }

    /// Takes note that recording starts at `now` (unix seconds UTC), and since when nothing was recorded.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn begin_recording(&mut self, now: i64, continuity: Continuity) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot read the last event");
        let sql =
            "SELECT kind FROM event WHERE kind IN ('start', 'stop') ORDER BY time DESC, id DESC LIMIT 1";
        let last: Option<String> =
            self.connection.query_row(sql, [], |row| row.get(0)).optional().map_err(&fail)?;
        let mut events = Vec::new();
        let since = self.clock.last.time;
        let mut start = Event::new(EventKind::Start, now, "Recording started.");
        if since != 0 && continuity == Continuity::Whole {
            start.text = match last.as_deref() {
                Some("stop") => "Recording goes on after a restart: what programs did meanwhile was counted.",
                _ => {
                    "Recording goes on after picosnitch was killed: what programs did meanwhile was counted, but the last window \
                     before it may be missing."
                }
            }
            .to_owned();
            start.begin = Some(since);
        } else if since != 0 {
            let text = match last.as_deref() {
                Some("stop") => "picosnitch was not running: nothing was recorded.",
                _ => {
                    "picosnitch ended without being stopped (it was killed, or the machine lost power): nothing was \
                     recorded until its next start, and the last window before it may be missing."
                }
            };
            let mut text = text.to_owned();
            if continuity == Continuity::OpenConnections {
                text.push_str(
                    " Of TCP connections that stayed open, the bytes of that time are recorded after it.",
                );
            }
            let mut event = Event::new(EventKind::Gap, now, text);
            event.begin = Some(since);
            events.push(event);
        }
        events.push(start);
        self.change_log("UPDATE log SET id = id", &[], &events).map_err(fail)
    }
}
