//! The files besides the log that have history: record.json and the text logs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use calendar::Part;

use config::layout::Layout;
use daemon::log_lines::{LogFiles, remove_lines};
use model::text::lossless::from_text;
use store::{Forget, TextMatcher};

/// The column of conn.log with the time of a record.
const CONN_LOG_TIME: usize = 4;
/// Length of the local time at the beginning of the lines of the other logs.
const LINE_TIME: usize = 19;

pub(super) struct TextFiles {
    record_json: PathBuf,
    /// Files of conn.log, and those of exe.log and error.log.
    conn_logs: Vec<PathBuf>,
    other_logs: Vec<PathBuf>,
    /// Copies of record.json that picosnitch has kept.
    records: Vec<PathBuf>,
    /// Half files of a process that was killed.
    unfinished: Vec<PathBuf>,
    /// Files that are not looked at: compressed logs, and older copies of the log that lie beside it.
    pub others: Vec<PathBuf>,
}

impl TextFiles {
    /// Finds the files.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn find(layout: &Layout) -> anyhow::Result<Self> {
        let find = |path: &Path| {
            LogFiles::find(path).with_context(|| format!("cannot look for the files of {}", path.display()))
        };
        let [conn, exe, error, record] =
            [&layout.conn_log, &layout.exe_log, &layout.error_log, &layout.record_json]
                .map(|path| find(path));
        let (conn, exe, error, record) = (conn?, exe?, error?, record?);
        let own = ["", "-wal", "-shm"].map(|end| beside(&layout.database, end));
        let mut others = [conn.compressed, exe.compressed, error.compressed].concat();
        others.extend(find(&layout.database)?.readable.into_iter().filter(|path| !own.contains(path)));
        Ok(Self {
            record_json: layout.record_json.clone(),
            conn_logs: conn.readable,
            other_logs: [exe.readable, error.readable].concat(),
            records: record.readable.into_iter().filter(|path| *path != layout.record_json).collect(),
            unfinished: [conn.unfinished, exe.unfinished, error.unfinished, record.unfinished].concat(),
            others,
        })
    }

    /// Removes the lines and entries that have what is forgotten, or with `only_count` counts them. Returns their number.
    ///
    /// # Errors
    /// A file cannot be read or written. Running it again goes on.
    pub fn forget(&self, what: &Forget, only_count: bool) -> anyhow::Result<u64> {
        let matcher = what.matcher();
        let mut count = 0;
        for path in &self.unfinished {
            count += u64::from(fs::read(path).is_ok_and(|text| mentions(&matcher, &text)));
            if !only_count {
                fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        for path in &self.conn_logs {
            count +=
                lines(path, &|line| is_forgotten(what, &matcher, conn_log_time(line), line), only_count)?;
        }
        for path in &self.other_logs {
            count += lines(path, &|line| is_forgotten(what, &matcher, line_time(line), line), only_count)?;
        }
        // record.json has no times.
        if what.span().is_some() {
            return Ok(count);
        }
        let matches = |text: &[u8]| matcher.matches(text);
        count += known_programs::forget(&self.record_json, &matches, only_count)?;
        for path in &self.records {
            count += lines(path, &|line| mentions(&matcher, line), only_count)?;
        }
        Ok(count)
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn lines(path: &Path, is_removed: &dyn Fn(&[u8]) -> bool, only_count: bool) -> anyhow::Result<u64> {
    remove_lines(path, is_removed, only_count)
        .with_context(|| format!("cannot remove lines from {}", path.display()))
}

fn is_forgotten(what: &Forget, matcher: &TextMatcher, time: Option<Part>, line: &[u8]) -> bool {
    match what.span() {
        // A local time that a clock change repeats may be either.
        Some((first, last)) => time.is_some_and(|time| time.start <= last && time.end > first),
        None => mentions(matcher, line),
    }
}

/// Whether a line has it as it is, or with the escapes of JSON and of bytes that are not text.
fn mentions(matcher: &TextMatcher, line: &[u8]) -> bool {
    if matcher.matches(line) {
        return true;
    }
    if !line.contains(&b'\\') {
        return false;
    }
    let unescaped = from_text(String::from_utf8_lossy(line).as_bytes());
    let of_json =
        from_text(String::from_utf8_lossy(line).replace("\\\\", "\\").replace("\\\"", "\"").as_bytes());
    matcher.matches(&unescaped) || matcher.matches(&of_json)
}

fn conn_log_time(line: &[u8]) -> Option<Part> {
    let field = line.split(|byte| *byte == b',').nth(CONN_LOG_TIME)?;
    part(str::from_utf8(field).ok()?)
}

fn line_time(line: &[u8]) -> Option<Part> {
    part(str::from_utf8(line.get(..LINE_TIME)?).ok()?)
}

fn part(text: &str) -> Option<Part> {
    calendar::parse_part(text, 0, &calendar::zone()).ok()
}
