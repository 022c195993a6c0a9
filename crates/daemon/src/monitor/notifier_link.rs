//! The monitor's link to the notifier of one desktop user: its process, its channel, and the notifications that wait for it.

use std::{
    io,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{messages::ToNotifier, notification_queue::NotificationQueue};
use ipc::Channel;
use notify::Notification;
use sandbox::{Role, User};

/// Pause before a notifier that failed is started again. It doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// A desktop user with a session bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DesktopUser {
    pub(super) user: User,
    /// Path of the socket of the session bus.
    pub(super) bus: PathBuf,
}

/// The notifier of a desktop user. It runs only while there is something to show.
pub(super) struct NotifierLink {
    desktop: DesktopUser,
    running: Option<RunningNotifier>,
    queue: NotificationQueue,
    retry_at: Option<Instant>,
    /// The pause after the next failure.
    pause: Duration,
    /// Whether it was reported that the notifier cannot be started.
    reported: bool,
}

struct RunningNotifier {
    child: Child,
    channel: Channel,
    started: Instant,
}

impl NotifierLink {
    pub(super) fn new(desktop: DesktopUser) -> Self {
        Self {
            desktop,
            running: None,
            queue: NotificationQueue::default(),
            retry_at: None,
            pause: MIN_PAUSE,
            reported: false,
        }
    }

    /// Queues a notification for the next [`NotifierLink::send_waiting`].
    pub(super) fn add(&mut self, notification: Notification) {
        self.queue.add(notification);
    }

    /// Queues the notifications that waited for a desktop user.
    pub(super) fn append(&mut self, queue: NotificationQueue) {
        self.queue.append(queue);
    }

    /// Takes back the notifications that were not sent.
    pub(super) fn take_queue(&mut self) -> NotificationQueue {
        std::mem::take(&mut self.queue)
    }

    /// Sends the notifications that wait, and starts the notifier if needed. Returns why it cannot be started, the first time.
    pub(super) fn send_waiting(&mut self) -> Option<String> {
        if self.queue.is_empty() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        for _attempt in 0..2 {
            if self.running.is_none() {
                match start(&self.desktop) {
                    Ok(running) => {
                        self.running = Some(running);
                        self.retry_at = None;
                        self.reported = false;
                    }
                    Err(error) => {
                        self.double_pause();
                        let text = format!(
                            "User {} cannot be notified: the notifier cannot be started ({error}). It is tried again; \
                             exe.log and error.log have everything.",
                            self.desktop.user.uid
                        );
                        return (!std::mem::replace(&mut self.reported, true)).then_some(text);
                    }
                }
            }
            match self.try_send_waiting() {
                Ok(()) => return None,
                // The notifier has crashed, or was about to end because it had nothing to show.
                Err(_) => self.stop(),
            }
        }
        self.double_pause();
        None
    }

    fn try_send_waiting(&mut self) -> io::Result<()> {
        let Some(RunningNotifier { channel, .. }) = &self.running else { return Ok(()) };
        while let Some(notification) = self.queue.front() {
            let message = Channel::encode(&ToNotifier::Notification(notification.clone()))?;
            if !channel.send(&message, None)? {
                // The channel is full. The queue keeps the newest notifications.
                return Ok(());
            }
            self.queue.remove_front();
        }
        if self.queue.dropped > 0
            && channel.send(&Channel::encode(&ToNotifier::Dropped(self.queue.dropped))?, None)?
        {
            self.queue.dropped = 0;
        }
        Ok(())
    }

    fn double_pause(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// Looks whether the notifier has ended, and waits for its process if so.
    pub(super) fn reap(&mut self) {
        let Some(RunningNotifier { child, started, .. }) = &mut self.running else { return };
        match child.try_wait() {
            Ok(None) => {
                if started.elapsed() > MAX_PAUSE {
                    self.pause = MIN_PAUSE;
                }
            }
            Ok(Some(status)) => {
                self.running = None;
                if status.success() {
                    self.pause = MIN_PAUSE;
                } else {
                    self.double_pause();
                }
            }
            Err(_) => self.running = None,
        }
    }

    /// Closes the channel: the notifier shows what it has, and ends.
    pub(super) fn stop(&mut self) {
        if let Some(RunningNotifier { child, channel, .. }) = self.running.take() {
            drop(channel);
            reap_in_background(child);
        }
    }
}

impl Drop for NotifierLink {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(desktop: &DesktopUser) -> io::Result<RunningNotifier> {
    let (channel, theirs) = Channel::pair()?;
    let child = sandbox::command(Role::Notifier, desktop.user)
        .arg(&desktop.bus)
        .stdin(Stdio::from(theirs))
        .spawn()?;
    Ok(RunningNotifier { child, channel, started: Instant::now() })
}

/// Waits for a child that ends by itself soon, so that it does not stay a zombie.
fn reap_in_background(mut child: Child) {
    let waiter = std::thread::Builder::new().name("reaper".into());
    let _ = waiter.spawn(move || child.wait());
}
