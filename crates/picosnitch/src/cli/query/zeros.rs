//! Rows for the parts of the calendar without traffic.

use std::collections::{BTreeSet, HashSet};

use anyhow::{bail, ensure};
use calendar::{Step, after, floor};
use store::{Dimension, Query, Reader, Row, Sort, Value};

/// Rows that are added at most.
const MAX_ROWS: usize = 1_000_000;

/// Adds a row without traffic for each part of the calendar up to `now` that lacks one, for each combination of the other values;
/// rows in the order of time.
///
/// # Errors
/// The rows are not grouped by exactly one part of the calendar, or would be too many.
pub(super) fn fill(reader: &Reader, query: &Query, now: i64, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let is_part = |dimension: &&Dimension| dimension.is_calendar();
    let parts: Vec<Dimension> = query.group_by.iter().filter(is_part).copied().collect();
    let [dimension] = parts[..] else {
        bail!("--zeros needs --group-by with one of hour, day, week, month, year, weekday, hour-of-day");
    };
    let at = query.group_by.iter().position(|grouped| *grouped == dimension).unwrap_or(0);
    let Some((first, last)) = reader.extent()? else { return Ok(()) };
    let start = query.range.since.unwrap_or(first).max(first.min(query.range.until.unwrap_or(last)));
    let end = query
        .range
        .until
        .map_or(now, |until| until.min(now))
        .max(last.min(query.range.until.unwrap_or(last)));
    let values = values(dimension, (start, end), query)?;
    let mut others: BTreeSet<Vec<Value>> = rows.iter().map(|row| without(&row.values, at)).collect();
    if query.group_by.len() == 1 {
        others.insert(Vec::new());
    }
    ensure!(
        others.len().saturating_mul(values.len()) <= MAX_ROWS,
        "--zeros would add more than {MAX_ROWS} rows: choose a shorter range or longer parts"
    );
    let known: HashSet<Vec<Value>> = rows.iter().map(|row| row.values.clone()).collect();
    for value in values {
        for other in &others {
            let mut all = other.clone();
            all.insert(at, Value::Integer(value));
            if !known.contains(&all) {
                rows.push(Row { values: all, ..Row::default() });
            }
        }
    }
    if matches!(query.sort, Sort::Dimension(_)) {
        rows.sort_by(|a, b| (&a.values[at], &a.values).cmp(&(&b.values[at], &b.values)));
    }
    Ok(())
}

fn without(values: &[Value], at: usize) -> Vec<Value> {
    values.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, value)| value.clone()).collect()
}

/// All values of a part of the calendar in a range.
fn values(dimension: Dimension, (start, end): (i64, i64), query: &Query) -> anyhow::Result<Vec<i64>> {
    let zone = query.zone.clone().unwrap_or(calendar::TimeZone::UTC);
    let step = match dimension {
        Dimension::Weekday => return Ok((1..=7).collect()),
        Dimension::HourOfDay => return Ok((0..24).collect()),
        Dimension::Day => Step::Days,
        Dimension::Week => Step::Weeks,
        Dimension::Month => Step::Months,
        Dimension::Year => Step::Years,
        _ => Step::Seconds(3600),
    };
    let mut values = Vec::new();
    let mut begin = floor(step, start, &zone);
    while begin <= end {
        values.push(begin);
        ensure!(values.len() <= MAX_ROWS, "--zeros would add too many rows: choose a shorter range");
        begin = after(step, begin, &zone);
    }
    Ok(values)
}
