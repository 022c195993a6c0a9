//! The thread that sends copies of the log to all SQL servers, and events to other tools.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use export::{Heartbeats, ServerSettings, SinkNews, SinkPosition, SinkStatus};
use forward::Target;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::{runtime, sync::oneshot, task::LocalSet};

use crate::process::LogCopies;

/// Sentences that wait for a recorder. Beyond it the oldest are dropped; the state of each copy is told in any case.
const MAX_WAITING: usize = 256;

/// The thread.
pub(crate) struct SinkWorker {
    news: Receiver<SinkNews>,
    event_fd: Arc<EventFd>,
    /// The last state of each server.
    status: BTreeMap<String, SinkStatus>,
    /// What the recorder is to be told.
    waiting: VecDeque<SinkNews>,
    /// By name the receivers that wait for their positions.
    unpositioned: BTreeMap<String, oneshot::Sender<Option<SinkPosition>>>,
    /// Whether a recorder is there.
    is_recording: Arc<AtomicBool>,
}

impl SinkWorker {
    /// Starts to send the log to all servers.
    pub(crate) fn start(copies: &LogCopies) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event_fd = Arc::new(EventFd::from_flags(flags)?);
        let (told, news) = channel();
        let (copies, waker) = (copies.clone(), Arc::clone(&event_fd));
        let is_recording = Arc::new(AtomicBool::new(false));
        let recording = Arc::clone(&is_recording);
        let (mut unpositioned, mut positions) = (BTreeMap::new(), Vec::new());
        for target in &copies.targets {
            let (sender, receiver) = oneshot::channel();
            unpositioned.insert(target.name.clone(), sender);
            positions.push(receiver);
        }
        // With one thread: a log is read, and little computed.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("sinks".into()).spawn(move || {
            let tasks = LocalSet::new();
            for server in copies.servers.clone() {
                let (told, waker) = (told.clone(), Arc::clone(&waker));
                tasks.spawn_local(send(server, copies.clone(), told, waker, Arc::clone(&recording)));
            }
            for (target, position) in copies.targets.clone().into_iter().zip(positions) {
                let (told, waker) = (told.clone(), Arc::clone(&waker));
                tasks.spawn_local(forward((target, position), copies.clone(), told, waker));
            }
            runtime.block_on(tasks);
        })?;
        let (status, waiting) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { news, event_fd, status, waiting, unpositioned, is_recording })
    }

    /// Takes note whether a recorder is there: without it, servers get no heartbeats.
    pub(crate) fn set_recording(&self, is_recording: bool) {
        self.is_recording.store(is_recording, Ordering::Relaxed);
    }

    /// Lets receivers that cannot be asked begin behind their positions. Those that have begun know theirs.
    pub(crate) fn set_positions(&mut self, positions: &BTreeMap<String, SinkPosition>) {
        for (name, waiting) in std::mem::take(&mut self.unpositioned) {
            // The thread ends with the process only.
            let _ = waiting.send(positions.get(&name).cloned());
        }
    }

    /// Takes what there is to tell.
    pub(crate) fn take_news(&mut self) -> Vec<SinkNews> {
        self.collect();
        self.waiting.drain(..).collect()
    }

    /// Keeps what there is to tell, of which the number is bounded.
    pub(crate) fn collect(&mut self) {
        let _ = self.event_fd.read();
        for news in self.news.try_iter() {
            match news {
                SinkNews::Status(status) => {
                    self.status.insert(status.name.clone(), status.clone());
                    // Only the last one counts.
                    self.waiting.retain(|waiting| !is_status_of(waiting, &status.name));
                    self.waiting.push_back(SinkNews::Status(status));
                }
                SinkNews::Position(name, position) => {
                    self.waiting.retain(|waiting| !is_position_of(waiting, &name));
                    self.waiting.push_back(SinkNews::Position(name, position));
                }
                other => self.waiting.push_back(other),
            }
        }
        let surplus = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..surplus);
    }

    /// Makes the next [`SinkWorker::take_news`] tell the state of all servers: a recorder has connected.
    pub(crate) fn tell_status(&mut self) {
        self.waiting.retain(|news| !matches!(news, SinkNews::Status(_)));
        self.waiting.extend(self.status.values().cloned().map(SinkNews::Status));
    }

    /// Takes back what was not told.
    pub(crate) fn give_back(&mut self, news: impl Iterator<Item = SinkNews>) {
        let news: Vec<SinkNews> = news.filter(|news| !matches!(news, SinkNews::Status(_))).collect();
        news.into_iter().rev().for_each(|news| self.waiting.push_front(news));
    }
}

impl AsFd for SinkWorker {
    /// Readable when there is something to tell.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event_fd.as_fd()
    }
}

fn is_status_of(news: &SinkNews, name: &str) -> bool {
    matches!(news, SinkNews::Status(status) if status.name == name)
}

fn is_position_of(news: &SinkNews, name: &str) -> bool {
    matches!(news, SinkNews::Position(other, _) if other == name)
}

async fn forward(
    (target, position): (Target, oneshot::Receiver<Option<SinkPosition>>),
    copies: LogCopies,
    told: Sender<SinkNews>,
    waker: Arc<EventFd>,
) {
    // Until a recorder has told it, nothing is sent: it would be sent again.
    let Ok(position) = position.await else { return };
    let report = |news| {
        if told.send(news).is_ok() {
            let _ = waker.write(1);
        }
    };
    match forward::run(&target, copies.log(), &copies.host, position, report).await {}
}

async fn send(
    server: ServerSettings,
    copies: LogCopies,
    told: Sender<SinkNews>,
    waker: Arc<EventFd>,
    is_recording: Arc<AtomicBool>,
) -> Infallible {
    let report = |news| {
        // Without a receiver the process ends.
        if told.send(news).is_ok() {
            let _ = waker.write(1);
        }
    };
    let is_recording = || is_recording.load(Ordering::Relaxed);
    let heartbeats = Heartbeats { interval: Heartbeats::INTERVAL, is_recording: &is_recording };
    export::run_beside(&server, copies.log(), &copies.host, &heartbeats, report).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_is_told_to_the_next_recorder() {
        let (told, news) = channel();
        let event_fd = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let mut worker = SinkWorker {
            news,
            event_fd,
            status: BTreeMap::new(),
            waiting: VecDeque::new(),
            unpositioned: BTreeMap::new(),
            is_recording: Arc::default(),
        };
        let status = |last_window| {
            SinkNews::Status(SinkStatus { name: "a".into(), last_window, ..SinkStatus::default() })
        };
        let problem = SinkNews::Problem("no server".into());
        for news in [status(1), problem.clone(), status(2)] {
            told.send(news).unwrap();
        }
        let taken = worker.take_news();
        assert_eq!(taken, [problem.clone(), status(2)]);
        worker.give_back(taken.into_iter());
        worker.tell_status();
        assert_eq!(worker.take_news(), [problem, status(2)]);
        assert!(worker.take_news().is_empty());
        let position = |window| SinkPosition {
            log: String::new(),
            epoch: 1,
            window,
            time: 0,
            uptime: 0,
            first_sequence: 0,
            nonce: None,
        };
        // A position that was not told is told, but only the last one.
        let told_position = |window| SinkNews::Position("b".into(), position(window));
        told.send(told_position(1)).unwrap();
        let taken = worker.take_news();
        worker.give_back(taken.into_iter());
        told.send(told_position(2)).unwrap();
        assert_eq!(worker.take_news(), [told_position(2)]);
        for number in 0..MAX_WAITING + 10 {
            told.send(SinkNews::Problem(number.to_string())).unwrap();
        }
        worker.collect();
        assert_eq!(worker.take_news().len(), MAX_WAITING);
    }
}
