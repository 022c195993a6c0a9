//! fanotify(7): the kernel hands over each executed file as an open descriptor, even when the process is gone already
//! and the file has no name any more.

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

/// Size of one event (`struct fanotify_event_metadata`, include/uapi/linux/fanotify.h).
const EVENT_BYTES: usize = size_of::<libc::fanotify_event_metadata>();
/// Events taken at a time: as many descriptors are open meanwhile.
const EVENTS: usize = 64;

/// A file that was executed, modified, or both.
#[derive(Debug)]
pub struct FileEvent {
    /// Who did it: thread-group id.
    pub tgid: u32,
    /// It was opened to be executed: a program, the interpreter of one, or a script.
    pub executed: bool,
    /// It was written to.
    pub modified: bool,
    /// The file.
    pub file: File,
}

/// What one read brought.
#[derive(Debug, Default)]
pub struct Events {
    /// What happened, in order.
    pub events: Vec<FileEvent>,
    /// The kernel's queue was full: anything may have happened.
    pub overflow: bool,
}

/// A notification group.
pub struct Group {
    group: Fanotify,
}

impl Group {
    /// Makes a group that watches nothing yet.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, or where the kernel has no fanotify.
    pub fn new() -> io::Result<Self> {
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
    /// Those of fanotify_mark(2): `ENODEV` or `EXDEV` for a file system that cannot be watched.
    pub fn watch_file_system(&self, path: &Path) -> io::Result<()> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        Ok(self.group.mark(flags, MaskFlags::FAN_OPEN_EXEC, nix::fcntl::AT_FDCWD, Some(path))?)
    }

    /// Watches one file for modifications; `watch` false: no more.
    ///
    /// # Errors
    /// Those of fanotify_mark(2).
    pub fn watch_modifications(&self, file: BorrowedFd<'_>, watch: bool) -> io::Result<()> {
        let flags = if watch { MarkFlags::FAN_MARK_ADD } else { MarkFlags::FAN_MARK_REMOVE };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(self.group.mark(flags, MaskFlags::FAN_MODIFY, nix::fcntl::AT_FDCWD, Some(path.as_str()))?)
    }

    /// Watches no file for modifications any more.
    ///
    /// # Errors
    /// Those of fanotify_mark(2).
    pub fn forget_modifications(&self) -> io::Result<()> {
        let flags = MarkFlags::FAN_MARK_FLUSH;
        Ok(self.group.mark(flags, MaskFlags::empty(), nix::fcntl::AT_FDCWD, Some("/"))?)
    }

    /// What has happened; nothing when the queue is empty.
    ///
    /// # Errors
    /// When the group cannot be read at all.
    pub fn read(&self) -> io::Result<Events> {
        let mut events = Events::default();
        let mut buffer = [0_u8; EVENT_BYTES * EVENTS];
        for _ in 0..EVENTS {
            match nix::unistd::read(self.group.as_fd(), &mut buffer) {
                Ok(bytes) => {
                    decode(&buffer[..bytes], &mut events);
                    return Ok(events);
                }
                Err(Errno::EAGAIN) => return Ok(events),
                Err(Errno::EINTR) => {}
                // The first event's file could not be opened, and the event is gone: one of a FUSE file system of
                // another user, a dead network file system, or we are out of descriptors. Who waits for that file
                // finds another way to it, or tells that there is none.
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

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Takes over each event with its descriptor.
fn decode(mut bytes: &[u8], events: &mut Events) {
    while bytes.len() >= EVENT_BYTES {
        // SAFETY: long enough, valid for any bytes, and the read may be unaligned.
        let event = unsafe { bytes.as_ptr().cast::<libc::fanotify_event_metadata>().read_unaligned() };
        let length = event.event_len as usize;
        if event.vers != libc::FANOTIFY_METADATA_VERSION || length < EVENT_BYTES || length > bytes.len() {
            // Not a kernel that we know. Whatever it says was not understood.
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
        // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
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
    fn an_event_of_another_version_invalidates_all() {
        let mut events = Events::default();
        decode(&[0xff; EVENT_BYTES], &mut events);
        assert!(events.overflow && events.events.is_empty());
        let mut events = Events::default();
        decode(&[0; EVENT_BYTES - 1], &mut events);
        assert!(!events.overflow, "a part of an event is none");
    }

    #[test]
    fn a_full_queue_is_told() {
        let mut event = [0_u8; EVENT_BYTES];
        event[..4].copy_from_slice(&(EVENT_BYTES as u32).to_ne_bytes());
        event[4] = libc::FANOTIFY_METADATA_VERSION;
        event[8..16].copy_from_slice(&libc::FAN_Q_OVERFLOW.to_ne_bytes());
        event[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        let mut events = Events::default();
        decode(&event, &mut events);
        assert!(events.overflow && events.events.is_empty());
    }
}
