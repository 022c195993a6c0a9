//! Values that the user knows by another name than the log: users and services.

use store::{Dimension, Value};
use system_names::{Services, Users};

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
