//! Two ranges side by side.

use model::{Counters, text::units};
use question::{csv, for_log, json};
use serde_json::Value as Json;
use store::{CompareOrder, ComparedRow, Comparison, Query, Source, change_text};

use super::{
    Output, hints, json_text,
    labels::{Labels, kind},
    records::{Setting, with_total_name},
};
use crate::cli::table::{self, Column, Kind};

/// Compares the range of the query with another one.
///
/// # Errors
/// The errors of the log.
pub(super) fn output(
    reader: &impl Source,
    setting: &Setting<'_>,
    query: &Query,
    before: calendar::Range,
) -> anyhow::Result<Output> {
    let comparison = reader.compare(query, for_log(before), CompareOrder::Difference)?;
    let is_empty = comparison.row_count == 0;
    let mut notes = hints::notes(reader, setting, query, is_empty)?;
    let now = setting.now;
    notes.extend(hints::of_comparison(reader, (query, now), before, is_empty)?);
    notes.extend(match hints::grain(reader, setting.range, now)? {
        None => hints::grain(reader, before, now)?,
        note => note,
    });
    let values = comparison.rows.iter().map(|row| &row.values[..]);
    let labels = Labels::new(values, &query.group_by, &setting.now.zone).of_hosts(reader.has_hosts());
    let text = match (setting.options.json, setting.options.csv) {
        (true, _) => {
            let mut object = setting.json(reader, &query.filters)?;
            object.insert("row_count".to_owned(), comparison.row_count.into());
            object.insert("notes".to_owned(), notes.clone().into());
            let mut compared = json::bounds(before, &now.zone);
            compared.extend(json::completeness(reader, (before, &query.filters), &now.zone)?);
            object.insert("compared_with".to_owned(), compared.into());
            object.insert("total".to_owned(), json::compared_total(&comparison).into());
            let row = |row| Json::Object(json::compared_row(query, row, &now.zone));
            object.insert("rows".to_owned(), comparison.rows.iter().map(row).collect());
            json_text(&Json::Object(object))?
        }
        (_, true) => {
            let row = |row| csv::compared_row(query, row, &now.zone);
            csv::document(&csv::compared_heading(query), comparison.rows.iter().map(row))
        }
        _ => as_table(setting, (query, before), (&comparison, &labels)),
    };
    Ok(Output { text, notes })
}

fn as_table(
    setting: &Setting<'_>,
    (query, before): (&Query, calendar::Range),
    (comparison, labels): (&Comparison, &Labels),
) -> String {
    let mut columns: Vec<Column> =
        query.group_by.iter().map(|dimension| Column::new(dimension.name(), kind(*dimension))).collect();
    columns.push(Column::new("change", Kind::Word));
    columns.extend(["received", "before", "sent", "before"].map(|name| Column::new(name, Kind::Number)));
    let amounts = |now: Counters, before: Counters| {
        [now.received, before.received, now.sent, before.sent].map(units::byte_cell)
    };
    let cells = |row: &ComparedRow| {
        let values = query.group_by.iter().zip(&row.values);
        let mut cells: Vec<String> =
            values.map(|(dimension, value)| labels.cell(*dimension, value)).collect();
        cells.push(row.change_text());
        cells.extend(amounts(row.now.unwrap_or_default(), row.before.unwrap_or_default()));
        cells
    };
    let rows: Vec<Vec<String>> = comparison.rows.iter().map(cells).collect();
    let mut foot = vec![String::new(); query.group_by.len()];
    foot.push(change_text(comparison.now, comparison.before));
    foot.extend(amounts(comparison.now, comparison.before));
    let width = table::output_width(setting.options.full);
    let table = table::render(&columns, &rows, Some(&foot), width);
    let name = setting.total_name(comparison.row_count, comparison.rows.len());
    let ranges = [("now:    ", setting.range), ("before: ", before)].map(|(name, range)| {
        let range = setting.now.describe(range);
        table::wrap(&format!("{name}{range}"), width.unwrap_or(usize::MAX), "")
    });
    with_total_name(&table, &name, width) + &ranges.concat()
}
