//! The monitor's side of the notifiers: finds the session buses of desktop users, and starts a notifier for one when
//! there is something to show.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::notifier::ToNotifier;
use ipc::Channel;
use notify::Notice;

/// Directory with a directory for each user who is logged in (XDG_RUNTIME_DIR of systemd's logind).
const RUN_USER: &str = "/run/user";
/// Replaces it, for tests.
const RUN_USER_VARIABLE: &str = "PICOSNITCH_RUN_USER";
/// Time between two looks for sessions.
const LOOK: Duration = Duration::from_secs(2);
/// Sessions at a time.
const MAX_SESSIONS: usize = 32;
/// Notifications that wait for a session, or for its notifier to start again; the oldest beyond that are dropped.
const MAX_WAITING: usize = 100;
/// A notifier that fails is started again after this, twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The notifiers of all sessions.
pub struct Notifiers {
    run_user: PathBuf,
    sessions: BTreeMap<u32, Session>,
    /// What nobody was there to be shown to.
    waiting: Waiting,
    looked: Option<Instant>,
    /// Why a user is not notified, not told yet.
    problems: Vec<String>,
}

#[derive(Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    dropped: u64,
}

impl Waiting {
    fn add(&mut self, notice: Notice) {
        self.notices.push_back(notice);
        while self.notices.len() > MAX_WAITING {
            let victim = self.notices.iter().position(|notice| !notice.kind.is_urgent()).unwrap_or(0);
            self.notices.remove(victim);
            self.dropped += 1;
        }
    }
}

struct Session {
    bus: PathBuf,
    group: u32,
    running: Option<(Child, Channel)>,
    started: Instant,
    waiting: Waiting,
    retry_at: Option<Instant>,
    pause: Duration,
    /// It was said that its notifier cannot be started.
    told: bool,
}

impl Notifiers {
    /// Nobody was found yet.
    pub fn new() -> Self {
        Self {
            run_user: std::env::var_os(RUN_USER_VARIABLE).map_or_else(|| RUN_USER.into(), PathBuf::from),
            sessions: BTreeMap::new(),
            waiting: Waiting::default(),
            looked: None,
            problems: Vec::new(),
        }
    }

    /// What went wrong since the last call: sentences for the user.
    pub fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Shows a notification to every desktop user, or keeps it until there is one. Never waits.
    pub fn show(&mut self, notice: &Notice) {
        self.look();
        if self.sessions.is_empty() {
            self.waiting.add(notice.clone());
        }
        for (user, session) in &mut self.sessions {
            session.waiting.add(notice.clone());
            self.problems.extend(session.pass_on(*user));
        }
    }

    /// To be called now and then.
    pub fn tick(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look();
        }
        for (user, session) in &mut self.sessions {
            session.reap();
            self.problems.extend(session.pass_on(*user));
        }
    }

    /// Looks which sessions there are.
    fn look(&mut self) {
        self.looked = Some(Instant::now());
        let found = sessions(&self.run_user);
        let gone: Vec<u32> = self.sessions.keys().copied().filter(|user| !found.contains_key(user)).collect();
        for user in gone {
            // Its notifier ends when its channel is closed.
            if let Some(mut session) = self.sessions.remove(&user) {
                session.stop();
                if self.sessions.is_empty() {
                    let waiting = std::mem::take(&mut session.waiting);
                    waiting.notices.into_iter().for_each(|notice| self.waiting.add(notice));
                }
            }
        }
        let first = self.sessions.is_empty();
        for (user, (bus, group)) in found {
            if self.sessions.contains_key(&user) || self.sessions.len() >= MAX_SESSIONS {
                continue;
            }
            self.sessions.insert(
                user,
                Session {
                    bus,
                    group,
                    running: None,
                    started: Instant::now(),
                    waiting: Waiting::default(),
                    retry_at: None,
                    pause: SHORTEST_PAUSE,
                    told: false,
                },
            );
        }
        if first && !self.sessions.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            for session in self.sessions.values_mut() {
                session.waiting.dropped += waiting.dropped;
                waiting.notices.iter().for_each(|notice| session.waiting.add(notice.clone()));
            }
        }
    }
}

/// Users with a session bus: its socket and the user's group, from the directory that the system gave to the user.
fn sessions(run_user: &Path) -> BTreeMap<u32, (PathBuf, u32)> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(run_user) else { return found };
    for entry in entries.flatten() {
        let Some(user) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let bus = entry.path().join("bus");
        let (Ok(directory), Ok(socket)) = (fs::symlink_metadata(entry.path()), fs::symlink_metadata(&bus))
        else {
            continue;
        };
        let is_theirs = directory.is_dir()
            && directory.uid() == user
            && socket.file_type().is_socket()
            && socket.uid() == user;
        // root's desktop would need a notifier that is root.
        if is_theirs && user != 0 && directory.gid() != 0 {
            found.insert(user, (bus, directory.gid()));
        }
    }
    found
}

impl Session {
    /// Hands over what waits, to a notifier that is started if need be; why it cannot be started, the first time.
    fn pass_on(&mut self, user: u32) -> Option<String> {
        if self.waiting.notices.is_empty() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        for _attempt in 0..2 {
            if self.running.is_none() {
                match self.start(user) {
                    Ok(running) => {
                        self.running = Some(running);
                        self.started = Instant::now();
                        self.retry_at = None;
                        self.told = false;
                    }
                    Err(error) => {
                        self.pause();
                        let text = format!(
                            "User {user} cannot be notified: the notifier cannot be started ({error}). It is tried again; \
                             exe.log and error.log have everything."
                        );
                        return (!std::mem::replace(&mut self.told, true)).then_some(text);
                    }
                }
            }
            match self.send() {
                Ok(()) => return None,
                // It was about to end because it had nothing to show, or has died.
                Err(_) => self.stop(),
            }
        }
        self.pause();
        None
    }

    fn send(&mut self) -> io::Result<()> {
        let Some((_, channel)) = &self.running else { return Ok(()) };
        while let Some(notice) = self.waiting.notices.front() {
            let message = Channel::encode(&ToNotifier::Notice(notice.clone()))?;
            if !channel.send(&message, None)? {
                // It is full: the queue keeps the newest.
                return Ok(());
            }
            self.waiting.notices.pop_front();
        }
        if self.waiting.dropped > 0
            && channel.send(&Channel::encode(&ToNotifier::Dropped(self.waiting.dropped))?, None)?
        {
            self.waiting.dropped = 0;
        }
        Ok(())
    }

    fn start(&self, user: u32) -> io::Result<(Child, Channel)> {
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["role", "notifier"])
            .arg(&self.bus)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Supplementary groups are given up with it.
            .gid(self.group)
            .uid(user);
        // SAFETY: between fork and exec only this one system call is made, which needs no memory.
        unsafe {
            command.pre_exec(|| {
                let done = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
        }
        Ok((command.spawn()?, channel))
    }

    fn pause(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Notices that the notifier has ended.
    fn reap(&mut self) {
        let Some((child, _)) = &mut self.running else { return };
        match child.try_wait() {
            Ok(None) => {
                if self.started.elapsed() > LONGEST_PAUSE {
                    self.pause = SHORTEST_PAUSE;
                }
            }
            Ok(Some(status)) => {
                self.running = None;
                if status.success() {
                    self.pause = SHORTEST_PAUSE;
                } else {
                    self.pause();
                }
            }
            Err(_) => self.running = None,
        }
    }

    /// Lets the notifier show what it has, and end.
    fn stop(&mut self) {
        if let Some((child, channel)) = self.running.take() {
            drop(channel);
            reap_in_background(child);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A child that ends by itself soon: somebody has to wait for it.
fn reap_in_background(mut child: Child) {
    let waiter = std::thread::Builder::new().name("reaper".into());
    let _ = waiter.spawn(move || child.wait());
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use notify::NoticeKind;

    fn notice(number: usize, kind: NoticeKind) -> Notice {
        Notice { kind, title: number.to_string(), body: String::new() }
    }

    #[test]
    fn only_sockets_of_the_user_of_the_directory_are_taken() {
        let place = tempfile::tempdir().unwrap();
        for name in ["0", "12345", "name", "-1", "4294967296"] {
            fs::create_dir(place.path().join(name)).unwrap();
            UnixListener::bind(place.path().join(name).join("bus")).unwrap();
        }
        // They belong to whoever runs the test, which is none of these users.
        assert!(sessions(place.path()).is_empty());
        assert!(sessions(&place.path().join("nowhere")).is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_the_urgent_stays() {
        let mut waiting = Waiting::default();
        waiting.add(notice(0, NoticeKind::Suspicious));
        (1..MAX_WAITING + 10).for_each(|number| waiting.add(notice(number, NoticeKind::Program)));
        assert_eq!((waiting.notices.len(), waiting.dropped), (MAX_WAITING, 10));
        assert_eq!(waiting.notices[0].kind, NoticeKind::Suspicious);
        assert_eq!(waiting.notices[1].title, "11");
    }
}
