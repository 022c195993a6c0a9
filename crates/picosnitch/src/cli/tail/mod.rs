//! `picosnitch tail`: records and events of the log as they are written. Exit codes: 0, also when the reader of the output is gone; 1
//! for an error, also in the value of an option; 2 for an option that does not exist.

mod resume;
mod text;

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::PathBuf,
    process::ExitCode,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use question::{
    Asked, Now, check_dimensions,
    json::Object,
    named::{Item, ItemName, named_event, named_record},
};

use self::{resume::LastLine, text::Lines};
use super::{
    common::Common,
    output::print_more,
    query::{event_kind, explain, wrong_option},
};
use model::{Event, EventKind, Record, Scope, text::sanitize};
use store::{
    Begin, EVENT_DIMENSIONS, Filter, Followed, LogName, WholeWindow, WindowFollower, event_value,
    record_value,
};

/// Milliseconds between two looks at the log when all of it was printed. A window takes ten seconds.
const POLL_INTERVAL: u16 = 500;

#[derive(clap::Args)]
#[command(
    after_help = "Times and values are written as for `picosnitch query`, whose --help lists the dimensions. Events have \
                        exe, name, uid and sha256: with --where for another dimension there are records only. docs/tail.md \
                        describes the keys of --json."
)]
pub struct Options {
    /// Begin with what was recorded in this time: a length up to now (5m, 1h), today, a date, FROM..TO, or all; with an end, stop
    /// there [default: what is recorded from now on; with --no-follow: 1d]
    #[arg(long, value_name = "RANGE", conflicts_with = "since")]
    range: Option<String>,
    /// Begin with what was recorded at this time: 2026-11-28, "2026-11-28 14:30", 14:30, yesterday, 5m (ago), or unix seconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Go on behind the last line in this file, which --json has printed; without the file begin as without this option
    #[arg(long, value_name = "FILE", conflicts_with_all = ["range", "no_follow"])]
    after: Option<PathBuf>,
    /// Stop when the log has all up to this time, written as for --since
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only records and events with this value; may be repeated: values of one dimension are alternatives
    #[arg(long = "where", short, value_name = "DIMENSION=VALUE")]
    wanted: Vec<OsString>,
    /// No records and events with this value; may be repeated
    #[arg(long, short = 'x', value_name = "DIMENSION=VALUE")]
    exclude: Vec<OsString>,
    /// Only traffic with the internet: no loopback, private, link-local, multicast and shared (carrier NAT) addresses
    #[arg(long, conflicts_with_all = ["local", "events_only", "kind"])]
    internet: bool,
    /// Only traffic with such local addresses
    #[arg(long, conflicts_with_all = ["events_only", "kind"])]
    local: bool,
    /// No records
    #[arg(long, conflicts_with = "records_only")]
    events_only: bool,
    /// No events
    #[arg(long)]
    records_only: bool,
    /// Only events of this kind, and no records; may be repeated
    #[arg(long, value_name = "KIND", conflicts_with = "records_only", value_parser = event_kind)]
    kind: Vec<EventKind>,
    /// End when all that is there was printed
    #[arg(long)]
    no_follow: bool,
    /// Print each record and event as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    /// The question, without its defaults.
    fn asked(&self) -> Asked {
        let bytes = |text: &OsString| text.as_bytes().to_vec();
        Asked {
            range: self.range.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            wanted: self.wanted.iter().map(bytes).collect(),
            exclude: self.exclude.iter().map(bytes).collect(),
            scope: match (self.internet, self.local) {
                (true, _) => Some(Scope::Internet),
                (_, true) => Some(Scope::Local),
                _ => None,
            },
            ..Asked::default()
        }
    }

    /// The range, without one what comes from now on.
    fn range(&self, now: &Now) -> anyhow::Result<calendar::Range> {
        let asked = self.asked();
        let has_begin = self.range.is_some() || self.since.is_some() || self.no_follow;
        let range = asked.range(now).map_err(wrong_option)?;
        Ok(if has_begin { range } else { calendar::Range { start: None, ..range } })
    }

    fn begin(&self, range: calendar::Range, now: &Now) -> Begin {
        match range.start {
            Some(start) => Begin::Since(start),
            None if self.range.is_some() => Begin::First,
            None => Begin::Next(now.seconds),
        }
    }
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = Now::read();
    let last_line = options.after.as_deref().map(LastLine::read).transpose()?.flatten();
    let range = match last_line {
        Some(_) => calendar::Range { start: None, ..options.range(&now)? },
        None => options.range(&now)?,
    };
    let filters = options.asked().filters(&now.zone).map_err(wrong_option)?;
    let has_records = !options.events_only && options.kind.is_empty();
    if !has_records {
        check_dimensions(&filters, &EVENT_DIMENSIONS, "events").map_err(wrong_option)?;
    }
    let database = common.layout().database;
    let missing = |error| explain(error, &database, "tail");
    let mut follower = match &last_line {
        Some(line) => line.follower(database.clone()),
        None => WindowFollower::open(database.clone(), options.begin(range, &now)),
    }
    .map_err(missing)?;
    let follow = !options.no_follow && range.end.is_none_or(|end| end > now.seconds);
    let lines = Lines::new(&now);
    let printer = Printer { options, range, filters, has_records, last_line, lines, now: &now };
    let mut is_missing = false;
    loop {
        match follower.read().map_err(missing)? {
            Followed::Windows { log, windows, deleted } => {
                is_missing = false;
                if deleted > 0 {
                    eprintln!(
                        "picosnitch: {deleted} windows were deleted from the log before they could be printed (log.retention_days, \
                         log.retention_megabytes, or picosnitch forget); they are not in the output."
                    );
                }
                if !printer.print(log, &windows)? {
                    return Ok(ExitCode::SUCCESS);
                }
                let is_after = |end: i64| windows.iter().any(|window| window.mark.time >= end);
                if follow && range.end.is_some_and(is_after) {
                    return Ok(ExitCode::SUCCESS);
                }
                continue;
            }
            Followed::Missing if !is_missing => {
                is_missing = true;
                eprintln!("picosnitch: the log is gone; waiting for another one.");
            }
            Followed::Nothing | Followed::Missing => {}
        }
        if !follow || !wait_for_more()? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits until it is time to look at the log again; false if the reader of the output is gone, which would else be noticed with the
/// next line only.
fn wait_for_more() -> io::Result<bool> {
    let stdout = io::stdout();
    let mut interests = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut interests, PollTimeout::from(POLL_INTERVAL)) {
        // Without wanted events only an error or a hang-up is reported (poll(2)).
        Ok(ready) => Ok(ready == 0),
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Prints what passes the conditions.
struct Printer<'a> {
    options: &'a Options,
    range: calendar::Range,
    filters: Vec<Filter>,
    has_records: bool,
    /// What was printed before.
    last_line: Option<LastLine>,
    lines: Lines<'a>,
    now: &'a Now,
}

impl Printer<'_> {
    /// Prints whole windows; false if the reader of the output is gone.
    fn print(&self, log: LogName, windows: &[WholeWindow]) -> anyhow::Result<bool> {
        for window in windows {
            let lines = self.window(log, window)?;
            if !lines.is_empty() && !print_more(lines.as_bytes())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The lines of a window.
    fn window(&self, log: LogName, window: &WholeWindow) -> anyhow::Result<String> {
        let (mut out, time) = (String::new(), window.mark.time);
        let name = |item| ItemName { log, window: window.mark.number, item };
        let zone = &self.now.zone;
        let is_new = |item| self.last_line.as_ref().is_none_or(|last| last.is_before(&name(item)));
        for (number, event) in (0..).zip(&window.events) {
            if !is_new(Item::Event(number)) || !self.passes_event(event) {
                continue;
            }
            out += &match self.options.json {
                true => line(&named_event(&name(Item::Event(number)), event, zone))?,
                false => self.lines.event(event),
            };
        }
        for numbered in &window.records {
            let record = &numbered.record;
            if is_new(Item::Record(numbered.sequence)) && self.passes_record(record, time) {
                out += &match self.options.json {
                    true => line(&named_record(&name(Item::Record(numbered.sequence)), record, time, zone))?,
                    false => self.lines.record(record, time),
                };
            }
        }
        Ok(out)
    }

    fn passes_record(&self, record: &Record, time: i64) -> bool {
        let value = |dimension| record_value(record, time, dimension, &self.now.zone);
        self.has_records && self.is_in_range(time) && Filter::pass(&self.filters, value)
    }

    fn passes_event(&self, event: &Event) -> bool {
        let is_wanted = self.options.kind.is_empty() || self.options.kind.contains(&event.kind);
        let has_values = self
            .filters
            .iter()
            .all(|filter| filter.is_exclude() || EVENT_DIMENSIONS.contains(&filter.dimension()));
        !self.options.records_only
            && is_wanted
            && has_values
            && self.is_in_range(event.time)
            && Filter::pass(&self.filters, |dimension| event_value(event, dimension))
    }

    fn is_in_range(&self, time: i64) -> bool {
        self.range.start.is_none_or(|start| time >= start) && self.range.end.is_none_or(|end| time < end)
    }
}

/// A line of JSON that is safe for a terminal.
fn line(object: &Object) -> anyhow::Result<String> {
    Ok(sanitize::json_document(&serde_json::to_string(object)?) + "\n")
}
