//! The notifier: runs as a desktop user and shows notifications on that user's session bus. Standard input is its end of
//! the channel to the monitor.
//!
//! It ends after a minute without notifications; the monitor starts it again when there is one.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags},
    sys::socket::{Shutdown, shutdown},
};

use crate::{messages::ToNotifier, notification_queue::NotificationQueue, poll::poll_until};
use ipc::{Channel, Received};
use notify::{BurstFolder, Desktop, DesktopError, Notification, NotificationKind};
use sandbox::Role;

/// Pause between two tries to show a notification.
const RETRY: Duration = Duration::from_secs(2);
/// Tries for a notification that the service refuses.
const MAX_REFUSALS: u32 = 3;
/// How long the notifier waits for another notification before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// Runs the role; the argument is the path of the session bus.
///
/// # Errors
/// The channel cannot be read.
pub fn run(arguments: &[OsString]) -> io::Result<ExitCode> {
    sandbox::enter(Role::Notifier)?;
    let Some(bus) = arguments.first() else {
        return Err(io::Error::other("the notifier is started by the monitor, not by hand"));
    };
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut notifier = Notifier {
        desktop: Desktop::new(bus.into()),
        folds: NotificationKind::ALL.map(BurstFolder::new),
        queue: NotificationQueue::default(),
        refusals: 0,
        retry_at: None,
    };
    notifier.serve(&mut Channel::new(stdin))?;
    Ok(ExitCode::SUCCESS)
}

struct Notifier {
    desktop: Desktop,
    folds: [BurstFolder; 3],
    queue: NotificationQueue,
    /// Refusals of the first notification in the queue.
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
                        self.receive(message);
                    }
                    Received::Nothing => break,
                    Received::Closed => open = false,
                }
            }
            self.unfold(open);
            self.show();
            if !open {
                // The monitor or the session of this user has ended: no later try can succeed.
                return Ok(());
            }
            let idle = self.queue.is_empty() && self.folds.iter().all(|fold| fold.due().is_none());
            if idle && busy.elapsed() >= IDLE {
                // From here on the monitor sends to the next notifier; the messages that came before are shown.
                shutdown(channel.as_fd().as_raw_fd(), Shutdown::Read)?;
                busy = Instant::now() + IDLE;
                continue;
            }
            let next = self.folds.iter().filter_map(BurstFolder::due).chain(self.retry_at).min();
            let until = next.unwrap_or(busy + IDLE);
            poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], Some(until))?;
        }
    }

    fn receive(&mut self, message: ToNotifier) {
        match message {
            ToNotifier::Dropped(count) => self.queue.dropped += count,
            ToNotifier::Notification(notification) => {
                let fold = &mut self.folds[notification.kind as usize];
                if let Some(notification) = fold.add(notification, Instant::now()) {
                    self.queue.add(notification);
                }
            }
        }
    }

    /// Queues the folded notifications that are due; all of them once the channel is closed.
    fn unfold(&mut self, open: bool) {
        let now = Instant::now();
        for fold in &mut self.folds {
            let due = if open { Some(now) } else { fold.due() };
            if let Some(notification) = due.and_then(|due| fold.take(due)) {
                self.queue.add(notification);
            }
        }
    }

    /// Shows the queued notifications as long as the notification service takes them.
    fn show(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        while let Some(notification) = self.queue.front() {
            match self.desktop.show(notification) {
                Ok(()) => {}
                Err(DesktopError::Refused(_)) if self.refusals >= MAX_REFUSALS => self.queue.dropped += 1,
                Err(error) => {
                    self.refusals += u32::from(matches!(error, DesktopError::Refused(_)));
                    self.retry_at = Some(Instant::now() + RETRY);
                    return;
                }
            }
            self.refusals = 0;
            self.queue.remove_front();
            if self.queue.is_empty() && self.queue.dropped > 0 {
                let count = std::mem::take(&mut self.queue.dropped);
                self.queue.add(Notification::about_dropped(count));
            }
        }
    }
}
