//! exe.log: the history of alerts, one line each, written at once.

use std::{collections::VecDeque, path::PathBuf};

use super::alerts::Alert;
use crate::log_file::LogFile;

/// exe.log becomes exe.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Lines that wait while it cannot be written; the oldest beyond that are dropped, counted and told.
const MAX_WAITING: usize = 4096;

/// Writes exe.log.
#[derive(Debug)]
pub struct ExeLog {
    file: LogFile,
    waiting: VecDeque<String>,
    dropped: u64,
    failing: bool,
}

impl ExeLog {
    /// Lines go to the file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { file: LogFile::new(path, MAX_BYTES), waiting: VecDeque::new(), dropped: 0, failing: false }
    }

    /// Writes the line of an alert; what the user should know.
    pub fn write(&mut self, alert: &Alert) -> Option<String> {
        self.waiting.push_back(alert.line());
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        if self.failing { None } else { self.retry() }
    }

    /// Whether lines wait.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits; what the user should know.
    pub fn retry(&mut self) -> Option<String> {
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
    pub fn reopen(&mut self) {
        self.file.reopen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::alerts::Tag;
    use known_programs::Rank;

    #[test]
    fn what_could_not_be_written_comes_later() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("exe.log");
        let mut log = ExeLog::new(path.clone());
        let mut alert = Alert {
            time: 0,
            tag: Tag::NewBoth,
            rank: Rank::Program,
            path: b"/bin/x".to_vec(),
            name: b"x".to_vec(),
            sha256: None,
            verdict: String::new(),
        };
        std::fs::create_dir(&path).unwrap();
        assert!(log.write(&alert).unwrap().contains("exe.log cannot be written"));
        alert.time = 1;
        assert_eq!((log.write(&alert), log.retry()), (None, None));
        std::fs::remove_dir(&path).unwrap();
        assert!(log.retry().unwrap().contains("0 alerts are missing"));
        assert_eq!(log.write(&alert), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
