//! `cargo xtask ask-db --random`: random queries to a log, each with a digest of its answer.
//!
//! Two builds that print the same lines for the same seed answer alike. The values of filters are taken from the log
//! itself, and everything is printed by numbers and bytes, so that a renamed value or type changes no line.

use anyhow::Context;
use calendar::TimeZone;
use model::{Counters, Sha256};
use sha2::Digest;
use store::{Dimension, Filter, Query, Range, Reader, Sort, Value};

use crate::random::Random;

/// Maximum number of values of one dimension that filters are made of; they are evenly spaced in the order of the values.
const MAX_VALUES: usize = 200;

/// Seconds to whose multiples the ends of ranges are rounded, so that many are local quarters, hours, days or weeks.
const STEPS: [i64; 7] = [1, 10, 900, 3600, 86_400, 7 * 86_400, 28 * 86_400];

/// Offsets of time zones from UTC, seconds.
const ZONES: [i64; 5] = [0, 3600, -34_200, 20_700, 45_900];

/// Answers `count` random queries and prints a line for each: its number, the SHA-256 digest of its answer, how many rows
/// that has, and the query. With `print`, the rows follow.
pub fn run(reader: &Reader, count: u64, seed: u64, print: bool) -> anyhow::Result<()> {
    let mut queries = RandomQueries::new(reader, seed)?;
    for number in 1..=count {
        let Answer { query, rows } = queries.next_answer()?;
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let digest = Sha256(sha2::Sha256::digest(text.as_bytes()).into()).to_hex();
        println!("{number} {digest} {} {query}", rows.len());
        if print {
            rows.iter().for_each(|row| println!("  {row}"));
        }
    }
    Ok(())
}

/// A query and its answer, both as text.
struct Answer {
    query: String,
    rows: Vec<String>,
}

struct RandomQueries<'a> {
    reader: &'a Reader,
    random: Random,
    /// Times of the first and the last window of the log.
    extent: (i64, i64),
    /// Values in the log, for each dimension in the order of [`Dimension::ALL`].
    values: Vec<Vec<Value>>,
}

impl<'a> RandomQueries<'a> {
    fn new(reader: &'a Reader, seed: u64) -> anyhow::Result<Self> {
        let extent = reader.extent()?.context("the log is empty")?;
        let mut values = Vec::new();
        for dimension in Dimension::ALL {
            let query =
                Query { group_by: vec![dimension], sort: Sort::Dimension(dimension), ..Query::default() };
            let rows = reader.query(&query)?;
            let step = rows.len().div_ceil(MAX_VALUES).max(1);
            values.push(rows.into_iter().step_by(step).map(|mut row| row.values.remove(0)).collect());
        }
        Ok(Self { reader, random: Random(seed), extent, values })
    }

    fn next_answer(&mut self) -> anyhow::Result<Answer> {
        let filters: Vec<Filter> = (0..self.random.below(4)).map(|_| self.filter()).collect();
        match self.random.below(8) {
            0 => self.series(&filters),
            1 => self.losses(),
            _ => self.rows(filters),
        }
    }

    fn rows(&mut self, filters: Vec<Filter>) -> anyhow::Result<Answer> {
        let mut group_by: Vec<Dimension> =
            (0..self.random.below(4)).map(|_| *self.random.pick(&Dimension::ALL)).collect();
        group_by.dedup();
        let sort = match self.random.below(5) {
            0 => Sort::Total,
            1 => Sort::Connections,
            2 => Sort::Sent,
            3 => Sort::Received,
            _ => Sort::Dimension(*self.random.pick(&Dimension::ALL)),
        };
        let limit = *self.random.pick(&[None, Some(0), Some(1), Some(10), Some(1000)]);
        let query = Query { range: self.range(), group_by, filters, sort, limit, ..Query::default() };
        let store::Answer { rows, total, .. } = self.reader.answer(&query)?;
        let row = |row: &store::Row| {
            let values: Vec<String> = row.values.iter().map(value_text).collect();
            format!("{} {}", values.join(" "), counters_text(row.counters))
        };
        let rows = rows.iter().map(row).chain([format!("total {}", counters_text(total))]).collect();
        Ok(Answer { query: query_text(&query), rows })
    }

    fn series(&mut self, filters: &[Filter]) -> anyhow::Result<Answer> {
        let (zone, step) = (*self.random.pick(&ZONES), *self.random.pick(&STEPS[2..]));
        let begin = (self.second() + zone).div_euclid(step) * step - zone;
        let edges: Vec<i64> =
            (0..2 + self.random.below(100) as i64).map(|number| begin + number * step).collect();
        let query = Query { filters: filters.to_vec(), ..Query::default() };
        let sums = self.reader.series(&query, &edges)?;
        let lossy = self.reader.losses_between(&edges)?.into_iter().map(|losses| !losses.is_empty());
        let rows = sums.iter().zip(lossy).map(|(sum, lossy)| format!("{} {lossy}", counters_text(*sum)));
        let filters: String = filters.iter().map(|filter| format!(" {}", filter_text(filter))).collect();
        Ok(Answer { query: format!("series from {begin} by {step}{filters}"), rows: rows.collect() })
    }

    fn losses(&mut self) -> anyhow::Result<Answer> {
        let range = self.range();
        let losses = self.reader.losses(range)?;
        let rows = losses.iter().map(|loss| loss.count.to_string()).collect();
        Ok(Answer { query: format!("losses {}", range_text(range)), rows })
    }

    /// A second in the log or a little outside of it.
    fn second(&mut self) -> i64 {
        let (first, last) = self.extent;
        first - 5000 + self.random.below((last - first) as u64 + 10_000) as i64
    }

    fn range(&mut self) -> Range {
        let zone = *self.random.pick(&ZONES);
        let mut edge = || {
            let (second, step) = (self.second(), *self.random.pick(&STEPS));
            let edge = (second + zone).div_euclid(step) * step - zone;
            (self.random.below(12) > 0).then_some(edge)
        };
        match (edge(), edge()) {
            (Some(a), Some(b)) => Range { since: Some(a.min(b)), until: Some(a.max(b) - 1) },
            (since, until) => Range { since, until },
        }
    }

    fn filter(&mut self) -> Filter {
        let index = self.random.below(Dimension::ALL.len() as u64) as usize;
        let (dimension, exclude) = (Dimension::ALL[index], self.random.below(4) == 0);
        let Some(value) = Some(&self.values[index]).filter(|values| !values.is_empty()) else {
            return Filter::equal(dimension, Value::None, exclude);
        };
        let value = self.random.pick(value).clone();
        if let Value::Address(address) = &value
            && self.random.below(2) == 0
        {
            let network = format!("{address}/{}", self.random.below(33));
            let parsed = Filter::parse(dimension, network.as_bytes(), exclude, &TimeZone::UTC);
            if let Some(filter) = parsed.ok().and_then(|mut filters| filters.pop()) {
                return filter;
            }
        }
        Filter::equal(dimension, value, exclude)
    }
}

fn query_text(query: &Query) -> String {
    let by: Vec<&str> = query.group_by.iter().map(|dimension| dimension.name()).collect();
    let sort = match query.sort {
        Sort::Total => "total",
        Sort::Connections => "conns",
        Sort::Sent => "sent",
        Sort::Received => "received",
        Sort::FirstSeen => "first-seen",
        Sort::LastSeen => "last-seen",
        Sort::Digests => "digests",
        Sort::Dimension(dimension) => dimension.name(),
    };
    let limit = query.limit.map_or("none".to_owned(), |limit| limit.to_string());
    let filters: String = query.filters.iter().map(|filter| format!(" {}", filter_text(filter))).collect();
    format!("rows {} by {} sort {sort} limit {limit}{filters}", range_text(query.range), by.join(","))
}

fn range_text(range: Range) -> String {
    let edge = |edge: Option<i64>| edge.map_or("*".to_owned(), |edge| edge.to_string());
    format!("{}..{}", edge(range.since), edge(range.until))
}

/// The dimension of a filter only: its value follows from the seed.
fn filter_text(filter: &Filter) -> String {
    format!("{}{}", filter.dimension().name(), if filter.is_exclude() { "!=" } else { "=" })
}

fn value_text(value: &Value) -> String {
    match value {
        Value::None => "-".to_owned(),
        Value::Many => "many".to_owned(),
        Value::Bytes(bytes) => {
            format!("b:{}", hex::encode(bytes))
        }
        Value::Integer(number) => format!("i:{number}"),
        Value::Address(address) => format!("a:{address}"),
        Value::Sha256(digest) => format!("s:{}", digest.to_hex()),
    }
}

fn counters_text(counters: Counters) -> String {
    format!("{} {} {}", counters.connections, counters.sent, counters.received)
}
