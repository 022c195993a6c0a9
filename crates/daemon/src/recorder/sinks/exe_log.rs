//! The sink that writes exe.log: the history of alerts, one line each.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::{log_file::LogFile, problems::Problems};

/// exe.log becomes exe.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Appends the lines of alerts to exe.log.
pub(crate) struct ExeLogSink {
    file: LogFile,
    problems: Arc<Problems>,
    failing: bool,
    /// Alerts that had to make room in the queue and were not reported yet.
    missing: u64,
}

impl ExeLogSink {
    /// Starts the thread; it writes to the file at `path`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(path: PathBuf, problems: Arc<Problems>) -> io::Result<Worker<Self>> {
        Worker::start(Self { file: LogFile::new(path, MAX_BYTES), problems, failing: false, missing: 0 })
    }

    fn report_removed(&mut self) {
        if self.file.take_removed() {
            self.problems.report(&format!(
                "{} was removed while picosnitch runs: the alerts in it are gone, and a new one is begun.",
                self.file.path().display()
            ));
        }
    }

    fn report_missing(&mut self) {
        let (missing, path) = (std::mem::take(&mut self.missing), self.file.path().display());
        if std::mem::take(&mut self.failing) {
            self.problems
                .report(&format!("{path} can be written again; {missing} alerts are missing in it."));
        } else if missing > 0 {
            self.problems.report(&format!("{missing} alerts are missing in {path}: the disk was too slow."));
        }
    }
}

impl Sink for ExeLogSink {
    type Item = String;
    const THREAD: &'static str = "exe.log";
    /// Lines that wait while exe.log cannot be written.
    const MAX_WAITING: usize = 4096;
    const RETRY: Duration = Duration::from_secs(1);

    fn weight(_line: &String) -> usize {
        1
    }

    fn drop_oldest(_oldest: String, _next: &mut String) -> u64 {
        1
    }

    fn prepare(&mut self, _line: &mut String, dropped: u64) {
        self.missing += dropped;
    }

    fn write(&mut self, line: &String) -> Outcome {
        let written = self.file.append(line.as_bytes());
        self.report_removed();
        match written {
            Ok(()) => {
                self.report_missing();
                Outcome::Done
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.problems.report(&format!(
                        "{} cannot be written: {error}. Alerts wait in memory and are tried again; make room, or check \
                         its rights.",
                        self.file.path().display()
                    ));
                }
                Outcome::Retry
            }
        }
    }

    fn give_up(&mut self, lines: Vec<String>) {
        let missing = std::mem::take(&mut self.missing) + lines.len() as u64;
        let path = self.file.path().display();
        self.problems.report(&format!("{missing} alerts could not be written to {path}."));
    }

    fn reopen(&mut self) {
        self.file.reopen();
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread};

    use super::*;

    fn start(directory: &Path) -> (Worker<ExeLogSink>, Arc<Problems>) {
        let problems = Arc::new(Problems::new(directory.join("error.log")));
        (ExeLogSink::start(directory.join("exe.log"), Arc::clone(&problems)).unwrap(), problems)
    }

    fn wait_for_problem(problems: &Problems) -> String {
        loop {
            if let Some(problem) = problems.take_written().pop() {
                return problem;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn lines_that_could_not_be_written_are_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exe.log");
        let (worker, problems) = start(directory.path());
        std::fs::create_dir(&path).unwrap();
        worker.add("one\n".into());
        assert!(wait_for_problem(&problems).contains("exe.log cannot be written"));
        worker.add("two\n".into());
        assert!(problems.take_written().is_empty());
        std::fs::remove_dir(&path).unwrap();
        worker.add("three\n".into());
        worker.finish(Duration::ZERO);
        assert!(wait_for_problem(&problems).contains("0 alerts are missing"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_file_that_is_removed_is_reported_and_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exe.log");
        let (worker, problems) = start(directory.path());
        worker.add("one\n".into());
        while std::fs::read_to_string(&path).unwrap_or_default().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(&path).unwrap();
        worker.add("two\n".into());
        assert!(wait_for_problem(&problems).contains("exe.log was removed while picosnitch runs"));
        worker.finish(Duration::ZERO);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn the_newest_lines_wait_and_those_that_are_lost_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exe.log");
        let (worker, problems) = start(directory.path());
        std::fs::create_dir(&path).unwrap();
        worker.add("first\n".into());
        assert!(wait_for_problem(&problems).contains("exe.log cannot be written"));
        (0..ExeLogSink::MAX_WAITING + 6).for_each(|number| worker.add(format!("{number}\n")));
        std::fs::remove_dir(&path).unwrap();
        worker.finish(Duration::ZERO);
        assert!(wait_for_problem(&problems).contains("7 alerts are missing"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().next(), text.lines().count()), (Some("6"), ExeLogSink::MAX_WAITING));
    }

    #[test]
    fn the_end_counts_the_lines_that_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let (worker, problems) = start(directory.path());
        std::fs::create_dir(directory.path().join("exe.log")).unwrap();
        (0..3).for_each(|number| worker.add(format!("{number}\n")));
        worker.finish(Duration::ZERO);
        assert!(
            problems.take_written().iter().any(|text| text.contains("3 alerts could not be written to "))
        );
    }
}
