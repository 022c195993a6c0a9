//! The users whose programs may read with the token.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use system_names::{Groups, Users};

/// The group that can read the log of the service.
const GROUP: &str = "picosnitch";
/// The right of the group to read a file.
const GROUP_READS: u32 = 0o040;
/// The rights of the group and of others to pass through a directory.
const GROUP_PASSES: u32 = 0o010;
const OTHERS_PASS: u32 = 0o001;
/// How long the members are believed to be the same.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Some users, and the members of the group that can read the log.
pub struct PermittedUsers {
    always: Vec<u32>,
    /// `None`: no group.
    database: Option<PathBuf>,
    members: Mutex<Option<(Instant, Vec<u32>)>>,
}

impl PermittedUsers {
    /// These users, and the members of the group of the log at `database`, as it is when somebody asks.
    pub fn new(always: Vec<u32>, database: &Path) -> Self {
        Self { always, database: Some(database.to_owned()), members: Mutex::default() }
    }

    /// These users only: what is shown is not the log of this machine, whose group has nothing to do with it.
    pub fn only(users: Vec<u32>) -> Self {
        Self { always: users, database: None, members: Mutex::default() }
    }

    /// Whether programs of a user may read.
    pub(crate) fn contains(&self, user: u32) -> bool {
        if self.always.contains(&user) {
            return true;
        }
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *members {
            Some((read, members)) if read.elapsed() < KEPT_FOR => members.contains(&user),
            known => {
                let before = known.take().map(|(_, members)| members).unwrap_or_default();
                let (_, members) = known.insert((Instant::now(), self.read_members(before)));
                members.contains(&user)
            }
        }
    }

    /// The members of the group of the log; of the group of the service while there is no log.
    fn read_members(&self, before: Vec<u32>) -> Vec<u32> {
        let Some(database) = &self.database else { return Vec::new() };
        let (groups, users) = (Groups::load(), Users::load());
        // A server that stays root may read the files that it has found, not those that replace them.
        if groups.is_empty() || users.is_empty() {
            return before;
        }
        let group = match fs::metadata(database) {
            Ok(log) if log.permissions().mode() & GROUP_READS == 0 => None,
            Ok(log) => Some(log.gid()).filter(|group| can_be_reached_by(database, *group)),
            Err(_) => groups.id(GROUP),
        };
        group.map(|group| groups.members(group, &users)).unwrap_or_default()
    }
}

/// Whether the members of a group may pass through all directories of a log.
fn can_be_reached_by(database: &Path, group: u32) -> bool {
    database.ancestors().skip(1).filter_map(|directory| fs::metadata(directory).ok()).all(|directory| {
        let mode = directory.permissions().mode();
        mode & OTHERS_PASS != 0 || mode & GROUP_PASSES != 0 && directory.gid() == group
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    /// A group of this machine with a member.
    fn group_with_member() -> Option<(u32, u32)> {
        let (groups, users) = (Groups::load(), Users::load());
        (1..1000).find_map(|group| groups.members(group, &users).first().map(|member| (group, *member)))
    }

    #[test]
    fn members_may_read_what_their_group_may_read() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let log = place.path().join("snitch.db");
        let Some((group, member)) = group_with_member() else {
            eprintln!("skipped: no group of this machine has a member");
            return;
        };
        let contains = || PermittedUsers::new(vec![7], &log).contains(member);
        let is_of_service = Groups::load().id(GROUP).is_some_and(|id| id == group);
        assert!(PermittedUsers::new(vec![7], &log).contains(7) && contains() == is_of_service);
        fs::write(&log, "").unwrap();
        if chown(&log, None, Some(group)).is_err() {
            eprintln!("skipped: this user cannot give a file to group {group}");
            return;
        }
        for (mode, expected) in [(0o640, true), (0o600, false), (0o604, false)] {
            fs::set_permissions(&log, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(contains(), expected, "{mode:o}");
        }
        fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!contains(), "its directory is closed to them");
    }

    #[test]
    fn without_a_log_no_group_counts() {
        let users = PermittedUsers::only(vec![7]);
        assert!(users.contains(7));
        assert!(group_with_member().is_none_or(|(_, member)| member == 7 || !users.contains(member)));
    }

    #[test]
    fn a_log_that_comes_later_counts() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let log = place.path().join("snitch.db");
        let users = PermittedUsers::new(Vec::new(), &log);
        let Some((group, member)) = group_with_member() else { return };
        users.contains(member);
        fs::write(&log, "").unwrap();
        if chown(&log, None, Some(group)).is_err() {
            return;
        }
        fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
        *users.members.lock().unwrap() = Some((Instant::now() - KEPT_FOR, Vec::new()));
        assert!(users.contains(member));
    }
}
