//! Why the daemon has ended: a file that `picosnitch status` reads, since the messages of a daemon in the background are seen by
//! nobody.

use std::io::{Read, Write};
use std::{fs, io, os::unix::fs::OpenOptionsExt};

use config::layout::Layout;
use model::text::{sanitize, time};

/// Bytes of the file that are read.
const MAX_BYTES: u64 = 4096;

/// The end of a daemon that was not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndReason {
    /// Unix seconds.
    pub time: i64,
    /// A sentence.
    pub why: String,
}

/// Writes why the daemon ends. Errors are ignored: the reason is in error.log, too.
pub(super) fn write(layout: &Layout, why: &str) {
    let written = || -> io::Result<()> {
        clear(layout);
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let mut options = fs::File::options();
        let mut file =
            options.write(true).create_new(true).mode(0o644).custom_flags(flags).open(layout.end_reason())?;
        writeln!(file, "{} {}", time::now(), sanitize::message(why))
    };
    let _ = written();
}

/// Removes the file: the daemon runs, or was stopped.
pub(super) fn clear(layout: &Layout) {
    let _ = fs::remove_file(layout.end_reason());
}

/// Reads why the last daemon has ended; `None` if it was stopped, or nobody knows.
pub fn read_end_reason(layout: &Layout) -> Option<EndReason> {
    let file = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(layout.end_reason())
        .ok()?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (time, why) = text.trim_end().split_once(' ')?;
    Some(EndReason { time: time.parse().ok()?, why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_read_as_it_was_written() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(place.path()), None);
        assert_eq!(read_end_reason(&layout), None);
        write(&layout, "there is no directory yet");
        assert_eq!(read_end_reason(&layout), None);
        fs::create_dir(&layout.run_dir).unwrap();
        for why in ["the recorder has ended", "and\nanother"] {
            write(&layout, why);
            let read = read_end_reason(&layout).unwrap();
            assert!(time::now() - read.time < 60);
            assert_eq!(read.why, sanitize::message(why));
        }
        clear(&layout);
        assert_eq!(read_end_reason(&layout), None);
    }
}
