//! `picosnitch forget`: deletes the history of a program, a domain, an address or a span of time.
//! Exit codes: 0, 1 for an error and if there is nothing to forget, 2 for a wrong command line.

mod files;
mod request;

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead, IsTerminal, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};

use self::{files::TextFiles, request::Request};
use super::{
    common::{Common, EXIT_NO_PERMISSION},
    doctor::become_owner,
    output::print,
};
use config::layout::Layout;
use daemon::{MonitorError, monitor};
use model::text::{sanitize, time, units};
use store::{Dimension, Filter, Forget, Forgotten, Range, Reader, Writer};

/// Room on the disk that is left besides the log.
const SPARE_BYTES: u64 = 16 << 20;

#[derive(clap::Args)]
#[command(
    after_help = "picosnitch must be stopped meanwhile. The log, record.json, exe.log, conn.log and error.log are changed; \
                  backups, copies and the configuration are not. Without arguments, a forget that was interrupted is ended."
)]
pub struct Options {
    /// exe=PATH, domain=NAME, address=ADDRESS or address=NETWORK/LENGTH
    #[arg(value_name = "DIMENSION=VALUE", conflicts_with_all = ["since", "until"])]
    what: Option<OsString>,
    /// All history from this time on: unix seconds, local time `YYYY-MM-DD[ HH:MM[:SS]]`, or a span ago (5m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// All history up to this time, written as for --since
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Forgets, or ends what was interrupted.
///
/// # Errors
/// picosnitch is running, or a file cannot be read or written. Running the command again goes on.
pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let what = parse(options)?;
    let layout = common.layout();
    let _lock = match monitor::lock_stopped(&layout) {
        Ok(lock) => lock,
        Err(MonitorError::AlreadyRunning(pid)) => bail!(
            "picosnitch is recording (process {pid}): stop it ({}), forget, and start it again",
            model::service::command("stop")
        ),
        Err(MonitorError::Lock { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("picosnitch: only root may forget: run `sudo picosnitch forget`");
            return Ok(ExitCode::from(EXIT_NO_PERMISSION));
        }
        Err(error) => return Err(error.into()),
    };
    ensure!(
        layout.database.exists(),
        "there is no log at {}: there is nothing to forget",
        layout.database.display()
    );
    become_owner(&layout.database)?;
    let request = Request::of(&layout);
    let (what, pending) = match (what, request.read()?) {
        (None, Some(Some(pending))) => (pending, true),
        (None, Some(None)) => {
            request.remove()?;
            print(
                "A forget was interrupted before it began, or after it had ended: there is nothing left to do.\n",
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        (None, None) => bail!(
            "name what to forget: exe=PATH, domain=NAME, address=ADDRESS, or a span of time with --since and --until"
        ),
        (Some(_), Some(_)) => {
            bail!("a forget was interrupted: run `picosnitch forget` without arguments first, which ends it")
        }
        (Some(what), None) => (what, false),
    };
    let mut writer = Writer::open(&layout.database)?;
    let files = TextFiles::find(&layout)?;
    check_free_space(&layout)?;
    if !pending {
        let found = Found { log: writer.preview_forget(&what)?, lines: files.forget(&what, true)? };
        if found.is_nothing() {
            eprintln!("picosnitch: there is nothing to forget");
            return Ok(ExitCode::FAILURE);
        }
        if !confirm(&layout, &what, &found, options.yes)? {
            eprintln!("picosnitch: nothing was deleted");
            return Ok(ExitCode::FAILURE);
        }
        request.write(&what)?;
    }
    let done = carry_out(&mut writer, &files, &what).context(
        "forgetting was begun and has not ended: remove the cause, and run `picosnitch forget` without arguments; picosnitch \
         does not start before",
    )?;
    drop(writer);
    request.remove()?;
    print(&report(&done, pending))?;
    for file in &files.others {
        eprintln!(
            "picosnitch: {} was not looked at; remove it if what is forgotten may be in it",
            sanitize::terminal(file.as_os_str().as_bytes())
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses to begin what a full disk would end: the log is written twice, to temporary files and to its write-ahead log.
fn check_free_space(layout: &Layout) -> anyhow::Result<()> {
    let log = Reader::open(&layout.database)?.used_bytes()?;
    let directory = layout.database.parent().context("the log has no directory")?;
    let cannot_look = |directory: &Path| format!("cannot look at the free space of {}", directory.display());
    let device = |directory: &Path| {
        std::fs::metadata(directory).map(|metadata| metadata.dev()).with_context(|| cannot_look(directory))
    };
    let temporary = store::temporary_directory();
    let places = match temporary.as_deref() {
        Some(temporary) if device(temporary)? == device(directory)? => {
            vec![(directory, log.saturating_mul(2))]
        }
        Some(temporary) => vec![(directory, log), (temporary, log)],
        None => vec![(directory, log)],
    };
    for (directory, bytes) in places {
        let needed = bytes.saturating_add(SPARE_BYTES);
        let disk = nix::sys::statvfs::statvfs(directory).with_context(|| cannot_look(directory))?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let unit = units::ByteUnit::Decimal;
        ensure!(
            free >= needed,
            "{} has {} left, and making the log anew takes {} there: make room first",
            directory.display(),
            unit.write(free),
            unit.write(needed)
        );
    }
    Ok(())
}

/// What there is to forget.
struct Found {
    log: Forgotten,
    /// Lines of text logs, and entries of record.json.
    lines: u64,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.log.is_nothing() && self.lines == 0
    }
}

/// Deletes everything. All of it can be done again.
fn carry_out(writer: &mut Writer, files: &TextFiles, what: &Forget) -> anyhow::Result<Found> {
    let log = writer.forget(what)?;
    let lines = files.forget(what, false)?;
    writer.erase_deleted()?;
    Ok(Found { log, lines })
}

/// What to forget by the command line; `None` if it says nothing.
fn parse(options: &Options) -> anyhow::Result<Option<Forget>> {
    let (now, zone) = (time::now(), calendar::zone());
    let point = |text: &Option<String>, name: &str| {
        let parse =
            |text: &String| calendar::parse_part(text, now, &zone).with_context(|| format!("--{name}"));
        text.as_ref().map(parse).transpose()
    };
    let (since, until) = (point(&options.since, "since")?, point(&options.until, "until")?);
    let range = Range { since: since.map(|part| part.start), until: until.map(|part| part.end - 1) };
    if range.since.is_some() || range.until.is_some() {
        return Forget::of_time(range).map(Some).context("--since is later than --until");
    }
    let Some(what) = &options.what else { return Ok(None) };
    let filter = parse_filter(what)?;
    let what = Forget::of_filter(&filter).with_context(|| {
        format!(
            "{} cannot be forgotten: name one exe, domain, address or network",
            sanitize::terminal(what.as_bytes())
        )
    })?;
    Ok(Some(what))
}

fn parse_filter(text: &OsStr) -> anyhow::Result<Filter> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').with_context(|| {
        format!("{} is not DIMENSION=VALUE, for example domain=example.com", sanitize::terminal(bytes))
    })?;
    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
    let dimension: Dimension = String::from_utf8_lossy(name).parse()?;
    let mut filters = Filter::parse(dimension, value, false, &calendar::zone())?;
    // A name of a file or a `*` may stand for more than the user thinks of.
    match (filters.pop(), filters.is_empty()) {
        (Some(filter), true) => Ok(filter),
        _ => bail!(
            "{} may stand for several values; name one, as picosnitch query shows it (exe=/usr/bin/curl, domain=example.com)",
            sanitize::terminal(bytes)
        ),
    }
}

/// Says what will go, and asks.
fn confirm(layout: &Layout, what: &Forget, found: &Found, yes: bool) -> anyhow::Result<bool> {
    let mut err = io::stderr().lock();
    writeln!(err, "This will be deleted for ever: {}.", summary(found))?;
    if let Some((from, to)) = found.log.widened {
        writeln!(
            err,
            "Before its size limit the log has sums of quarters of an hour only: there it is {} to {}.",
            time::local(from),
            time::local(to)
        )?;
    }
    let names_it = std::fs::read(&layout.config).is_ok_and(|text| what.matcher().matches(&text));
    if names_it {
        writeln!(
            err,
            "{} names it, too, and is not changed: the next start writes the configuration into the log.",
            layout.config.display()
        )?;
    }
    if yes {
        return Ok(true);
    }
    ensure!(
        io::stdin().is_terminal() && io::stderr().is_terminal(),
        "there is no terminal to ask for a confirmation; repeat the command with --yes"
    );
    write!(err, "Type yes to delete it: ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn summary(found: &Found) -> String {
    let Forgotten { records, sums, span, events, values, .. } = found.log;
    let mut parts = vec![format!("{} records", units::grouped(records))];
    for (number, what) in [
        (sums, "sums of a time without records"),
        (events, "events"),
        (values, "other values in the log"),
        (found.lines, "lines and entries in record.json and the text logs"),
    ] {
        if number > 0 {
            parts.push(format!("{} {what}", units::grouped(number)));
        }
    }
    let text = parts.join(", ");
    match span {
        Some((first, last)) => format!("{text}, from {} to {}", time::local(first), time::local(last)),
        None => text,
    }
}

fn report(done: &Found, was_pending: bool) -> String {
    let end = if was_pending { "The forget that was interrupted is ended. " } else { "" };
    format!("{end}Deleted: {}. Backups and copies of the log still have it.\n", summary(done))
}
