//! Values of the log as text for the screen.

use jiff::tz::TimeZone;

use system_names::Users;

use super::tab::Tab;
use crate::term::text;
use store::{Dimension, Value, values};

/// The data that labels depend on: the names of users, and the locale of the terminal.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    users: Users,
    /// Whether labels are ASCII only.
    ascii: bool,
}

impl Labels {
    /// Reads the users of `/etc/passwd`.
    pub fn load(ascii: bool) -> Self {
        Self { users: Users::load(), ascii }
    }

    /// The same with the text of a `passwd` file.
    #[cfg(test)]
    pub fn with_passwd(passwd: &str, ascii: bool) -> Self {
        Self { users: Users::from_passwd(passwd), ascii }
    }

    /// Any other text, such as what the user typed, as safe text.
    pub fn safe(&self, text: &str) -> String {
        text::safe(text.as_bytes(), self.ascii)
    }

    /// A value of a dimension as safe text.
    pub fn text(&self, dimension: Dimension, value: &Value, zone: &TimeZone) -> String {
        match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => calendar::point_text(*seconds, zone),
            (Dimension::Uid, Value::Integer(uid)) => match self.users.name(*uid) {
                Some(name) => format!("{} ({uid})", text::safe(name.as_bytes(), self.ascii)),
                None => uid.to_string(),
            },
            (Dimension::Port | Dimension::LocalPort, Value::Integer(-1)) => "(no connection)".to_owned(),
            (Dimension::Port | Dimension::LocalPort, Value::Integer(0)) => "(no port)".to_owned(),
            _ => {
                let bytes = values::bytes(dimension, value);
                match bytes.is_empty() {
                    true => Tab::of(dimension).empty_value().to_owned(),
                    false => text::safe(&bytes, self.ascii),
                }
            }
        }
    }
}
