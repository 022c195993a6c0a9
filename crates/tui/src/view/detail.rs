//! One row in detail.

use std::path::Path;

use super::ask::{Question, query};
use known_programs::KnownPrograms;
use model::Counters;
use store::{Dimension, Filter, Query, Range, Reader, Row, Sort, StoreError, Value};

/// Rows of each list.
const MOST: u64 = 5;
/// Contents of one program.
const MAX_CONTENTS: usize = 8;
/// Seconds of the steps in which the first and the last window of a program are looked for: those of the log's own sums.
const STEPS: [i64; 3] = [28 * 86_400, 86_400, 900];

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its dimension.
    pub dimension: Dimension,
    /// Its value.
    pub value: Value,
}

/// A content of a program, and what VirusTotal says about it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The digest; [`Value::None`]: not known.
    pub digest: Value,
    /// Ends of the first and the last window in which it was on the network.
    pub seen: Option<(i64, i64)>,
    /// From record.json; empty: not asked.
    pub verdict: String,
}

/// A short list.
#[derive(Clone, Debug)]
pub struct List {
    /// Its heading.
    pub title: &'static str,
    /// What its rows are.
    pub dimension: Dimension,
    /// The first rows.
    pub rows: Vec<Row>,
}

/// All that is shown about one row.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Contents of a program, in all of the log, the latest first.
    pub contents: Vec<Content>,
    /// How many more there are.
    pub more_contents: usize,
    /// Ends of the first and the last window in which a program was on the network.
    pub seen: Option<(i64, i64)>,
    /// Why the verdicts are not known.
    pub problem: Option<String>,
    /// What belongs to the row in the window that is looked at.
    pub lists: Vec<List>,
}

/// What is listed about a program.
const OF_PROGRAMS: [(&str, Dimension); 6] = [
    ("Addresses", Dimension::Address),
    ("Domains", Dimension::Domain),
    ("Ports", Dimension::Port),
    ("Parents", Dimension::ParentExecutable),
    ("Users", Dimension::Uid),
    ("Units", Dimension::Unit),
];
/// About a peer, or a moment: who it was.
const OF_OTHERS: [(&str, Dimension); 4] = [
    ("Programs", Dimension::Executable),
    ("Addresses", Dimension::Address),
    ("Ports", Dimension::Port),
    ("Users", Dimension::Uid),
];

/// Asks for it.
pub fn ask(
    reader: &Reader,
    record_json: &Path,
    question: &Question,
    subject: &Subject,
) -> Result<Detail, StoreError> {
    let mut detail = Detail::default();
    if subject.dimension == Dimension::Executable {
        let program = Filter::equal(Dimension::Executable, subject.value.clone(), false);
        let extent = reader.extent()?;
        let by_digest =
            Query { group_by: vec![Dimension::Sha256], filters: vec![program.clone()], ..Query::default() };
        let mut digests: Vec<Value> =
            reader.query(&by_digest)?.into_iter().filter_map(|row| row.values.into_iter().next()).collect();
        detail.more_contents = digests.len().saturating_sub(MAX_CONTENTS);
        digests.truncate(MAX_CONTENTS);
        let known = KnownPrograms::load(record_json);
        detail.problem = known.as_ref().err().map(|error| model::error_chain(error));
        let verdicts = known.as_ref().map(KnownPrograms::verdicts).unwrap_or_default();
        for digest in digests {
            let filters = [program.clone(), Filter::equal(Dimension::Sha256, digest.clone(), false)];
            let verdict = verdicts.iter().find(|(known, _)| Value::Sha256(*known) == digest);
            detail.contents.push(Content {
                seen: seen(reader, &filters, extent)?,
                verdict: verdict.map(|(_, verdict)| (*verdict).to_owned()).unwrap_or_default(),
                digest,
            });
        }
        detail
            .contents
            .sort_by_key(|content| std::cmp::Reverse(content.seen.map(|(first, last)| (last, first))));
        let all = detail.contents.iter().filter_map(|content| content.seen);
        detail.seen = match detail.more_contents {
            0 => all.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))),
            _ => seen(reader, &[program], extent)?,
        };
    }
    let lists: &[_] = if subject.dimension == Dimension::Executable { &OF_PROGRAMS } else { &OF_OTHERS };
    for (title, dimension) in lists.iter().filter(|(_, dimension)| *dimension != subject.dimension) {
        let mut asked =
            Query { group_by: vec![*dimension], limit: Some(MOST), sort: Sort::Total, ..query(question) };
        // The row matches what was wanted of its dimension already; left in, those would be alternatives to it.
        asked.filters.retain(|filter| filter.is_exclude() || filter.dimension() != subject.dimension);
        asked.filters.push(Filter::equal(subject.dimension, subject.value.clone(), false));
        let rows = reader.query(&asked)?;
        // A list that only says that nothing is known says nothing.
        if let [Row { values, .. }] = &*rows
            && values.iter().all(|value| *value == Value::None || *value == Value::Bytes(Vec::new()))
        {
            continue;
        }
        detail.lists.push(List { title, dimension: *dimension, rows });
    }
    Ok(detail)
}

/// The ends of the first and the last window with something that matches.
fn seen(
    reader: &Reader,
    filters: &[Filter],
    extent: Option<(i64, i64)>,
) -> Result<Option<(i64, i64)>, StoreError> {
    let Some((start, end)) = extent else { return Ok(None) };
    let Some(first) = edge(reader, filters, (start, end + 1), true)? else { return Ok(None) };
    let last = edge(reader, filters, (first, end + 1), false)?;
    Ok(Some((first, last.unwrap_or(first))))
}

/// The end of the first (or the last) matching window between two points: from the coarsest sums to the finest, which
/// reads a thousandth of what there is.
fn edge(
    reader: &Reader,
    filters: &[Filter],
    (mut start, mut end): (i64, i64),
    first: bool,
) -> Result<Option<i64>, StoreError> {
    for step in STEPS {
        let mut edges = vec![start];
        let mut at = start.div_euclid(step) * step + step;
        while at < end {
            edges.push(at);
            at += step;
        }
        edges.push(end);
        if edges.len() == 2 {
            continue;
        }
        let sums = reader.series(filters, &edges)?;
        let mut found = sums.iter().enumerate().filter(|(_, sum)| **sum != Counters::default());
        let found = if first { found.next() } else { found.next_back() };
        let Some((index, _)) = found else { return Ok(None) };
        (start, end) = (edges[index], edges[index + 1]);
    }
    let windows = Query {
        range: Range { since: Some(start), until: Some(end - 1) },
        group_by: vec![Dimension::Time],
        filters: filters.to_vec(),
        sort: Sort::Dimension(Dimension::Time),
        limit: None,
    };
    let rows = reader.query(&windows)?;
    let row = if first { rows.first() } else { rows.last() };
    Ok(row.and_then(|row| match row.values.first() {
        Some(Value::Integer(time)) => Some(*time),
        _ => None,
    }))
}
