//! How a value of the log reads on the screen.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::{
    range,
    tabs::{self, TABS},
};
use crate::term::text;
use store::{Dimension, Value, values};

/// Bytes of `/etc/passwd` that are read.
const MAX_PASSWD: u64 = 1 << 20;

/// Names of users, and whether the terminal takes more than ASCII.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    users: HashMap<i64, String>,
    /// Only ASCII.
    pub ascii: bool,
}

impl Labels {
    /// With the users of `/etc/passwd`: to ask the C library would load code, and could ask the network.
    pub fn load(ascii: bool) -> Self {
        use std::io::Read;
        let mut passwd = Vec::new();
        if let Ok(file) = std::fs::File::open("/etc/passwd") {
            let _ = file.take(MAX_PASSWD).read_to_end(&mut passwd);
        }
        Self { users: users(&String::from_utf8_lossy(&passwd)), ascii }
    }

    /// The same with these users.
    #[cfg(test)]
    pub fn with_passwd(passwd: &str, ascii: bool) -> Self {
        Self { users: users(passwd), ascii }
    }

    /// What the user typed, or a sentence with paths in it: safe for the terminal.
    pub fn typed(&self, typed: &str) -> String {
        text::safe(typed.as_bytes(), self.ascii)
    }

    /// Text that is safe for the terminal.
    pub fn text(&self, dimension: Dimension, value: &Value, zone: &TimeZone) -> String {
        match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => range::point(*seconds, zone),
            (Dimension::Uid, Value::Integer(uid)) => match self.users.get(uid) {
                Some(name) => format!("{} ({uid})", text::safe(name.as_bytes(), self.ascii)),
                None => uid.to_string(),
            },
            (Dimension::Port | Dimension::LocalPort, Value::Integer(-1)) => "(no connection)".to_owned(),
            (Dimension::Port | Dimension::LocalPort, Value::Integer(0)) => "(no port)".to_owned(),
            _ => {
                let bytes = values::bytes(dimension, value);
                match bytes.is_empty() {
                    true => TABS[tabs::index(dimension)].unknown.to_owned(),
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
    // Of several names for one number the first counts, as everywhere.
    passwd.lines().rev().filter_map(user).collect()
}
