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
        let written = self.log.write(window);
        if self.log.take_removed() {
            self.problems.report(
                "conn.log was removed while picosnitch runs: the records in it are gone, and a new one is begun; snitch.db has \
                 them, if it is written.",
            );
        }
        match written {
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

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Record};

    #[test]
    fn a_conn_log_that_fails_or_is_removed_is_reported_and_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conn.log");
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let log = ConnLog::new(path.clone());
        let mut sink = TextLogSink { log, problems: Arc::clone(&problems), failing: false, missing: 0 };
        let record = Record {
            context: Arc::new(ProcessContext::default()),
            geo: GeoInfo::default(),
            tuple: FlowTuple::default(),
            counters: Counters::default(),
            opened: false,
            folded: 0,
        };
        let window = Window { records: vec![record; 3], ..Window::default() };
        let mut write = |expected: &str| {
            assert_eq!(sink.write(&window), Outcome::Done);
            let reported = problems.take_written();
            assert!(reported.concat().contains(expected), "{reported:?}");
            assert_eq!(reported.is_empty(), expected.is_empty(), "{reported:?}");
        };
        fs::create_dir(&path).unwrap();
        write("3 records could not be written to conn.log");
        fs::remove_dir(&path).unwrap();
        write("conn.log can be written again. 3 records are missing");
        fs::remove_file(&path).unwrap();
        write("conn.log was removed while picosnitch runs");
        fs::rename(&path, directory.path().join("conn.log.old")).unwrap();
        write("");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
