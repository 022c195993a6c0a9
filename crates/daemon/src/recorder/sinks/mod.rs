//! The sinks: where closed windows, alerts and record.json are written. Each has a [`worker`] thread of its own, so that the
//! recorder waits for no disk but that of error.log.

use std::{io, sync::Arc, thread, time::Duration};

use self::{
    recorded::Recorded,
    sqlite::{LAST_PATIENCE, LogSettings, NewSettings, SqliteSink},
    text_log::TextLogSink,
    worker::Worker,
};
use crate::{messages::Settings, problems::Problems};
use model::{DrainId, Window};
use store::StoreError;

mod damaged_log;
pub(super) mod exe_log;
pub(super) mod position_file;
pub(super) mod record_file;
mod recorded;
mod sink;
mod sqlite;
mod text_log;
pub(super) mod worker;

/// The sinks of closed windows, as far as they are configured.
#[derive(Default)]
pub(super) struct WindowSinks {
    sqlite: Option<Worker<SqliteSink>>,
    /// Settings for snitch.db that it has not taken yet.
    new_settings: NewSettings,
    text_log: Option<Worker<TextLogSink>>,
    recorded: Recorded,
}

impl WindowSinks {
    /// Opens snitch.db, if it is to be written.
    ///
    /// # Errors
    /// The log cannot be used.
    pub(super) fn open_sqlite(
        &mut self,
        settings: &Settings,
        problems: &Arc<Problems>,
    ) -> Result<(), StoreError> {
        if let Some(log) = LogSettings::of(settings) {
            let told = (self.new_settings.clone(), self.recorded.clone());
            self.sqlite = Some(SqliteSink::start(log, told, Arc::clone(problems))?);
        }
        Ok(())
    }

    /// Starts to write conn.log, if it is to be written.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn open_text_log(&mut self, settings: &Settings, problems: &Arc<Problems>) -> io::Result<()> {
        if let Some(path) = settings.reporter.conn_log.clone() {
            self.text_log = Some(TextLogSink::start(path, Arc::clone(problems))?);
        }
        Ok(())
    }

    /// Takes over what may change while the recorder works.
    pub(super) fn apply(&mut self, settings: &Settings, problems: &Arc<Problems>) {
        if let Some(log) = LogSettings::of(settings) {
            self.new_settings.set(log);
        }
        match (settings.reporter.conn_log.is_some(), self.text_log.take()) {
            (true, None) => {
                if let Err(error) = self.open_text_log(settings, problems) {
                    problems.report(&format!(
                        "conn.log is not written: its thread cannot be started ({error}). Restart picosnitch to try it again."
                    ));
                }
            }
            // The recorder waits for no disk.
            (false, Some(text_log)) => drop(thread::spawn(move || text_log.finish(Duration::ZERO))),
            (_, text_log) => self.text_log = text_log,
        }
    }

    /// Hands a closed window to all sinks.
    pub(super) fn add(&self, window: Window) {
        if let Some(text_log) = &self.text_log
            && !window.records.is_empty()
        {
            text_log.add(window.clone());
        }
        if let Some(sqlite) = &self.sqlite
            && (!window.records.is_empty() || !window.losses.is_empty() || !window.events.is_empty())
        {
            sqlite.add(window);
        }
    }

    /// Whether snitch.db is written.
    pub(super) fn has_log(&self) -> bool {
        self.sqlite.is_some()
    }

    /// The last drain whose flows are in snitch.db, if it knows one.
    pub(super) fn recorded(&self) -> Option<DrainId> {
        self.recorded.get()
    }

    /// Opens conn.log again: the file may have been renamed.
    pub(super) fn reopen(&self) {
        if let Some(text_log) = &self.text_log {
            text_log.reopen();
        }
    }

    /// Writes the windows that wait for conn.log.
    pub(super) fn finish_text_log(&mut self) {
        if let Some(text_log) = self.text_log.take() {
            text_log.finish(Duration::ZERO);
        }
    }

    /// Writes the windows that wait for snitch.db.
    pub(super) fn finish_sqlite(&mut self) {
        if let Some(sqlite) = self.sqlite.take() {
            sqlite.finish(LAST_PATIENCE);
        }
    }
}
