//! The answer to a query about records: a table, JSON or CSV.

use model::{Counters, text::units};
use question::{Now, csv, json};
use serde_json::{Map, Value as Json};
use store::{Answer, Filter, Query, Row, Source, values};

use super::{
    Options, Output, hints, json_text,
    labels::{Labels, kind, seen_text},
    zeros,
};
use crate::cli::table::{self, Column, Kind};

/// What belongs to an answer besides its rows.
pub(super) struct Setting<'a> {
    pub options: &'a Options,
    pub range: calendar::Range,
    pub now: &'a Now,
}

impl Setting<'_> {
    /// The scope in the words of a total.
    fn scope(&self) -> &'static str {
        match self.options.scope() {
            Some(model::Scope::Internet) => ", internet only",
            Some(_) => ", local networks only",
            None => "",
        }
    }

    /// The line below a table: the number of rows, and what they count.
    pub fn total_name(&self, rows: usize, shown: usize) -> String {
        let rows_text = match rows {
            1 => "1 row".to_owned(),
            rows => format!("{} rows", units::grouped(rows as u64)),
        };
        match rows > shown {
            true => format!("total of {rows_text}{}; {shown} shown", self.scope()),
            false => format!("total of {rows_text}{}", self.scope()),
        }
    }

    /// The fields of a JSON answer about the range: what it was, what was lost in it, and how fine the log is.
    pub fn json(&self, reader: &impl Source, filters: &[Filter]) -> anyhow::Result<Map<String, Json>> {
        let mut object = Map::new();
        object.insert("range".to_owned(), json::bounds(self.range, &self.now.zone).into());
        object.insert("scope".to_owned(), self.options.scope().map(model::Scope::name).into());
        object.extend(json::completeness(reader, (self.range, filters), &self.now.zone)?);
        Ok(object)
    }
}

/// The counters of a row of a table.
pub(in crate::cli) fn counter_cells(counters: Counters) -> [String; 3] {
    [
        units::count_cell(counters.connections),
        units::byte_cell(counters.received),
        units::byte_cell(counters.sent),
    ]
}

/// Answers a query.
///
/// # Errors
/// The errors of the log.
pub(super) fn output(reader: &impl Source, setting: &Setting<'_>, query: &Query) -> anyhow::Result<Output> {
    // Of rows that are filled in any may be the first.
    let asked = match setting.options.zeros {
        true => Query { offset: None, limit: None, ..query.clone() },
        false => query.clone(),
    };
    let Answer { mut rows, row_count: mut count, total } = reader.answer(&asked)?;
    if setting.options.zeros {
        zeros::fill(reader, query, setting.now.seconds, &mut rows)?;
        count = rows.len();
        rows.truncate(query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
    }
    let mut notes = hints::notes(reader, setting, query, count == 0)?;
    if !rows.is_empty() {
        notes.extend(hints::grain(reader, setting.range, setting.now)?);
    }
    let labels = Labels::of_rows(&rows, &query.group_by, &setting.now.zone).of_hosts(reader.has_hosts());
    let text = match (setting.options.json, setting.options.csv) {
        (true, _) => {
            let mut object = setting.json(reader, &query.filters)?;
            object.insert("row_count".to_owned(), count.into());
            object.insert("total".to_owned(), json::counters(total).into());
            object.insert("notes".to_owned(), notes.clone().into());
            let row = |row| Json::Object(json::row(query, row, &setting.now.zone));
            let rows = rows.iter().map(row).collect();
            object.insert("rows".to_owned(), Json::Array(rows));
            json_text(&Json::Object(object))?
        }
        (_, true) => {
            let row = |row| csv::row(query, row, &setting.now.zone);
            csv::document(&csv::heading(query), rows.iter().map(row))
        }
        _ => {
            let name = setting.total_name(count, rows.len());
            as_table(query, &rows, &labels, (setting, &name, total))
        }
    };
    Ok(Output { text, notes })
}

/// Whether the values are programs, which have digests.
fn has_digests(query: &Query) -> bool {
    query.group_by == [store::Dimension::Executable]
}

fn as_table(
    query: &Query,
    rows: &[Row],
    labels: &Labels,
    (setting, name, total): (&Setting<'_>, &str, Counters),
) -> String {
    let mut columns: Vec<Column> =
        query.group_by.iter().map(|dimension| Column::new(dimension.name(), kind(*dimension))).collect();
    let has_digests = has_digests(query);
    if query.seen.is_some() {
        columns.extend(["first seen", "last seen"].map(|name| Column::new(name, Kind::Word)));
        columns.extend(has_digests.then(|| Column::new("digests", Kind::Number)));
    }
    columns.extend(["conns", "received", "sent"].map(|name| Column::new(name, Kind::Number)));
    let width = table::output_width(setting.options.full);
    let times = rows.iter().filter_map(|row| row.seen).flat_map(|seen| [seen.first, seen.last]);
    let time = seen_text(times, width, setting.now);
    let cells = |row: &Row| {
        let values = query.group_by.iter().zip(&row.values);
        let mut cells: Vec<String> =
            values.map(|(dimension, value)| labels.cell(*dimension, value)).collect();
        if query.seen.is_some() {
            cells.push(row.seen.map(|seen| time(seen.first)).unwrap_or_default());
            cells.push(row.seen.map(|seen| time(seen.last)).unwrap_or_default());
            cells.extend(has_digests.then(|| row.seen.map_or(0, |seen| seen.digests)).map(units::count_cell));
        }
        cells.extend(counter_cells(row.counters));
        cells
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let before_counters = columns.len() - 3;
    let mut foot = vec![String::new(); before_counters];
    foot.extend(counter_cells(total));
    let table = table::render(&columns, &rows, Some(&foot), width);
    with_total_name(&table, name, width)
}

/// Writes what the last line of a table counts into the blanks at its beginning, or above it where they are too few.
pub(super) fn with_total_name(table: &str, name: &str, width: Option<usize>) -> String {
    let Some((body, last)) = table.trim_end_matches('\n').rsplit_once('\n') else { return table.to_owned() };
    let blanks = last.len() - last.trim_start_matches(' ').len();
    let taken = tui::text::width(name);
    match taken + 2 <= blanks {
        true => format!("{body}\n{name}{}\n", &last[taken..]),
        false => format!("{body}\n{}{last}\n", table::wrap(name, width.unwrap_or(usize::MAX), "")),
    }
}

/// A value of a query as text, for a sentence.
pub(super) fn value_text(dimension: store::Dimension, value: &store::Value) -> String {
    model::text::sanitize::terminal(&values::bytes(dimension, value))
}
