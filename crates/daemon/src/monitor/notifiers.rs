//! The notifiers of all desktop users. Looks for their session buses, and keeps notifications while there is none.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid};

use super::notifier_link::{DesktopUser, NotifierLink};
use crate::notification_queue::NotificationQueue;
use notify::Notification;
use sandbox::User;

/// Directory with a directory for each user who is logged in (XDG_RUNTIME_DIR of systemd's logind).
const RUN_USER: &str = "/run/user";
/// Environment variable that replaces [`RUN_USER`], for tests.
const RUN_USER_VARIABLE: &str = "PICOSNITCH_RUN_USER";
/// Pause between two searches for session buses.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// The age of a search that is too old for a notification: its user may have logged in since. It bounds the searches of a
/// burst.
const SEARCH_TOO_OLD: Duration = Duration::from_millis(50);
/// Desktop users that are notified at a time.
const MAX_USERS: usize = 32;

/// The notifiers of all desktop users.
pub(super) struct Notifiers {
    run_user: PathBuf,
    links: BTreeMap<u32, NotifierLink>,
    /// Notifications that came while there was no desktop user.
    waiting: NotificationQueue,
    looked: Option<Instant>,
    /// The reasons why users are not notified, since the last [`Notifiers::take_problems`].
    problems: Vec<String>,
}

impl Notifiers {
    pub(super) fn new() -> Self {
        Self {
            run_user: std::env::var_os(RUN_USER_VARIABLE).map_or_else(|| RUN_USER.into(), PathBuf::from),
            links: BTreeMap::new(),
            waiting: NotificationQueue::default(),
            looked: None,
            problems: Vec::new(),
        }
    }

    /// Returns the problems since the last call, as sentences for the user.
    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Shows a notification to every desktop user, or keeps it until there is one. Never waits.
    pub(super) fn show(&mut self, notification: &Notification) {
        self.look_if_older(SEARCH_TOO_OLD);
        if self.links.is_empty() {
            self.waiting.add(notification.clone());
        }
        for link in self.links.values_mut() {
            link.add(notification.clone());
            self.problems.extend(link.send_waiting());
        }
    }

    /// Does the work that is due. Must be called from time to time.
    pub(super) fn tick(&mut self) {
        self.look_if_older(SEARCH_INTERVAL);
        for link in self.links.values_mut() {
            link.reap();
            self.problems.extend(link.send_waiting());
        }
    }

    /// Looks for desktop users that have come or gone, unless the last search was less than `age` ago.
    fn look_if_older(&mut self, age: Duration) {
        if self.looked.is_some_and(|looked| looked.elapsed() < age) {
            return;
        }
        self.looked = Some(Instant::now());
        let found = desktop_users(&self.run_user);
        let gone: Vec<u32> = self.links.keys().copied().filter(|uid| !found.contains_key(uid)).collect();
        for uid in gone {
            if let Some(mut link) = self.links.remove(&uid) {
                link.stop();
                if self.links.is_empty() {
                    self.waiting.append(link.take_queue());
                }
            }
        }
        let first = self.links.is_empty();
        for (uid, desktop) in found {
            if self.links.contains_key(&uid) || self.links.len() >= MAX_USERS {
                continue;
            }
            self.links.insert(uid, NotifierLink::new(desktop));
        }
        if first && !self.links.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.links.values_mut().for_each(|link| link.append(waiting.clone()));
        }
    }
}

/// The users with a session bus in the directory that the system made for them. Their group is that of the directory.
fn desktop_users(run_user: &Path) -> BTreeMap<u32, DesktopUser> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(run_user) else { return found };
    for entry in entries.flatten() {
        let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let bus = entry.path().join("bus");
        let (Ok(directory), Ok(socket)) = (fs::symlink_metadata(entry.path()), fs::symlink_metadata(&bus))
        else {
            continue;
        };
        let is_theirs = directory.is_dir()
            && directory.uid() == uid
            && socket.file_type().is_socket()
            && socket.uid() == uid;
        // The notifier of root's desktop would be a process of root.
        if is_theirs && uid != 0 && directory.gid() != 0 {
            let user = User { uid: Uid::from_raw(uid), gid: Gid::from_raw(directory.gid()) };
            found.insert(uid, DesktopUser { user, bus });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_burst_of_notifications_causes_few_searches() {
        let directory = tempfile::tempdir().unwrap();
        let mut notifiers = Notifiers { run_user: directory.path().to_owned(), ..Notifiers::new() };
        let mut searches = Vec::new();
        for count in 0..100 {
            notifiers.show(&Notification::about_dropped(count));
            searches.push(notifiers.looked);
        }
        searches.dedup();
        assert!(searches.len() < 10, "{}", searches.len());
        assert!(!notifiers.waiting.is_empty());
    }

    #[test]
    fn only_sockets_of_the_user_of_the_directory_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["0", "12345", "name", "-1", "4294967296"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            UnixListener::bind(directory.path().join(name).join("bus")).unwrap();
        }
        // The sockets belong to the user that runs the test, who is none of these users.
        assert!(desktop_users(directory.path()).is_empty());
        assert!(desktop_users(&directory.path().join("missing")).is_empty());
    }
}
