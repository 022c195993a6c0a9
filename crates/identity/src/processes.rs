//! The process table.

use std::{
    collections::{HashMap, HashSet},
    fs,
    rc::Rc,
    time::{Duration, Instant},
};

use capture::Event;
use model::{Bytes, FileIdentity, ProcessEvent, ProcessId, Program};

/// How long an ended process is kept: its sockets are closed, and their flows drained, after its end.
const LINGER: Duration = Duration::from_secs(5);
/// Arguments of earlier processes are cut here, like those of new ones (`MAX_ARGUMENTS_BYTES`).
const ARGUMENT_BYTES: u64 = capture::MAX_ARGUMENTS_BYTES as u64;

/// A program as one process runs it, with what identifies its executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// The process; the executable can be opened through it while it lives.
    pub id: ProcessId,
    /// Path, name and arguments. The digest is not known here.
    pub program: Program,
    /// Which file the executable is.
    pub executable: FileIdentity,
    /// The id of the executable, of a program that was executed since the start.
    pub executable_id: Option<u32>,
}

/// A process and those who started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// The process itself.
    pub process: Rc<Running>,
    /// Who started it, as it was then.
    pub parent: Rc<Running>,
    /// Who started the parent.
    pub grandparent: Rc<Running>,
}

/// One process of the table.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who it is.
    pub ancestry: Ancestry,
    /// What it was called before its last change of name: `execve` changes the name of the old program just before
    /// it makes the new one.
    before_rename: Option<Rc<Running>>,
    /// When its end was seen.
    ended: Option<Instant>,
}

/// The process table.
#[derive(Debug, Default)]
pub struct Processes {
    table: HashMap<ProcessId, Process>,
    /// The program that each living process runs now.
    current: HashMap<u32, ProcessId>,
    ended: Vec<ProcessId>,
}

impl Processes {
    /// Takes over what happened. Events that are not about processes are ignored.
    pub fn apply(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Executed(event) => self.executed(event, now),
            Event::Forked(event) => self.forked(event),
            Event::Existing(event) => self.existing(event),
            Event::Exited(id) => self.end(*id, now),
            Event::Renamed(id, name) => self.renamed(*id, name),
            _ => {}
        }
    }

    /// Names the executable of a process that has just executed it.
    pub fn set_executable(&mut self, id: ProcessId, executable: u32) {
        if let Some(process) = self.table.get_mut(&id) {
            Rc::make_mut(&mut process.ancestry.process).executable_id = Some(executable);
        }
    }

    /// Forgets processes that ended long enough ago.
    pub fn forget_ended(&mut self, now: Instant) {
        let table = &mut self.table;
        self.ended.retain(|id| {
            let keep =
                table.get(id).and_then(|process| process.ended).is_some_and(|ended| now < ended + LINGER);
            if !keep {
                table.remove(id);
            }
            keep
        });
    }

    /// The process, if it is known.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.table.get(&id)
    }

    /// Number of processes in the table, ended ones included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Reads the table of a machine that was running already. Parents may come after their children.
    pub fn add_existing(&mut self, events: &[Event]) {
        for event in events {
            self.apply(event, Instant::now());
        }
        for event in events {
            let Event::Existing(event) = event else { continue };
            let (parent, grandparent) = (self.running(event.parent), self.running(event.grandparent));
            if let Some(process) = self.table.get_mut(&event.id) {
                process.ancestry.parent = parent;
                process.ancestry.grandparent = grandparent;
            }
        }
    }

    /// Events were lost: `events` is the whole machine, and whatever else is in the table has ended unseen.
    pub fn resync(&mut self, events: &[Event], now: Instant) {
        self.add_existing(events);
        let living: HashSet<ProcessId> = events
            .iter()
            .filter_map(|event| if let Event::Existing(process) = event { Some(process.id) } else { None })
            .collect();
        let gone: Vec<ProcessId> = self.table.keys().filter(|id| !living.contains(id)).copied().collect();
        for id in gone {
            self.end(id, now);
        }
    }

    fn running(&self, id: ProcessId) -> Rc<Running> {
        self.table.get(&id).map(|process| Rc::clone(&process.ancestry.process)).unwrap_or_default()
    }

    fn insert(&mut self, id: ProcessId, ancestry: Ancestry) {
        self.current.insert(id.tgid, id);
        self.table.insert(id, Process { ancestry, before_rename: None, ended: None });
    }

    fn executed(&mut self, event: &ProcessEvent, now: Instant) {
        let before =
            self.current.get(&event.id.tgid).copied().filter(|before| before.start == event.id.start);
        let (parent, grandparent) = match before.and_then(|before| self.table.get_mut(&before)) {
            Some(before) => {
                if let Some(name) = before.before_rename.take() {
                    before.ancestry.process = name;
                }
                // Who started it, even if that process is gone by now.
                (Rc::clone(&before.ancestry.parent), Rc::clone(&before.ancestry.grandparent))
            }
            None => (self.running(event.parent), self.running(event.grandparent)),
        };
        if let Some(before) = before.filter(|before| *before != event.id) {
            self.end(before, now);
        }
        let process = Rc::new(running(event, event.command_line.clone()));
        self.insert(event.id, Ancestry { process, parent, grandparent });
    }

    fn forked(&mut self, event: &ProcessEvent) {
        // The one that forked is not the parent if it asked for that (CLONE_PARENT).
        let mut process = (*self.running(event.grandparent)).clone();
        let (parent, grandparent) = match self.table.get(&event.parent) {
            Some(parent) => (Rc::clone(&parent.ancestry.process), Rc::clone(&parent.ancestry.parent)),
            None => Default::default(),
        };
        process.id = event.id;
        process.program.name.clone_from(&event.name);
        let ancestry = Ancestry { process: Rc::new(process), parent, grandparent };
        self.insert(event.id, ancestry);
    }

    fn existing(&mut self, event: &ProcessEvent) {
        if self.table.contains_key(&event.id) {
            return;
        }
        let command_line = if event.kernel { Bytes::new() } else { arguments(event.id.tgid) };
        let process = Rc::new(running(event, command_line));
        let (parent, grandparent) = (self.running(event.parent), self.running(event.grandparent));
        self.insert(event.id, Ancestry { process, parent, grandparent });
    }

    fn renamed(&mut self, id: ProcessId, name: &[u8]) {
        let Some(process) = self.table.get_mut(&id) else { return };
        let mut renamed = (*process.ancestry.process).clone();
        renamed.program.name = name.to_vec();
        process.before_rename = Some(std::mem::replace(&mut process.ancestry.process, Rc::new(renamed)));
    }

    fn end(&mut self, id: ProcessId, now: Instant) {
        if let Some(process) = self.table.get_mut(&id)
            && process.ended.is_none()
        {
            process.ended = Some(now);
            self.ended.push(id);
        }
        if self.current.get(&id.tgid) == Some(&id) {
            self.current.remove(&id.tgid);
        }
    }
}

fn running(event: &ProcessEvent, command_line: Bytes) -> Running {
    Running {
        id: event.id,
        program: Program { path: event.path.clone(), name: event.name.clone(), command_line, sha256: None },
        executable: event.executable,
        executable_id: None,
    }
}

/// The arguments of a process that ran before picosnitch did; empty when it is gone.
fn arguments(tgid: u32) -> Bytes {
    use std::io::Read;

    let mut bytes = Bytes::new();
    if let Ok(file) = fs::File::open(format!("/proc/{tgid}/cmdline")) {
        // A process that ends meanwhile gives an error or nothing: both are fine.
        let _ = file.take(ARGUMENT_BYTES).read_to_end(&mut bytes);
    }
    capture::join_arguments(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(tgid: u32, exec: u32) -> ProcessId {
        ProcessId { start: u64::from(tgid) * 10, tgid, exec }
    }

    fn now() -> Instant {
        Instant::now()
    }

    /// `execve`, or a process that was there.
    fn process(id: ProcessId, parent: ProcessId, path: &str, name: &str) -> Box<ProcessEvent> {
        Box::new(ProcessEvent {
            id,
            parent,
            path: path.into(),
            name: name.into(),
            command_line: format!("{name} -x").into(),
            ..ProcessEvent::default()
        })
    }

    fn fork(id: ProcessId, parent: ProcessId, path: &str, name: &str) -> Box<ProcessEvent> {
        Box::new(ProcessEvent { grandparent: parent, ..*process(id, parent, path, name) })
    }

    fn shell() -> Processes {
        let mut processes = Processes::default();
        processes
            .apply(&Event::Existing(process(id(1, 0), ProcessId::default(), "/sbin/init", "init")), now());
        processes.apply(&Event::Forked(fork(id(2, 0), id(1, 0), "", "init")), now());
        processes.apply(&Event::Executed(process(id(2, 1), id(1, 0), "/bin/sh", "sh")), now());
        processes
    }

    #[test]
    fn a_fork_and_an_exec_know_who_started_them() {
        let mut processes = shell();
        processes.apply(&Event::Forked(fork(id(3, 1), id(2, 1), "", "sh")), now());
        let forked = &processes.get(id(3, 1)).unwrap().ancestry;
        assert_eq!(forked.process.program.path, b"/bin/sh");
        assert_eq!(forked.parent.program.path, b"/bin/sh");
        assert_eq!(forked.grandparent.program.path, b"/sbin/init");
        processes.apply(&Event::Renamed(id(3, 1), b"curl".to_vec()), now());
        // The shell is gone and init has adopted the process: its parent is the shell all the same.
        processes.apply(&Event::Exited(id(2, 1)), now());
        processes.apply(&Event::Executed(process(id(3, 2), id(1, 0), "/bin/curl", "curl")), now());
        let executed = &processes.get(id(3, 2)).unwrap().ancestry;
        assert_eq!(executed.process.program.path, b"/bin/curl");
        assert_eq!(executed.parent.program.path, b"/bin/sh");
        assert_eq!(executed.grandparent.program.path, b"/sbin/init");
        let before = &processes.get(id(3, 1)).unwrap().ancestry;
        assert_eq!(
            before.process.program.name, b"sh",
            "execve renames the old program before it makes the new one"
        );
    }

    #[test]
    fn a_clone_that_calls_itself_a_sibling_runs_the_program_that_cloned_it() {
        let mut processes = shell();
        processes.apply(&Event::Forked(fork(id(3, 1), id(2, 1), "", "sh")), now());
        processes.apply(&Event::Executed(process(id(3, 2), id(2, 1), "/tmp/evil", "evil")), now());
        let sibling = ProcessEvent { grandparent: id(3, 2), ..*process(id(4, 2), id(2, 1), "", "evil") };
        processes.apply(&Event::Forked(Box::new(sibling)), now());
        let ancestry = &processes.get(id(4, 2)).unwrap().ancestry;
        assert_eq!(ancestry.process.program.path, b"/tmp/evil");
        assert_eq!(ancestry.parent.program.path, b"/bin/sh");
    }

    #[test]
    fn what_a_new_look_at_the_machine_does_not_find_has_ended() {
        let mut processes = shell();
        let init = Event::Existing(process(id(1, 0), ProcessId::default(), "/sbin/init", "init"));
        processes.resync(&[init], now());
        processes.forget_ended(now() + LINGER * 2);
        assert_eq!(processes.len(), 1);
    }

    #[test]
    fn a_process_id_that_is_used_again_is_another_process() {
        let mut processes = shell();
        processes.apply(&Event::Exited(id(2, 1)), now());
        let again = ProcessId { start: 99, tgid: 2, exec: 4 };
        processes.apply(&Event::Executed(process(again, id(1, 0), "/bin/other", "other")), now());
        assert_eq!(processes.get(again).unwrap().ancestry.process.program.path, b"/bin/other");
        assert_eq!(processes.get(id(2, 1)).unwrap().ancestry.process.program.path, b"/bin/sh");
    }

    #[test]
    fn ended_processes_are_forgotten_but_not_at_once() {
        let mut processes = shell();
        processes.apply(&Event::Exited(id(2, 1)), now());
        processes.forget_ended(now());
        assert!(processes.get(id(2, 1)).is_some());
        processes.forget_ended(now() + LINGER * 2);
        assert!(processes.get(id(2, 1)).is_none());
        assert_eq!(processes.len(), 1);
    }

    #[test]
    fn a_parent_may_come_after_its_child() {
        let mut processes = Processes::default();
        processes.add_existing(&[
            Event::Existing(process(id(7, 3), id(5, 1), "/bin/child", "child")),
            Event::Existing(process(id(5, 1), ProcessId::default(), "/bin/parent", "parent")),
        ]);
        assert_eq!(processes.get(id(7, 3)).unwrap().ancestry.parent.program.path, b"/bin/parent");
    }
}
