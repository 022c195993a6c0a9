//! The sink that writes record.json and record.journal. Its thread and the recorder's share the known programs.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::problems::Problems;
use known_programs::RecordFile;

/// Handle of the thread that writes record.json.
pub(crate) struct RecordFileWriter {
    worker: Worker<RecordFileSink>,
    due: Due,
}

/// When the file is to be saved even if nothing changes; `None` while a save waits or is under way.
type Due = Arc<Mutex<Option<Instant>>>;

impl RecordFileWriter {
    /// Starts the thread; `path` is that of `file`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(file: RecordFile, path: PathBuf, problems: &Arc<Problems>) -> io::Result<Self> {
        let due = Due::default();
        let problems = Arc::clone(problems);
        let sink = RecordFileSink { file, path, problems, failing: false, due: Arc::clone(&due) };
        Ok(Self { worker: Worker::start(sink)?, due })
    }

    /// When [`RecordFileWriter::save`] is due even if nothing changes.
    pub(crate) fn due(&self) -> Option<Instant> {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread write what has changed. Does not wait.
    pub(crate) fn save(&self) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.worker.add(());
    }

    /// Writes everything into record.json, and ends the thread.
    pub(crate) fn finish(self) {
        self.worker.finish(Duration::ZERO);
    }
}

/// Saves the known programs for each item.
struct RecordFileSink {
    file: RecordFile,
    path: PathBuf,
    problems: Arc<Problems>,
    failing: bool,
    due: Due,
}

impl RecordFileSink {
    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            self.problems.report(&format!(
                "{} cannot be written: {error}. The last whole one is there; programs that came after it are reported as new \
                 again after a restart. Make room, or check the rights of its directory: it is tried again.",
                self.path.display()
            ));
        }
    }
}

impl Sink for RecordFileSink {
    type Item = ();
    const THREAD: &'static str = "record.json";
    /// Saves: one is as good as several.
    const MAX_WAITING: usize = 1;
    const RETRY: Duration = Duration::from_secs(2);

    fn weight(_save: &()) -> usize {
        1
    }

    fn write(&mut self, _save: &()) -> Outcome {
        let saved = self.file.save(Instant::now());
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved.due);
        saved.notes.iter().for_each(|note| self.problems.report(note));
        match saved.result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    self.problems.report(&format!("{} can be written again.", self.path.display()));
                }
                Outcome::Done
            }
            Err(error) => {
                self.report(&error);
                Outcome::Retry
            }
        }
    }

    fn finish(&mut self) {
        let finished = self.file.finish();
        finished.notes.iter().for_each(|note| self.problems.report(note));
        match finished.result {
            Ok(()) if std::mem::take(&mut self.failing) => {
                self.problems.report(&format!("{} can be written again.", self.path.display()));
            }
            Ok(()) => {}
            Err(error) => self.report(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use known_programs::{KnownPrograms, Rank};

    use super::*;

    #[test]
    fn a_failure_is_reported_once_and_everything_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let (file, _) = RecordFile::open(&path);
        let known = file.known();
        let writer = RecordFileWriter::start(file, path.clone(), &problems).unwrap();
        std::fs::create_dir(directory.path().join("record.json.new")).unwrap();
        known.lock().observe(Rank::Program, b"/bin/a", b"a");
        writer.save();
        while writer.due().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(problems.take_written()[0].contains("cannot be written"));
        std::fs::remove_dir(directory.path().join("record.json.new")).unwrap();
        known.lock().observe(Rank::Program, b"/bin/b", b"b");
        writer.save();
        writer.finish();
        assert_eq!(KnownPrograms::load(&path).unwrap().count(), 2);
        assert!(problems.take_written()[0].contains("can be written again"));
    }
}
