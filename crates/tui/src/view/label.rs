//! Values of the log as text for the screen.

use jiff::tz::TimeZone;

use calendar::{Offsets, day_text, month_text};
use question::values_named;
use system_names::{Services, Users};

use super::tab::Tab;
use crate::term::text;
use store::{Dimension, Find, Value, values};

/// The data that labels depend on: the names of users and services, and the locale of the terminal.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    users: Users,
    services: Services,
    /// Whether labels are ASCII only.
    ascii: bool,
}

impl Labels {
    /// Reads the users of `/etc/passwd` and the services of `/etc/services`.
    pub fn load(ascii: bool) -> Self {
        Self { users: Users::load(), services: Services::load(), ascii }
    }

    /// The same for copies of the logs of other machines, whose users have other names.
    pub fn of_server(ascii: bool) -> Self {
        Self { users: Users::default(), services: Services::load(), ascii }
    }

    /// The same with the text of a `passwd` file.
    #[cfg(test)]
    pub fn with_passwd(passwd: &str, ascii: bool) -> Self {
        Self { users: Users::from_passwd(passwd), services: Services::from_services(""), ascii }
    }

    /// Any other text, such as what the user typed, as safe text.
    pub fn safe(&self, text: &str) -> String {
        text::safe(text.as_bytes(), self.ascii)
    }

    /// A finished sentence as safe text.
    pub fn sentence(&self, text: &str) -> String {
        text::sentence(text, self.ascii)
    }

    /// The search for a text in the labels of a dimension: as the log finds it, and in what only labels say.
    pub fn find(&self, dimension: Dimension, text: &str) -> Find {
        let mut others = values_named(dimension, text, &self.users, &self.services);
        let lower = text.to_lowercase();
        let unnamed = [Value::None, Value::Bytes(Vec::new()), Value::Integer(-1), Value::Integer(0)];
        others.extend(unnamed.into_iter().filter(|value| {
            own_words(dimension, value).is_some_and(|words| words.to_lowercase().contains(&lower))
        }));
        Find::new(dimension, text.as_bytes(), others)
    }

    /// When a value was seen, as text for a column.
    pub fn seen(seconds: i64, zone: &TimeZone) -> String {
        Offsets::new([seconds], zone).minute_text(seconds)
    }

    /// A value of a dimension as safe text.
    pub fn text(&self, dimension: Dimension, value: &Value, zone: &TimeZone) -> String {
        if let Some(words) = own_words(dimension, value) {
            return words.to_owned();
        }
        match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => calendar::point_text(*seconds, zone),
            (Dimension::Hour, Value::Integer(seconds)) => {
                Offsets::new([*seconds], zone).minute_text(*seconds)
            }
            (Dimension::Day | Dimension::Week, Value::Integer(seconds)) => day_text(*seconds, zone),
            (Dimension::Month, Value::Integer(seconds)) => month_text(*seconds, zone),
            (Dimension::Year, Value::Integer(seconds)) => {
                month_text(*seconds, zone).split('-').next().unwrap_or_default().to_owned()
            }
            (Dimension::HourOfDay, Value::Integer(hour)) => format!("{hour:02}"),
            (Dimension::Uid, Value::Integer(uid)) => match self.users.name(*uid) {
                Some(name) => format!("{} ({uid})", text::safe(name.as_bytes(), self.ascii)),
                None => uid.to_string(),
            },
            _ => text::safe(&values::bytes(dimension, value), self.ascii),
        }
    }
}

/// The label of a value for which the log has no text.
fn own_words(dimension: Dimension, value: &Value) -> Option<&'static str> {
    match (dimension, value) {
        (Dimension::Port | Dimension::LocalPort, Value::Integer(-1)) => Some("(no connection)"),
        (Dimension::Port | Dimension::LocalPort, Value::Integer(0)) => Some("(no port)"),
        (_, Value::None) => Some(Tab::of(dimension).empty_value()),
        (_, Value::Bytes(bytes)) if bytes.is_empty() => Some(Tab::of(dimension).empty_value()),
        _ => None,
    }
}
