//! The files of the original that are imported, and those that are only mentioned.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::bail;
use nix::unistd::{Uid, User};

use ::import::{Content, Found, find_beside, find_in, system_places};
use config::layout::Layout;
use model::text::sanitize;

/// The files that were found.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Logs, those of older releases first.
    pub databases: Vec<PathBuf>,
    /// Text logs where there is no database.
    pub text_logs: Vec<PathBuf>,
    pub known_programs: Vec<PathBuf>,
    /// The configuration, and whether it is that of 2.x.
    pub configuration: Option<(PathBuf, bool)>,
    /// Files that are not imported, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Finds the files at a path, or where releases of the original keep them.
///
/// # Errors
/// There is none.
pub(super) fn find(path: Option<&Path>, layout: &Layout) -> anyhow::Result<Files> {
    let ours = [&layout.database, &layout.record_json, &layout.conn_log, &layout.exe_log].map(|path| &**path);
    let mut files = Files::default();
    if let Some(path) = path {
        let shown = sanitize::terminal(path.as_os_str().as_encoded_bytes());
        let found = find_beside(path, &ours).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!("there is no file or directory {shown}"),
            _ => anyhow::Error::new(error).context(format!("cannot import {shown}")),
        })?;
        files.add(found, layout);
        if files.is_empty() {
            bail!(
                "{shown} has no file of the original picosnitch: snitch.db, picosnitch.db, record.json, state.json, config.json, \
                 config.toml or conn.log"
            );
        }
        return Ok(files);
    }
    let places = system_places(&homes());
    // Logs of users are older than those of the system.
    for place in places.iter().rev() {
        files.add(find_in(place, &ours), layout);
    }
    if files.is_empty() {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        bail!(
            "there are no files of an original picosnitch in {}; name their directory: picosnitch import PATH",
            places.join(", ")
        );
    }
    Ok(files)
}

/// The homes in which older releases keep their files: of root, and of the user who runs sudo.
fn homes() -> Vec<PathBuf> {
    let home_of = |uid| User::from_uid(uid).ok().flatten().map(|user| user.dir);
    let sudo = std::env::var("SUDO_USER").ok();
    let sudo = sudo.and_then(|name| User::from_name(&name).ok().flatten()).map(|user| user.dir);
    let mut homes: Vec<PathBuf> =
        sudo.into_iter().chain(home_of(Uid::current())).chain(home_of(Uid::from_raw(0))).collect();
    let mut known = Vec::new();
    homes.retain(|home| {
        let is_new = !known.contains(home);
        known.push(home.clone());
        is_new
    });
    homes
}

impl Files {
    fn is_empty(&self) -> bool {
        self.databases.is_empty()
            && self.text_logs.is_empty()
            && self.known_programs.is_empty()
            && self.configuration.is_none()
    }

    /// Adds the files of one directory.
    fn add(&mut self, found: Vec<Found>, layout: &Layout) {
        let has_database = found.iter().any(|found| found.content == Content::Database);
        for Found { path, content } in found {
            match content {
                Content::Database => self.databases.push(path),
                Content::TextLog if has_database => {
                    self.left_out.push((path, "the database beside it has the same records"));
                }
                Content::TextLog => self.text_logs.push(path),
                Content::KnownPrograms => self.known_programs.push(path),
                Content::ConfigToml if !is_original(&path) => {
                    if path != layout.config {
                        self.left_out
                            .push((path, "it is a configuration of this picosnitch, not of the original"));
                    }
                }
                Content::ConfigJson | Content::ConfigToml => {
                    // The one that is found last is that of the newest release.
                    let of_2 = content == Content::ConfigToml;
                    if let Some((other, _)) = self.configuration.replace((path, of_2)) {
                        self.left_out.push((other, "there is the configuration of a later release"));
                    }
                }
            }
        }
    }
}

/// Whether a configuration is that of the original, at the place of ours.
fn is_original(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| config::is_original_toml(&text))
}
