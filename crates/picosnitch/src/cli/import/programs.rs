//! The known programs of the original.

use std::{
    fs::File,
    io::{self, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{files::Files, report::Report};
use known_programs::RecordFile;

/// What became of a file of known programs.
#[derive(Debug, Default)]
pub(super) struct KnownProgramsReport {
    pub path: PathBuf,
    /// Programs that were not known before.
    pub new: usize,
    /// Programs that the file has, in a preview.
    pub has: usize,
    pub error: Option<String>,
}

/// Opens the files, with the rights of the user who runs the command.
pub(super) fn open(files: &Files, report: &mut Report) -> Vec<(PathBuf, File)> {
    let mut opened = Vec::new();
    for path in &files.known_programs {
        match open_regular(path) {
            Ok(file) => opened.push((path.clone(), file)),
            Err(error) => report.known_programs.push(KnownProgramsReport {
                path: path.clone(),
                error: Some(format!("it cannot be opened: {error}")),
                ..KnownProgramsReport::default()
            }),
        }
    }
    opened
}

fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC).bits();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Adds a file to the known programs.
pub(super) fn add(record: &mut RecordFile, path: &Path, file: File) -> KnownProgramsReport {
    let before = record.known().lock().count();
    let added = record.add_original(BufReader::new(file));
    KnownProgramsReport {
        path: path.to_owned(),
        new: record.known().lock().count().saturating_sub(before),
        has: 0,
        error: added.err().map(|what| format!("not all of it could be read: {what}")),
    }
}

/// Reads a file and counts its programs.
pub(super) fn preview(path: &Path) -> KnownProgramsReport {
    let nowhere = Path::new("/nonexistent/record.json");
    let (mut record, _) = RecordFile::open(nowhere);
    match open_regular(path) {
        Ok(file) => {
            let report = add(&mut record, path, file);
            KnownProgramsReport { has: report.new, new: 0, ..report }
        }
        Err(error) => KnownProgramsReport {
            path: path.to_owned(),
            error: Some(format!("it cannot be opened: {error}")),
            ..KnownProgramsReport::default()
        },
    }
}
