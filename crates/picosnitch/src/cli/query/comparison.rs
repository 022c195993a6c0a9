//! Two ranges side by side.

use anyhow::{Context, bail, ensure};
use model::{Counters, text::units};
use serde_json::{Map, Value as Json};
use store::{ComparedRow, Comparison, Dimension, Query, Reader, change_text};

use super::{
    Output, csv, hints, json_text,
    labels::{Labels, csv_names, kind},
    records::{Setting, counters_json, with_total_name},
    time_range::{self, Now},
};
use crate::cli::table::{self, Column, Kind};

/// The range that the range of the query is compared with: `previous`, or any range.
///
/// # Errors
/// A sentence that says what is allowed.
pub(super) fn other_range(text: &str, range: calendar::Range, now: &Now) -> anyhow::Result<calendar::Range> {
    if text != "previous" {
        return calendar::parse_range(text, now.seconds, &now.zone).context("--compare");
    }
    match range.previous(now.seconds, &now.zone) {
        Some(previous) => Ok(previous),
        None => bail!("--compare previous needs a range with a beginning: --range all has nothing before it"),
    }
}

/// Refuses dimensions of which two ranges have no value in common.
///
/// # Errors
/// A sentence that says what to group by instead.
pub(super) fn ensure_comparable(group_by: &[Dimension]) -> anyhow::Result<()> {
    let is_over_all = |dimension: Dimension| matches!(dimension, Dimension::Weekday | Dimension::HourOfDay);
    for dimension in group_by {
        ensure!(
            !dimension.is_time() || is_over_all(*dimension),
            "--compare puts values beside each other that both ranges have, and no {dimension} is in both: \
             group by hour-of-day or weekday"
        );
    }
    Ok(())
}

/// Compares the range of the query with another one.
///
/// # Errors
/// The errors of the log.
pub(super) fn output(
    reader: &Reader,
    setting: &Setting<'_>,
    query: &Query,
    before: calendar::Range,
) -> anyhow::Result<Output> {
    let comparison = reader.compare(query, time_range::for_log(before))?;
    let is_empty = comparison.row_count == 0;
    let mut notes = hints::notes(reader, setting, query, is_empty)?;
    let now = setting.now;
    notes.extend(hints::of_comparison(reader, now, before, is_empty)?);
    notes.extend(match hints::grain(reader, setting.range, now)? {
        None => hints::grain(reader, before, now)?,
        note => note,
    });
    let values = comparison.rows.iter().map(|row| &row.values[..]);
    let labels = Labels::new(values, &query.group_by, &setting.now.zone);
    let text = match (setting.options.json, setting.options.csv) {
        (true, _) => {
            let mut object = setting.json(reader)?;
            object.insert("row_count".to_owned(), comparison.row_count.into());
            object.insert("notes".to_owned(), notes.clone().into());
            let mut compared = time_range::bounds(before, now);
            compared.extend(setting.completeness(reader, before)?);
            object.insert("compared_with".to_owned(), compared.into());
            as_json(object, query, &comparison, &labels)?
        }
        (_, true) => as_csv(query, &comparison, &labels),
        _ => as_table(setting, (query, before), (&comparison, &labels)),
    };
    Ok(Output { text, notes })
}

fn as_json(
    mut object: Map<String, Json>,
    query: &Query,
    comparison: &Comparison,
    labels: &Labels,
) -> anyhow::Result<String> {
    let both = |now: Option<Counters>, before: Option<Counters>| {
        let counters =
            |counters: Option<Counters>| counters.map(counters_json).map_or(Json::Null, Json::Object);
        [("now".to_owned(), counters(now)), ("before".to_owned(), counters(before))]
    };
    let total: Map<String, Json> = both(Some(comparison.now), Some(comparison.before)).into_iter().collect();
    object.insert("total".to_owned(), total.into());
    let row = |row: &ComparedRow| {
        let mut object = Map::new();
        for (dimension, value) in query.group_by.iter().zip(&row.values) {
            labels.add_json(&mut object, *dimension, value);
        }
        object.insert("change".to_owned(), row.change().name().into());
        object.extend(both(row.now, row.before));
        Json::Object(object)
    };
    object.insert("rows".to_owned(), comparison.rows.iter().map(row).collect());
    json_text(&Json::Object(object))
}

fn as_csv(query: &Query, comparison: &Comparison, labels: &Labels) -> String {
    let mut names = csv_names(&query.group_by);
    let counters = ["change", "conns", "received", "sent", "conns_before", "received_before", "sent_before"];
    names.extend(counters.map(str::to_owned));
    let rows = comparison.rows.iter().map(|row| {
        let mut cells = Vec::new();
        for (dimension, value) in query.group_by.iter().zip(&row.values) {
            labels.add_csv(&mut cells, *dimension, value);
        }
        cells.push(row.change().name().to_owned());
        for counters in [row.now, row.before].map(Option::unwrap_or_default) {
            let amounts = [counters.connections, counters.received, counters.sent];
            cells.extend(amounts.map(|amount| amount.to_string()));
        }
        cells
    });
    csv(&names.join(","), rows)
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
        let range = time_range::describe(range, setting.now);
        table::wrap(&format!("{name}{range}"), width.unwrap_or(usize::MAX), "")
    });
    with_total_name(&table, &name, width) + &ranges.concat()
}
