//! The range of time of a query, from its options.

use anyhow::{Context, bail, ensure};
use calendar::TimeZone;
use serde_json::{Map, Value as Json};
use store::Range;

use super::Options;

/// The present, and the time zone of the user.
#[derive(Clone, Debug)]
pub(super) struct Now {
    /// Unix seconds.
    pub seconds: i64,
    pub zone: TimeZone,
}

impl Now {
    pub fn read() -> Self {
        Self { seconds: model::text::time::now(), zone: calendar::zone() }
    }

    /// Adds a point of time to an object of JSON, and its text (RFC 3339) beside it.
    pub fn add_json(&self, object: &mut Map<String, Json>, name: &str, seconds: Option<i64>) {
        object.insert(name.to_owned(), seconds.into());
        let text = seconds.map(|seconds| calendar::rfc3339(seconds, &self.zone));
        object.insert(format!("{name}_iso"), text.into());
    }

    /// A point in local time with its offset.
    pub fn text(&self, seconds: i64) -> String {
        calendar::Offsets::new([seconds], &self.zone).text(seconds)
    }
}

/// The range of a query without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// A day up to now, or to --until.
    Day,
    /// All of the log.
    All,
    /// From a time on, unix seconds.
    Since(i64),
}

/// Reads the range of the options; without one it is `default`.
///
/// # Errors
/// A sentence that names the option and what is allowed.
pub(super) fn range(options: &Options, default: Default, now: &Now) -> anyhow::Result<calendar::Range> {
    let point = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            calendar::parse_part(text, now.seconds, &now.zone).with_context(|| format!("--{name}"))
        };
        text.as_ref().map(parse).transpose()
    };
    let (since, until) = (point("since", &options.since)?, point("until", &options.until)?);
    let (start, end) = (since.map(|part| part.start), until.map(|part| part.end));
    if let (Some(start), Some(end)) = (start, end) {
        let (from, to) = (now.text(start), now.text(end.saturating_sub(1)));
        ensure!(start < end, "--since ({from}) is later than --until ({to})");
    }
    if since.is_some() {
        return Ok(calendar::Range { start, end, step: None });
    }
    let text = match (options.range.as_deref(), default) {
        (None, Default::Since(start)) => return Ok(calendar::Range { start: Some(start), end, step: None }),
        (None, Default::Day) => "1d",
        (None, Default::All) => "all",
        (Some(text), _) => text,
    };
    // A length is that of the time before --until.
    let until = end.map_or(now.seconds, |end| end.saturating_sub(1));
    let range = calendar::parse_range(text, until, &now.zone).context("--range")?;
    match (end, range.end) {
        (Some(_), Some(_)) => bail!("--range {text} has an end of its own: leave --until out"),
        (Some(end), None) => Ok(calendar::Range { end: Some(end), ..range }),
        (None, _) => Ok(range),
    }
}

/// The range as the log takes it.
pub(super) fn for_log(range: calendar::Range) -> Range {
    Range { since: range.start, until: range.end.map(|end| end.saturating_sub(1)) }
}

/// The ends of a range for JSON.
pub(super) fn bounds(range: calendar::Range, now: &Now) -> Map<String, Json> {
    let range = for_log(range);
    let mut object = Map::new();
    for (name, end) in [("since", range.since), ("until", range.until)] {
        now.add_json(&mut object, name, end);
    }
    object
}

/// A range in words: both ends in local time.
pub(super) fn describe(range: calendar::Range, now: &Now) -> String {
    match (range.start, range.end) {
        (Some(start), Some(end)) => format!("{} to {}", now.text(start), now.text(end.saturating_sub(1))),
        (Some(start), None) => format!("since {}", now.text(start)),
        (None, Some(end)) => format!("until {}", now.text(end.saturating_sub(1))),
        (None, None) => "all of the log".to_owned(),
    }
}
