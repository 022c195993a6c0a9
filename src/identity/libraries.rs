//! C libraries that are in use, on the host and in containers: found in the memory maps of processes.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, fstatfs};

use crate::capture::{FileIdentity, ProcessEvent};

/// Programs that are remembered as looked at.
const MOST_LOOKED_AT: usize = 8192;
/// Libraries that are remembered as found.
const MOST_FOUND: usize = 1024;
/// Processes that wait to be looked at.
const MOST_WAITING: usize = 256;
/// How long after its execve a program has loaded its libraries.
const LOADED: Duration = Duration::from_millis(400);

/// A program, as far as its libraries go: the same file may find others in another mount namespace.
type Program = (FileIdentity, u32);

/// A library: device and inode number as /proc/PID/maps has them.
type Library = (String, String);

/// Finds C libraries. Files are opened by a thread of its own, which may wait for dead file systems.
pub struct Libraries {
    looked_at: HashSet<Program>,
    waiting: VecDeque<(u32, Instant)>,
    /// Processes for the thread.
    processes: SyncSender<u32>,
    found: Receiver<File>,
}

impl Libraries {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        let (processes, to_look_at) = sync_channel(MOST_WAITING);
        let (send, found) = sync_channel(16);
        thread::Builder::new().name("libraries".into()).spawn(move || {
            let mut known = HashSet::new();
            for process in to_look_at {
                for file in look_at(process, &mut known) {
                    if send.send(file).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { looked_at: HashSet::new(), waiting: VecDeque::new(), processes, found })
    }

    /// A process runs this program: since `now`, or for longer.
    pub fn runs(&mut self, event: &ProcessEvent, now: Instant) {
        let program = (event.executable, event.mount_namespace);
        if event.kernel || self.waiting.len() >= MOST_WAITING || !self.looked_at.insert(program) {
            return;
        }
        if self.looked_at.len() > MOST_LOOKED_AT {
            self.looked_at.clear();
        }
        self.waiting.push_back((event.id.tgid, now + LOADED));
    }

    /// Libraries that were found since the last call. A program that ended too early is looked at when it comes again.
    pub fn take(&mut self, now: Instant) -> Vec<File> {
        while let Some((process, due)) = self.waiting.front() {
            if *due > now || self.processes.try_send(*process).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.found.try_iter().collect()
    }
}

/// The C libraries of a process that are not known yet.
fn look_at(process: u32, known: &mut HashSet<Library>) -> Vec<File> {
    // Bytes: other libraries may have any name.
    let Ok(maps) = fs::read(format!("/proc/{process}/maps")) else { return Vec::new() };
    let maps = String::from_utf8_lossy(&maps);
    let mut files = Vec::new();
    for (range, library) in maps.lines().filter_map(c_library) {
        if known.len() >= MOST_FOUND {
            known.clear();
        }
        if !known.insert(library) {
            continue;
        }
        // The mapped file itself, whatever has that name by now (proc_pid_map_files(5)).
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(format!("/proc/{process}/map_files/{range}"));
        // Whoever reads it must not have to wait for it.
        let is_local = |file: &File| {
            let remote = [FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC];
            fstatfs(file).is_ok_and(|found| !remote.contains(&found.filesystem_type()))
        };
        files.extend(file.ok().filter(is_local));
    }
    files
}

/// The address range and the identity of a C library from a line of /proc/PID/maps; only of the part with its code.
fn c_library(line: &str) -> Option<(&str, Library)> {
    let mut fields = line.split_whitespace();
    let (range, rights, _, device, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let path = fields.next()?;
    let name = path.rsplit('/').next()?;
    // glibc, before 2.34 with its version; musl, which is its own loader.
    let is_c_library =
        ["libc.so", "libc-", "ld-musl-", "libc.musl-"].iter().any(|start| name.starts_with(start));
    (is_c_library && rights.contains('x')).then(|| (range, (device.to_owned(), inode.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_libraries_are_recognised() {
        let line = |rights: &str, path: &str| format!("7f00-7f10 {rights} 00028000 fe:00 1234 {path}");
        for (rights, path, is) in [
            ("r-xp", "/usr/lib/x86_64-linux-gnu/libc.so.6", true),
            ("r-xp", "/lib/x86_64-linux-gnu/libc-2.31.so (deleted)", true),
            ("r-xp", "/lib/ld-musl-x86_64.so.1", true),
            ("r--p", "/usr/lib/x86_64-linux-gnu/libc.so.6", false),
            ("r-xp", "/usr/lib/libcrypto.so.3", false),
            ("r-xp", "[vdso]", false),
        ] {
            assert_eq!(c_library(&line(rights, path)).is_some(), is, "{rights} {path}");
        }
        assert_eq!(c_library("7f00-7f10 r-xp 0 00:00 0"), None);
    }

    #[test]
    fn the_library_of_this_process_is_found_once() {
        let mut known = HashSet::new();
        assert_eq!(look_at(std::process::id(), &mut known).len(), 1);
        assert!(look_at(std::process::id(), &mut known).is_empty());
        assert!(look_at(u32::MAX, &mut known).is_empty());
    }
}
