//! Programs whose files nobody hands over: they come in a ring buffer of their own, at once.

use std::{cell::RefCell, io, os::fd::BorrowedFd, rc::Rc};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use super::abi::{self, types};
use model::FileIdentity;

/// A program on a file system that fanotify does not watch (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwatchedProgram {
    /// Thread-group id of its process.
    pub tgid: u32,
    /// Its mount namespace (`ns_common.inum`).
    pub mount_namespace: u32,
    /// Which file it is.
    pub executable: FileIdentity,
    /// It is on no file system that could be watched (memfd).
    pub in_memory: bool,
}

/// The way to the ring buffer, for the thread that will read it.
pub struct UnwatchedRing {
    map: MapHandle,
}

/// The ring buffer; belongs to one thread.
pub struct UnwatchedReader {
    ring: RingBuffer<'static>,
    programs: Rc<RefCell<Vec<UnwatchedProgram>>>,
}

impl UnwatchedRing {
    pub(super) fn new(map: MapHandle) -> Self {
        Self { map }
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// When the ring buffer cannot be mapped.
    pub fn open(self) -> io::Result<UnwatchedReader> {
        let programs = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&programs);
        // Lives as long as the process.
        let map: &'static MapHandle = Box::leak(Box::new(self.map));
        let mut builder = RingBufferBuilder::new();
        let take = move |bytes: &[u8]| {
            if let Some(event) = abi::read::<types::unwatched_event>(bytes) {
                into.borrow_mut().push(UnwatchedProgram {
                    tgid: event.tgid,
                    mount_namespace: event.mntns,
                    executable: event.executable.into(),
                    in_memory: event.flags & super::event::flag::MEMORY != 0,
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
    /// Readable when there are any.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the ring, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }

    /// Those that came since the last call.
    ///
    /// # Errors
    /// When the ring buffer cannot be read.
    pub fn take(&self) -> io::Result<Vec<UnwatchedProgram>> {
        self.ring.consume().map_err(io::Error::other)?;
        Ok(std::mem::take(&mut *self.programs.borrow_mut()))
    }
}
