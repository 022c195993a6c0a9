//! The thread that writes record.json: a disk may take its time, alerts do not wait for it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::problems::Problems;
use known_programs::replace;

/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Slot {
    text: Option<String>,
    end: bool,
}

/// The way to the thread.
pub struct Saving {
    shared: Arc<(Mutex<Slot>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Saving {
    /// Starts the thread; it writes to `path`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(path: PathBuf, problems: Arc<Problems>) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(Slot::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("saver".into()).spawn(move || save_all(&theirs, &path, &problems))?;
        Ok(Self { shared, thread })
    }

    /// The file shall have this text. An older one that was not written yet is not needed any more.
    pub fn save(&self, text: String) {
        lock(&self.shared.0).text = Some(text);
        self.shared.1.notify_one();
    }

    /// Writes what is left to write, and ends.
    pub fn finish(self) {
        lock(&self.shared.0).end = true;
        self.shared.1.notify_one();
        let _ = self.thread.join();
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn save_all(shared: &(Mutex<Slot>, Condvar), path: &std::path::Path, problems: &Problems) {
    let mut failing = false;
    loop {
        let mut slot = lock(&shared.0);
        while slot.text.is_none() && !slot.end {
            slot = shared.1.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        let (text, end) = (slot.text.take(), slot.end);
        drop(slot);
        let Some(text) = text else { return };
        match replace(path, &text) {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    problems.report(&format!("{} can be written again.", path.display()));
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    problems.report(&format!(
                        "{} cannot be written: {error}. The last whole one is there; programs that came after it are \
                         announced again after a restart. Make room, or check the rights of its directory: it is tried \
                         again.",
                        path.display()
                    ));
                }
                if end {
                    return;
                }
                let mut slot = lock(&shared.0);
                slot.text.get_or_insert(text);
                drop(shared.1.wait_timeout_while(slot, RETRY, |slot| !slot.end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_text_is_written_and_a_failure_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("record.json");
        let problems = Arc::new(Problems::new(place.path().join("error.log")));
        let saving = Saving::start(path.clone(), Arc::clone(&problems)).unwrap();
        std::fs::create_dir(place.path().join("record.json.new")).unwrap();
        saving.save("one".into());
        while problems.take_told().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_dir(place.path().join("record.json.new")).unwrap();
        saving.save("two".into());
        saving.finish();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two");
        assert!(problems.take_told()[0].contains("can be written again"));
    }
}
