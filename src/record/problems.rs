//! error.log: what went wrong, each with what was not seen because of it and what to do.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use crate::ui::{format, time};

/// Mode of error.log.
const MODE: u32 = 0o640;

/// Writes problems to error.log and to standard error. A problem that repeats is written once.
pub struct Problems {
    path: PathBuf,
    last: Mutex<String>,
}

impl Problems {
    /// Problems go to the file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(String::new()) }
    }

    /// Reports a problem: one sentence or more, of any bytes.
    pub fn report(&self, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return;
        }
        text.clone_into(&mut last);
        say(&format::terminal(text.as_bytes()));
        self.log(text);
    }

    /// Writes to error.log only, what is said on standard error elsewhere.
    pub fn log(&self, text: &str) {
        if let Err(error) = self.append(&format::terminal(text.as_bytes())) {
            say(&format!("{} cannot be written: {error}", self.path.display()));
        }
    }

    fn append(&self, text: &str) -> io::Result<()> {
        // Never through a link or into a FIFO that somebody put there.
        let mut file: File = File::options()
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.write_all(format!("{} {text}\n", time::local(time::now())).as_bytes())
    }
}

/// Says something on standard error. That may be a terminal that is gone, or a file on a full disk: no reason to end.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "picosnitch: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_new_problem() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("error.log");
        let problems = Problems::new(path.clone());
        problems.report("one\n\x1b[31mred");
        problems.report("one\n\x1b[31mred");
        problems.report("two");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b'));
        assert_eq!(text.as_bytes()[4], b'-');
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("error.log"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Problems::new(link).report("text");
        assert_eq!(std::fs::read_to_string(target).unwrap(), "");
    }
}
