//! Which sums of a server stand for which records of a question.

use std::collections::BTreeSet;

use calendar::{TimeZone, after, floor};
use export::{Cell, Dialect, ExportError, Kind, Server, SumKind, claimed};
use store::{Dimension, calendar_step};

/// Parts of the calendar in a question; the hours of five years are fewer.
const MAX_PARTS: usize = 50_000;
/// Spans of sums in which a part of the calendar begins, so that records are asked for them.
const MAX_SPLIT: usize = 100;
/// Hours, or longer times, in which a ClickHouse has windows that are in no sum yet: as many as a statement should have.
const MAX_BEHIND: usize = 200;
/// Bytes of a statement of a ClickHouse: its `max_query_size` is 256 KiB by default.
pub(crate) const MAX_STATEMENT_BYTES: usize = 250_000;

/// The records that are asked for in place of those of a range: the sums of some spans of time, the records of the other ones, and
/// in those spans the records of the windows that are in no sum yet. Each record is in one of them.
#[derive(Debug)]
pub(crate) struct Plan {
    pub kind: SumKind,
    /// Spans of time, from their first to their last second, of which the sums are asked.
    pub summed: Vec<(i64, i64)>,
    /// Those of which the records are asked.
    pub recorded: Vec<(i64, i64)>,
    /// By id of a log the last window that is in the sums.
    pub claims: Vec<(i64, i64)>,
    /// Attempts of claims on a ClickHouse that do not count.
    pub void: Vec<i64>,
    /// Those of the first spans in which there may be windows that are in no sum yet.
    pub behind: Vec<(i64, i64)>,
}

/// Points of time that divide an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// The dimensions of the calendar.
    pub calendar: &'a [Dimension],
    pub zone: &'a TimeZone,
    /// Points besides, ascending.
    pub edges: &'a [i64],
}

/// Returns the kind of sums by all columns of a record with these names; `None` if there is none.
fn kind_of(keys: &[&str]) -> Option<SumKind> {
    // All sums are by log.
    let mut keys = keys.iter().filter(|key| **key != "log");
    let (first, second) = (keys.next().copied(), keys.next());
    SumKind::ALL.into_iter().find(|kind| second.is_none() && kind.key() == first)
}

/// Decides which sums answer a question about the time from `since` to `until`, whose records are between `first` and `last`. `keys`
/// are the columns of a record that it needs. Returns `None` if records have to be asked.
pub(crate) async fn plan(
    server: &mut Server,
    keys: &[&str],
    (since, until): (i64, i64),
    (first, last): (i64, i64),
    parts: Parts<'_>,
) -> Result<Option<Plan>, ExportError> {
    let Some(kind) = kind_of(keys) else { return Ok(None) };
    let is_clickhouse = server.dialect() == Dialect::ClickHouse;
    // There old records are dropped by months, with a part of the sum that has the first one.
    let since = if is_clickhouse { since.max(first) } else { since };
    let Some((summed, recorded)) = spans(kind.seconds(), (since, until), (first, last), parts) else {
        return Ok(None);
    };
    let (claims, void) = match is_clickhouse {
        false => (claims(server, kind).await?, Vec::new()),
        true => flat_claims(server, kind).await?,
    };
    // Where nothing was added up yet, records are quicker.
    if claims.iter().all(|(_, window)| *window == 0) {
        return Ok(None);
    }
    let behind = match is_clickhouse {
        false => summed.clone(),
        true => match unclaimed_hours(server, &summed, &claims).await? {
            Some(hours) => behind(&summed, hours),
            None => return Ok(None),
        },
    };
    Ok(Some(Plan { kind, summed, recorded, claims, void, behind }))
}

/// Of each log the last window that is in the sums; 0 if none is. The last claim of each is looked up in the key, as a fleet makes
/// millions of claims in a year.
async fn claims(server: &mut Server, kind: SumKind) -> Result<Vec<(i64, i64)>, ExportError> {
    let sql = format!(
        "SELECT l.id, COALESCE((SELECT c.last_window FROM picosnitch_sum_claim c \
         WHERE c.kind = {} AND c.log = l.id ORDER BY c.first_window DESC LIMIT 1), 0) FROM picosnitch_log l",
        kind.number()
    );
    let rows = server.select(&sql, &[], &[Kind::Integer; 2], "cannot read the sums").await?;
    let pair = |row: &Vec<Cell>| Some((row.first()?.integer()?, row.get(1)?.integer()?));
    Ok(rows.iter().filter_map(pair).collect())
}

/// As [`claims`] of a ClickHouse, of the logs that have some, and the attempts that do not count.
async fn flat_claims(server: &mut Server, kind: SumKind) -> Result<(Vec<(i64, i64)>, Vec<i64>), ExportError> {
    let found = claimed(server, kind, None).await?;
    let claims = found.iter().map(|(log, claimed)| (*log, claimed.last_window)).collect();
    Ok((claims, found.into_values().flat_map(|claimed| claimed.void).collect()))
}

/// The last window of a record's log that is in the sums of a ClickHouse, as an expression.
pub(crate) fn last_claimed(claims: &[(i64, i64)]) -> String {
    let list = |number: fn(&(i64, i64)) -> i64| {
        let numbers: Vec<String> = claims.iter().map(|claim| number(claim).to_string()).collect();
        format!("CAST([{}] AS Array(Int64))", numbers.join(","))
    };
    format!("transform(log, {}, {}, toInt64(0))", list(|claim| claim.0), list(|claim| claim.1))
}

/// The hours of the windows that are in no sum of a ClickHouse yet, between the first and the last second of some spans: its records
/// are sorted by time, so that all of them would be looked at otherwise. Returns `None` if the claims do not fit into a statement.
async fn unclaimed_hours(
    server: &mut Server,
    summed: &[(i64, i64)],
    claims: &[(i64, i64)],
) -> Result<Option<BTreeSet<i64>>, ExportError> {
    let [(first, _), ..] = summed else { return Ok(None) };
    let last = summed.last().map_or(*first, |(_, last)| *last);
    let sql = format!(
        "SELECT DISTINCT toInt64(floor(time / 3600)) FROM picosnitch_window WHERE time BETWEEN {first} AND {last} \
         AND window_number > {}",
        last_claimed(claims)
    );
    if sql.len() > MAX_STATEMENT_BYTES {
        return Ok(None);
    }
    let rows = server.select(&sql, &[], &[Kind::Integer], "cannot read the windows").await?;
    Ok(Some(rows.iter().flatten().filter_map(Cell::integer).collect()))
}

/// The parts of spans that these hours have; longer times if they are many.
fn behind(summed: &[(i64, i64)], mut hours: BTreeSet<i64>) -> Spans {
    let mut seconds = 3600;
    while hours.len() > MAX_BEHIND {
        seconds *= 2;
        hours = hours.into_iter().map(|hour| hour.div_euclid(2)).collect();
    }
    let mut found = Spans::new();
    for hour in hours {
        let (from, to) = (hour * seconds, hour * seconds + seconds - 1);
        match found.last_mut() {
            Some(before) if before.1 + 1 == from => before.1 = to,
            _ => found.push((from, to)),
        }
    }
    let common = |one: &(i64, i64), other: &(i64, i64)| (one.0.max(other.0), one.1.min(other.1));
    let found = summed.iter().flat_map(|span| found.iter().map(move |other| common(span, other)));
    found.filter(|(from, to)| from <= to).collect()
}

/// Spans of time, each from its first to its last second.
type Spans = Vec<(i64, i64)>;

/// Divides a range into spans of whole sums of this many seconds, in none of which a part of the calendar begins, and the rest.
fn spans(
    seconds: i64,
    (since, until): (i64, i64),
    (first, last): (i64, i64),
    parts: Parts<'_>,
) -> Option<(Spans, Spans)> {
    let start_of = |point: i64| point.div_euclid(seconds).checked_mul(seconds);
    // All records lie in whole sums of these.
    let (first, end) = (start_of(first)?, start_of(last)?.checked_add(seconds)?);
    let (since, until) = (since.max(first), until.min(end - 1));
    let (begin, end) = (start_of(since.checked_add(seconds - 1)?)?, start_of(until.checked_add(1)?)?);
    if begin >= end {
        return None;
    }
    let split = split(seconds, (begin, end), parts)?;
    let mut summed = Spans::new();
    let mut recorded = Spans::new();
    let add = |spans: &mut Spans, from: i64, to: i64| match spans.last_mut() {
        _ if from > to => {}
        Some(before) if before.1 + 1 == from => before.1 = to,
        _ => spans.push((from, to)),
    };
    add(&mut recorded, since, begin - 1);
    let mut from = begin;
    for start in split {
        add(&mut summed, from, start - 1);
        add(&mut recorded, start, start + seconds - 1);
        from = start + seconds;
    }
    add(&mut summed, from, end - 1);
    add(&mut recorded, end, until);
    (!summed.is_empty()).then_some((summed, recorded))
}

/// The starts of the sums in which a part of the calendar, or that behind an edge, begins after their first second; `None` if they
/// are too many.
fn split(seconds: i64, (begin, end): (i64, i64), parts: Parts<'_>) -> Option<BTreeSet<i64>> {
    let Parts { calendar, zone, edges } = parts;
    let mut split = BTreeSet::new();
    let mut add = |edge: i64| {
        if edge.rem_euclid(seconds) != 0 && edge > begin && edge < end {
            split.insert(edge - edge.rem_euclid(seconds));
        }
        (split.len() <= MAX_SPLIT).then_some(())
    };
    edges.iter().try_for_each(|edge| add(*edge))?;
    for dimension in calendar {
        let step = calendar_step(*dimension);
        let mut edge = floor(step, begin, zone);
        for part in 0.. {
            edge = after(step, edge, zone);
            if edge >= end {
                break;
            }
            add(edge)?;
            if part >= MAX_PARTS {
                return None;
            }
        }
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn there_are_sums_by_one_column_and_log() {
        assert_eq!(kind_of(&[]), Some(SumKind::Total));
        assert_eq!(kind_of(&["log"]), Some(SumKind::Total));
        assert_eq!(kind_of(&["context", "log"]), Some(SumKind::Context));
        assert_eq!(kind_of(&["remote_port"]), Some(SumKind::Port));
        for keys in [&["context", "endpoint"][..], &["local_port"], &["log", "endpoint", "remote_port"]] {
            assert_eq!(kind_of(keys), None, "{keys:?}");
        }
    }

    #[test]
    fn windows_behind_claims_are_found_in_the_spans_of_sums() {
        let hours = |hours: &[i64]| hours.iter().copied().collect();
        assert_eq!(behind(&[(0, DAY - 1)], hours(&[])), []);
        let spans = [(0, DAY - 1), (2 * DAY, 3 * DAY - 1)];
        // Those of the second day are asked anyway.
        assert_eq!(
            behind(&spans, hours(&[0, 1, 23, 24, 48])),
            [(0, 7199), (23 * 3600, DAY - 1), (2 * DAY, 2 * DAY + 3599)]
        );
        let many: Vec<i64> = (-1000..1000).step_by(4).collect();
        let all = [(-4_000_000, 4_000_000)];
        let found = behind(&all, many.iter().copied().collect());
        assert!(found.len() <= MAX_BEHIND);
        for hour in many {
            assert!(found.iter().any(|(from, to)| *from <= hour * 3600 && hour * 3600 + 3599 <= *to));
        }
    }

    #[test]
    fn each_second_is_in_one_span_and_sums_are_whole() {
        let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let first = 1_680_000_123;
        let last = first + 200 * DAY;
        let edges = [first + 40_000, first + 30 * DAY, first + 300 * DAY];
        let cases: [(&[Dimension], &[i64]); 4] = [
            (&[], &[]),
            (&[Dimension::Month], &[]),
            (&[Dimension::Week, Dimension::Year], &[]),
            (&[], &edges),
        ];
        for (calendar, edges) in cases {
            let parts = Parts { calendar, zone: &zone, edges };
            for (since, until) in [
                (i64::MIN, i64::MAX),
                (first + 5, last - 77),
                (first + 10 * DAY, first + 12 * DAY),
                (first - DAY, last + 400 * DAY),
            ] {
                let (summed, recorded) = spans(DAY, (since, until), (first, last), parts).unwrap();
                let mut all = [&summed[..], &recorded].concat();
                all.sort_unstable();
                for pair in all.windows(2) {
                    assert_eq!(pair[0].1 + 1, pair[1].0);
                }
                assert!(all[0].0 <= since.max(first) && all[0].0 >= since);
                assert!(all.last().unwrap().1 >= until.min(last) && all.last().unwrap().1 <= until);
                for (from, to) in summed {
                    assert!(from % DAY == 0 && (to + 1) % DAY == 0);
                    for start in (from..to).step_by(DAY as usize) {
                        for part in calendar {
                            let value = |point| store::calendar_value(*part, point, &zone);
                            assert_eq!(value(start), value(start + DAY - 1));
                        }
                        assert!(!edges.iter().any(|edge| start < *edge && *edge < start + DAY));
                    }
                }
            }
        }
        // Each local day begins in a day of UTC.
        let days = Parts { calendar: &[Dimension::Day], zone: &zone, edges: &[] };
        assert_eq!(spans(DAY, (first, last), (first, last), days), None);
        assert!(spans(3600, (first, last), (first, last), days).is_some());
        let none = Parts { calendar: &[], ..days };
        assert_eq!(spans(DAY, (first, first + 3600), (first, last), none), None);
    }
}
