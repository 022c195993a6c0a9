//! Rows for the parts of the calendar without traffic.

use std::collections::{BTreeSet, HashSet};

use anyhow::{bail, ensure};
use calendar::{Step, TimeZone, after, floor};
use store::{Dimension, Filter, Query, Row, Sort, Source, Value, calendar_step, calendar_value};

/// Rows that are added at most.
const MAX_ROWS: usize = 1_000_000;

/// The position of the one part of the calendar that rows are grouped by.
///
/// # Errors
/// They are not grouped by exactly one.
pub(super) fn position(group_by: &[Dimension]) -> anyhow::Result<usize> {
    let mut parts = group_by.iter().enumerate().filter(|(_, dimension)| dimension.is_calendar());
    let (Some((at, _)), None) = (parts.next(), parts.next()) else {
        bail!("--zeros needs --group-by with one of hour, day, week, month, year, weekday, hour-of-day");
    };
    Ok(at)
}

/// Adds a row without traffic for each part of the calendar from the first record to `now` that lacks one, for each combination of
/// the other values; the rows stay in the order of the query. Where filters leave no row at all, none is added.
///
/// # Errors
/// As [`position`], or the rows would be too many.
pub(super) fn fill(reader: &impl Source, query: &Query, now: i64, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let at = position(&query.group_by)?;
    if rows.is_empty() && (!query.filters.is_empty() || query.find.is_some()) {
        return Ok(());
    }
    let Some((first, last)) = reader.extent()? else { return Ok(()) };
    let start = query.range.since.unwrap_or(first).max(first);
    let end = query
        .range
        .until
        .map_or(now, |until| until.min(now))
        .max(last.min(query.range.until.unwrap_or(last)));
    if start > end {
        return Ok(());
    }
    let values = values(query.group_by[at], (start, end), query)?;
    let mut others: BTreeSet<Vec<Value>> = rows.iter().map(|row| without(&row.values, at)).collect();
    if query.group_by.len() == 1 {
        others.insert(Vec::new());
    }
    ensure!(
        others.len().saturating_mul(values.len()) <= MAX_ROWS,
        "--zeros would add more than {MAX_ROWS} rows: choose a shorter range or longer parts"
    );
    let known: HashSet<Vec<Value>> = rows.iter().map(|row| row.values.clone()).collect();
    let mut added = Vec::new();
    for value in values {
        for other in &others {
            let mut all = other.clone();
            all.insert(at, Value::Integer(value));
            if !known.contains(&all) {
                added.push(Row { values: all, ..Row::default() });
            }
        }
    }
    // Nothing is less than they are: they come last, or with the smallest first they are the first.
    match query.reverse {
        true => drop(rows.splice(0..0, added.into_iter().rev())),
        false => rows.append(&mut added),
    }
    if let Sort::Dimension(sorted) = query.sort {
        let by = query.group_by.iter().position(|grouped| *grouped == sorted).unwrap_or(at);
        rows.sort_by(|a, b| (&a.values[by], &a.values).cmp(&(&b.values[by], &b.values)));
        if query.reverse {
            rows.reverse();
        }
    }
    Ok(())
}

fn without(values: &[Value], at: usize) -> Vec<Value> {
    values.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, value)| value.clone()).collect()
}

/// The values of a part of the calendar in a range for which the filters on the calendar leave an hour.
fn values(dimension: Dimension, (start, end): (i64, i64), query: &Query) -> anyhow::Result<BTreeSet<i64>> {
    let zone = query.zone.clone().unwrap_or(TimeZone::UTC);
    let filters: Vec<Filter> =
        query.filters.iter().filter(|filter| filter.dimension().is_calendar()).cloned().collect();
    // No part is shorter than an hour, or ends within one.
    let step = if filters.is_empty() { calendar_step(dimension) } else { Step::Seconds(3600) };
    let max_values = match dimension {
        Dimension::Weekday => 7,
        Dimension::HourOfDay => 24,
        _ => usize::MAX,
    };
    let mut values = BTreeSet::new();
    let mut begin = floor(step, start, &zone);
    let mut count = 0;
    while begin <= end && values.len() < max_values {
        if Filter::pass(&filters, |filtered| Value::Integer(calendar_value(filtered, begin, &zone))) {
            values.insert(calendar_value(dimension, begin, &zone));
        }
        count += 1;
        ensure!(count <= MAX_ROWS, "--zeros would add too many rows: choose a shorter range");
        begin = after(step, begin, &zone);
    }
    Ok(values)
}
