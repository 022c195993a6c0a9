//! The notifier: runs as a desktop user and shows notifications on that user's session bus. It has its channel on
//! standard input and no other rights than that user.
//!
//! It ends when there was nothing to show for a while; the monitor starts it again when there is.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{Shutdown, shutdown},
};
use serde::{Deserialize, Serialize};

use ipc::{Channel, Received};
use notify::{BurstFolder, Desktop, DesktopError, Notice, NoticeKind};

/// Notifications that wait for a notification service; the oldest beyond that are dropped, counted and told.
const MAX_WAITING: usize = 100;
/// Pause between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// Tries for a notification that the service refuses.
const MAX_REFUSALS: u32 = 3;
/// How long it waits for more before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// From the monitor to a notifier.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToNotifier {
    /// To be shown.
    Notice(Notice),
    /// So many could not be handed over.
    Dropped(u64),
}

/// Runs the role: `arguments` is the path of the session bus.
///
/// # Errors
/// The channel cannot be read.
pub fn run(arguments: &[OsString]) -> io::Result<ExitCode> {
    let Some(bus) = arguments.first() else {
        return Err(io::Error::other("the notifier is started by the monitor, not by hand"));
    };
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut notifier = Notifier {
        desktop: Desktop::new(bus.into()),
        folds: NoticeKind::ALL.map(BurstFolder::new),
        waiting: VecDeque::new(),
        dropped: 0,
        refusals: 0,
        retry_at: None,
    };
    notifier.serve(&mut Channel::new(stdin))?;
    Ok(ExitCode::SUCCESS)
}

struct Notifier {
    desktop: Desktop,
    folds: [BurstFolder; 3],
    waiting: VecDeque<Notice>,
    dropped: u64,
    refusals: u32,
    retry_at: Option<Instant>,
}

impl Notifier {
    fn serve(&mut self, channel: &mut Channel) -> io::Result<()> {
        let mut open = true;
        let mut busy = Instant::now();
        loop {
            while open {
                match channel.receive()? {
                    Received::Message(message, _) => {
                        busy = Instant::now();
                        self.take(message);
                    }
                    Received::Nothing => break,
                    Received::Closed => open = false,
                }
            }
            let now = Instant::now();
            for fold in &mut self.folds {
                // The end shows what it has.
                let due = if open { Some(now) } else { fold.due() };
                if let Some(notice) = due.and_then(|due| fold.take(due)) {
                    self.waiting.push_back(notice);
                }
            }
            self.show();
            if !open {
                // The monitor has ended, or this user's session has: nobody waits for what cannot be shown.
                return Ok(());
            }
            let idle = self.waiting.is_empty() && self.folds.iter().all(|fold| fold.due().is_none());
            if idle && busy.elapsed() >= IDLE {
                // From here on the monitor's messages go to the next notifier; those that came before are shown.
                shutdown(channel.as_fd().as_raw_fd(), Shutdown::Read)?;
                busy = Instant::now() + IDLE;
                continue;
            }
            let next = self.folds.iter().filter_map(BurstFolder::due).chain(self.retry_at).min();
            let until = next.unwrap_or(busy + IDLE);
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let mut ready = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, message: ToNotifier) {
        match message {
            ToNotifier::Dropped(count) => self.dropped += count,
            ToNotifier::Notice(notice) => {
                let fold = &mut self.folds[notice.kind as usize];
                if let Some(notice) = fold.add(notice, Instant::now()) {
                    self.waiting.push_back(notice);
                }
            }
        }
        while self.waiting.len() > MAX_WAITING {
            // What is urgent is dropped last.
            let victim = self.waiting.iter().position(|notice| !notice.kind.is_urgent()).unwrap_or(0);
            self.waiting.remove(victim);
            self.dropped += 1;
        }
    }

    /// Shows what waits, as far as there is somebody to show it.
    fn show(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        while let Some(notice) = self.waiting.front() {
            match self.desktop.show(notice) {
                Ok(()) => {}
                Err(DesktopError::Refused(_)) if self.refusals >= MAX_REFUSALS => self.dropped += 1,
                Err(error) => {
                    self.refusals += u32::from(matches!(error, DesktopError::Refused(_)));
                    self.retry_at = Some(Instant::now() + RETRY);
                    return;
                }
            }
            self.refusals = 0;
            self.waiting.pop_front();
            if self.waiting.is_empty() && self.dropped > 0 {
                let count = std::mem::take(&mut self.dropped);
                self.waiting.push_back(Notice {
                    kind: NoticeKind::Error,
                    title: format!("{count} notifications were not shown"),
                    body: "There were too many. New programs are in exe.log, errors in error.log.".into(),
                });
            }
        }
    }
}
