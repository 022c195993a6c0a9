//! Programs by when they were first and last seen.

use store::{Dimension, Filter, ProgramSeen, Range, Value};

/// The dimensions that programs can be filtered by.
pub const PROGRAM_DIMENSIONS: &[Dimension] = &[Dimension::Executable, Dimension::Uid, Dimension::Sha256];

/// Those of the programs that were first seen in a range and pass the filters, the newest last.
pub fn programs_seen(mut programs: Vec<ProgramSeen>, range: Range, filters: &[Filter]) -> Vec<ProgramSeen> {
    programs.retain(|program| {
        range.since.is_none_or(|since| program.first >= since)
            && range.until.is_none_or(|until| program.first <= until)
            && Filter::pass(filters, |dimension| value(program, dimension))
    });
    programs.sort_by(|a, b| (a.first, a.last, &a.path).cmp(&(b.first, b.last, &b.path)));
    programs
}

fn value(program: &ProgramSeen, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(program.path.clone()),
        Dimension::Uid => Value::Integer(program.uid.into()),
        Dimension::Sha256 => program.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}
