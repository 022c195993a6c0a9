//! The files of the original: where they lie, and what a file is.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::snapshot::open_regular;

/// The directories of releases from 2.0 on.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/etc/picosnitch", "/var/lib/picosnitch", "/var/log/picosnitch"];
/// The directory of older releases, in the home of a user.
const HOME_DIRECTORY: &str = ".config/picosnitch";
/// Names of the files of all releases.
const NAMES: [(&str, Content); 7] = [
    ("snitch.db", Content::Database),
    ("picosnitch.db", Content::Database),
    ("state.json", Content::KnownPrograms),
    ("record.json", Content::KnownPrograms),
    ("config.toml", Content::ConfigToml),
    ("config.json", Content::ConfigJson),
    ("conn.log", Content::TextLog),
];
/// How much of a file is looked at to find out what it is.
const LOOK_BYTES: u64 = 64 * 1024;

/// What a file of the original has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A log.
    Database,
    /// A text log.
    TextLog,
    /// The known programs.
    KnownPrograms,
    /// A configuration before 2.0.
    ConfigJson,
    /// A configuration of 2.x.
    ConfigToml,
}

/// A file of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub content: Content,
}

/// The directories in which releases of the original keep their files, with the homes of these users.
pub fn system_places(homes: &[PathBuf]) -> Vec<PathBuf> {
    let system = SYSTEM_DIRECTORIES.into_iter().map(PathBuf::from);
    system.chain(homes.iter().map(|home| home.join(HOME_DIRECTORY))).collect()
}

/// The files of the original in a directory, but for those that are `ours`: files of this picosnitch.
pub fn find_in(directory: &Path, ours: &[&Path]) -> Vec<Found> {
    let is_ours = |found: &Metadata| {
        let same = |path: &&Path| fs::metadata(path).is_ok_and(|ours| is_same(&ours, found));
        ours.iter().any(same)
    };
    let find = |(name, content): (&str, Content)| {
        let path = directory.join(name);
        let metadata = fs::metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() > 0 && !is_ours(&metadata)).then_some(Found { path, content })
    };
    NAMES.into_iter().filter_map(find).collect()
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// The files of the original at a path: that file, or those in that directory.
///
/// # Errors
/// It cannot be opened; `InvalidData` if the file is none of the original.
pub fn find_beside(path: &Path, ours: &[&Path]) -> io::Result<Vec<Found>> {
    if fs::metadata(path)?.is_dir() {
        // An error now is better than no files.
        fs::read_dir(path)?;
        return Ok(find_in(path, ours));
    }
    let content = content(path)?;
    content
        .map(|content| vec![Found { path: path.to_owned(), content }])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no file of the original picosnitch"))
}

/// What a file is, by its content and its name.
fn content(path: &Path) -> io::Result<Option<Content>> {
    let mut start = Vec::new();
    open_regular(path)?.take(LOOK_BYTES).read_to_end(&mut start)?;
    if start.starts_with(b"SQLite format 3\0") {
        return Ok(Some(Content::Database));
    }
    let has = |text: &str| start.windows(text.len()).any(|window| window == text.as_bytes());
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let first_line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let fields = first_line.split(|byte| *byte == b',').count();
    Ok(match extension {
        "json" if has("\"Executables\"") || has("\"SHA256\"") => Some(Content::KnownPrograms),
        "json" => Some(Content::ConfigJson),
        "toml" => Some(Content::ConfigToml),
        _ if fields == 16 || fields == 25 => Some(Content::TextLog),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_name_in_a_directory_and_by_content_alone() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = place.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let database = write("snitch.db", "SQLite format 3\0...");
        let ours = write("record.json", "{}");
        write("config.json", "");
        write("config.toml", "[log]");
        fs::create_dir(place.path().join("conn.log")).unwrap();
        let found = find_in(place.path(), &[&ours, Path::new("/nowhere")]);
        let contents: Vec<Content> = found.iter().map(|found| found.content).collect();
        assert_eq!(
            contents,
            [Content::Database, Content::ConfigToml],
            "no empty file, no directory, not ours"
        );
        assert_eq!(find_beside(place.path(), &[]).unwrap().len(), 3);
        for (path, expected) in [
            (database, Content::Database),
            (write("a.json", "{\"SHA256\": {}}"), Content::KnownPrograms),
            (write("b.json", "{\"VT API key\": \"\"}"), Content::ConfigJson),
            (write("c.toml", ""), Content::ConfigToml),
            (write("d", &",".repeat(24)), Content::TextLog),
            (write("e.log", &format!("{}\nx", ",".repeat(15))), Content::TextLog),
        ] {
            assert_eq!(find_beside(&path, &[]).unwrap()[0].content, expected, "{path:?}");
        }
        let other = find_beside(&write("f", "text"), &[]).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::InvalidData);
        let missing = find_beside(&place.path().join("nowhere"), &[]).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
