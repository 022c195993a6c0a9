//! The detail of one row: the hashes of a program, and short lists of the largest values among its records.

use std::{cmp::Reverse, path::Path};

use super::query::ScreenQuery;
use known_programs::KnownPrograms;
use model::Counters;
use server_query::{ServerReader, SourceError, SourceReader};
use store::{Dimension, Filter, Query, Range, Reader, Row, Sort, Source, StoreError, Value};

/// Rows of each short list.
const MAX_LIST_ROWS: u64 = 5;
/// Hashes of one program that are shown.
const MAX_HASHES: usize = 8;
/// Steps, in seconds, of the search for the first and the last window of a program: those of the log's rollups.
const SEARCH_STEPS: [i64; 3] = [28 * 86_400, 86_400, 900];

/// The row whose detail is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailSubject {
    pub dimension: Dimension,
    pub value: Value,
}

/// A hash that the executable of a program has had.
#[derive(Clone, Debug)]
pub struct ProgramHash {
    /// [`Value::None`] if the hash is not known.
    pub sha256: Value,
    /// Ends of the first and the last recording window with traffic under this hash.
    pub seen: Option<(i64, i64)>,
    /// The verdict of VirusTotal from record.json; empty: VirusTotal was not asked.
    pub verdict: String,
}

/// A list of the largest values of one dimension among the records of the row.
#[derive(Clone, Debug)]
pub struct DetailList {
    pub title: &'static str,
    pub dimension: Dimension,
    pub rows: Vec<Row>,
}

/// Everything that the detail pane shows besides the row itself.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Hashes of a program in all of the log, the latest first.
    pub hashes: Vec<ProgramHash>,
    /// Number of hashes that were left out.
    pub more_hashes: usize,
    /// Ends of the first and the last recording window with traffic of a program.
    pub seen: Option<(i64, i64)>,
    /// Whether verdicts are known: they are on the machine that asked for them.
    pub has_verdicts: bool,
    /// The reason why there are no verdicts.
    pub problem: Option<String>,
    /// Short lists for the period that is shown.
    pub lists: Vec<DetailList>,
}

/// The short lists of a program.
const PROGRAM_LISTS: [(&str, Dimension); 6] = [
    ("Addresses", Dimension::Address),
    ("Domains", Dimension::Domain),
    ("Ports", Dimension::Port),
    ("Parents", Dimension::ParentExecutable),
    ("Users", Dimension::Uid),
    ("Units", Dimension::Unit),
];
/// The short lists of all other rows.
const OTHER_LISTS: [(&str, Dimension); 4] = [
    ("Programs", Dimension::Executable),
    ("Addresses", Dimension::Address),
    ("Ports", Dimension::Port),
    ("Users", Dimension::Uid),
];

/// Reads the detail of a row from the log or the server, and from record.json.
pub fn load(
    reader: &SourceReader,
    record_json: Option<&Path>,
    query: &ScreenQuery,
    subject: &DetailSubject,
) -> Result<Detail, SourceError> {
    let is_program = subject.dimension == Dimension::Executable;
    let mut detail = match is_program {
        true => load_hashes(reader, record_json, query, &subject.value)?,
        false => Detail::default(),
    };
    let lists: &[_] = if is_program { &PROGRAM_LISTS } else { &OTHER_LISTS };
    let hosts = reader.has_hosts().then_some(("Hosts", Dimension::Host));
    let lists = hosts.iter().chain(lists);
    for (title, dimension) in lists.filter(|(_, dimension)| *dimension != subject.dimension) {
        let rows = reader.query(&list_query(query, subject, *dimension))?;
        // A list whose only value is the empty one carries no information.
        if let [Row { values, .. }] = &*rows
            && values.iter().all(|value| *value == Value::None || *value == Value::Bytes(Vec::new()))
        {
            continue;
        }
        detail.lists.push(DetailList { title, dimension: *dimension, rows });
    }
    Ok(detail)
}

/// A hash with the ends of the first and the last recording window with traffic under it.
type SeenHash = (Value, Option<(i64, i64)>);

/// The hashes of a program, and when it had traffic.
fn load_hashes(
    reader: &SourceReader,
    record_json: Option<&Path>,
    query: &ScreenQuery,
    path: &Value,
) -> Result<Detail, SourceError> {
    let mut detail = Detail::default();
    let program = Filter::equal(Dimension::Executable, path.clone(), false);
    let hashes = match reader {
        SourceReader::Log(reader) => hashes_of_log(reader, &program, &mut detail)?,
        SourceReader::Server(reader) => hashes_of_server(reader, query, &program, &mut detail)?,
    };
    let known_programs = record_json.map(KnownPrograms::load).transpose();
    detail.has_verdicts = record_json.is_some();
    detail.problem = known_programs.as_ref().err().map(|error| model::error_chain(error));
    let known_programs = known_programs.ok().flatten();
    let verdicts = known_programs.as_ref().map(KnownPrograms::verdicts).unwrap_or_default();
    for (sha256, seen) in hashes {
        let verdict = verdicts.iter().find(|(hash, _)| Value::Sha256(*hash) == sha256);
        let verdict = verdict.map(|(_, verdict)| (*verdict).to_owned()).unwrap_or_default();
        detail.hashes.push(ProgramHash { sha256, seen, verdict });
    }
    detail.hashes.sort_by_key(|hash| Reverse(hash.seen.map(|(first, last)| (last, first))));
    Ok(detail)
}

/// The hashes with the most traffic in all of the log, and in `detail` what they are together.
fn hashes_of_log(
    reader: &Reader,
    program: &Filter,
    detail: &mut Detail,
) -> Result<Vec<SeenHash>, StoreError> {
    let extent = reader.extent()?;
    let by_hash =
        Query { group_by: vec![Dimension::Sha256], filters: vec![program.clone()], ..Query::default() };
    let mut hashes: Vec<Value> =
        reader.query(&by_hash)?.into_iter().filter_map(|row| row.values.into_iter().next()).collect();
    detail.more_hashes = hashes.len().saturating_sub(MAX_HASHES);
    hashes.truncate(MAX_HASHES);
    let mut found = Vec::new();
    for sha256 in hashes {
        let filters = [program.clone(), Filter::equal(Dimension::Sha256, sha256.clone(), false)];
        found.push((sha256, seen(reader, &filters, extent)?));
    }
    detail.seen = match detail.more_hashes {
        0 => union(found.iter().filter_map(|(_, seen)| *seen)),
        _ => seen(reader, std::slice::from_ref(program), extent)?,
    };
    Ok(found)
}

/// The same of the hosts of a server that are shown. It knows the times of all hashes at once; the latest are kept.
fn hashes_of_server(
    reader: &ServerReader,
    query: &ScreenQuery,
    program: &Filter,
    detail: &mut Detail,
) -> Result<Vec<SeenHash>, SourceError> {
    let of_hosts = query.filters.iter().filter(|filter| filter.dimension() == Dimension::Host);
    let filters = of_hosts.chain([program]).cloned().collect();
    let by_hash = Query { group_by: vec![Dimension::Sha256], filters, ..Query::default() };
    let mut found = reader.sightings(&by_hash)?;
    detail.seen = union(found.iter().map(|found| (found.first, found.last)));
    detail.more_hashes = found.len().saturating_sub(MAX_HASHES);
    found.sort_by_key(|found| Reverse(found.last));
    found.truncate(MAX_HASHES);
    let hash = |found: server_query::Sighting| {
        Some((found.values.into_iter().next()?, Some((found.first, found.last))))
    };
    Ok(found.into_iter().filter_map(hash).collect())
}

/// The span of several.
fn union(spans: impl Iterator<Item = (i64, i64)>) -> Option<(i64, i64)> {
    spans.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}

/// The query for a short list.
fn list_query(query: &ScreenQuery, subject: &DetailSubject, dimension: Dimension) -> Query {
    let mut list = Query {
        group_by: vec![dimension],
        find: None,
        seen: None,
        limit: Some(MAX_LIST_ROWS),
        sort: Sort::Total,
        reverse: false,
        ..query.rows_query()
    };
    // Filters for values of one dimension are alternatives, so those for the subject's dimension are replaced by its
    // value, which passes them already.
    list.filters.retain(|filter| filter.is_exclude() || filter.dimension() != subject.dimension);
    list.filters.push(Filter::equal(subject.dimension, subject.value.clone(), false));
    list
}

/// Which end of a period is searched for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

/// The ends of the first and the last recording window with traffic that passes the filters.
fn seen(
    reader: &Reader,
    filters: &[Filter],
    extent: Option<(i64, i64)>,
) -> Result<Option<(i64, i64)>, StoreError> {
    let Some((start, end)) = extent else { return Ok(None) };
    let Some(first) = find_edge(reader, filters, (start, end + 1), Edge::First)? else { return Ok(None) };
    let last = find_edge(reader, filters, (first, end + 1), Edge::Last)?;
    Ok(Some((first, last.unwrap_or(first))))
}

/// The end of the first or the last window with traffic from `start` up to `end`. It searches from the coarsest rollups to
/// the finest, which reads about a thousandth of the records.
fn find_edge(
    reader: &Reader,
    filters: &[Filter],
    (mut start, mut end): (i64, i64),
    edge: Edge,
) -> Result<Option<i64>, StoreError> {
    for step in SEARCH_STEPS {
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
        let query = Query { filters: filters.to_vec(), ..Query::default() };
        let sums = reader.series(&query, &edges)?;
        let mut parts = sums.iter().enumerate().filter(|(_, sum)| **sum != Counters::default());
        let part = if edge == Edge::First { parts.next() } else { parts.next_back() };
        let Some((index, _)) = part else { return Ok(None) };
        (start, end) = (edges[index], edges[index + 1]);
    }
    let windows = Query {
        range: Range { since: Some(start), until: Some(end - 1) },
        group_by: vec![Dimension::Time],
        filters: filters.to_vec(),
        sort: Sort::Dimension(Dimension::Time),
        ..Query::default()
    };
    let rows = reader.query(&windows)?;
    let row = if edge == Edge::First { rows.first() } else { rows.last() };
    Ok(row.and_then(|row| match row.values.first() {
        Some(Value::Integer(time)) => Some(*time),
        _ => None,
    }))
}
