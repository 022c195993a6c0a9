//! exe.log: the history of alerts, one line each, written without delay.

use std::{collections::VecDeque, path::PathBuf};

use super::alerts::Alert;
use crate::log_file::LogFile;

/// exe.log becomes exe.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Lines that wait while exe.log cannot be written; the oldest beyond that are dropped, counted and reported.
const MAX_WAITING: usize = 4096;

/// Appends alerts to exe.log, and keeps them in memory while that fails.
#[derive(Debug)]
pub(super) struct ExeLog {
    file: LogFile,
    waiting: VecDeque<String>,
    dropped: u64,
    failing: bool,
}

impl ExeLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { file: LogFile::new(path, MAX_BYTES), waiting: VecDeque::new(), dropped: 0, failing: false }
    }

    /// Writes the line of an alert. Returns a problem if exe.log begins to fail or works again.
    pub(super) fn write(&mut self, alert: &Alert) -> Option<String> {
        self.waiting.push_back(alert.line());
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        if self.failing { None } else { self.write_waiting() }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes the lines that wait. Returns the same as [`ExeLog::write`].
    pub(super) fn write_waiting(&mut self) -> Option<String> {
        while let Some(line) = self.waiting.front() {
            if let Err(error) = self.file.append(line.as_bytes()) {
                let first = !std::mem::replace(&mut self.failing, true);
                return first.then(|| {
                    format!(
                        "{} cannot be written: {error}. Alerts wait in memory and are tried again; make room, or check \
                         its rights.",
                        self.file.path().display()
                    )
                });
            }
            self.waiting.pop_front();
        }
        let dropped = std::mem::take(&mut self.dropped);
        std::mem::take(&mut self.failing).then(|| {
            format!(
                "{} can be written again; {dropped} alerts are missing in it.",
                self.file.path().display()
            )
        })
    }

    /// Opens the file again at the next line.
    pub(super) fn reopen(&mut self) {
        self.file.reopen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::alerts::Tag;
    use known_programs::Rank;

    #[test]
    fn lines_that_could_not_be_written_are_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exe.log");
        let mut log = ExeLog::new(path.clone());
        let mut alert = Alert { name: b"x".to_vec(), ..Alert::new(Tag::NewBoth, Rank::Program, b"/bin/x") };
        std::fs::create_dir(&path).unwrap();
        assert!(log.write(&alert).unwrap().contains("exe.log cannot be written"));
        alert.time = 1;
        assert_eq!((log.write(&alert), log.write_waiting()), (None, None));
        std::fs::remove_dir(&path).unwrap();
        assert!(log.write_waiting().unwrap().contains("0 alerts are missing"));
        assert_eq!(log.write(&alert), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
