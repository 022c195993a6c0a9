//! The sink that writes windows to conn.log.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::{problems::Problems, recorder::conn_log::ConnLog};
use model::Window;

/// Writes windows to conn.log. A window that cannot be written is not tried again: snitch.db has it.
pub(super) struct TextLogSink {
    log: ConnLog,
    problems: Arc<Problems>,
    failing: bool,
    /// Records that could not be written since it began to fail.
    missing: usize,
}

impl TextLogSink {
    /// Starts the thread; it writes to the file at `path`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(path: PathBuf, problems: Arc<Problems>) -> io::Result<Worker<Self>> {
        Worker::start(Self { log: ConnLog::new(path), problems, failing: false, missing: 0 })
    }
}

impl Sink for TextLogSink {
    type Item = Window;
    const THREAD: &'static str = "conn.log";
    /// Windows, whatever their number of records.
    const MAX_WAITING: usize = 8;

    fn weight(_window: &Window) -> usize {
        1
    }

    fn drop_oldest(oldest: Window, _next: &mut Window) -> u64 {
        oldest.records.len() as u64
    }

    fn prepare(&mut self, _window: &mut Window, dropped: u64) {
        if dropped > 0 {
            self.problems.report(&format!("{dropped} records are not in conn.log: the disk was too slow."));
        }
    }

    fn write(&mut self, window: &Window) -> Outcome {
        match self.log.write(window) {
            Ok(()) if self.failing => {
                self.problems.report(&format!(
                    "conn.log can be written again. {} records are missing in it; snitch.db has them, if it is written.",
                    self.missing
                ));
                (self.failing, self.missing) = (false, 0);
            }
            Ok(()) => {}
            Err(error) => {
                (self.failing, self.missing) = (true, self.missing + error.records);
                self.problems.report(&format!(
                    "{} records could not be written to conn.log: {}. Make room, or check its rights; the next window is \
                     tried again.",
                    error.records, error.why
                ));
            }
        }
        Outcome::Done
    }

    fn reopen(&mut self) {
        self.log.reopen();
    }
}
