//! Going on behind a line that was printed before.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use question::named::{Item, ItemName};
use store::{StoreError, WindowFollower};

/// Bytes at the end of the file in which its last line must be. A line has at most a few texts of 64 KiB.
const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;

/// The last line that a reader of the output has dealt with.
pub(super) struct LastLine {
    name: ItemName,
    /// Of a record the end of its window, of an event its own time: unix seconds UTC.
    time: i64,
}

impl LastLine {
    /// Reads the last whole line of a file; `None` if there is no file, or no line in it.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let context = || format!("--after: {} cannot be read", path.display());
        let text = match end_of(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(context),
        };
        // What has no line feed was not written wholly.
        let Some((lines, _)) = text.rsplit_once('\n') else { return Ok(None) };
        let line = lines.rsplit('\n').next().unwrap_or_default();
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let name = line["id"].as_str().and_then(ItemName::from_id);
        let (Some(name), Some(time)) = (name, line["time"].as_i64()) else {
            bail!("--after: the last line of {} is not one of `picosnitch tail --json`", path.display());
        };
        Ok(Some(Self { name, time }))
    }

    /// A follower that begins with the window of the line.
    pub fn follower(&self, log: PathBuf) -> Result<WindowFollower, StoreError> {
        WindowFollower::open_at(log, self.name.log, self.name.window, self.time)
    }

    /// Whether something is printed after the line. Of a window events come first.
    pub fn is_before(&self, other: &ItemName) -> bool {
        if (other.log, other.window) != (self.name.log, self.name.window) {
            return true;
        }
        match (self.name.item, other.item) {
            (Item::Event(last), Item::Event(number)) => number > last,
            (Item::Record(last), Item::Record(sequence)) => sequence > last,
            (Item::Event(_), Item::Record(_)) => true,
            (Item::Record(_), Item::Event(_)) => false,
        }
    }
}

/// The end of a file. Bytes that are not UTF-8 are in no line of the output, and may be those of half a character.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
