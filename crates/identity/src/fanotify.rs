//! fanotify(7): the kernel delivers each executed file as an open descriptor, even when the process has ended and the file
//! has no name any more.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};

/// Bytes of one event (`struct fanotify_event_metadata`, include/uapi/linux/fanotify.h).
const EVENT_BYTES: usize = size_of::<libc::fanotify_event_metadata>();
/// Events that are read at a time: each has an open descriptor.
const MAX_EVENTS: usize = 64;

/// A file that was executed, modified, or both.
#[derive(Debug)]
pub(crate) struct FileEvent {
    /// Thread-group id of the process that did it.
    pub tgid: u32,
    /// It was opened to be executed: a program, the interpreter of one, or a script.
    pub executed: bool,
    pub modified: bool,
    pub file: File,
}

/// The events of one read.
#[derive(Debug, Default)]
pub(crate) struct FileEvents {
    pub events: Vec<FileEvent>,
    /// The kernel's queue was full, so events are missing.
    pub overflow: bool,
}

/// A notification group of fanotify.
pub(crate) struct FanotifyGroup {
    group: Fanotify,
}

impl FanotifyGroup {
    /// Makes a group that watches nothing yet.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, or where the kernel has no fanotify.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS;
        let descriptors = EventFFlags::O_RDONLY
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_NONBLOCK
            | EventFFlags::O_NOATIME;
        Ok(Self { group: Fanotify::init(flags, descriptors)? })
    }

    /// Watches the file system that `path` is on for programs that are executed, in all mount namespaces.
    ///
    /// # Errors
    /// The errors of fanotify_mark(2): `ENODEV` or `EXDEV` for a file system that cannot be watched.
    pub(crate) fn watch_file_system(&self, path: &Path) -> io::Result<()> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        Ok(self.group.mark(flags, MaskFlags::FAN_OPEN_EXEC, nix::fcntl::AT_FDCWD, Some(path))?)
    }

    /// Watches one file for modifications, or with `watch` false stops to do so.
    ///
    /// # Errors
    /// The errors of fanotify_mark(2).
    pub(crate) fn watch_modifications(&self, file: BorrowedFd<'_>, watch: bool) -> io::Result<()> {
        let flags = if watch { MarkFlags::FAN_MARK_ADD } else { MarkFlags::FAN_MARK_REMOVE };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(self.group.mark(flags, MaskFlags::FAN_MODIFY, nix::fcntl::AT_FDCWD, Some(path.as_str()))?)
    }

    /// Stops to watch all files for modifications.
    ///
    /// # Errors
    /// The errors of fanotify_mark(2).
    pub(crate) fn forget_modifications(&self) -> io::Result<()> {
        let flags = MarkFlags::FAN_MARK_FLUSH;
        Ok(self.group.mark(flags, MaskFlags::empty(), nix::fcntl::AT_FDCWD, Some("/"))?)
    }

    /// Reads the events in the queue, and does not wait for any.
    ///
    /// # Errors
    /// When the group cannot be read at all.
    pub(crate) fn read(&self) -> io::Result<FileEvents> {
        let mut events = FileEvents::default();
        let mut buffer = [0_u8; EVENT_BYTES * MAX_EVENTS];
        for _ in 0..MAX_EVENTS {
            match nix::unistd::read(self.group.as_fd(), &mut buffer) {
                Ok(bytes) => {
                    decode(&buffer[..bytes], &mut events);
                    return Ok(events);
                }
                Err(Errno::EAGAIN) => return Ok(events),
                Err(Errno::EINTR) => {}
                // The kernel could not open the file of the first event and has dropped the event: the file is on a FUSE
                // file system of another user or on a dead network file system, or this process has no descriptor left.
                // The main thread requests the file through /proc, or reports that there is none.
                Err(
                    Errno::EACCES
                    | Errno::EPERM
                    | Errno::ENOENT
                    | Errno::ESTALE
                    | Errno::ENXIO
                    | Errno::ENODEV
                    | Errno::EIO
                    | Errno::EMFILE
                    | Errno::ENFILE
                    | Errno::ENOMEM
                    | Errno::ETXTBSY
                    | Errno::EOVERFLOW
                    | Errno::ETIMEDOUT
                    | Errno::ENOTCONN
                    | Errno::EHOSTDOWN
                    | Errno::EROFS,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(events)
    }
}

impl AsFd for FanotifyGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Decodes events, and takes over their descriptors.
fn decode(mut bytes: &[u8], events: &mut FileEvents) {
    while bytes.len() >= EVENT_BYTES {
        // SAFETY: long enough, valid for any bytes, and the read may be unaligned.
        let event = unsafe { bytes.as_ptr().cast::<libc::fanotify_event_metadata>().read_unaligned() };
        let length = event.event_len as usize;
        if event.vers != libc::FANOTIFY_METADATA_VERSION || length < EVENT_BYTES || length > bytes.len() {
            // An unknown version of the interface: the rest of the buffer cannot be read.
            events.overflow = true;
            return;
        }
        bytes = &bytes[length..];
        if event.mask & libc::FAN_Q_OVERFLOW != 0 {
            events.overflow = true;
        }
        if event.fd < 0 {
            continue;
        }
        // SAFETY: the kernel has just opened this descriptor for this process, and nothing else uses it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(event.fd) });
        events.events.push(FileEvent {
            tgid: event.pid.cast_unsigned(),
            executed: event.mask & libc::FAN_OPEN_EXEC != 0,
            modified: event.mask & libc::FAN_MODIFY != 0,
            file,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_another_version_counts_as_an_overflow() {
        let mut events = FileEvents::default();
        decode(&[0xff; EVENT_BYTES], &mut events);
        assert!(events.overflow && events.events.is_empty());
        let mut events = FileEvents::default();
        decode(&[0; EVENT_BYTES - 1], &mut events);
        assert!(!events.overflow, "a part of an event is no event");
    }

    #[test]
    fn a_full_queue_is_an_overflow() {
        let mut event = [0_u8; EVENT_BYTES];
        event[..4].copy_from_slice(&(EVENT_BYTES as u32).to_ne_bytes());
        event[4] = libc::FANOTIFY_METADATA_VERSION;
        event[8..16].copy_from_slice(&libc::FAN_Q_OVERFLOW.to_ne_bytes());
        event[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        let mut events = FileEvents::default();
        decode(&event, &mut events);
        assert!(events.overflow && events.events.is_empty());
    }
}
