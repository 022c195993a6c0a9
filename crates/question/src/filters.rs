//! Values as people type them.

use std::cell::OnceCell;

use calendar::TimeZone;
use store::{Dimension, Filter, Find, Value};
use system_names::{Services, Users};

use crate::error::{Parameter, Problem, QuestionError};

/// The names that the system knows, read when the first one is asked for.
#[derive(Default)]
pub(crate) struct Names {
    users: OnceCell<Users>,
    services: OnceCell<Services>,
}

impl Names {
    /// The number of a user or a service by its name. The log has the numbers only.
    fn number(&self, dimension: Dimension, name: &str) -> Option<i64> {
        if name.parse::<i64>().is_ok() {
            return None;
        }
        match dimension {
            Dimension::Uid => self.users.get_or_init(Users::load).id(name),
            Dimension::Port | Dimension::LocalPort => {
                self.services.get_or_init(Services::load).port(name).map(i64::from)
            }
            _ => None,
        }
    }
}

/// Reads `DIMENSION=VALUE`. The value stays bytes, because paths are bytes.
pub(crate) fn filter(
    text: &[u8],
    exclude: bool,
    zone: &TimeZone,
    names: &Names,
) -> Result<Vec<Filter>, String> {
    let Some(equal) = text.iter().position(|byte| *byte == b'=') else {
        return Err("write DIMENSION=VALUE".to_owned());
    };
    let name = String::from_utf8_lossy(&text[..equal]);
    let dimension: Dimension = name.parse().map_err(|error: store::UnknownDimension| error.to_string())?;
    let value = &text[equal + 1..];
    match names.number(dimension, &String::from_utf8_lossy(value)) {
        Some(number) => Ok(vec![Filter::equal(dimension, Value::Integer(number), exclude)]),
        None => Filter::parse(dimension, value, exclude, zone).map_err(|error| error.to_string()),
    }
}

/// The text to find in the values of a dimension, and in the names of users and services.
pub fn find(dimension: Dimension, text: &[u8]) -> Find {
    let named = String::from_utf8_lossy(text);
    let others = match dimension {
        Dimension::Uid => values_named(dimension, &named, &Users::load(), &Services::default()),
        Dimension::Port | Dimension::LocalPort => {
            values_named(dimension, &named, &Users::default(), &Services::load())
        }
        // The log has all of its names.
        _ => Vec::new(),
    };
    Find::new(dimension, text, others)
}

/// The values of a dimension whose names, which the log does not have, contain a text: uids by the names of users, ports by those
/// of services.
pub fn values_named(dimension: Dimension, text: &str, users: &Users, services: &Services) -> Vec<Value> {
    let numbers: Vec<i64> = match dimension {
        Dimension::Uid => users.containing(text),
        Dimension::Port | Dimension::LocalPort => {
            services.containing(text).into_iter().map(i64::from).collect()
        }
        _ => Vec::new(),
    };
    numbers.into_iter().map(Value::Integer).collect()
}

/// Refuses filters on dimensions that `what`, a plural noun, does not have.
///
/// # Errors
/// A sentence with the dimensions that it has.
pub fn check_dimensions(
    filters: &[Filter],
    known: &'static [Dimension],
    what: &'static str,
) -> Result<(), QuestionError> {
    match filters.iter().map(Filter::dimension).find(|dimension| !known.contains(dimension)) {
        None => Ok(()),
        Some(dimension) => {
            Err(QuestionError::new(Parameter::Where, Problem::NotListed(what, dimension, known)))
        }
    }
}

/// Names of dimensions in a sentence.
pub fn list(dimensions: &[Dimension]) -> String {
    dimensions.iter().map(|dimension| dimension.name()).collect::<Vec<_>>().join(", ")
}
