//! C libraries that are in use, on the host and in containers: found in the memory maps of processes.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, fstatfs};

use model::{FileIdentity, ProcessEvent};

/// Programs that are remembered as looked at.
const MAX_LOOKED_AT: usize = 8192;
/// Libraries that are remembered as found.
const MAX_FOUND: usize = 1024;
/// Processes that wait to be looked at.
const MAX_WAITING: usize = 256;
/// Bytes of the memory maps of a process that are read.
const MAX_MAPS: u64 = 4 * 1024 * 1024;
/// After so long all programs are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// How long after its execve a program has loaded its libraries.
const LOADED: Duration = Duration::from_millis(400);

/// A program, as far as its libraries go: the same file may find others in another mount namespace.
type Program = (FileIdentity, u32);

/// A library: device and inode number as /proc/PID/maps has them.
type Library = (String, String);

/// What the thread answers.
enum Answer {
    /// A library, and whether the host uses it.
    Found(File, bool),
    /// This program could not be looked at.
    Missed(Program),
}

/// Finds C libraries. Files are opened by a thread of its own, which may wait for dead file systems.
pub struct Libraries {
    looked_at: HashSet<Program>,
    forgotten: Instant,
    waiting: VecDeque<(u32, Program, Instant)>,
    /// Processes for the thread.
    processes: SyncSender<(u32, Program)>,
    answers: Receiver<Answer>,
}

impl Libraries {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        let (processes, to_look_at) = sync_channel(MAX_WAITING);
        let (send, answers) = sync_channel(MAX_WAITING);
        thread::Builder::new().name("libraries".into()).spawn(move || {
            let mut known = HashSet::new();
            for (process, program) in to_look_at {
                let found = look_at(process, &mut known);
                let missed = found.is_none().then_some(Answer::Missed(program));
                let found = found.into_iter().flatten().map(|(file, is_ours)| Answer::Found(file, is_ours));
                for answer in found.chain(missed) {
                    if send.send(answer).is_err() {
                        return;
                    }
                }
            }
        })?;
        let (looked_at, waiting) = (HashSet::new(), VecDeque::new());
        Ok(Self { looked_at, forgotten: Instant::now(), waiting, processes, answers })
    }

    /// A process runs this program: since `now`, or for longer.
    pub fn runs(&mut self, event: &ProcessEvent, now: Instant) {
        let program = (event.executable, event.mount_namespace);
        // Its library may be another one by now.
        if self.looked_at.len() > MAX_LOOKED_AT || now.duration_since(self.forgotten) > LOOK_AGAIN {
            self.looked_at.clear();
            self.forgotten = now;
        }
        if event.kernel || self.waiting.len() >= MAX_WAITING || !self.looked_at.insert(program) {
            return;
        }
        self.waiting.push_back((event.id.tgid, program, now + LOADED));
    }

    /// Libraries that were found since the last call, and whether the host uses them. A program that ended too early is
    /// looked at when it comes again.
    pub fn take(&mut self, now: Instant) -> Vec<(File, bool)> {
        while let Some((process, program, due)) = self.waiting.front() {
            if *due > now || self.processes.try_send((*process, *program)).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        let mut found = Vec::new();
        for answer in self.answers.try_iter() {
            match answer {
                Answer::Found(file, is_ours) => found.push((file, is_ours)),
                Answer::Missed(program) => {
                    self.looked_at.remove(&program);
                }
            }
        }
        found
    }
}

/// The C libraries of a process that are not known yet, each with whether the host uses it; `None` when the process is gone.
fn look_at(process: u32, known: &mut HashSet<Library>) -> Option<Vec<(File, bool)>> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
    let is_ours = namespace(&process.to_string())? == namespace("self")?;
    let maps = File::open(format!("/proc/{process}/maps")).ok()?.take(MAX_MAPS);
    let mut files = Vec::new();
    // Bytes: other libraries may have any name.
    for line in BufReader::new(maps).split(b'\n') {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        let Some((range, library)) = c_library(&line) else { continue };
        if known.len() >= MAX_FOUND {
            known.clear();
        }
        if known.insert(library) {
            files.extend(open(process, range).map(|file| (file, is_ours)));
        }
    }
    Some(files)
}

/// The file that is mapped there, whatever has its name by now (proc_pid_map_files(5)). Whoever reads it must not have to
/// wait for it, so it has to be a local one.
fn open(process: u32, range: &str) -> Option<File> {
    let open = |path: String, flags| File::options().read(true).custom_flags(flags).open(path);
    let place = open(format!("/proc/{process}/map_files/{range}"), libc::O_PATH).ok()?;
    let remote = [FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC];
    if remote.contains(&fstatfs(&place).ok()?.filesystem_type()) {
        return None;
    }
    open(format!("/proc/self/fd/{}", place.as_raw_fd()), libc::O_NONBLOCK).ok()
}

/// The address range and the identity of a C library from a line of /proc/PID/maps; only of the part with its code.
fn c_library(line: &str) -> Option<(&str, Library)> {
    let mut fields = line.splitn(6, ' ');
    let mut field = || fields.next();
    let (range, rights, _, device, inode) = (field()?, field()?, field()?, field()?, field()?);
    let name = field()?.trim_start().rsplit('/').next()?;
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
            ("r-xp", "     /home/u/My App/libc.so.6", true),
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
        let mut found = || look_at(std::process::id(), &mut known).unwrap();
        assert!(matches!(found().as_slice(), [(_, true)]));
        assert!(found().is_empty());
        assert!(look_at(u32::MAX, &mut known).is_none());
    }
}
