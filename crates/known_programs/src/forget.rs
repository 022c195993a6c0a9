//! Removes what the user wants to be forgotten from record.json and its journal.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
    sync::Mutex,
};

use super::{
    error::KnownProgramsError,
    file::{journal_path, load, replace},
    format::write_json,
};
use model::text::lossless::from_text;

/// Removes all paths and names for which `is_forgotten` holds from the record.json at `path` and its journal, or with
/// `only_count` counts them. picosnitch must be stopped. Returns their number.
///
/// # Errors
/// The file is damaged or cannot be written; it is as before then.
pub fn forget(
    path: &Path,
    is_forgotten: &dyn Fn(&[u8]) -> bool,
    only_count: bool,
) -> Result<u64, KnownProgramsError> {
    let read_error = |source| KnownProgramsError::Read { path: path.to_owned(), source };
    let journal = journal_path(path);
    // What is in the journal may be in no table any more.
    let in_journal = match fs::read(&journal) {
        Ok(text) => text.split(|byte| *byte == b'\n').filter(|line| mentions(line, is_forgotten)).count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(read_error(error)),
    };
    let owner = match fs::symlink_metadata(path) {
        Ok(found) => (found.uid(), found.gid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if in_journal > 0 && !only_count {
                fs::remove_file(&journal).map_err(read_error)?;
            }
            return Ok(in_journal as u64);
        }
        Err(error) => return Err(read_error(error)),
    };
    let loaded = load(path);
    if let Some(error) = loaded.error {
        return Err(error);
    }
    let mut known = loaded.known;
    let is_text_forgotten = |text: &str| is_forgotten(text.as_bytes()) || is_forgotten(&from_text(text));
    let mut removed = known.tables.remove_texts(&is_text_forgotten);
    let before = known.other_keys.len();
    known
        .other_keys
        .retain(|key, value| !is_text_forgotten(key) && !json_mentions(value, &is_text_forgotten));
    removed += before - known.other_keys.len();
    if removed == 0 && in_journal == 0 || only_count {
        return Ok((removed + in_journal) as u64);
    }
    let known = Mutex::new(known);
    let write_error = |source| KnownProgramsError::Write { path: path.to_owned(), source };
    replace(path, |mut out| write_json(&known, &mut out)).map_err(write_error)?;
    let now = fs::symlink_metadata(path).map_err(write_error)?;
    if (now.uid(), now.gid()) != owner {
        chown(path, Some(owner.0), Some(owner.1)).map_err(write_error)?;
    }
    match fs::remove_file(&journal) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(error)),
        _ => Ok((removed + in_journal) as u64),
    }
}

/// Whether a line of the journal has a word that is forgotten.
fn mentions(line: &[u8], is_forgotten: &dyn Fn(&[u8]) -> bool) -> bool {
    let words: Vec<String> = serde_json::from_slice(line).unwrap_or_default();
    is_forgotten(line)
        || words.iter().any(|word| is_forgotten(word.as_bytes()) || is_forgotten(&from_text(word)))
}

fn json_mentions(value: &serde_json::Value, is_forgotten: &dyn Fn(&str) -> bool) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => is_forgotten(text),
        Value::Array(values) => values.iter().any(|value| json_mentions(value, is_forgotten)),
        Value::Object(values) => {
            values.iter().any(|(key, value)| is_forgotten(key) || json_mentions(value, is_forgotten))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KnownPrograms, Rank, RecordFile};
    use model::Sha256;
    use std::time::Instant;

    const SECRET: &[u8] = b"/opt/secret \xff/x";

    fn matches(text: &[u8]) -> bool {
        text.windows(SECRET.len()).any(|window| window == SECRET)
    }

    fn contains(path: &Path, text: &[u8]) -> bool {
        fs::read(path).unwrap_or_default().windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn a_program_is_forgotten_in_all_tables_and_the_journal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let journal = journal_path(&path);
        fs::write(&path, r#"{"Other": {"a": ["/opt/secret \\xff/x"]}, "Kept": 1}"#).unwrap();
        let (mut file, _) = RecordFile::open(&path);
        for rank in Rank::ALL {
            file.known().lock().observe(rank, SECRET, b"x");
            file.known().lock().observe(rank, b"/bin/kept", b"x");
        }
        file.save(Instant::now());
        // This is in the journal only.
        file.known().lock().observe(Rank::Program, SECRET, b"another");
        file.known().lock().observe_digest(SECRET, Sha256([7; 32]));
        file.known().lock().observe_digest(b"/bin/kept", Sha256([8; 32]));
        file.save(Instant::now());
        drop(file);
        let written = b"secret \\\\xff";
        assert!(contains(&path, written) && contains(&journal, written));
        let before = (fs::read(&path).unwrap(), fs::read(&journal).unwrap());
        let count = forget(&path, &matches, true).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&journal).unwrap()), before);
        assert_eq!(forget(&path, &matches, false).unwrap(), count);
        assert!(count > 8, "{count}");
        assert!(!contains(&path, b"secret") && !contains(&path, b"another") && !journal.exists());
        assert!(!contains(&path, "07".repeat(32).as_bytes()));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("Kept") && text.contains(&"08".repeat(32)), "{text}");
        let mut known = KnownPrograms::load(&path).unwrap();
        assert_eq!(known.observe(Rank::Program, b"/bin/kept", b"x"), crate::Novelty::Nothing);
        assert_eq!(known.observe(Rank::Program, SECRET, b"x"), crate::Novelty::Executable);
        assert_eq!(forget(&path, &matches, false).unwrap(), 0);
    }

    #[test]
    fn without_a_file_a_journal_goes_and_a_damaged_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        assert_eq!(forget(&path, &matches, false).unwrap(), 0);
        fs::write(journal_path(&path), "[\"program\",\"/opt/secret \\\\xff/x\",\"x\"]\n").unwrap();
        assert_eq!(forget(&path, &matches, false).unwrap(), 1);
        assert!(!journal_path(&path).exists());
        fs::write(&path, "{\"Executables\": {").unwrap();
        forget(&path, &matches, false).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"{\"Executables\": {");
    }
}
