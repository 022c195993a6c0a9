//! The range of time of a question.

use store::{Range, Source};

use crate::{
    asked::Asked,
    error::{Parameter, Problem, QuestionError},
    now::Now,
};

/// The range of a question without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultRange {
    /// A day up to now, or to `until`; if values are asked for that are new or changed since a time, from that time on.
    #[default]
    Day,
    /// All of the log.
    All,
}

/// Reads a point or a part of time.
pub(crate) fn part(
    parameter: Parameter,
    text: Option<&str>,
    now: &Now,
) -> Result<Option<calendar::Part>, QuestionError> {
    let parse = |text| calendar::parse_part(text, now.seconds, &now.zone);
    text.map(parse).transpose().map_err(|error| QuestionError::words(parameter, error))
}

/// Reads the range of a question. Without one it begins at `begin`, or else is the default.
pub(crate) fn range(asked: &Asked, begin: Option<i64>, now: &Now) -> Result<calendar::Range, QuestionError> {
    let since = part(Parameter::Since, asked.since.as_deref(), now)?;
    let until = part(Parameter::Until, asked.until.as_deref(), now)?;
    let (start, end) = (since.map(|part| part.start), until.map(|part| part.end));
    if let (Some(start), Some(end)) = (start, end)
        && start >= end
    {
        let problem = Problem::Reversed(now.text(start), now.text(end.saturating_sub(1)));
        return Err(QuestionError::new(Parameter::Since, problem));
    }
    if since.is_some() {
        return Ok(calendar::Range { start, end, step: None });
    }
    let text = match (asked.range.as_deref(), begin, asked.default_range) {
        (None, Some(start), _) => return Ok(calendar::Range { start: Some(start), end, step: None }),
        (None, None, DefaultRange::Day) => "1d",
        (None, None, DefaultRange::All) => "all",
        (Some(text), ..) => text,
    };
    // A length is that of the time before `until`.
    let until = end.map_or(now.seconds, |end| end.saturating_sub(1));
    let range = calendar::parse_range(text, until, &now.zone)
        .map_err(|error| QuestionError::words(Parameter::Range, error))?;
    match (end, range.end) {
        (Some(_), Some(_)) => Err(QuestionError::new(Parameter::Range, Problem::TwoEnds(text.to_owned()))),
        (Some(end), None) => Ok(calendar::Range { end: Some(end), ..range }),
        (None, _) => Ok(range),
    }
}

/// The range that the range of a question is compared with: `previous`, or any range.
pub(crate) fn other_range(
    text: &str,
    range: calendar::Range,
    now: &Now,
) -> Result<calendar::Range, QuestionError> {
    if text != "previous" {
        return calendar::parse_range(text, now.seconds, &now.zone)
            .map_err(|error| QuestionError::words(Parameter::Compare, error));
    }
    let nothing = || QuestionError::new(Parameter::Compare, Problem::NothingBefore);
    range.previous(now.seconds, &now.zone).ok_or_else(nothing)
}

/// The range as the log takes it.
pub fn for_log(range: calendar::Range) -> Range {
    Range { since: range.start, until: range.end.map(|end| end.saturating_sub(1)) }
}

/// Up to when the log has sums of quarters of an hour only, if the range touches that time.
///
/// # Errors
/// The errors of the log.
pub fn quarters_before<S: Source>(source: &S, range: calendar::Range) -> Result<Option<i64>, S::Error> {
    Ok(source.detail_since()?.filter(|since| range.start.is_none_or(|from| from < *since)))
}
