//! Names of users.

use std::{collections::HashMap, fs::File, io::Read};

/// Bytes of `/etc/passwd` that are read.
const MAX_PASSWD_BYTES: u64 = 1 << 20;

/// The names of users by their ids. Another program may have chosen them: they are sanitised where they are shown.
#[derive(Clone, Debug, Default)]
pub struct Users(HashMap<i64, User>);

#[derive(Clone, Debug)]
struct User {
    name: String,
    /// The group that belongs to the user at log-in.
    gid: Option<u32>,
}

impl Users {
    /// Reads `/etc/passwd`. The C library's lookup would load modules and could query the network.
    pub fn load() -> Self {
        let mut passwd = Vec::new();
        if let Ok(file) = File::open("/etc/passwd") {
            let _ = file.take(MAX_PASSWD_BYTES).read_to_end(&mut passwd);
        }
        Self::from_passwd(&String::from_utf8_lossy(&passwd))
    }

    /// Reads the text of a `passwd` file.
    pub fn from_passwd(passwd: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next().and_then(|gid| gid.parse().ok());
            Some((uid, User { name: name.to_owned(), gid }))
        };
        // The first of several names for one uid counts, as in getpwuid(3); in reverse order it is inserted last.
        Self(passwd.lines().rev().filter_map(user).collect())
    }

    /// Whether there are none, which is so if the file cannot be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of the user with a name; `None` if there is none.
    pub fn id(&self, name: &str) -> Option<i64> {
        self.0.iter().find(|(_, user)| user.name == name).map(|(uid, _)| *uid)
    }

    /// The ids of the users whose names contain a text, whatever the case of its letters.
    pub fn containing(&self, text: &str) -> Vec<i64> {
        let text = text.to_lowercase();
        let mut ids: Vec<i64> = self
            .0
            .iter()
            .filter(|(_, user)| user.name.to_lowercase().contains(&text))
            .map(|(uid, _)| *uid)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The name of a user; `None` if there is none.
    pub fn name(&self, uid: i64) -> Option<&str> {
        self.0.get(&uid).map(|user| &*user.name)
    }

    /// The ids of the users whose own group this is.
    pub(crate) fn of_group(&self, gid: u32) -> impl Iterator<Item = i64> {
        self.0.iter().filter(move |(_, user)| user.gid == Some(gid)).map(|(uid, _)| *uid)
    }
}
