//! `picosnitch doctor --salvage`: brings over what can be read of a damaged log.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::ExitCode};

use anyhow::{Context, bail, ensure};
use nix::unistd;
use serde_json::{Value as Json, json};

use crate::cli::output::print;
use config::layout::Layout;
use daemon::{
    MonitorError,
    monitor::{self, InstanceLock},
};
use model::text::{sanitize, time};
use sandbox::User;
use store::{Gap, Opened, Salvaged, StoreError, Writer, salvage};

/// Gaps that are printed as text; `--json` prints all.
const MAX_LISTED: usize = 20;

/// Brings over what can be read of the log `damaged` into `into`, or into the log of this machine.
///
/// # Errors
/// The daemon is running, or a file cannot be opened, read or written.
pub(super) fn run(
    layout: &Layout,
    damaged: &Path,
    into: Option<&Path>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let database = into.unwrap_or(&layout.database);
    // The locks keep the daemon from starting meanwhile.
    let _locks = match is_same_file(database, &layout.database) || into.is_none() {
        true => Some(lock_files(layout)?),
        false => None,
    };
    ensure!(
        !is_same_file(damaged, database),
        "{} is the log itself: move it away first, so that what can be read of it goes into a new one",
        sanitize::terminal(damaged.as_os_str().as_encoded_bytes())
    );
    let user = become_owner(database)?;
    let result = bring_over(damaged, database).with_context(|| {
        let damaged = sanitize::terminal(damaged.as_os_str().as_encoded_bytes());
        match user {
            Some(User { uid, .. }) => format!("cannot bring over {damaged} as user {uid}, whose log it is"),
            None => format!("cannot bring over {damaged}"),
        }
    })?;
    let text = match as_json {
        true => format!("{:#}\n", json_report(&result)),
        false => report(&result),
    };
    print(&text)?;
    Ok(if result.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bring_over(damaged: &Path, database: &Path) -> Result<Salvaged, StoreError> {
    let mut writer = Writer::open(database)?;
    let result = salvage(damaged, &mut writer)?;
    writer.checkpoint()?;
    Ok(result)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    id(a).is_some_and(|found| Some(found) == id(b))
}

/// Takes the locks of the daemon.
fn lock_files(layout: &Layout) -> anyhow::Result<InstanceLock> {
    match monitor::lock_stopped(layout) {
        Err(MonitorError::AlreadyRunning(_)) => bail!(
            "picosnitch is recording: stop it first, since two processes must not write to the log, and start it again \
             afterwards; or write into another file with --into"
        ),
        locked => Ok(locked?),
    }
}

/// The user as whom this command writes the log: its owner, if this is root and others can write in the directory of the log,
/// who could replace the files that are opened there. `None` if it stays as it is.
pub(in crate::cli) fn log_writer(database: &Path) -> anyhow::Result<Option<User>> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let directory = database.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::metadata(directory)
        .with_context(|| format!("cannot look at the directory of {}", database.display()))?;
    let is_private = directory.uid() == 0 && directory.mode() & WRITABLE_BY_OTHERS == 0;
    if !unistd::geteuid().is_root() || is_private {
        return Ok(None);
    }
    Ok(Some(match fs::symlink_metadata(database).ok().filter(|metadata| metadata.uid() != 0) {
        Some(metadata) => {
            User { uid: unistd::Uid::from_raw(metadata.uid()), gid: unistd::Gid::from_raw(metadata.gid()) }
        }
        // A new log belongs to the user as whom the daemon will write it.
        None => User::of_log(database)?,
    }))
}

/// Continues as the user of [`log_writer`]. The daemon can write to the files that are made then, too. Returns the user.
pub(in crate::cli) fn become_owner(database: &Path) -> anyhow::Result<Option<User>> {
    let Some(user) = log_writer(database)? else { return Ok(None) };
    unistd::setgroups(&[])
        .and_then(|()| unistd::setgid(user.gid))
        .and_then(|()| unistd::setuid(user.uid))
        .with_context(|| format!("cannot become user {}, whose log it is", user.uid))?;
    Ok(Some(user))
}

fn json_report(result: &Salvaged) -> Json {
    let gaps: Vec<_> =
        result.gaps.iter().map(|gap| json!({"after": gap.after, "before": gap.before})).collect();
    json!({
        "complete": result.is_complete(),
        "version": result.version,
        "opened": match result.opened {
            Opened::Whole => "whole",
            Opened::WithoutWriteAheadLog => "without_write_ahead_log",
            Opened::WithNewFirstPage => "with_new_first_page",
        },
        "records": result.records,
        "windows": result.windows,
        "events": result.events,
        "programs_seen": result.programs,
        "known_records": result.known_records,
        "known_events": result.known_events,
        "incomplete_records": result.incomplete,
        "missing_records": result.missing,
        "gaps": gaps,
        "unreadable_events": result.unreadable_events,
        "sums_before": result.sums_before,
    })
}

/// The result in words.
fn report(result: &Salvaged) -> String {
    let mut lines = vec![format!(
        "Brought over: {} records in {} windows, {} events.",
        result.records, result.windows, result.events
    )];
    if result.known_records + result.known_events > 0 {
        lines.push(format!(
            "Already there: {} records, {} events.",
            result.known_records, result.known_events
        ));
    }
    if result.is_complete() {
        lines.push("All of the damaged log could be read.".to_owned());
        return lines.join("\n") + "\n";
    }
    lines.push("Not all of the damaged log could be read:".to_owned());
    match result.opened {
        Opened::Whole => {}
        Opened::WithoutWriteAheadLog => {
            lines.push("  its write-ahead log, with the last windows, is unreadable".into());
        }
        Opened::WithNewFirstPage => lines.push(
            "  its first page is destroyed and was made anew; the windows in its write-ahead log are missing"
                .into(),
        ),
    }
    if let Some(missing) = result.missing.filter(|missing| *missing > 0) {
        lines.push(format!("  at least {missing} records are missing"));
    }
    lines.extend(result.gaps.iter().take(MAX_LISTED).map(|gap| format!("  {}", gap_text(*gap))));
    if result.gaps.len() > MAX_LISTED {
        lines.push(format!("  and in {} more places; --json lists all", result.gaps.len() - MAX_LISTED));
    }
    if result.incomplete > 0 {
        lines.push(format!(
            "  of {} records the program, its parents, the user (then it is 4294967295) or the peer are not known; their bytes \
             are counted",
            result.incomplete
        ));
    }
    if result.unreadable_events {
        lines.push("  some events, or when some programs were first seen, are missing".into());
    }
    if let Some(since) = result.sums_before {
        lines.push(format!(
            "  before {} it had reached its size limit, and had sums only, which are not brought over",
            time::local(since)
        ));
    }
    lines.join("\n") + "\n"
}

fn gap_text(gap: Gap) -> String {
    match (gap.after, gap.before) {
        (Some(after), Some(before)) => {
            format!("records are unreadable between {} and {}", time::local(after), time::local(before))
        }
        (Some(after), None) => format!("records are unreadable after {}", time::local(after)),
        (None, Some(before)) => format!("records are unreadable before {}", time::local(before)),
        (None, None) => "records are unreadable".to_owned(),
    }
}
