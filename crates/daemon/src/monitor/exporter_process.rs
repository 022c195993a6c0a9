//! The exporter as a child of the monitor, where no service manager runs it.

use std::{
    io,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use ipc::Channel;
use sandbox::{Role, User};

/// Pause before an exporter that has ended is started again. It doubles with each end.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Keeps the exporter running.
pub(super) struct ExporterProcess {
    settings: exporter::Settings,
    user: User,
    running: Option<Running>,
    start_at: Instant,
    /// The pause after the next end.
    pause: Duration,
}

struct Running {
    child: Child,
    /// The exporter ends when it is closed.
    _channel: Channel,
    started: Instant,
}

impl ExporterProcess {
    pub(super) fn new(settings: exporter::Settings, user: User) -> Self {
        Self { settings, user, running: None, start_at: Instant::now(), pause: MIN_PAUSE }
    }

    /// Starts it if that is due. Returns a sentence when it has ended, or could not be started.
    pub(super) fn tick(&mut self) -> Option<String> {
        let ended = match &mut self.running {
            Some(running) => {
                let status = running.child.try_wait().ok().flatten()?;
                if running.started.elapsed() > MAX_PAUSE {
                    self.pause = MIN_PAUSE;
                }
                self.running = None;
                format!("has ended ({status})")
            }
            None if Instant::now() < self.start_at => return None,
            None => match start(&self.settings, self.user) {
                Ok(running) => {
                    self.running = Some(running);
                    return None;
                }
                Err(error) => format!("cannot be started ({error})"),
            },
        };
        let pause = self.pause;
        self.start_at = Instant::now() + pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        Some(format!(
            "The exporter {ended}: look-ups at VirusTotal and of the names of addresses, and what servers and other tools get \
             of the log, wait until it runs again, which is tried in {} s.",
            pause.as_secs()
        ))
    }
}

impl Drop for ExporterProcess {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn start(settings: &exporter::Settings, user: User) -> io::Result<Running> {
    let (channel, theirs) = Channel::pair()?;
    let message = Channel::encode(settings)?;
    let child = sandbox::command(Role::Exporter, user).stdin(Stdio::from(theirs)).spawn()?;
    channel.send(&message, None)?;
    Ok(Running { child, _channel: channel, started: Instant::now() })
}
