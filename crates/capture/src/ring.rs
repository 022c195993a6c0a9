//! The ring buffer of events. A thread of its own empties it when it fills up: whatever the monitor may be waiting for
//! meanwhile (a probe that the kernel attaches to a C library, an iterator over all sockets), it does not overflow.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use libbpf_rs::{MapCore, MapHandle, RingBuffer, RingBufferBuilder};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    CaptureError,
    abi::{self, types},
    event::Event,
    newcomers::newcomer,
};
use model::{ProcessId, boot_time};

const UNREADABLE: &str = "the ring buffer for events cannot be read";
/// Events that may wait for a drain. More stay in the ring, where those that find no room are counted.
const MAX_WAITING: usize = 65_536;
/// Bytes of the smallest event in the ring, with its head (`struct process_id_event`, `BPF_RINGBUF_HDR_SZ`).
const SMALLEST_EVENT: usize = 48;
/// Time between two looks at the ring, however fast it fills: the smallest one has room for more than comes in that time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// What was taken from the ring.
#[derive(Default)]
pub(super) struct Taken {
    /// In order.
    pub events: Vec<Event>,
    /// Processes that have just begun to talk.
    pub newcomers: Vec<ProcessId>,
    /// Flows that are in no table; their sockets' releases are among the events.
    pub ended: Vec<types::flow>,
}

struct Shared {
    ring: Mutex<RingBuffer<'static>>,
    /// Events that there is room for.
    capacity: usize,
    taken: Arc<Mutex<Taken>>,
    /// The thread has taken something.
    arrived: EventFd,
    /// The thread is to end.
    end: EventFd,
}

/// The ring buffer, and the thread that empties it.
pub(super) struct Ring {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ring {
    pub(super) fn new(map: MapHandle) -> Result<Self, CaptureError> {
        let unreadable = |error| CaptureError::bpf(UNREADABLE)(error);
        let bell = || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|error| CaptureError::io(UNREADABLE)(error.into()))
        };
        let taken = Arc::new(Mutex::new(Taken::default()));
        let into = Arc::clone(&taken);
        // Lives as long as the process.
        let map: &'static MapHandle = Box::leak(Box::new(map));
        let mut builder = RingBufferBuilder::new();
        let take = move |bytes: &[u8]| {
            let mut taken = lock(&into);
            if let Some(process) = newcomer(bytes) {
                taken.newcomers.push(process);
            } else if let Some((event, _)) = Event::decode(bytes) {
                taken.events.push(event);
                taken.ended.extend(ended(bytes));
            }
            0
        };
        builder.add(map, take).map_err(unreadable)?;
        let ring = Mutex::new(builder.build().map_err(unreadable)?);
        let capacity = map.max_entries() as usize / SMALLEST_EVENT;
        let shared = Arc::new(Shared { ring, capacity, taken, arrived: bell()?, end: bell()? });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || own.serve());
        Ok(Self { shared, thread: Some(thread.map_err(CaptureError::io(UNREADABLE))?) })
    }

    /// Everything that is in the ring now, and what the thread took before.
    pub(super) fn take(&self) -> Result<Taken, CaptureError> {
        let _ = self.shared.arrived.read();
        self.shared.consume().map_err(CaptureError::bpf(UNREADABLE))?;
        Ok(std::mem::take(&mut *lock(&self.shared.taken)))
    }

    /// Readable when the thread has taken something, which a drain should not keep waiting.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.arrived.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.shared.end.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// All that is there now, and returns how many there were. Not until it is empty: who fills it may be quicker.
    fn consume(&self) -> libbpf_rs::Result<usize> {
        let taken = lock(&self.ring).consume_raw_n(self.capacity);
        usize::try_from(taken).map_err(|_| libbpf_rs::Error::from_raw_os_error(-taken))
    }

    fn serve(&self) {
        // SAFETY: the descriptor belongs to the ring, which lives as long as `self`.
        let ring = unsafe { BorrowedFd::borrow_raw(lock(&self.ring).epoll_fd()) };
        let is_end = |ready: &[PollFd<'_>]| ready[0].any().unwrap_or(true);
        loop {
            let mut ready =
                [PollFd::new(self.end.as_fd(), PollFlags::POLLIN), PollFd::new(ring, PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                // The drains do without.
                Err(_) => return,
                Ok(_) if is_end(&ready) => return,
                Ok(_) => {}
            }
            if lock(&self.taken).events.len() < MAX_WAITING && self.consume().is_ok_and(|count| count > 0) {
                let _ = self.arrived.write(1);
            }
            let mut ready = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
            let pause = PollTimeout::try_from(SHORTEST_PAUSE).unwrap_or(PollTimeout::ZERO);
            if poll(&mut ready, pause).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}

/// The flow that an event tells.
fn ended(bytes: &[u8]) -> Option<types::flow> {
    let event: types::silent_release_event = abi::read(bytes)?;
    let told = event.release.kind == types::event_kind::EVENT_SILENT_RELEASE.0;
    // Nobody touched it before its end, which was just now.
    told.then(|| types::flow { first: boot_time(), ..event.flow })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Copy>(event: &T) -> &[u8] {
        // SAFETY: integers only, without gaps; borrowed from the event.
        unsafe { std::slice::from_raw_parts((&raw const *event).cast(), size_of::<T>()) }
    }

    #[test]
    fn an_event_of_the_end_is_a_release_and_a_flow() {
        let flow = types::flow { uid: 7, ..types::flow::default() };
        let mut event = types::silent_release_event { flow, ..types::silent_release_event::default() };
        event.release.socket = 9;
        event.release.kind = types::event_kind::EVENT_SILENT_RELEASE.0;
        let told = ended(bytes(&event)).unwrap();
        assert_eq!(told.uid, 7);
        assert!(told.first > 0, "it has no time of its own");
        assert!(
            matches!(Event::decode(bytes(&event)), Some((Event::Released(socket), _)) if socket.socket == 9)
        );
        event.release.kind = types::event_kind::EVENT_RELEASE.0;
        assert!(ended(bytes(&event)).is_none());
        assert!(ended(bytes(&event.release)).is_none(), "it is too short");
    }
}
