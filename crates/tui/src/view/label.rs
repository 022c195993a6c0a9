//! Values of the log as text for the screen.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::{calendar, tab::Tab};
use crate::term::text;
use store::{Dimension, Value, values};

/// Bytes of `/etc/passwd` that are read.
const MAX_PASSWD_BYTES: u64 = 1 << 20;

/// The data that labels depend on: the names of users, and the locale of the terminal.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    users: HashMap<i64, String>,
    /// Whether labels are ASCII only.
    ascii: bool,
}

impl Labels {
    /// Reads the users of `/etc/passwd`. The C library's lookup would load modules and could query the network.
    pub fn load(ascii: bool) -> Self {
        use std::io::Read;
        let mut passwd = Vec::new();
        if let Ok(file) = std::fs::File::open("/etc/passwd") {
            let _ = file.take(MAX_PASSWD_BYTES).read_to_end(&mut passwd);
        }
        Self { users: users(&String::from_utf8_lossy(&passwd)), ascii }
    }

    /// The same with the text of a `passwd` file.
    #[cfg(test)]
    pub fn with_passwd(passwd: &str, ascii: bool) -> Self {
        Self { users: users(passwd), ascii }
    }

    /// Any other text, such as what the user typed, as safe text.
    pub fn safe(&self, text: &str) -> String {
        text::safe(text.as_bytes(), self.ascii)
    }

    /// A value of a dimension as safe text.
    pub fn text(&self, dimension: Dimension, value: &Value, zone: &TimeZone) -> String {
        match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => calendar::point_text(*seconds, zone),
            (Dimension::Uid, Value::Integer(uid)) => match self.users.get(uid) {
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

fn users(passwd: &str) -> HashMap<i64, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    // The first of several names for one uid counts, as in getpwuid(3); in reverse order it is inserted last.
    passwd.lines().rev().filter_map(user).collect()
}
