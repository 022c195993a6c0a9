//! The ring buffer of events, and the thread that empties it when it fills up, so that it does not overflow while the
//! monitor waits for something else (the kernel attaching a probe to a C library, an iterator over all sockets).

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use libbpf_rs::{MapCore, MapHandle, RingBuffer, RingBufferBuilder};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::{
    abi::{self, types},
    error::CaptureError,
    event::Event,
    event_batch::EventBatch,
    flow::FlowEntry,
};
use model::{ProcessId, boot_time};

const UNREADABLE: &str = "the ring buffer for events cannot be read";
/// Events that may wait for a drain. More stay in the ring, and the kernel half counts those that do not fit there.
const MAX_WAITING_EVENTS: usize = 65_536;
/// Size of the smallest event in the ring with its header (`struct process_id_event`, `BPF_RINGBUF_HDR_SZ`).
const MIN_EVENT_BYTES: usize = size_of::<types::process_id_event>() + libbpf_sys::BPF_RINGBUF_HDR_SZ as usize;
/// Pause of the thread after it has read the ring. The smallest ring has room for more than comes in that time.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// The part of the ring that the thread and the drains share.
struct SharedRing {
    ring: Mutex<RingBuffer<'static>>,
    /// Number of the smallest events that fit into the ring.
    capacity: usize,
    batch: Arc<Mutex<EventBatch>>,
    /// Readable after the thread has read events.
    has_events: EventFd,
    /// Written when the thread is to end.
    stop: EventFd,
    /// The error that ended the thread, until it is reported; 0 without one.
    thread_error: AtomicI32,
}

/// The ring buffer of events with its thread.
pub(crate) struct EventRing {
    shared: Arc<SharedRing>,
    thread: Option<JoinHandle<()>>,
}

impl EventRing {
    pub(crate) fn new(map: MapHandle) -> Result<Self, CaptureError> {
        let unreadable = |error| CaptureError::bpf(UNREADABLE)(error);
        let event_fd = || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|error| CaptureError::io(UNREADABLE)(error.into()))
        };
        let batch = Arc::new(Mutex::new(EventBatch::default()));
        let decoded = Arc::clone(&batch);
        // Lives as long as the process.
        let map: &'static MapHandle = Box::leak(Box::new(map));
        let mut builder = RingBufferBuilder::new();
        let decode = move |bytes: &[u8]| {
            decode_into(&mut lock(&decoded), bytes);
            0
        };
        builder.add(map, decode).map_err(unreadable)?;
        let ring = Mutex::new(builder.build().map_err(unreadable)?);
        let capacity = map.max_entries() as usize / MIN_EVENT_BYTES;
        let shared = Arc::new(SharedRing {
            ring,
            capacity,
            batch,
            has_events: event_fd()?,
            stop: event_fd()?,
            thread_error: AtomicI32::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || of_thread.serve());
        Ok(Self { shared, thread: Some(thread.map_err(CaptureError::io(UNREADABLE))?) })
    }

    /// Takes everything that is in the ring now, and what the thread has read before.
    pub(crate) fn take(&self) -> Result<EventBatch, CaptureError> {
        let _ = self.shared.has_events.read();
        self.shared.read().map_err(CaptureError::bpf(UNREADABLE))?;
        Ok(std::mem::take(&mut *lock(&self.shared.batch)))
    }

    /// A sentence that says that the thread has ended, once.
    pub(crate) fn take_problem(&self) -> Option<String> {
        let error = self.shared.thread_error.swap(0, Ordering::Relaxed);
        (error != 0).then(|| {
            format!(
                "The ring buffer for events is read regularly only, because its thread has ended ({}): first connections \
                 of programs are noticed later, and many events at once may not fit.",
                Errno::from_raw(error)
            )
        })
    }

    /// A descriptor that is readable when the thread has read events, for which a drain should come soon.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.has_events.as_fd()
    }
}

impl EventRing {
    /// Ends the thread: from now on only [`EventRing::take`] reads the ring.
    pub(crate) fn end_thread(&mut self) {
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for EventRing {
    fn drop(&mut self) {
        self.end_thread();
    }
}

impl SharedRing {
    /// Reads what is in the ring now and returns the number of events. It does not read until the ring is empty, because
    /// the hooks may fill it faster.
    fn read(&self) -> libbpf_rs::Result<usize> {
        let count = lock(&self.ring).consume_raw_n(self.capacity);
        usize::try_from(count).map_err(|_| libbpf_rs::Error::from_raw_os_error(-count))
    }

    fn serve(&self) {
        // SAFETY: the descriptor belongs to the ring, which lives as long as `self`.
        let ring = unsafe { BorrowedFd::borrow_raw(lock(&self.ring).epoll_fd()) };
        let is_stopped = |ready: &[PollFd<'_>]| ready[0].any().unwrap_or(true);
        loop {
            let mut ready =
                [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN), PollFd::new(ring, PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                // Each drain reads the ring itself, so only its size limits what is kept from now on.
                Err(error) => return self.thread_error.store(error as i32, Ordering::Relaxed),
                Ok(_) if is_stopped(&ready) => return,
                Ok(_) => {}
            }
            let has_room = lock(&self.batch).events.len() < MAX_WAITING_EVENTS;
            if has_room && self.read().is_ok_and(|count| count > 0) {
                let _ = self.has_events.write(1);
            }
            let mut ready = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
            let pause = PollTimeout::try_from(READ_PAUSE).unwrap_or(PollTimeout::ZERO);
            if poll(&mut ready, pause).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}

fn decode_into(batch: &mut EventBatch, bytes: &[u8]) {
    if let Some(process) = first_flow(bytes) {
        batch.first_flows.push(process);
    } else if let Some((event, _)) = Event::decode(bytes) {
        batch.events.push(event);
        batch.ended.extend(ended_flow(bytes));
    }
}

/// The process of an event about the first flow of a process.
fn first_flow(bytes: &[u8]) -> Option<ProcessId> {
    let event: types::process_id_event = abi::read(bytes)?;
    (event.kind == types::event_kind::EVENT_FIRST_FLOW.0).then(|| event.id.into())
}

/// The flow in the release event of an accepted connection that moved no byte.
fn ended_flow(bytes: &[u8]) -> Option<FlowEntry> {
    let event: types::silent_release_event = abi::read(bytes)?;
    // No hook has touched the flow before its end, which was just now.
    (event.release.kind == types::event_kind::EVENT_SILENT_RELEASE.0)
        .then(|| FlowEntry { began: boot_time(), ..FlowEntry::new(event.flow.key, &event.flow, None) })
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
    fn an_ended_event_is_a_release_and_a_flow() {
        let flow = types::flow { uid: 7, ..types::flow::default() };
        let mut event = types::silent_release_event { flow, ..types::silent_release_event::default() };
        event.release.socket = 9;
        event.release.kind = types::event_kind::EVENT_SILENT_RELEASE.0;
        let entry = ended_flow(bytes(&event)).unwrap();
        assert_eq!(entry.uid, 7);
        assert!(entry.began > 0, "the event carries no time");
        assert!(
            matches!(Event::decode(bytes(&event)), Some((Event::Released(socket), _)) if socket.socket == 9)
        );
        event.release.kind = types::event_kind::EVENT_RELEASE.0;
        assert!(ended_flow(bytes(&event)).is_none());
        assert!(ended_flow(bytes(&event.release)).is_none(), "a release event is too short");
    }
}
