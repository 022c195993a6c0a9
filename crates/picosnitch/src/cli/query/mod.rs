//! `picosnitch query`: asks the log, or a server with copies of logs. Exit codes: 0; 1 for an error, also in the value of an option; 2
//! for an option that does not exist.

mod comparison;
mod events;
mod hints;
pub(super) mod labels;
mod programs_seen;
pub(super) mod records;
mod zeros;

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::ExitCode,
};

use anyhow::{anyhow, ensure};
use question::{Asked, DefaultRange, Now, PROGRAM_DIMENSIONS, Parameter, Question, QuestionError, list};
use serde_json::Value as Json;

pub(super) use self::events::kind as event_kind;
use self::records::Setting;
use super::{
    common::Common,
    output::print,
    source::{self, SourceOptions},
};
use model::{EventKind, Scope, text::sanitize};
use store::{Dimension, EVENT_DIMENSIONS, Sort, Source, StoreError};
use system_names::Groups;

#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Options {
    /// Which time: a length up to now or to --until (5m, 1h, 30d, 1w), today, yesterday, this-week, last-month, a date
    /// (2026-11-28), a month (2026-11), a year, FROM..TO, or all [default: 1d; with --seen: all]
    #[arg(long, value_name = "RANGE", conflicts_with = "since")]
    range: Option<String>,
    /// Only from this time on: 2026-11-28, "2026-11-28 14:30" (local time, or with +01:00 or Z), 14:30, yesterday, 5m (ago), or
    /// unix seconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only up to this time, written as for --since; a date or a word includes all of it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// One row for each value of this dimension; may be repeated [default: exe]
    #[arg(long, short, value_name = "DIMENSION")]
    group_by: Vec<Dimension>,
    /// Only records with this value; may be repeated: values of one dimension are alternatives
    #[arg(long = "where", short, value_name = "DIMENSION=VALUE")]
    wanted: Vec<OsString>,
    /// No records with this value; may be repeated
    #[arg(long, short = 'x', value_name = "DIMENSION=VALUE")]
    exclude: Vec<OsString>,
    /// Only rows whose value (of the first --group-by) contains this text, in upper or lower case
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["events", "seen"])]
    find: Option<OsString>,
    /// Only traffic with the internet: no loopback, private, link-local, multicast and shared (carrier NAT) addresses
    #[arg(long, conflicts_with_all = ["local", "events", "seen"])]
    internet: bool,
    /// Only traffic with such local addresses
    #[arg(long, conflicts_with_all = ["events", "seen"])]
    local: bool,
    /// Only values that were never seen before this time, written as for --since
    #[arg(long, value_name = "TIME", conflicts_with_all = ["events", "seen"])]
    new_since: Option<String>,
    /// Only programs that have had another digest (SHA-256) since this time
    #[arg(long, value_name = "TIME", conflicts_with_all = ["events", "seen"])]
    changed_since: Option<String>,
    /// Add when each value was first and last seen, and how many digests a program has had
    #[arg(long, conflicts_with_all = ["events", "seen"])]
    with_seen: bool,
    /// Put another range beside this one: previous (the time before, as long), or written as for --range
    #[arg(long, value_name = "RANGE", conflicts_with_all = ["events", "seen"])]
    compare: Option<String>,
    /// Add rows for hours, days and the like without traffic
    #[arg(long, conflicts_with_all = ["events", "seen"])]
    zeros: bool,
    /// At most this many rows; of events and of --seen the latest
    #[arg(long, short, value_name = "ROWS")]
    limit: Option<u64>,
    /// total, conns, received, sent (largest first), first-seen, last-seen, digests, or a dimension that is grouped by
    /// [default: total; time for hours, days and the like]
    #[arg(long, short, value_name = "KEY")]
    sort: Option<Sort>,
    /// The other order: smallest, oldest or last first
    #[arg(long, short, conflicts_with_all = ["events", "seen"])]
    reverse: bool,
    /// List the events of the range instead: alerts, errors, losses, starts and the like, the latest last
    #[arg(long, conflicts_with_all = ["group_by", "sort", "seen"])]
    events: bool,
    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND", requires = "events", value_parser = events::kind)]
    kind: Vec<EventKind>,
    /// List when each program was first and last seen instead, also programs whose records are deleted; the range is that
    /// of the first time, and the newest program comes last
    #[arg(long, conflicts_with_all = ["group_by", "sort"])]
    seen: bool,
    #[command(flatten)]
    source: SourceOptions,
    /// Print one JSON object: the rows, and the range, the total, what was lost; of --events and --seen an array of the rows
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values with a heading (RFC 4180)
    #[arg(long)]
    csv: bool,
    /// Shorten nothing to fit the terminal
    #[arg(long)]
    full: bool,
}

impl Options {
    /// The first value of --where for a dimension, as it was typed but safe for a terminal; empty without one.
    fn typed(&self, dimension: Dimension) -> String {
        let value = |text: &OsString| {
            let value = text.as_bytes().strip_prefix(dimension.name().as_bytes())?.strip_prefix(b"=")?;
            Some(sanitize::terminal(value))
        };
        self.wanted.iter().find_map(value).unwrap_or_default()
    }

    /// The scope that is asked for.
    fn scope(&self) -> Option<Scope> {
        match (self.internet, self.local) {
            (true, _) => Some(Scope::Internet),
            (_, true) => Some(Scope::Local),
            _ => None,
        }
    }

    /// The question, without its defaults.
    fn asked(&self, is_of_server: bool) -> Asked {
        let bytes = |text: &OsString| text.as_bytes().to_vec();
        Asked {
            range: self.range.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            default_range: if self.seen { DefaultRange::All } else { DefaultRange::Day },
            group_by: match self.group_by.is_empty() {
                true => vec![Dimension::Executable],
                false => self.group_by.clone(),
            },
            wanted: self.wanted.iter().map(bytes).collect(),
            exclude: self.exclude.iter().map(bytes).collect(),
            scope: self.scope(),
            find: self.find.as_ref().map(bytes),
            new_since: self.new_since.clone(),
            changed_since: self.changed_since.clone(),
            seen: self.with_seen,
            compare: self.compare.clone(),
            sort: self.sort,
            reverse: self.reverse,
            limit: self.limit,
            is_of_server,
            ..Asked::default()
        }
    }
}

fn after_help() -> String {
    let names = Dimension::ALL.map(Dimension::name).join(", ");
    let kinds = EventKind::ALL.map(EventKind::name).join(", ");
    format!(
        "Dimensions: {names}; of a server also host.\n\
         Values: exe=firefox is every program file of this name, exe=/usr/bin/curl one path; domain=github.com is this name, \
         domain=.github.com with its sub-domains, * stands for anything (domain=*.github.com); uid=alice, port=https, \
         container=web-1, address=10.0.0.0/8, sha256= with the first digits, weekday=sunday, day=yesterday. What an answer shows \
         can be typed as it is shown. An empty value finds what is unknown, many finds the sums of a program with very many \
         peers (of address, port, domain and exe).\n\
         Kinds of events: {kinds}. Events can be filtered by {}, programs of --seen by {}.",
        list(&EVENT_DIMENSIONS),
        list(PROGRAM_DIMENSIONS)
    )
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = Now::read();
    let source = options.source.read(common)?;
    let asked = options.asked(source.is_server());
    let open = || source::open(&source, "query");
    let output = if options.events || options.seen {
        let range = asked.range(&now).map_err(wrong_option)?;
        let filters = asked.filters(&now.zone).map_err(wrong_option)?;
        match options.events {
            true => events::output(open, options, (range, &filters), &now)?,
            false => programs_seen::output(open, options, (range, &filters), &now)?,
        }
    } else {
        ensure!(options.compare.is_none() || !options.zeros, "--compare does not go with --zeros");
        let question = asked.read(&now).map_err(wrong_option)?;
        records_output(&open()?, options, &question, &now)?
    };
    for note in &output.notes {
        eprintln!("picosnitch: {note}");
    }
    print(&output.text)?;
    Ok(ExitCode::SUCCESS)
}

/// The text of an answer, and sentences about it for standard error.
struct Output {
    text: String,
    notes: Vec<String>,
}

/// The sentence about a question, with the names of the options.
pub(super) fn wrong_option(error: QuestionError) -> anyhow::Error {
    anyhow!(error.sentence(|parameter| match parameter {
        Parameter::Seen => "--with-seen".to_owned(),
        Parameter::Scope => "--internet and --local".to_owned(),
        parameter => format!("--{}", parameter.name().replace('_', "-")),
    }))
}

/// The answer to a question about records.
fn records_output(
    reader: &impl Source,
    options: &Options,
    question: &Question,
    now: &Now,
) -> anyhow::Result<Output> {
    let setting = Setting { options, range: question.range, now };
    match question.before {
        Some(before) => comparison::output(reader, &setting, &question.query, before),
        None => {
            if options.zeros {
                zeros::position(&question.query.group_by)?;
            }
            records::output(reader, &setting, &question.query)
        }
    }
}

/// Adds to an error about missing rights which user or group has them.
pub(super) fn explain(error: StoreError, database: &Path, command: &str) -> anyhow::Error {
    if !error.is_permission() {
        return error.into();
    }
    // The directory's owner can be read even where the file's cannot.
    let owner =
        std::fs::metadata(database).or_else(|_| std::fs::metadata(database.parent().unwrap_or(database)));
    let groups = Groups::load();
    let group = match owner.ok().and_then(|owner| groups.name(owner.gid())) {
        Some(group) if group != "root" => format!(" or become a member of the group {group}"),
        _ => String::new(),
    };
    anyhow::Error::new(error).context(format!(
        "you have no right to read the log; run it as root (sudo picosnitch {command} ...){group}"
    ))
}

/// JSON as text that is safe for a terminal.
pub(super) fn json_text(json: &Json) -> anyhow::Result<String> {
    Ok(sanitize::json_document(&serde_json::to_string_pretty(json)?) + "\n")
}
