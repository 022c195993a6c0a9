//! `picosnitch query --seen`: when each program was first and last seen, the newest program last.

use calendar::rfc3339;
use serde_json::{Value as Json, json};

use super::{
    Options, Output, csv,
    filters::ensure_dimensions,
    hints, json_text,
    labels::{Labels, seen_text},
    time_range::{self, Now},
};
use crate::cli::table::{self, Column, Kind};
use model::{
    Sha256,
    text::{lossless, sanitize},
};
use store::{Dimension, Filter, ProgramSeen, Reader, Value};

/// The dimensions that programs can be filtered by.
pub(super) const DIMENSIONS: &[Dimension] = &[Dimension::Executable, Dimension::Uid, Dimension::Sha256];
/// Digits of a digest in a table, as in exe.log.
const SHORT_DIGEST: usize = 16;

/// Returns the programs that were first seen in the range as text.
///
/// # Errors
/// A filter that does not apply; an error of the log.
pub(super) fn output(
    open: &impl Fn() -> anyhow::Result<Reader>,
    options: &Options,
    (calendar_range, filters): (calendar::Range, &[Filter]),
    now: &Now,
) -> anyhow::Result<Output> {
    ensure_dimensions(filters, DIMENSIONS, "programs of --seen")?;
    let reader = open()?;
    let mut programs = reader.programs_seen()?;
    let is_log_without = programs.is_empty();
    let range = time_range::for_log(calendar_range);
    programs.retain(|program| {
        range.since.is_none_or(|since| program.first >= since)
            && range.until.is_none_or(|until| program.first <= until)
            && Filter::pass(filters, |dimension| value(program, dimension))
    });
    programs.sort_by(|a, b| (a.first, a.last, &a.path).cmp(&(b.first, b.last, &b.path)));
    let limit = options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    programs.drain(..programs.len().saturating_sub(limit));
    let mut notes = Vec::new();
    if programs.is_empty() {
        let what = match filters.is_empty() {
            true => "no program was first seen",
            false => "no program that passes all of these conditions was first seen",
        };
        notes.push(hints::nothing(&reader, (calendar_range, now), is_log_without, what)?);
    }
    let text = match (options.json, options.csv) {
        (true, _) => json_text(&programs.iter().map(|program| as_json(program, now)).collect())?,
        (_, true) => {
            let heading = "exe,sha256,uid,first,first_iso,last,last_iso";
            csv(heading, programs.iter().map(|program| as_csv(program, now)))
        }
        _ => as_table(&programs, table::output_width(options.full), now),
    };
    Ok(Output { text, notes })
}

fn value(program: &ProgramSeen, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(program.path.clone()),
        Dimension::Uid => Value::Integer(program.uid.into()),
        Dimension::Sha256 => program.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}

fn as_json(program: &ProgramSeen, now: &Now) -> Json {
    json!({
        "exe": lossless::to_text(&program.path),
        "sha256": program.sha256.map(Sha256::to_hex),
        "uid": program.uid,
        "first": program.first,
        "first_iso": rfc3339(program.first, &now.zone),
        "last": program.last,
        "last_iso": rfc3339(program.last, &now.zone),
    })
}

fn as_csv(program: &ProgramSeen, now: &Now) -> Vec<String> {
    vec![
        sanitize::csv_field(&program.path),
        program.sha256.map(Sha256::to_hex).unwrap_or_default(),
        program.uid.to_string(),
        program.first.to_string(),
        rfc3339(program.first, &now.zone),
        program.last.to_string(),
        rfc3339(program.last, &now.zone),
    ]
}

fn as_table(programs: &[ProgramSeen], width: Option<usize>, now: &Now) -> String {
    let labels = Labels::new(std::iter::empty(), &[], &now.zone);
    let times = programs.iter().flat_map(|program| [program.first, program.last]);
    let time = seen_text(times, width, now);
    let columns = [
        Column::new("first seen", Kind::Word),
        Column::new("last seen", Kind::Word),
        Column::new("user", Kind::Word),
        Column::new("sha256", Kind::Digest),
        Column::new("exe", Kind::Path),
    ];
    let row = |program: &ProgramSeen| {
        let digest = program.sha256.map(Sha256::to_hex).unwrap_or_default();
        vec![
            time(program.first),
            time(program.last),
            labels.user(program.uid.into()),
            digest.chars().take(SHORT_DIGEST).collect(),
            sanitize::terminal(&program.path),
        ]
    };
    let rows: Vec<_> = programs.iter().map(row).collect();
    table::render(&columns, &rows, None, width)
}
