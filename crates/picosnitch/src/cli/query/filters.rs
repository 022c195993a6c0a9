//! The filters of a query, from its options: values as people type them.

use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, bail, ensure};
use calendar::TimeZone;
use model::{Scope, text::sanitize};
use store::{Dimension, Filter, Find, Value};
use system_names::{Services, Users};
use tui::view::values_named;

use super::{Options, list};

/// The filters of the options.
///
/// # Errors
/// A sentence that names the option and what is allowed.
pub(super) fn filters(options: &Options, zone: &TimeZone) -> anyhow::Result<Vec<Filter>> {
    let mut filters = Vec::new();
    for (texts, exclude, name) in [(&options.wanted, false, "where"), (&options.exclude, true, "exclude")] {
        for text in texts {
            let typed = filter(text.as_bytes(), exclude, zone);
            filters
                .extend(typed.with_context(|| format!("--{name} {}", sanitize::terminal(text.as_bytes())))?);
        }
    }
    if scope(options).is_some() {
        // Two filters on one dimension would be alternatives.
        ensure!(
            filters.iter().all(|filter| filter.dimension() != Dimension::Scope),
            "--internet and --local do not go with --where and --exclude of the scope"
        );
    }
    filters.extend(scope(options).map(|scope| Filter::equal(Dimension::Scope, scope_value(scope), false)));
    Ok(filters)
}

/// The scope that the options ask for.
pub(super) fn scope(options: &Options) -> Option<Scope> {
    match (options.internet, options.local) {
        (true, _) => Some(Scope::Internet),
        (_, true) => Some(Scope::Local),
        _ => None,
    }
}

fn scope_value(scope: Scope) -> Value {
    Value::Bytes(scope.name().into())
}

/// Refuses filters on dimensions that `what` does not have.
pub(super) fn ensure_dimensions(filters: &[Filter], known: &[Dimension], what: &str) -> anyhow::Result<()> {
    for dimension in filters.iter().map(Filter::dimension) {
        ensure!(
            known.contains(&dimension),
            "{what} have no {dimension}: they can be filtered by {}",
            list(known)
        );
    }
    Ok(())
}

/// Reads `DIMENSION=VALUE`. The value stays bytes, because paths are bytes.
fn filter(text: &[u8], exclude: bool, zone: &TimeZone) -> anyhow::Result<Vec<Filter>> {
    let Some(equal) = text.iter().position(|byte| *byte == b'=') else {
        bail!("write DIMENSION=VALUE");
    };
    let dimension: Dimension = String::from_utf8_lossy(&text[..equal]).parse()?;
    let value = &text[equal + 1..];
    match known_number(dimension, &String::from_utf8_lossy(value)) {
        Some(number) => Ok(vec![Filter::equal(dimension, Value::Integer(number), exclude)]),
        None => Ok(Filter::parse(dimension, value, exclude, zone)?),
    }
}

/// The number of a user or a service by its name. The log has the numbers only.
fn known_number(dimension: Dimension, name: &str) -> Option<i64> {
    if name.parse::<i64>().is_ok() {
        return None;
    }
    match dimension {
        Dimension::Uid => Users::load().id(name),
        Dimension::Port | Dimension::LocalPort => Services::load().port(name).map(i64::from),
        _ => None,
    }
}

/// The text to find in the values of a dimension, and in the names of users and services.
pub(super) fn find(dimension: Dimension, text: &[u8]) -> Find {
    let others = values_named(dimension, &String::from_utf8_lossy(text), &Users::load(), &Services::load());
    Find::new(dimension, text, others)
}
