//! `picosnitch query --seen`: when each program was first and last seen, the newest program last.

use question::{Now, PROGRAM_DIMENSIONS, check_dimensions, csv, for_log, json};
use serde_json::Value as Json;

use super::{
    Options, Output, hints, json_text,
    labels::{Labels, seen_text},
    wrong_option,
};
use crate::cli::table::{self, Column, Kind};
use model::{Sha256, text::sanitize};
use server_query::SourceReader;
use store::{Dimension, Filter, ProgramSeen, Source};

/// Digits of a digest in a table, as in exe.log.
const SHORT_DIGEST: usize = 16;

/// Returns the programs that were first seen in the range as text.
///
/// # Errors
/// A filter that does not apply; an error of the log.
pub(super) fn output(
    open: impl FnOnce() -> anyhow::Result<SourceReader>,
    options: &Options,
    (calendar_range, filters): (calendar::Range, &[Filter]),
    now: &Now,
) -> anyhow::Result<Output> {
    // Hosts are told of servers only, which the filters know.
    let (of_hosts, filters): (Vec<Filter>, Vec<Filter>) =
        filters.iter().cloned().partition(|filter| filter.dimension() == Dimension::Host);
    let filters = &filters[..];
    check_dimensions(filters, PROGRAM_DIMENSIONS, "programs of --seen").map_err(wrong_option)?;
    let reader = open()?;
    let all = reader.programs_seen(&of_hosts)?;
    let is_log_without = all.is_empty();
    let mut programs = question::programs_seen(all, for_log(calendar_range), filters);
    let limit = options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    programs.drain(..programs.len().saturating_sub(limit));
    let mut notes = Vec::new();
    if programs.is_empty() {
        let what = match filters.is_empty() && of_hosts.is_empty() {
            true => "no program was first seen",
            false => "no program that passes all of these conditions was first seen",
        };
        notes.push(hints::nothing(&reader, (calendar_range, now), is_log_without, what)?);
    }
    let text = match (options.json, options.csv) {
        (true, _) => {
            let row = |program| Json::Object(json::program_seen(program, &now.zone));
            json_text(&programs.iter().map(row).collect())?
        }
        (_, true) => {
            let row = |program| csv::program_seen(program, &now.zone);
            csv::document(csv::PROGRAM_HEADING, programs.iter().map(row))
        }
        _ => as_table(&programs, reader.has_hosts(), table::output_width(options.full), now),
    };
    Ok(Output { text, notes })
}

fn as_table(programs: &[ProgramSeen], has_hosts: bool, width: Option<usize>, now: &Now) -> String {
    let labels = Labels::new(std::iter::empty(), &[], &now.zone).of_hosts(has_hosts);
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
