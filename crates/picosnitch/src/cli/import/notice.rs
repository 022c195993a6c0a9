//! What the start of the daemon says about an original picosnitch on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::files::find;
use ::import::{find_in, running_original, system_places};
use config::layout::Layout;
use model::text::sanitize;

/// Sentences about the files of an original picosnitch, before the first record of this one, and about one that is running.
pub(in crate::cli) fn notices(layout: &Layout) -> Vec<String> {
    let mut notices = Vec::new();
    let has_history = fs::metadata(&layout.database).is_ok_and(|found| found.len() > 0);
    if !has_history && let Some((place, command)) = place_of_original(layout) {
        notices.push(format!(
            "There are files of an original picosnitch in {}. To keep its history, stop picosnitch and run: {command}",
            sanitize::terminal(place.as_os_str().as_encoded_bytes())
        ));
    }
    notices.extend(running_notice());
    notices
}

/// A sentence about an original picosnitch that is running.
pub(in crate::cli) fn running_notice() -> Option<String> {
    running_original().map(|pid| {
        format!(
            "The original picosnitch is running as well (process {pid}): both record the same, and its own traffic and work show here. \
             Stop it for good: sudo systemctl disable --now picosnitch if that is its service, or sudo kill {pid}"
        )
    })
}

/// A directory with a log or known programs of the original, and the command that imports it.
fn place_of_original(layout: &Layout) -> Option<(PathBuf, String)> {
    if let Ok(files) = find(None, layout)
        && let Some(path) = files.databases.iter().chain(&files.text_logs).chain(&files.known_programs).next()
    {
        return Some((path.parent()?.to_owned(), "sudo picosnitch import".to_owned()));
    }
    // The daemon does not know for which user the original recorded.
    let homes: Vec<PathBuf> =
        fs::read_dir("/home").ok()?.filter_map(|home| Some(home.ok()?.path())).collect();
    let has_files = |place: &PathBuf| !find_in(place, &[]).is_empty();
    let place =
        system_places(&homes).into_iter().filter(|place| place.starts_with("/home")).find(has_files)?;
    let command = format!("sudo picosnitch import {}", quoted(&place));
    Some((place, command))
}

fn quoted(path: &Path) -> String {
    let path = sanitize::terminal(path.as_os_str().as_encoded_bytes());
    if path.contains([' ', '\'', '"', '$', '\\']) { format!("'{path}'") } else { path }
}
