//! The ring buffer of executed programs whose files fanotify does not hand over. It wakes its reader at once.

use std::{cell::RefCell, io, os::fd::BorrowedFd, rc::Rc};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use model::FileIdentity;

use crate::abi::{self, types};

const MEMFD: u32 = types::process_flag::PROCESS_MEMFD.0;

/// A program on a file system that fanotify does not watch (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwatchedProgram {
    /// Thread-group id of its process.
    pub tgid: u32,
    /// Mount namespace of its process (`ns_common.inum`).
    pub mount_namespace: u32,
    /// Identity and state of the executable.
    pub executable: FileIdentity,
    /// The executable is a memfd, on a file system that fanotify cannot watch.
    pub in_memory: bool,
}

/// The ring buffer before it is mapped, to be sent to the thread that reads it.
pub struct UnwatchedRing {
    map: MapHandle,
}

/// Programs that one call takes. The ring stays readable when there are more.
const MAX_AT_ONCE: usize = 1024;

/// The mapped ring buffer, which belongs to one thread.
pub struct UnwatchedReader {
    ring: RingBuffer<'static>,
    programs: Rc<RefCell<Vec<UnwatchedProgram>>>,
}

impl UnwatchedRing {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self { map }
    }

    /// Maps the ring buffer.
    ///
    /// # Errors
    /// When the ring buffer cannot be mapped.
    pub fn open(self) -> io::Result<UnwatchedReader> {
        let programs = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&programs);
        // The ring borrows it for the life of the process, which opens it once.
        let map: &'static MapHandle = Box::leak(Box::new(self.map));
        let mut builder = RingBufferBuilder::new();
        let take = move |bytes: &[u8]| {
            if let Some(event) = abi::read::<types::unwatched_event>(bytes) {
                into.borrow_mut().push(UnwatchedProgram {
                    tgid: event.tgid,
                    mount_namespace: event.mntns,
                    executable: event.executable.into(),
                    in_memory: event.flags & MEMFD != 0,
                });
            }
            0
        };
        builder.add(map, take).map_err(io::Error::other)?;
        let ring = builder.build().map_err(io::Error::other)?;
        Ok(UnwatchedReader { ring, programs })
    }
}

impl UnwatchedReader {
    /// Becomes readable when there are programs to take.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the ring, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }

    /// Takes programs that were executed since the last call.
    ///
    /// # Errors
    /// When the ring buffer cannot be read.
    pub fn take(&self) -> io::Result<Vec<UnwatchedProgram>> {
        // The number is bounded: programs may fill the ring faster than this loop empties it.
        let taken = self.ring.consume_raw_n(MAX_AT_ONCE);
        if taken < 0 {
            return Err(io::Error::from_raw_os_error(-taken));
        }
        Ok(std::mem::take(&mut *self.programs.borrow_mut()))
    }
}
