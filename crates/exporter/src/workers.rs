//! The threads that wait for other machines: one for VirusTotal, one for name servers, one for all SQL servers and other tools.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{messages::FromExporter, sinks::SinkWorker};
use export::SinkPosition;
use model::Bytes;
use virustotal::{LookupRequest, LookupStatus, LookupWorker};

/// Digests that wait for the thread. The recorder asks about one at a time, again when it has connected again.
const MAX_WAITING: usize = 4;

/// The threads, as far as they are configured.
pub(crate) struct Workers {
    pub(crate) virustotal: Option<LookupWorker>,
    pub(crate) reverse: Option<ReverseWorker>,
    pub(crate) sinks: Option<SinkWorker>,
    waiting: VecDeque<LookupRequest>,
    told: LookupStatus,
}

impl Workers {
    pub(crate) fn new(
        virustotal: Option<LookupWorker>,
        reverse: Option<ReverseWorker>,
        sinks: Option<SinkWorker>,
    ) -> Self {
        Self { virustotal, reverse, sinks, waiting: VecDeque::new(), told: LookupStatus::default() }
    }

    /// Makes the next [`Workers::take_news`] tell the status, whatever it is: a recorder has connected.
    pub(crate) fn tell_status(&mut self) {
        self.told = LookupStatus { looked_up: u64::MAX, ..LookupStatus::default() };
        if let Some(sinks) = &mut self.sinks {
            sinks.tell_status();
        }
    }

    /// Takes note whether a recorder is there.
    pub(crate) fn set_recording(&self, is_recording: bool) {
        if let Some(sinks) = &self.sinks {
            sinks.set_recording(is_recording);
        }
    }

    /// Keeps the news of the copies, while there is no recorder.
    pub(crate) fn collect(&mut self) {
        if let Some(sinks) = &mut self.sinks {
            sinks.collect();
        }
    }

    /// Takes back what the recorder did not take. Answers to its questions it asks for again.
    pub(crate) fn give_back(&mut self, messages: impl IntoIterator<Item = FromExporter>) {
        if let Some(sinks) = &mut self.sinks {
            sinks.give_back(messages.into_iter().filter_map(|message| match message {
                FromExporter::Sink(news) => Some(news),
                _ => None,
            }));
        }
    }

    /// Takes what receivers have that cannot be asked.
    pub(crate) fn set_positions(&mut self, positions: Vec<(String, SinkPosition)>) {
        if let Some(sinks) = &mut self.sinks {
            sinks.set_positions(&positions.into_iter().collect());
        }
    }

    pub(crate) fn look_up(&mut self, request: LookupRequest) {
        self.waiting.push_back(request);
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        self.offer();
    }

    fn offer(&mut self) {
        let Some(worker) = &self.virustotal else { return self.waiting.clear() };
        while let Some(request) = self.waiting.pop_front() {
            if let Err(request) = worker.offer(request) {
                self.waiting.push_front(request);
                break;
            }
        }
    }

    /// What the threads have found since the last call.
    pub(crate) fn take_news(&mut self) -> Vec<FromExporter> {
        self.offer();
        let mut news = Vec::new();
        if let Some(worker) = &self.virustotal {
            let (results, problem) = worker.take_results();
            news.extend(results.into_iter().map(FromExporter::Result));
            news.extend(problem.map(FromExporter::Problem));
            let status = worker.status();
            let next = status.next_request.map(|at| at.saturating_duration_since(Instant::now()).as_secs());
            let status = LookupStatus {
                looked_up: status.looked_up,
                waiting_reason: status.waiting_reason,
                next_request_seconds: next,
            };
            let is_news = (status.looked_up, &status.waiting_reason)
                != (self.told.looked_up, &self.told.waiting_reason);
            if is_news {
                self.told = status.clone();
                news.push(FromExporter::Status(status));
            }
        }
        if let Some(reverse) = &self.reverse {
            news.extend(
                reverse.take_names().into_iter().map(|(address, name)| FromExporter::Name(address, name)),
            );
        }
        if let Some(sinks) = &mut self.sinks {
            news.extend(sinks.take_news().into_iter().map(FromExporter::Sink));
        }
        news
    }
}

/// The thread that asks name servers.
pub(crate) struct ReverseWorker {
    addresses: Sender<IpAddr>,
    names: Receiver<(IpAddr, Option<Bytes>)>,
    event_fd: Arc<EventFd>,
}

impl ReverseWorker {
    pub(crate) fn start() -> io::Result<Self> {
        let (addresses, queued) = channel::<IpAddr>();
        let (found, names) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event_fd = Arc::new(EventFd::from_flags(flags)?);
        let waker = Arc::clone(&event_fd);
        thread::Builder::new().name("reverse".into()).spawn(move || {
            for address in queued {
                if found.send((address, names::look_up_address(address))).is_err() {
                    return;
                }
                let _ = waker.write(1);
            }
        })?;
        Ok(Self { addresses, names, event_fd })
    }

    /// Queues an address. The recorder bounds how many it asks for at a time.
    pub(crate) fn ask(&self, address: IpAddr) {
        let _ = self.addresses.send(address);
    }

    fn take_names(&self) -> Vec<(IpAddr, Option<Bytes>)> {
        let _ = self.event_fd.read();
        self.names.try_iter().collect()
    }
}

impl AsFd for ReverseWorker {
    /// Readable when there are names.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event_fd.as_fd()
    }
}
