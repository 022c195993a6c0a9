//! `picosnitch query --seen`: when each program was first and last seen, the newest program last.

use serde_json::{Value as Json, json};

use super::{Options, csv, ensure_dimensions, json, user, widest_cell};
use crate::cli::table::{self, Column};
use model::{
    Sha256,
    text::{lossless, sanitize, time},
};
use store::{Dimension, Filter, ProgramSeen, Range, Reader, Value};
use tui::view::users::Users;

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
    range: Range,
    filters: &[Filter],
) -> anyhow::Result<String> {
    ensure_dimensions(filters, DIMENSIONS, "programs of --seen")?;
    let mut programs = open()?.programs_seen()?;
    programs.retain(|program| {
        range.since.is_none_or(|since| program.first >= since)
            && range.until.is_none_or(|until| program.first <= until)
            && Filter::pass(filters, |dimension| value(program, dimension))
    });
    programs.sort_by(|a, b| (a.first, a.last, &a.path).cmp(&(b.first, b.last, &b.path)));
    let limit = options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    programs.drain(..programs.len().saturating_sub(limit));
    match (options.json, options.csv) {
        (true, _) => json(&programs.iter().map(as_json).collect::<Vec<_>>()),
        (_, true) => Ok(csv("exe,sha256,uid,first,last", programs.iter().map(as_csv))),
        _ => Ok(as_table(&programs)),
    }
}

fn value(program: &ProgramSeen, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(program.path.clone()),
        Dimension::Uid => Value::Integer(program.uid.into()),
        Dimension::Sha256 => program.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}

fn as_json(program: &ProgramSeen) -> Json {
    json!({
        "exe": lossless::to_text(&program.path),
        "sha256": program.sha256.map(Sha256::to_hex),
        "uid": program.uid,
        "first": program.first,
        "last": program.last,
    })
}

fn as_csv(program: &ProgramSeen) -> Vec<String> {
    vec![
        sanitize::csv_field(&program.path),
        program.sha256.map(Sha256::to_hex).unwrap_or_default(),
        program.uid.to_string(),
        program.first.to_string(),
        program.last.to_string(),
    ]
}

fn as_table(programs: &[ProgramSeen]) -> String {
    let users = Users::load();
    let columns = ["first seen", "last seen", "user", "sha256", "exe"]
        .map(|name| Column { name: name.to_owned(), right: false });
    let row = |program: &ProgramSeen| {
        let digest = program.sha256.map(Sha256::to_hex).unwrap_or_default();
        vec![
            time::local(program.first),
            time::local(program.last),
            user(&users, program.uid),
            digest.chars().take(SHORT_DIGEST).collect(),
            sanitize::terminal(&program.path),
        ]
    };
    let rows: Vec<_> = programs.iter().map(row).collect();
    table::render(&columns, &rows, widest_cell())
}
