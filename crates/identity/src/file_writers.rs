//! The processes that write to executed files, until the changed file is executed.
//!
//! fanotify reports the first write to a file since it was executed, with the process that wrote. That process may end at once, and
//! the changed file may be executed at once: both are found out afterwards, at the next drain, from the process table.

use std::{
    collections::HashMap,
    fs,
    os::{fd::AsRawFd, unix::ffi::OsStringExt},
    time::Instant,
};

use crate::processes::Processes;
use model::{FileIdentity, Writer};

/// Written files that are remembered. When there are more, the oldest of the user with most of them is forgotten.
const MAX_FILES: usize = 2048;
/// Bytes of a writer's path; a longer one is cut.
const MAX_PATH_BYTES: usize = 1024;

/// The process that wrote to an executed file, as the watcher knows it.
#[derive(Debug)]
pub(crate) struct WriteReport {
    pub file: FileIdentity,
    /// Thread-group id; 0 for a process outside of the monitor's pid namespace.
    pub tgid: u32,
    /// The process as /proc had it right after the write; `None` if it was gone.
    pub writer: Option<Writer>,
}

/// A file in all its states: device, inode, generation.
type FileKey = (u32, u64, u32);

fn key(file: &FileIdentity) -> FileKey {
    (file.device, file.inode, file.generation)
}

#[derive(Debug)]
struct WrittenFile {
    tgid: u32,
    writer: Option<Writer>,
    since: Instant,
}

impl WrittenFile {
    /// Looks for a writer without a path in the process table.
    fn find_writer(&mut self, processes: &Processes) {
        if !has_path(self.writer.as_ref())
            && let Some(running) = processes.newest_of(self.tgid)
        {
            let program = &running.program;
            let (path, name) = (program.path.clone(), program.name.clone());
            self.writer = Some(bounded(Writer { pid: self.tgid, path, name, uid: Some(running.uid) }));
        }
    }
}

/// The files that were written to.
#[derive(Debug, Default)]
pub(crate) struct FileWriters {
    files: HashMap<FileKey, WrittenFile>,
    /// Files whose writer was gone, or was about to end, when it was looked for in /proc.
    unnamed: Vec<FileKey>,
    /// Files that were executed since: the ids of their new contents, and whether their writer was told.
    executed: Vec<(u32, FileKey, bool)>,
}

impl FileWriters {
    /// Adds a write. The first one since the file was executed counts.
    pub(crate) fn add(&mut self, report: WriteReport, now: Instant) {
        let key = key(&report.file);
        if self.files.contains_key(&key) {
            return;
        }
        if self.files.len() >= MAX_FILES {
            self.forget_oldest_of_most();
        }
        if !has_path(report.writer.as_ref()) {
            self.unnamed.push(key);
        }
        self.files.insert(key, WrittenFile { tgid: report.tgid, writer: report.writer, since: now });
    }

    /// Forgets which files were executed: their ids are not used any more.
    pub(crate) fn forget_executed(&mut self) {
        self.executed.clear();
    }

    /// Takes note that a file, which may have been written to, was executed: its content has this id. Returns the writer if it is
    /// known already; if not, [`FileWriters::take_executed`] does. `processes` if they are as far as the execution.
    pub(crate) fn add_executed(
        &mut self,
        id: u32,
        file: &FileIdentity,
        processes: Option<&Processes>,
    ) -> Option<Writer> {
        let key = key(file);
        let written = self.files.get_mut(&key)?;
        let unnamed = self.unnamed.iter().position(|unnamed| *unnamed == key);
        if let (Some(index), Some(processes)) = (unnamed, processes) {
            self.unnamed.swap_remove(index);
            written.find_writer(processes);
        }
        let may_be_found = unnamed.is_some() && processes.is_none();
        let writer = written.writer.clone().filter(|_| !may_be_found);
        self.executed.push((id, key, writer.is_some()));
        writer
    }

    /// Finds the writers that were gone in the process table, and returns those of the files that were executed since and that
    /// were not told, by the ids of the new contents. `None` for a writer that is not known.
    pub(crate) fn take_executed(&mut self, processes: &Processes) -> Vec<(u32, Option<Writer>)> {
        for key in self.unnamed.drain(..) {
            if let Some(file) = self.files.get_mut(&key) {
                file.find_writer(processes);
            }
        }
        let executed = std::mem::take(&mut self.executed);
        let writer = |(id, key, _): &(u32, FileKey, bool)| Some((*id, self.files.get(key)?.writer.clone()));
        let written = executed.iter().filter(|(.., is_told)| !is_told).filter_map(writer).collect();
        for (_, key, _) in executed {
            self.files.remove(&key);
        }
        written
    }

    fn forget_oldest_of_most(&mut self) {
        let user = |file: &WrittenFile| file.writer.as_ref().and_then(|writer| writer.uid);
        let mut counts: HashMap<Option<u32>, usize> = HashMap::new();
        for file in self.files.values() {
            *counts.entry(user(file)).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(user, _)| user);
        let of_most = self.files.iter().filter(|(_, file)| user(file) == most);
        if let Some(oldest) = of_most.min_by_key(|(_, file)| file.since).map(|(key, _)| *key) {
            self.files.remove(&oldest);
        }
    }
}

/// Whether it is known what the writer executes. A process that is ending has no executable any more, and neither has a thread of
/// the kernel.
fn has_path(writer: Option<&Writer>) -> bool {
    writer.is_some_and(|writer| !writer.path.is_empty())
}

/// The process with this id, as /proc has it now; `None` if it is gone.
pub(crate) fn writer_in_proc(tgid: u32) -> Option<Writer> {
    if tgid == 0 {
        return None;
    }
    // The open directory stays that of this process, also when another one gets its number.
    let directory = fs::File::open(format!("/proc/{tgid}")).ok()?;
    let file = |name: &str| format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    // A kernel thread has no executable, and a process that is ending has it no more.
    let path = fs::read_link(file("exe")).unwrap_or_default().into_os_string().into_vec();
    let name = fs::read(file("comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name).to_vec();
    let uid = real_uid(&fs::read(file("status")).ok()?);
    Some(bounded(Writer { pid: tgid, path, name, uid }))
}

/// The real user id in the contents of `/proc/PID/status`. A process chooses its name there, but no line break in it.
fn real_uid(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"Uid:\t"))?;
    let first = line.split(|byte| *byte == b'\t').next()?;
    std::str::from_utf8(first).ok()?.parse().ok()
}

fn bounded(mut writer: Writer) -> Writer {
    writer.path.truncate(MAX_PATH_BYTES);
    writer
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::Event;
    use model::{ProcessEvent, ProcessId};

    fn file(inode: u64) -> FileIdentity {
        FileIdentity { inode, ..FileIdentity::default() }
    }

    fn report(inode: u64, tgid: u32, uid: Option<u32>) -> WriteReport {
        let writer =
            uid.map(|uid| Writer { pid: tgid, path: b"/bin/w".into(), uid: Some(uid), ..Writer::default() });
        WriteReport { file: file(inode), tgid, writer }
    }

    #[test]
    fn the_first_writer_of_a_changed_file_is_told_once() {
        let (mut writers, processes) = (FileWriters::default(), Processes::default());
        writers.add(report(1, 10, Some(5)), Instant::now());
        writers.add(report(1, 11, Some(6)), Instant::now());
        let expected = Writer { pid: 10, path: b"/bin/w".into(), uid: Some(5), ..Writer::default() };
        let changed = FileIdentity { size: 9, ..file(1) };
        // Executed twice before the next drain.
        for id in [7, 8] {
            assert_eq!(writers.add_executed(id, &changed, None).as_ref(), Some(&expected));
        }
        assert_eq!(writers.add_executed(9, &file(2), None), None);
        assert!(writers.take_executed(&processes).is_empty());
        assert_eq!(writers.add_executed(10, &file(1), None), None, "it was not written to since");
        assert!(writers.take_executed(&processes).is_empty());
    }

    #[test]
    fn a_writer_that_is_gone_is_found_among_the_processes_that_ended() {
        let (mut writers, mut processes) = (FileWriters::default(), Processes::default());
        let now = Instant::now();
        // Its events are applied after the report.
        for (inode, tgid) in [(1, 10), (2, 0), (3, 77)] {
            writers.add(report(inode, tgid, None), now);
        }
        let id = |exec| ProcessId { start: 3, tgid: 10, exec };
        for (exec, path) in [(1, &b"/bin/sh"[..]), (2, b"/bin/cp")] {
            let event = ProcessEvent {
                id: id(exec),
                uid: 1000,
                path: path.into(),
                name: b"n".into(),
                ..ProcessEvent::default()
            };
            processes.apply(&Event::Executed(Box::new(event)), now);
        }
        processes.apply(&Event::Exited(id(2)), now);
        for (id, inode) in [(4, 1), (5, 2), (6, 3)] {
            assert_eq!(writers.add_executed(id, &file(inode), None), None);
        }
        let cp = Writer { pid: 10, path: b"/bin/cp".into(), name: b"n".into(), uid: Some(1000) };
        assert_eq!(writers.take_executed(&processes), [(4, Some(cp.clone())), (5, None), (6, None)]);
        // A file that comes after the event of its execution has its writer with it: the next drain would be too late.
        writers.add(report(1, 10, None), now);
        assert_eq!(writers.add_executed(9, &file(1), Some(&processes)), Some(cp.clone()));
        assert!(writers.take_executed(&processes).is_empty());
        // By a later execution, another process may have the number of one that was looked for in vain.
        writers.add(report(8, 88, None), now);
        assert!(writers.take_executed(&processes).is_empty());
        processes.apply(
            &Event::Executed(Box::new(ProcessEvent {
                id: ProcessId { start: 9, tgid: 88, exec: 1 },
                path: b"/bin/other".into(),
                ..ProcessEvent::default()
            })),
            now,
        );
        assert_eq!(writers.add_executed(5, &file(8), Some(&processes)), None);
        assert_eq!(writers.take_executed(&processes), [(5, None)]);
        // /proc has a process that is ending, but not what it executed.
        let ending = Writer { path: Vec::new(), ..cp.clone() };
        writers.add(WriteReport { writer: Some(ending.clone()), ..report(1, 10, None) }, now);
        writers.add(WriteReport { writer: Some(ending.clone()), ..report(3, 77, None) }, now);
        for (id, inode) in [(7, 1), (8, 3)] {
            assert_eq!(writers.add_executed(id, &file(inode), None), None);
        }
        assert_eq!(writers.take_executed(&processes), [(7, Some(cp)), (8, Some(ending))]);
    }

    #[test]
    fn a_user_who_writes_without_end_only_displaces_his_own() {
        let mut writers = FileWriters::default();
        for inode in 0..MAX_FILES as u64 * 3 {
            writers.add(report(inode, 1, Some(if inode == 0 { 0 } else { 1000 })), Instant::now());
        }
        assert_eq!(writers.files.len(), MAX_FILES);
        assert!(writers.add_executed(1, &file(0), None).is_some());
    }

    #[test]
    fn a_living_process_is_read_from_proc() {
        let own = writer_in_proc(std::process::id()).unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap().into_os_string().into_vec());
        assert_eq!(own.uid, Some(nix::unistd::getuid().as_raw()));
        assert!(!own.name.is_empty());
        assert_eq!(writer_in_proc(0), None);
        assert_eq!(writer_in_proc(u32::MAX), None);
        assert_eq!(real_uid(b"Name:\tUid: 7\nUmask:\t0022\nUid:\t1000\t0\t0\t0\n"), Some(1000));
    }
}
