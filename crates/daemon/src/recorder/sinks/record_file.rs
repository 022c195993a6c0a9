//! The sink that writes record.json. Only the newest text counts.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::problems::Problems;
use known_programs::replace;

/// Replaces record.json by each text it gets.
pub(crate) struct RecordFileSink {
    path: PathBuf,
    problems: Arc<Problems>,
    failing: bool,
}

impl RecordFileSink {
    /// Starts the thread; it writes to the file at `path`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(path: PathBuf, problems: Arc<Problems>) -> io::Result<Worker<Self>> {
        Worker::start(Self { path, problems, failing: false })
    }
}

impl Sink for RecordFileSink {
    type Item = String;
    const THREAD: &'static str = "record.json";
    /// Texts: a newer one replaces the one that waits.
    const MAX_WAITING: usize = 1;
    const RETRY: Duration = Duration::from_secs(2);

    fn weight(_text: &String) -> usize {
        1
    }

    fn write(&mut self, text: &String) -> Outcome {
        match replace(&self.path, text) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    self.problems.report(&format!("{} can be written again.", self.path.display()));
                }
                Outcome::Done
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.problems.report(&format!(
                        "{} cannot be written: {error}. The last whole one is there; programs that came after it are \
                         reported as new again after a restart. Make room, or check the rights of its directory: it is tried \
                         again.",
                        self.path.display()
                    ));
                }
                Outcome::Retry
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_newest_text_is_written_and_a_failure_is_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let worker = RecordFileSink::start(path.clone(), Arc::clone(&problems)).unwrap();
        std::fs::create_dir(directory.path().join("record.json.new")).unwrap();
        worker.add("one".into());
        while problems.take_written().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_dir(directory.path().join("record.json.new")).unwrap();
        worker.add("two".into());
        worker.finish(Duration::ZERO);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two");
        assert!(problems.take_written()[0].contains("can be written again"));
    }
}
