//! As whom the recorder runs: never as root, since it reads strangers' files and talks to other machines.

use std::{io, os::unix::fs::MetadataExt};

use nix::unistd::{Gid, Uid, User};

use config::layout::Layout;

/// The user that packages and `make run` create.
const NAME: &str = "picosnitch";
/// `nobody` and its group on every distribution that reserves one (`overflowuid` of the kernel).
const NOBODY: u32 = 65_534;

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    /// The user.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
}

impl ServiceUser {
    /// The owner of the directory of the log if that is not root (somebody keeps everything in their home), else the
    /// user picosnitch, else nobody.
    ///
    /// # Errors
    /// When the users or the directory cannot be read.
    pub fn of(layout: &Layout) -> io::Result<Self> {
        let directory = layout.database.parent().ok_or(io::ErrorKind::NotFound)?;
        let owner = Uid::from_raw(directory.metadata()?.uid());
        let user = match owner.is_root() {
            true => User::from_name(NAME)?.filter(|user| !user.uid.is_root()),
            false => User::from_uid(owner)?,
        };
        Ok(match user {
            Some(user) => Self { uid: user.uid, gid: user.gid },
            None if owner.is_root() => Self { uid: Uid::from_raw(NOBODY), gid: Gid::from_raw(NOBODY) },
            None => Self { uid: owner, gid: Gid::from_raw(NOBODY) },
        })
    }

    /// What the user should know about the choice.
    pub fn advice(&self) -> Option<&'static str> {
        (self.uid.as_raw() == NOBODY).then_some(
            "There is no user picosnitch: the recorder runs as nobody, whose other processes could change the log. Make \
             one with: useradd --system --no-create-home --shell /usr/sbin/nologin picosnitch",
        )
    }
}
