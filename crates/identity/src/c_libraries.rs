//! Finds the C libraries that are in use, on the host and in containers, in the memory maps of processes.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::library_trust::{self, LibraryRefusal};
use model::{FileIdentity, ProcessEvent};

/// Programs that are remembered as searched.
const MAX_SEARCHED: usize = 8192;
/// Libraries that are remembered as found.
const MAX_LIBRARIES: usize = 1024;
/// Processes that wait to be searched.
const MAX_WAITING: usize = 256;
/// Bytes that are read of the memory maps of a process.
const MAX_MAPS_BYTES: u64 = 4 * 1024 * 1024;
/// Time after which all programs are searched again.
const SEARCH_INTERVAL: Duration = Duration::from_secs(3600);
/// Time after its execve in which a program loads its libraries.
const LOAD_TIME: Duration = Duration::from_millis(400);

/// An executable and a mount namespace: the same executable may load other libraries in another namespace.
type ProgramKey = (FileIdentity, u32);

/// The device and the inode number of a library, as /proc/PID/maps shows them.
type LibraryKey = (String, String);

/// A C library that was found.
pub struct FoundLibrary<T> {
    /// The library itself.
    pub file: File,
    /// Whether a process in the mount namespace of this one uses it.
    pub is_ours: bool,
    /// What was found in it.
    pub content: T,
}

/// A result of the thread.
enum SearchResult<T> {
    Library(FoundLibrary<T>),
    /// A library that is not looked into.
    Refused(LibraryRefusal),
    /// A program whose process was gone.
    Gone(ProgramKey),
}

/// A process that is to be searched.
#[derive(Clone, Copy)]
struct Search {
    tgid: u32,
    program: ProgramKey,
}

/// Finds C libraries. A thread of its own opens the files, because a dead file system may block it.
pub struct CLibraries<T> {
    searched: HashSet<ProgramKey>,
    /// When `searched` was cleared last.
    cleared: Instant,
    /// Searches, each with the time from which it may be done.
    waiting: VecDeque<(Search, Instant)>,
    searches: SyncSender<Search>,
    results: Receiver<SearchResult<T>>,
    refusals: HashSet<LibraryRefusal>,
}

impl<T: Send + 'static> CLibraries<T> {
    /// Starts the thread, which also calls `look_into` for each library; those without content (`None`) are passed over.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(look_into: impl Fn(&File) -> io::Result<Option<T>> + Send + 'static) -> io::Result<Self> {
        let (searches, searches_to_do) = sync_channel::<Search>(MAX_WAITING);
        let (sender, results) = sync_channel(MAX_WAITING);
        thread::Builder::new().name("libraries".into()).spawn(move || {
            let mut known = HashSet::new();
            for Search { tgid, program } in searches_to_do {
                let found = find_libraries(tgid, &mut known);
                let gone = found.is_none().then_some(SearchResult::Gone(program));
                let found = found.into_iter().flatten().filter_map(|found| match found {
                    Err(refusal) => Some(SearchResult::Refused(refusal)),
                    Ok((file, is_ours)) => match look_into(&file) {
                        Ok(content) => {
                            let content = content?;
                            Some(SearchResult::Library(FoundLibrary { file, is_ours, content }))
                        }
                        Err(_) => Some(SearchResult::Refused(LibraryRefusal::Failed)),
                    },
                });
                for result in found.chain(gone) {
                    if sender.send(result).is_err() {
                        return;
                    }
                }
            }
        })?;
        let (searched, waiting) = (HashSet::new(), VecDeque::new());
        let (cleared, refusals) = (Instant::now(), HashSet::new());
        Ok(Self { searched, cleared, waiting, searches, results, refusals })
    }

    /// Adds a process that has executed a program at `now`, or before.
    pub fn add_program(&mut self, event: &ProcessEvent, now: Instant) {
        let program = (event.executable, event.mount_namespace);
        // The library of a program that was searched may be replaced by another one.
        if self.searched.len() > MAX_SEARCHED || now.duration_since(self.cleared) > SEARCH_INTERVAL {
            self.searched.clear();
            self.cleared = now;
        }
        if event.kernel || self.waiting.len() >= MAX_WAITING || !self.searched.insert(program) {
            return;
        }
        self.waiting.push_back((Search { tgid: event.id.tgid, program }, now + LOAD_TIME));
    }

    /// The libraries that were found since the last call. A program that ended too early is searched when it is executed again.
    pub fn take_found(&mut self, now: Instant) -> Vec<FoundLibrary<T>> {
        while let Some((search, due)) = self.waiting.front() {
            if *due > now || self.searches.try_send(*search).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        let mut found = Vec::new();
        for result in self.results.try_iter() {
            match result {
                SearchResult::Library(library) => found.push(library),
                SearchResult::Refused(refusal) => _ = self.refusals.insert(refusal),
                SearchResult::Gone(program) => {
                    self.searched.remove(&program);
                }
            }
        }
        found
    }

    /// The reasons why libraries were not looked into so far.
    pub fn refusals(&self) -> &HashSet<LibraryRefusal> {
        &self.refusals
    }
}

/// A library and whether the host uses it, or why it is not looked into.
type Found = Result<(File, bool), LibraryRefusal>;

/// The C libraries of a process that are not in `known`; `None` when the process is gone.
fn find_libraries(tgid: u32, known: &mut HashSet<LibraryKey>) -> Option<Vec<Found>> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
    let is_ours = namespace(&tgid.to_string())? == namespace("self")?;
    let maps = File::open(format!("/proc/{tgid}/maps")).ok()?.take(MAX_MAPS_BYTES);
    let mut files = Vec::new();
    // Lines of bytes, because other files may have any name.
    for line in BufReader::new(maps).split(b'\n') {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        let Some((range, library)) = c_library(&line) else { continue };
        if known.len() >= MAX_LIBRARIES {
            known.clear();
        }
        if known.insert(library) {
            files.extend(open(tgid, range).map(|found| found.map(|file| (file, is_ours))));
        }
    }
    Some(files)
}

/// Opens the file that is mapped at an address range, even if another file has its name by now (proc_pid_map_files(5)).
/// Only a local file that root alone may write is opened; `None` when the process is gone.
fn open(tgid: u32, range: &str) -> Option<Result<File, LibraryRefusal>> {
    let open = |path: String, flags| File::options().read(true).custom_flags(flags).open(path);
    let mapped = open(format!("/proc/{tgid}/map_files/{range}"), libc::O_PATH).ok()?;
    match library_trust::check(&mapped, tgid).ok()? {
        Some(refusal) => Some(Err(refusal)),
        None => open(format!("/proc/self/fd/{}", mapped.as_raw_fd()), libc::O_NONBLOCK).ok().map(Ok),
    }
}

/// Reads the address range and the key of a C library from a line of /proc/PID/maps; `None` unless the line is about the
/// code of one.
fn c_library(line: &str) -> Option<(&str, LibraryKey)> {
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
        let mut found = || find_libraries(std::process::id(), &mut known).unwrap();
        assert!(matches!(found().as_slice(), [Ok((_, true))]));
        assert!(found().is_empty());
        assert!(find_libraries(u32::MAX, &mut known).is_none());
    }
}
