//! record.json: reads it, converts it from and to JSON, and replaces it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    error::KnownProgramsError,
    programs::KnownPrograms,
    rank::Rank,
    table::{Seen, Table},
};
use model::{
    Bytes, Sha256,
    text::lossless::{from_text, to_text},
};

/// The key of the digests.
const DIGESTS: &str = "SHA256";
/// Mode of record.json: its owner writes it, and its group reads it.
pub(super) const MODE: u32 = 0o640;
/// A longer file was not written by picosnitch and is an error.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

impl KnownPrograms {
    /// Reads the file. No program is known if there is no file.
    ///
    /// # Errors
    /// See [`KnownProgramsError`].
    pub fn load(path: &Path) -> Result<Self, KnownProgramsError> {
        let mut text = String::new();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let read = File::options().read(true).custom_flags(flags).open(path).and_then(|file| {
            let found = file.metadata()?;
            if !found.is_file() || found.len() > MAX_FILE_BYTES {
                return Err(io::Error::other("it is not a regular file of at most 256 MiB"));
            }
            file.take(MAX_FILE_BYTES).read_to_string(&mut text)
        });
        match read {
            Ok(_) => {
                Self::parse(&text).map_err(|what| KnownProgramsError::Damaged { path: path.to_owned(), what })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(KnownProgramsError::Damaged { path: path.to_owned(), what: "it is not UTF-8".into() })
            }
            Err(source) => Err(KnownProgramsError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads the text of the file; the error is a description of the damage.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tree: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut known = Self::default();
        for (index, rank) in Rank::ALL.into_iter().enumerate() {
            let [executables, names] = rank.keys();
            known.executables[index] = lists(&mut tree, executables)?;
            known.names[index] = lists(&mut tree, names)?;
        }
        known.digests = digests(&mut tree)?;
        known.other_keys = tree;
        Ok(known)
    }

    /// The text of the file: JSON with sorted keys and indent 2.
    pub fn to_json(&self) -> String {
        let mut tree = self.other_keys.clone();
        for (index, rank) in Rank::ALL.into_iter().enumerate() {
            for (key, table) in rank.keys().into_iter().zip([&self.executables[index], &self.names[index]]) {
                let lists = table.iter().map(|(outer, inner)| {
                    let list = inner.value.keys().map(|bytes| to_text(bytes).into()).collect();
                    (to_text(outer), Value::Array(list))
                });
                tree.insert(key.to_owned(), Value::Object(lists.collect()));
            }
        }
        let digests = self.digests.iter().map(|(path, digests)| {
            let verdicts = digests
                .value
                .iter()
                .map(|(digest, verdict)| (digest.to_hex(), Value::String(verdict.value.clone())));
            (to_text(path), Value::Object(verdicts.collect()))
        });
        tree.insert(DIGESTS.to_owned(), Value::Object(digests.collect()));
        // The serialisation cannot fail, since every key is a string. An empty text would be an error at the next start.
        let mut text = serde_json::to_string_pretty(&Value::Object(tree)).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Takes the object of a key out of the tree; empty without the key.
fn object(tree: &mut Map<String, Value>, key: &str) -> Result<Map<String, Value>, String> {
    match tree.remove(key) {
        None => Ok(Map::new()),
        Some(Value::Object(entries)) => Ok(entries),
        Some(_) => Err(format!("{key:?} is not an object")),
    }
}

/// Takes a table of lists of texts out of the tree.
fn lists(tree: &mut Map<String, Value>, key: &str) -> Result<Table<Bytes>, String> {
    let mut table = Table::new();
    for (outer, list) in object(tree, key)? {
        let Value::Array(list) = list else { return Err(format!("an entry of {key:?} is not a list")) };
        let mut entry = BTreeMap::new();
        for text in list {
            let Value::String(text) = text else { return Err(format!("an entry of {key:?} holds no text")) };
            entry.insert(from_text(&text), Seen::default());
        }
        table.insert(from_text(&outer), Seen { last: 0, value: entry });
    }
    Ok(table)
}

/// Takes the digests out of the tree.
fn digests(tree: &mut Map<String, Value>) -> Result<Table<Sha256>, String> {
    let mut table = Table::new();
    for (path, verdicts) in object(tree, DIGESTS)? {
        let Value::Object(verdicts) = verdicts else {
            return Err(format!("an entry of {DIGESTS:?} is not an object"));
        };
        let mut entry = BTreeMap::new();
        for (digest, verdict) in verdicts {
            let value = match verdict {
                Value::String(text) => text,
                Value::Null => String::new(),
                _ => return Err(format!("an entry of {DIGESTS:?} has a result that is no text")),
            };
            // The original picosnitch writes a sentence in place of a digest that it could not compute.
            if let Some(digest) = Sha256::from_hex(&digest) {
                entry.insert(digest, Seen { last: 0, value });
            }
        }
        if !entry.is_empty() {
            table.insert(from_text(&path), Seen { last: 0, value: entry });
        }
    }
    Ok(table)
}

/// Replaces the file at `path` by one with this text. At any moment, and after a crash, `path` is either the old file or the
/// new one, complete.
///
/// # Errors
/// The errors of the file system; `path` is the old file then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut file = File::options().write(true).create_new(true).mode(MODE).custom_flags(flags).open(&new)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
