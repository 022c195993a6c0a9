//! What an answer does not say by itself: what was lost, why there are no rows, what was left out.

use calendar::TimeZone;
use model::{Losses, Scope, text::units};
use question::{Now, for_log, quarters_before};
use store::{Dimension, Filter, Query, Row, SeenFilter, Sort, Source, Value};

use super::{
    labels::Labels,
    records::{Setting, value_text},
};

/// Nothing at all.
const EMPTY_LOG: &str = "no rows: the log is empty, nothing has been recorded yet";
/// Values that are named because they resemble what was asked for.
const MAX_NEAREST: usize = 3;
/// How much a value must resemble it, from 0 to 1 (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.8;
/// Values that are looked at for that.
const MAX_COMPARED: u64 = 100_000;

/// Sentences about an answer.
///
/// # Errors
/// The errors of the log.
pub(super) fn notes(
    reader: &impl Source,
    setting: &Setting<'_>,
    query: &Query,
    is_empty: bool,
) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    notes.extend(losses(reader, (setting.range, query), "in this range")?);
    notes.extend(without_scope(reader, setting, query)?);
    if is_empty {
        let why = future(setting.range, setting.now);
        notes.push(why.map_or_else(|| why_empty(reader, setting, query), Ok)?);
    } else {
        notes.extend(sub_domains(reader, query)?);
    }
    Ok(notes)
}

/// Sentences about the range that an answer is compared with; where its records begin is only told beside rows.
///
/// # Errors
/// The errors of the log.
pub(super) fn of_comparison(
    reader: &impl Source,
    (query, now): (&Query, &Now),
    before: calendar::Range,
    is_empty: bool,
) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    notes.extend(losses(reader, (before, query), "in the range that this one is compared with")?);
    let Some((first, _)) = reader.extent()?.filter(|_| !is_empty) else { return Ok(notes) };
    let begins = format!("the log begins at {}", now.text(first));
    if before.end.is_some_and(|end| end <= first) {
        notes.push(format!("{begins}: there is nothing to compare with"));
    } else if before.start.is_some_and(|start| start < first) {
        notes.push(format!("{begins}: it has only a part of the range that this one is compared with"));
    }
    Ok(notes)
}

/// Why there are no events, or no programs of --seen; `what` is the sentence about the range.
///
/// # Errors
/// The errors of the log.
pub(super) fn nothing(
    reader: &impl Source,
    (range, now): (calendar::Range, &Now),
    is_log_without: bool,
    what: &str,
) -> anyhow::Result<String> {
    Ok(match future(range, now) {
        Some(note) => note,
        None if is_log_without && reader.extent()?.is_none() => EMPTY_LOG.to_owned(),
        None => format!("no rows: {what} in this range"),
    })
}

/// What the log lacks in a range.
fn losses(
    reader: &impl Source,
    (range, query): (calendar::Range, &Query),
    place: &str,
) -> anyhow::Result<Option<String>> {
    let losses = Losses::new(&reader.losses(for_log(range), &query.filters)?);
    let note = || format!("the log is incomplete {place}: {}", losses.summary());
    Ok(losses.is_anything_missing().then(note))
}

/// Says that nothing can be known of the range yet.
fn future(range: calendar::Range, now: &Now) -> Option<String> {
    let start = range.start.filter(|start| *start > now.seconds)?;
    Some(format!("the range begins in the future ({}): nothing is recorded for it yet", now.text(start)))
}

/// Says how much --internet and --local leave out because its addresses are not known.
fn without_scope(
    reader: &impl Source,
    setting: &Setting<'_>,
    query: &Query,
) -> anyhow::Result<Option<String>> {
    let Some(scope) = setting.options.scope() else { return Ok(None) };
    if query.seen.is_some_and(|seen| seen != SeenFilter::default()) {
        return Ok(None);
    }
    let others = query.filters.iter().filter(|filter| filter.dimension() != Dimension::Scope).cloned();
    let unknown = [Value::None, Value::Bytes(Scope::Unknown.name().into())];
    let unknown = unknown.map(|value| Filter::equal(Dimension::Scope, value, false));
    let rows = reader.query(&Query {
        group_by: Vec::new(),
        filters: others.chain(unknown).collect(),
        seen: None,
        sort: Sort::Total,
        offset: None,
        limit: None,
        ..query.clone()
    })?;
    let bytes = rows.first().map_or(0, |row| row.counters.sent.saturating_add(row.counters.received));
    let option = scope.name();
    Ok((bytes > 0).then(|| {
        let bytes = units::byte_cell(bytes);
        format!("--{option} leaves out {bytes} with several addresses or none: --group-by scope shows them")
    }))
}

/// A sentence about the time for which the log has sums only, if the range touches it.
///
/// # Errors
/// The errors of the log.
pub(super) fn grain(
    reader: &impl Source,
    range: calendar::Range,
    now: &Now,
) -> anyhow::Result<Option<String>> {
    Ok(quarters_before(reader, range)?.map(|since| {
        format!(
            "before {} the log has sums of quarters of an hour only: times are rounded to them",
            now.text(since)
        )
    }))
}

/// Why there are no rows.
fn why_empty(reader: &impl Source, setting: &Setting<'_>, query: &Query) -> anyhow::Result<String> {
    let Some((first, last)) = reader.extent()? else {
        return Ok(EMPTY_LOG.to_owned());
    };
    let range = query.range;
    if range.since.is_some_and(|since| since > last) || range.until.is_some_and(|until| until < first) {
        return Ok(format!(
            "no rows: nothing was recorded in this range; the log has records from {} to {}",
            setting.now.text(first),
            setting.now.text(last)
        ));
    }
    let mut asked = Vec::new();
    let mut seen = Vec::new();
    // Without it each of these values would be looked for in all records.
    let wanted = query.filters.iter().filter(|filter| !filter.is_exclude() && !reader.has_hosts());
    for filter in wanted {
        let dimension = filter.dimension();
        // The windows by their times are all records.
        if dimension == Dimension::Time || asked.contains(&dimension) {
            continue;
        }
        asked.push(dimension);
        let filters: Vec<Filter> = query
            .filters
            .iter()
            .filter(|other| !other.is_exclude() && other.dimension() == dimension)
            .cloned()
            .collect();
        let rows = all_of(reader, dimension, filters, query)?;
        if rows.is_empty() {
            return unknown(reader, setting, query, filter);
        }
        let last = rows.iter().filter_map(|row| Some(row.seen?.last)).max();
        seen.extend(
            last.filter(|last| range.since.is_some_and(|since| *last < since)).map(|last| (dimension, last)),
        );
    }
    if let Some((dimension, last)) = seen.first() {
        return Ok(format!(
            "no rows: that {dimension} was last seen at {}; choose an earlier range, or --range all",
            setting.now.text(*last)
        ));
    }
    let wanted = query.seen.unwrap_or_default();
    if wanted.changed_since.is_some() {
        return Ok("no rows: no program with traffic in this range has another digest since then".to_owned());
    }
    if wanted.new_since.is_some() {
        return Ok("no rows: nothing with traffic in this range is new since then".to_owned());
    }
    let what = match (query.find.is_some(), query.filters.is_empty()) {
        (true, _) => "no value has this text",
        (false, true) => "nothing was recorded",
        (false, false) => "no record passes all of these conditions",
    };
    Ok(format!("no rows: {what} in this range"))
}

/// The values of a dimension that pass these filters in the whole log.
fn all_of(
    reader: &impl Source,
    dimension: Dimension,
    filters: Vec<Filter>,
    query: &Query,
) -> anyhow::Result<Vec<Row>> {
    Ok(reader.query(&Query {
        group_by: vec![dimension],
        filters,
        zone: query.zone.clone(),
        seen: Some(SeenFilter::default()),
        sort: Sort::LastSeen,
        ..Query::default()
    })?)
}

/// Says that the log does not know a value, and which it has that resemble it.
fn unknown(
    reader: &impl Source,
    setting: &Setting<'_>,
    query: &Query,
    filter: &Filter,
) -> anyhow::Result<String> {
    let dimension = filter.dimension();
    let (sentence, text) = match filter.single_value() {
        Some(value) => {
            let values = [value.clone()];
            let labels = Labels::new([&values[..]].into_iter(), &[dimension], &setting.now.zone);
            let text = labels.cell(dimension, value);
            (format!("no rows: no record in the whole log has {dimension}={text}"), text)
        }
        None => (
            format!("no rows: no {dimension} in the whole log is like that"),
            setting.options.typed(dimension),
        ),
    };
    let mut hint = String::new();
    let text = match dimension {
        Dimension::Domain => {
            let name = text.trim_start_matches("*.").trim_start_matches('.');
            if name == text && sub_domain_count(reader, query.zone.as_ref(), name, &Query::default())? > 0 {
                hint = format!("; domain=.{name} finds its sub-domains");
            }
            name.to_owned()
        }
        _ => text,
    };
    let nearest = nearest(reader, dimension, &text)?;
    if hint.is_empty() && !nearest.is_empty() {
        hint = format!("; the nearest are: {}", nearest.join(", "));
    }
    Ok(sentence + &hint)
}

/// The values of a dimension that resemble a text most.
fn nearest(reader: &impl Source, dimension: Dimension, text: &str) -> anyhow::Result<Vec<String>> {
    let has_names = matches!(
        dimension,
        Dimension::Executable
            | Dimension::Name
            | Dimension::ParentExecutable
            | Dimension::ParentName
            | Dimension::GrandparentExecutable
            | Dimension::GrandparentName
            | Dimension::Domain
            | Dimension::Unit
            | Dimension::Container
            | Dimension::App
            | Dimension::Country
            | Dimension::Network
    );
    let is_path = matches!(
        dimension,
        Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable
    );
    if !has_names {
        return Ok(Vec::new());
    }
    let query = Query { group_by: vec![dimension], limit: Some(MAX_COMPARED), ..Query::default() };
    let wanted = text.to_lowercase();
    let mut found: Vec<(f64, String)> = Vec::new();
    for row in reader.query(&query)? {
        let Some(value) = row.values.first() else { continue };
        let text = value_text(dimension, value);
        let lower = text.to_lowercase();
        // The name of a file, or what stands behind a kind (`docker web-1`).
        let separator = if is_path { '/' } else { ' ' };
        let name = |text: &str| text.rsplit(separator).next().unwrap_or_default().to_owned();
        let similarity =
            strsim::jaro_winkler(&lower, &wanted).max(strsim::jaro_winkler(&name(&lower), &name(&wanted)));
        if similarity >= MIN_SIMILARITY && !text.is_empty() {
            found.push((similarity, text));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(found.into_iter().take(MAX_NEAREST).map(|(_, text)| text).collect())
}

/// Says that a filter on a domain leaves out its sub-domains, if there are some in the range.
fn sub_domains(reader: &impl Source, query: &Query) -> anyhow::Result<Option<String>> {
    let domains: Vec<&Filter> = query
        .filters
        .iter()
        .filter(|filter| filter.dimension() == Dimension::Domain && !filter.is_exclude())
        .collect();
    let [filter] = domains[..] else { return Ok(None) };
    let Some(Value::Bytes(domain)) = filter.single_value() else { return Ok(None) };
    let text = model::text::lossless::to_text(domain);
    let count = sub_domain_count(reader, query.zone.as_ref(), &text, query)?;
    Ok((count > 0 && !domain.is_empty()).then(|| {
        let (noun, verb) = if count == 1 { ("sub-domain", "is") } else { ("sub-domains", "are") };
        let shown = value_text(Dimension::Domain, &Value::Bytes(domain.clone()));
        format!("{count} {noun} of {shown} {verb} not included: domain=.{shown} includes them")
    }))
}

/// The sub-domains of a domain in the range of a query that pass its other filters.
fn sub_domain_count(
    reader: &impl Source,
    zone: Option<&TimeZone>,
    domain: &str,
    query: &Query,
) -> anyhow::Result<usize> {
    if domain.is_empty() {
        return Ok(0);
    }
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    let below = Filter::parse(Dimension::Domain, format!("*.{domain}").as_bytes(), false, &zone)?;
    let mut filters: Vec<Filter> =
        query.filters.iter().filter(|other| other.dimension() != Dimension::Domain).cloned().collect();
    filters.extend(below);
    let query = Query {
        group_by: vec![Dimension::Domain],
        filters,
        zone: Some(zone),
        range: query.range,
        ..Query::default()
    };
    Ok(reader.query(&query)?.len())
}
