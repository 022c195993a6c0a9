//! The file with the positions of those receivers of the exporter that cannot be asked what they have. The exporter may write no file;
//! so it tells the recorder how far each has taken the log, and gets that back when it connects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::problems::Problems;
use export::SinkPosition;

/// Receivers in the file. Sections are at most eight; those of sections that are gone are kept, in case they come back.
const MAX_POSITIONS: usize = 64;
/// Bytes of the file. A longer one is not ours.
const MAX_BYTES: u64 = 64 * 1024;

/// By the name of the section the position of its receiver.
type Positions = BTreeMap<String, SinkPosition>;

/// The positions, and the thread that writes them, which starts with the first change.
pub(crate) struct PositionFile {
    path: PathBuf,
    positions: Arc<Mutex<Positions>>,
    problems: Arc<Problems>,
    worker: Option<Worker<PositionSink>>,
    /// The receivers that are served now.
    served: BTreeSet<String>,
}

impl PositionFile {
    /// The path of the file for the log at `database`: `snitch.positions`.
    pub(crate) fn path(database: &Path) -> PathBuf {
        database.with_extension("positions")
    }

    /// Reads the file at `path`. One that cannot be read is reported, and counts as empty.
    pub(crate) fn open(path: PathBuf, problems: &Arc<Problems>) -> Self {
        let positions = read(&path).unwrap_or_else(|error| {
            problems.report(&format!(
                "{} cannot be read: {error}. Receivers of [export] get what is recorded from now on.",
                path.display()
            ));
            Positions::new()
        });
        let positions = Arc::new(Mutex::new(positions));
        Self { path, positions, problems: Arc::clone(problems), worker: None, served: BTreeSet::new() }
    }

    /// All positions.
    pub(crate) fn all(&self) -> Vec<(String, SinkPosition)> {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.iter().map(|(name, position)| (name.clone(), position.clone())).collect()
    }

    /// Takes a new position; it is written soon.
    pub(crate) fn set(&mut self, name: String, position: SinkPosition) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.insert(name.clone(), position);
        self.served.insert(name);
        while positions.len() > MAX_POSITIONS {
            // One that is served would lose what was recorded up to the next start.
            let unserved = positions.keys().find(|name| !self.served.contains(*name)).cloned();
            match unserved {
                Some(name) => drop(positions.remove(&name)),
                None => drop(positions.pop_first()),
            }
        }
        drop(positions);
        if self.worker.is_none() {
            let sink = PositionSink {
                path: self.path.clone(),
                positions: Arc::clone(&self.positions),
                problems: Arc::clone(&self.problems),
                failing: false,
            };
            match Worker::start(sink) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => self.problems.report(&format!(
                    "{} cannot be written, as no thread can be started: {error}. Receivers of [export] may get events again \
                     after a restart.",
                    self.path.display()
                )),
            }
        }
        if let Some(worker) = &self.worker {
            worker.add(());
        }
    }

    /// Writes what was not written yet, and ends the thread.
    pub(crate) fn finish(self) {
        if let Some(worker) = self.worker {
            worker.finish(Duration::ZERO);
        }
    }
}

fn read(path: &Path) -> io::Result<Positions> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match fs::File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Positions::new()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    if file.take(MAX_BYTES + 1).read_to_end(&mut text)? as u64 > MAX_BYTES {
        return Err(io::Error::other("it has more than 64 KiB"));
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Writes the positions for each item.
struct PositionSink {
    path: PathBuf,
    positions: Arc<Mutex<Positions>>,
    problems: Arc<Problems>,
    failing: bool,
}

impl Sink for PositionSink {
    type Item = ();
    const THREAD: &'static str = "positions";
    /// Each write has all positions: one is as good as several.
    const MAX_WAITING: usize = 1;
    const RETRY: Duration = Duration::from_secs(2);

    fn weight(_write: &()) -> usize {
        1
    }

    fn write(&mut self, _write: &()) -> Outcome {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written = known_programs::replace_file(&self.path, |out| {
            serde_json::to_writer_pretty(&mut *out, &positions)?;
            out.write_all(b"\n")
        });
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    self.problems.report(&format!("{} can be written again.", self.path.display()));
                }
                Outcome::Done
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.problems.report(&format!(
                        "{} cannot be written: {error}. Receivers of [export] may get events again after a restart. Make room, or \
                         check the rights of its directory: it is tried again.",
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
    use super::*;

    fn position(window: i64) -> SinkPosition {
        SinkPosition {
            log: "00".repeat(16),
            epoch: 1,
            window,
            time: 10,
            uptime: 0,
            first_sequence: 0,
            nonce: Some(-5),
        }
    }

    #[test]
    fn positions_survive_a_restart_and_a_file_that_is_none_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let path = PositionFile::path(&directory.path().join("snitch.db"));
        let mut file = PositionFile::open(path.clone(), &problems);
        assert!(file.all().is_empty());
        for window in 1..100 {
            file.set("export.a".into(), position(window));
        }
        file.set("export.b".into(), position(7));
        file.finish();
        let mut file = PositionFile::open(path.clone(), &problems);
        assert_eq!(file.all(), [("export.a".into(), position(99)), ("export.b".into(), position(7))]);
        for number in 0..MAX_POSITIONS + 5 {
            file.set(format!("export.c-{number:03}"), position(1));
        }
        assert_eq!(file.all().len(), MAX_POSITIONS);
        file.finish();
        // Those of sections that are gone make room, not the one that is served.
        let mut file = PositionFile::open(path.clone(), &problems);
        let first = file.all()[0].0.clone();
        file.set(first.clone(), position(2));
        file.set("export.new".into(), position(3));
        let names: Vec<String> = file.all().into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&first) && names.contains(&"export.new".to_owned()), "{names:?}");
        assert_eq!(names.len(), MAX_POSITIONS);
        file.finish();
        assert!(problems.take_written().is_empty());
        fs::write(&path, "{").unwrap();
        assert!(PositionFile::open(path.clone(), &problems).all().is_empty());
        assert!(problems.take_written()[0].contains("snitch.positions cannot be read"));
        fs::write(&path, " ".repeat(70_000)).unwrap();
        assert!(PositionFile::open(path, &problems).all().is_empty());
        assert!(problems.take_written()[0].contains("64 KiB"));
    }
}
