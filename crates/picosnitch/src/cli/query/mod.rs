//! `picosnitch query`: asks the log. Exit codes: 0; 1 for an error, also in the value of an option; 2 for an option that does not exist.

mod comparison;
mod events;
mod filters;
mod hints;
mod labels;
mod programs_seen;
mod records;
mod time_range;
mod zeros;

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value as Json;

use self::{records::Setting, time_range::Now};
use super::{common::Common, output::print};
use model::{EventKind, text::sanitize};
use store::{Dimension, EVENT_DIMENSIONS, Filter, Query, Range, Reader, SeenFilter, Sort, StoreError};

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
}

fn after_help() -> String {
    let names = Dimension::ALL.map(Dimension::name).join(", ");
    let kinds = EventKind::ALL.map(EventKind::name).join(", ");
    format!(
        "Dimensions: {names}.\n\
         Values: exe=firefox is every program file of this name, exe=/usr/bin/curl one path; domain=github.com is this name, \
         domain=.github.com with its sub-domains, * stands for anything (domain=*.github.com); uid=alice, port=https, \
         container=web-1, address=10.0.0.0/8, sha256= with the first digits, weekday=sunday, day=yesterday. What an answer shows \
         can be typed as it is shown. An empty value finds what is unknown, many finds the sums of a program with very many \
         peers (of address, port, domain and exe).\n\
         Kinds of events: {kinds}. Events can be filtered by {}, programs of --seen by {}.",
        list(&EVENT_DIMENSIONS),
        list(programs_seen::DIMENSIONS)
    )
}

/// Names of dimensions in a sentence.
fn list(dimensions: &[Dimension]) -> String {
    dimensions.iter().map(|dimension| dimension.name()).collect::<Vec<_>>().join(", ")
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = Now::read();
    let seen = wanted_times(options, &now)?;
    let range = time_range::range(options, default_range(options, seen), &now)?;
    let filters = filters::filters(options, &now.zone)?;
    let layout = common.layout();
    let open = || Reader::open(&layout.database).map_err(|error| explain(error, &layout.database, "query"));
    let output = if options.events {
        events::output(&open, options, (range, &filters), &now)?
    } else if options.seen {
        programs_seen::output(&open, options, (range, &filters), &now)?
    } else {
        records_output(&open()?, options, (range, filters, seen), &now)?
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

/// The answer to a query about records.
fn records_output(
    reader: &Reader,
    options: &Options,
    (range, filters, seen): (calendar::Range, Vec<Filter>, SeenFilter),
    now: &Now,
) -> anyhow::Result<Output> {
    let query = query(options, (time_range::for_log(range), filters, seen), now)?;
    let setting = Setting { options, range, now };
    match &options.compare {
        Some(text) => {
            ensure!(
                query.seen.is_none(),
                "--compare does not go with --new-since, --changed-since and --with-seen"
            );
            ensure!(!options.zeros, "--compare does not go with --zeros");
            comparison::ensure_comparable(&query.group_by)?;
            let before = comparison::other_range(text, range, now)?;
            comparison::output(reader, &setting, &query, before)
        }
        None => {
            if options.zeros {
                zeros::position(&query.group_by)?;
            }
            records::output(reader, &setting, &query)
        }
    }
}

/// The default of --range.
fn default_range(options: &Options, seen: SeenFilter) -> time_range::Default {
    match [seen.new_since, seen.changed_since].into_iter().flatten().min() {
        // What is new has its traffic since then, also where that is longer ago than a day.
        Some(since) => time_range::Default::Since(since),
        None if options.seen => time_range::Default::All,
        None => time_range::Default::Day,
    }
}

/// Turns the options into a query.
///
/// # Errors
/// A sentence that names the option and what is allowed.
fn query(
    options: &Options,
    (range, filters, wanted_times): (Range, Vec<Filter>, SeenFilter),
    now: &Now,
) -> anyhow::Result<Query> {
    let group_by =
        if options.group_by.is_empty() { vec![Dimension::Executable] } else { options.group_by.clone() };
    let mut seen = Vec::new();
    for dimension in &group_by {
        ensure!(!seen.contains(dimension), "--group-by {dimension} is there twice");
        seen.push(*dimension);
    }
    // Times are read in their order.
    let in_order = group_by[0] == Dimension::Time || group_by[0].is_calendar();
    let sort = match options.sort {
        Some(sort) => sort,
        None if in_order => Sort::Dimension(group_by[0]),
        None => Sort::Total,
    };
    if let Sort::Dimension(dimension) = sort {
        ensure!(group_by.contains(&dimension), "--sort {dimension} needs --group-by {dimension}");
    }
    let find = options.find.as_ref().map(|text| {
        ensure!(
            !group_by[0].is_calendar() && group_by[0] != Dimension::Time,
            "--find finds texts: group by another dimension than {}",
            group_by[0]
        );
        Ok(filters::find(group_by[0], text.as_bytes()))
    });
    Ok(Query {
        range,
        seen: seen_filter(options, &group_by, sort, wanted_times)?,
        group_by,
        filters,
        find: find.transpose()?,
        zone: Some(now.zone.clone()),
        sort,
        reverse: options.reverse,
        limit: options.limit,
    })
}

/// The times of --new-since and --changed-since.
fn wanted_times(options: &Options, now: &Now) -> anyhow::Result<SeenFilter> {
    let point = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            let part = calendar::parse_part(text, now.seconds, &now.zone);
            part.map(|part| part.start).with_context(|| format!("--{name}"))
        };
        text.as_ref().map(parse).transpose()
    };
    Ok(SeenFilter {
        new_since: point("new-since", &options.new_since)?,
        changed_since: point("changed-since", &options.changed_since)?,
    })
}

/// Whether the rows say when their values were seen, and which of them are wanted.
fn seen_filter(
    options: &Options,
    group_by: &[Dimension],
    sort: Sort,
    filter: SeenFilter,
) -> anyhow::Result<Option<SeenFilter>> {
    if filter == SeenFilter::default() && !options.with_seen && !sort.is_by_seen() {
        return Ok(None);
    }
    let [dimension] = group_by else {
        bail!(
            "when something was seen is known of single values: use one --group-by with --new-since, --with-seen and the like"
        );
    };
    ensure!(
        dimension.is_seen(),
        "the log does not know when each {dimension} was first seen; group by another dimension"
    );
    ensure!(
        *dimension == Dimension::Executable || options.changed_since.is_none() && sort != Sort::Digests,
        "only programs change and have digests: use --group-by exe"
    );
    Ok(Some(filter))
}

/// Adds to an error about missing rights which user or group has them.
pub(super) fn explain(error: StoreError, database: &Path, command: &str) -> anyhow::Error {
    if !error.is_permission() {
        return error.into();
    }
    // The directory's owner can be read even where the file's cannot.
    let owner =
        std::fs::metadata(database).or_else(|_| std::fs::metadata(database.parent().unwrap_or(database)));
    let group = match owner.ok().and_then(|owner| group_name(owner.gid())) {
        Some(group) if group != "root" => format!(" or become a member of the group {group}"),
        _ => String::new(),
    };
    anyhow::Error::new(error).context(format!(
        "you have no right to read the log; run it as root (sudo picosnitch {command} ...){group}"
    ))
}

/// The name of a group, from `/etc/group`: getgrgid(3) would load NSS modules at run time.
fn group_name(gid: u32) -> Option<String> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// Lines of comma-separated values: `heading` has the names of the columns.
fn csv(heading: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = heading.to_owned() + "\r\n";
    for row in rows {
        out += &(row.join(",") + "\r\n");
    }
    out
}

/// JSON as text that is safe for a terminal.
fn json_text(json: &Json) -> anyhow::Result<String> {
    Ok(sanitize::json_document(&serde_json::to_string_pretty(json)?) + "\n")
}
