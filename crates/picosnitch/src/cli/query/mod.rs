//! `picosnitch query`: asks the log. Exit codes: 0, 1 for an error, 2 for a wrong command line.

mod events;
mod programs_seen;

use std::{
    ffi::OsString,
    io::IsTerminal,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value as Json};

use super::{common::Common, output::print};
use crate::cli::table::{self, Column};
use model::{
    EventKind, Losses,
    text::{lossless, sanitize, time, units},
};
use store::{Dimension, Filter, Query, Range, Reader, Row, Sort, StoreError, Value, values};
use tui::view::users::Users;

/// Columns that a cell of a table takes on a terminal at most.
const MAX_CELL_WIDTH: usize = 60;

#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Options {
    /// Length of time before --until to look at: 5m, 1h, 30d, 365d, or all [default: 1d; with --seen: all]
    #[arg(long, value_name = "SPAN", conflicts_with = "since")]
    range: Option<String>,
    /// Only windows or events from this time on: unix seconds, local time `YYYY-MM-DD[ HH:MM[:SS]]`, or a span ago (5m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only windows or events up to this time, written as for --since
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
    /// At most this many rows; of events and of --seen the latest
    #[arg(long, short, value_name = "ROWS")]
    limit: Option<u64>,
    /// total, conns, sent, received (largest first), or a dimension that is grouped by
    #[arg(long, short, default_value = "total", value_name = "KEY")]
    sort: Sort,
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
    /// Print one JSON array of objects
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values with a heading (RFC 4180)
    #[arg(long)]
    csv: bool,
}

fn after_help() -> String {
    let names = Dimension::ALL.map(Dimension::name).join(", ");
    let kinds = EventKind::ALL.map(EventKind::name).join(", ");
    format!(
        "Dimensions: {names}.\nA value is compared as it is; port, uid and the like are numbers, address may \
         be a network (10.0.0.0/8), protocol and family may be names (tcp, ipv6). An empty value finds what \
         is unknown, many finds the sums of a program with very many peers (of address, port, domain and exe).\n\
         Kinds of events: {kinds}. Events can be filtered by {}, programs of --seen by {}.",
        list(events::DIMENSIONS),
        list(programs_seen::DIMENSIONS)
    )
}

/// Names of dimensions in a sentence.
fn list(dimensions: &[Dimension]) -> String {
    dimensions.iter().map(|dimension| dimension.name()).collect::<Vec<_>>().join(", ")
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = time::now();
    let default = if options.seen { "all" } else { "1d" };
    let range = range(options, default, now)?;
    let filters = filters(options)?;
    let layout = common.layout();
    let open = || Reader::open(&layout.database).map_err(|error| explain(error, &layout.database, "query"));
    let output = if options.events {
        events::output(&open, options, range, &filters)?
    } else if options.seen {
        programs_seen::output(&open, options, range, &filters)?
    } else {
        let query = query(options, range, filters)?;
        records_output(&open()?, options, &query)?
    };
    print(&output)?;
    Ok(ExitCode::SUCCESS)
}

/// The answer to a query about records.
fn records_output(reader: &Reader, options: &Options, query: &Query) -> anyhow::Result<String> {
    let rows = reader.query(query)?;
    let losses = Losses::new(&reader.losses(query.range)?);
    if losses.is_anything_missing() {
        eprintln!("picosnitch: the log is incomplete in this range: {}", losses.summary());
    }
    if let Some(since) = reader.detail_since()?
        && !rows.is_empty()
        && query.range.since.is_none_or(|from| from < since)
    {
        eprintln!(
            "picosnitch: before {} the log has sums of quarters of an hour only: times are rounded to them",
            time::local(since)
        );
    }
    match (options.json, options.csv) {
        (true, _) => as_json(&query.group_by, &rows),
        (_, true) => Ok(as_csv(&query.group_by, &rows)),
        _ => Ok(as_table(&query.group_by, &rows)),
    }
}

/// The range of the options.
///
/// # Errors
/// A sentence that names the option and what is allowed.
fn range(options: &Options, default: &str, now: i64) -> anyhow::Result<Range> {
    let point = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            time::parse_point(text, now).ok_or_else(|| {
                anyhow!(
                    "--{name} {text:?} is no time; write unix seconds, \"YYYY-MM-DD[ HH:MM[:SS]]\" or a span ago \
                     such as 5m, 2h, 30d"
                )
            })
        };
        text.as_ref().map(parse).transpose()
    };
    let until = point("until", &options.until)?;
    let range = options.range.as_deref().unwrap_or(default);
    let since = match point("since", &options.since)? {
        Some(since) => Some(since),
        None if range == "all" => None,
        None => {
            let span = time::parse_span(range).filter(|span| *span > 0);
            let span =
                span.ok_or_else(|| anyhow!("--range {range:?} is no span; write 5m, 1h, 30d, 365d or all"))?;
            Some(until.unwrap_or(now).saturating_sub(span))
        }
    };
    if let (Some(since), Some(until)) = (since, until) {
        let (from, to) = (time::local(since), time::local(until));
        ensure!(since <= until, "--since ({from}) is later than --until ({to})");
    }
    Ok(Range { since, until })
}

/// The filters of the options.
///
/// # Errors
/// A sentence that names the option and what is allowed.
fn filters(options: &Options) -> anyhow::Result<Vec<Filter>> {
    let mut filters = Vec::new();
    for (texts, exclude, name) in [(&options.wanted, false, "where"), (&options.exclude, true, "exclude")] {
        for text in texts {
            let typed = filter(text.as_bytes(), exclude);
            filters
                .extend(typed.with_context(|| format!("--{name} {}", sanitize::terminal(text.as_bytes())))?);
        }
    }
    Ok(filters)
}

/// Refuses filters on dimensions that `what` does not have.
fn ensure_dimensions(filters: &[Filter], known: &[Dimension], what: &str) -> anyhow::Result<()> {
    for dimension in filters.iter().map(Filter::dimension) {
        ensure!(
            known.contains(&dimension),
            "{what} have no {dimension}: they can be filtered by {}",
            list(known)
        );
    }
    Ok(())
}

/// Turns the options into a query.
///
/// # Errors
/// A sentence that names the option and what is allowed.
fn query(options: &Options, range: Range, filters: Vec<Filter>) -> anyhow::Result<Query> {
    let group_by =
        if options.group_by.is_empty() { vec![Dimension::Executable] } else { options.group_by.clone() };
    let mut seen = Vec::new();
    for dimension in &group_by {
        ensure!(!seen.contains(dimension), "--group-by {dimension} is there twice");
        seen.push(*dimension);
    }
    if let Sort::Dimension(dimension) = options.sort {
        ensure!(group_by.contains(&dimension), "--sort {dimension} needs --group-by {dimension}");
    }
    Ok(Query { range, group_by, filters, sort: options.sort, limit: options.limit, ..Query::default() })
}

/// Reads `DIMENSION=VALUE`. The value stays bytes, because paths are bytes.
fn filter(text: &[u8], exclude: bool) -> anyhow::Result<Vec<Filter>> {
    let Some(equal) = text.iter().position(|byte| *byte == b'=') else {
        bail!("write DIMENSION=VALUE");
    };
    let dimension: Dimension = String::from_utf8_lossy(&text[..equal]).parse()?;
    Ok(Filter::parse(dimension, &text[equal + 1..], exclude, &calendar::zone())?)
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

fn as_json(dimensions: &[Dimension], rows: &[Row]) -> anyhow::Result<String> {
    let mut array = Vec::with_capacity(rows.len());
    for row in rows {
        let mut object = Map::new();
        for (dimension, value) in dimensions.iter().zip(&row.values) {
            let value = match value {
                Value::None => Json::Null,
                Value::Integer(number) if !values::is_text(*dimension, *number) => Json::from(*number),
                _ => Json::from(lossless::to_text(&values::bytes(*dimension, value))),
            };
            object.insert(dimension.name().to_owned(), value);
        }
        object.insert("conns".to_owned(), row.counters.connections.into());
        object.insert("sent".to_owned(), row.counters.sent.into());
        object.insert("received".to_owned(), row.counters.received.into());
        array.push(Json::Object(object));
    }
    json(&array)
}

fn as_csv(dimensions: &[Dimension], rows: &[Row]) -> String {
    let names = dimensions.iter().map(|dimension| dimension.name());
    let heading = names.chain(["conns", "sent", "received"]).collect::<Vec<_>>().join(",");
    let rows = rows.iter().map(|row| {
        let cell = |(dimension, value): (&Dimension, &Value)| match value {
            Value::Integer(number) if !values::is_text(*dimension, *number) => number.to_string(),
            _ => sanitize::csv_field(&values::bytes(*dimension, value)),
        };
        let mut cells: Vec<_> = dimensions.iter().zip(&row.values).map(cell).collect();
        let counters = row.counters;
        cells.extend(
            [counters.connections, counters.sent, counters.received].map(|amount| amount.to_string()),
        );
        cells
    });
    csv(&heading, rows)
}

fn as_table(dimensions: &[Dimension], rows: &[Row]) -> String {
    let column = |name: &str, right| Column { name: name.to_owned(), right };
    let is_number = |dimension: &Dimension| {
        matches!(
            dimension,
            Dimension::Uid | Dimension::Port | Dimension::LocalPort | Dimension::NetworkNamespace
        )
    };
    let mut columns: Vec<_> =
        dimensions.iter().map(|dimension| column(dimension.name(), is_number(dimension))).collect();
    columns.extend(["conns", "sent", "received"].map(|name| column(name, true)));
    let cells = |row: &Row| {
        let cell = |(dimension, value): (&Dimension, &Value)| match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => time::local(*seconds),
            _ => sanitize::terminal(&values::bytes(*dimension, value)),
        };
        let mut cells: Vec<_> = dimensions.iter().zip(&row.values).map(cell).collect();
        cells.push(units::count_cell(row.counters.connections));
        cells.push(units::byte_cell(row.counters.sent));
        cells.push(units::byte_cell(row.counters.received));
        cells
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    table::render(&columns, &rows, widest_cell())
}

/// Columns that a cell of a table takes at most: a file has any width.
fn widest_cell() -> usize {
    if std::io::stdout().is_terminal() { MAX_CELL_WIDTH } else { usize::MAX }
}

/// Lines of comma-separated values: `heading` has the names of the columns.
fn csv(heading: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = heading.to_owned() + "\r\n";
    for row in rows {
        out += &(row.join(",") + "\r\n");
    }
    out
}

/// An array as text that is safe for a terminal.
fn json(array: &[Json]) -> anyhow::Result<String> {
    Ok(sanitize::json_document(&serde_json::to_string_pretty(array)?) + "\n")
}

/// A user by name, if `/etc/passwd` has one.
fn user(users: &Users, uid: u32) -> String {
    match users.name(uid.into()) {
        Some(name) => sanitize::terminal(name.as_bytes()),
        None => uid.to_string(),
    }
}
