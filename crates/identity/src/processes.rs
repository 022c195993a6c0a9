//! The process table: which program each process runs, and which programs started it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    app_image_mount::ImageMount,
    hash_cache::is_same_content,
    running_program::{Launch, Origin, RunningProgram},
};
use capture::Event;
use model::{Bytes, FileIdentity, ProcessEvent, ProcessId, ShrinkAfterBurst as _, text::command_line};

/// How long an ended process is kept, because its sockets are closed, and their flows drained, after its end.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes of the arguments of a process that ran before the start, as many as the kernel half reads of new ones.
const MAX_ARGUMENT_BYTES: u64 = capture::MAX_ARGUMENTS_BYTES as u64;

/// Mounts of AppImages of one user that are remembered.
const MAX_IMAGE_MOUNTS: usize = 256;

/// A process and the programs that started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// The program of the process itself.
    pub process: Rc<RunningProgram>,
    /// The program that started it, as it was then.
    pub parent: Rc<RunningProgram>,
    /// The program that started the parent.
    pub grandparent: Rc<RunningProgram>,
}

impl Ancestry {
    /// The program of the process, of its parent, and of its grandparent.
    pub fn programs(&self) -> [&Rc<RunningProgram>; 3] {
        [&self.process, &self.parent, &self.grandparent]
    }
}

/// One process of the table.
#[derive(Clone, Debug)]
pub struct Process {
    /// The program that it runs, and its ancestors.
    pub ancestry: Ancestry,
    /// The program before the last change of its name: `execve` renames the old program just before it starts the new
    /// one.
    before_rename: Option<Rc<RunningProgram>>,
    /// When its end was read.
    ended: Option<Instant>,
}

/// The living processes, and those that ended a moment ago.
#[derive(Debug, Default)]
pub struct Processes {
    table: HashMap<ProcessId, Process>,
    /// The program that each living process runs now.
    current: HashMap<u32, ProcessId>,
    ended: Vec<ProcessId>,
    /// Where AppImages with living processes are mounted, by device.
    image_mounts: HashMap<u32, ImageMount>,
    /// Number of mounts that were found.
    mounts_found: u64,
}

impl Processes {
    /// Takes over an event. Events that are not about processes are ignored.
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

    /// Sets the id of the executable that a process has just executed.
    pub fn set_executable(&mut self, id: ProcessId, executable: u32) {
        if let Some(process) = self.table.get_mut(&id) {
            Rc::make_mut(&mut process.ancestry.process).executable_id = Some(executable);
        }
    }

    /// Whether the program of a process is in an AppImage: then its own file is of no interest.
    pub fn is_in_app_image(&self, id: ProcessId) -> bool {
        self.table.get(&id).is_some_and(|process| !process.ancestry.process.app.is_empty())
    }

    /// The programs that run.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &RunningProgram> {
        self.table.values().map(|process| &*process.ancestry.process)
    }

    /// The program of a process that has not ended, and has executed no other one.
    pub(crate) fn living(&self, id: ProcessId) -> Option<&Rc<RunningProgram>> {
        self.table.get(&id).filter(|process| process.ended.is_none()).map(|process| &process.ancestry.process)
    }

    /// The newest program of the process with this number, which may have ended a moment ago.
    pub(crate) fn newest_of(&self, tgid: u32) -> Option<&Rc<RunningProgram>> {
        let id = self.current.get(&tgid).or_else(|| self.ended.iter().rev().find(|id| id.tgid == tgid))?;
        self.table.get(id).filter(|_| tgid != 0).map(|process| &process.ancestry.process)
    }

    /// Adds a mount of an AppImage: all programs in it are that file from now on, until the last of them has ended. Unless
    /// it `is_in_use` still, only those that ran before the start: the device number may be another file system's by now.
    /// Returns the processes that run one.
    pub(crate) fn add_image_mount(&mut self, mut mount: ImageMount, is_in_use: bool) -> Vec<ProcessId> {
        self.mounts_found += 1;
        mount.serial = self.mounts_found;
        mount.server = self.living_with(&mount.file.executable);
        let mut adopted = Vec::new();
        for process in self.table.values_mut() {
            let ancestry = &mut process.ancestry;
            let programs = [&mut ancestry.process, &mut ancestry.parent, &mut ancestry.grandparent];
            for running in programs.into_iter().chain(&mut process.before_rename) {
                let is_new = matches!(running.origin, Origin::Executed(_));
                if mount.contains(running) && (is_in_use || !is_new) {
                    adopted.push(running.id);
                    mount.adopt(Rc::make_mut(running));
                }
            }
            let image = process.ancestry.process.image.as_ref();
            if process.ended.is_none() && image.is_some_and(|image| image.serial == mount.serial) {
                mount.living += 1;
            }
        }
        let of_user = self.image_mounts.values().filter(|other| other.uid == mount.uid).count();
        if mount.living > 0 && of_user < MAX_IMAGE_MOUNTS {
            self.image_mounts.insert(mount.device, mount);
        }
        adopted
    }

    /// A living process whose own file is this one.
    fn living_with(&self, file: &FileIdentity) -> Option<u32> {
        let runs_it = |process: &&Process| {
            let running = &process.ancestry.process;
            process.ended.is_none() && running.image.is_none() && is_same_content(&running.executable, file)
        };
        self.table.values().find(runs_it).map(|process| process.ancestry.process.id.tgid)
    }

    /// Counts a process that begins or ends with this program. A mount is forgotten with its last process: its device number
    /// may be that of any other file system from then on.
    fn count_in_mount(&mut self, running: &RunningProgram, begins: bool) {
        let Some(image) = &running.image else { return };
        let Some(mount) = self.image_mounts.get_mut(&image.device) else { return };
        if mount.serial != image.serial {
            return;
        }
        mount.living = if begins { mount.living + 1 } else { mount.living.saturating_sub(1) };
        if mount.living == 0 {
            self.image_mounts.remove(&image.device);
        }
    }

    /// Removes processes that ended long enough ago.
    pub fn forget_ended(&mut self, now: Instant) {
        let table = &mut self.table;
        self.ended.retain(|id| {
            // An event that was read late may have ended a process that lives.
            let Some(ended) = table.get(id).and_then(|process| process.ended) else { return false };
            let keep = now < ended + LINGER;
            if !keep {
                table.remove(id);
            }
            keep
        });
        self.ended.shrink_after_burst();
        self.table.shrink_after_burst();
        self.current.shrink_after_burst();
    }

    /// The process; `None` when it is not in the table.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.table.get(&id)
    }

    /// Adds the processes that ran before the start. Parents may come after their children.
    pub fn add_existing(&mut self, events: &[Event]) {
        for event in events {
            self.apply(event, Instant::now());
        }
        for event in events {
            let Event::Existing(event) = event else { continue };
            let (parent, grandparent) = (self.program(event.parent), self.program(event.grandparent));
            if let Some(process) = self.table.get_mut(&event.id) {
                process.ancestry.parent = parent;
                process.ancestry.grandparent = grandparent;
            }
        }
    }

    /// Repairs the table after events were lost: `events` are all living processes, and every other process of the table
    /// has ended.
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

    /// Adds a process that is known from an earlier run and has ended since, so that it is kept until its flows are drained.
    pub(crate) fn add_ended(&mut self, ancestry: Ancestry, now: Instant) {
        let id = ancestry.process.id;
        // Another program of that process may run.
        self.table.insert(id, Process { ancestry, before_rename: None, ended: Some(now) });
        self.ended.push(id);
    }

    /// The programs of a process of the table.
    pub(crate) fn ancestry_mut(&mut self, id: ProcessId) -> Option<&mut Ancestry> {
        self.table.get_mut(&id).map(|process| &mut process.ancestry)
    }

    /// The processes of the table.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ProcessId> {
        self.table.keys().copied()
    }

    fn program(&self, id: ProcessId) -> Rc<RunningProgram> {
        self.table.get(&id).map(|process| Rc::clone(&process.ancestry.process)).unwrap_or_default()
    }

    fn insert(&mut self, id: ProcessId, ancestry: Ancestry) {
        let running = Rc::clone(&ancestry.process);
        self.current.insert(id.tgid, id);
        let replaced = self.table.insert(id, Process { ancestry, before_rename: None, ended: None });
        // First the new one: a mount is forgotten with its last process.
        self.count_in_mount(&running, true);
        if let Some(replaced) = replaced.filter(|replaced| replaced.ended.is_none()) {
            self.count_in_mount(&replaced.ancestry.process, false);
        }
    }

    fn executed(&mut self, event: &ProcessEvent, now: Instant) {
        let before =
            self.current.get(&event.id.tgid).copied().filter(|before| before.start == event.id.start);
        let (parent, grandparent) = match before.and_then(|before| self.table.get_mut(&before)) {
            Some(before) => {
                if let Some(name) = before.before_rename.take() {
                    before.ancestry.process = name;
                }
                // The program that started it, even if that process is gone by now.
                (Rc::clone(&before.ancestry.parent), Rc::clone(&before.ancestry.grandparent))
            }
            None => (self.program(event.parent), self.program(event.grandparent)),
        };
        let mut process = RunningProgram::new(event, event.command_line.clone());
        let launch = before.and_then(|before| self.table.get(&before));
        process.origin = Origin::Executed(launch.and_then(|launch| Launch::of(&launch.ancestry.process)));
        let mount = self.image_mounts.get(&event.executable.device);
        if let Some(mount) = mount.filter(|mount| mount.contains(&process)) {
            mount.adopt(&mut process);
        }
        self.insert(event.id, Ancestry { process: Rc::new(process), parent, grandparent });
        // Only now: the program before may be the last other one in the mount, and its file system is in use all the time.
        if let Some(before) = before.filter(|before| *before != event.id) {
            self.end(before, now);
        }
    }

    fn forked(&mut self, event: &ProcessEvent) {
        // The process that forked is not the parent with CLONE_PARENT.
        let mut process = (*self.program(event.grandparent)).clone();
        let (parent, grandparent) = match self.table.get(&event.parent) {
            Some(parent) => (Rc::clone(&parent.ancestry.process), Rc::clone(&parent.ancestry.parent)),
            None => Default::default(),
        };
        process.id = event.id;
        process.origin = Origin::Forked;
        process.program.name.clone_from(&event.name);
        let ancestry = Ancestry { process: Rc::new(process), parent, grandparent };
        self.insert(event.id, ancestry);
    }

    fn existing(&mut self, event: &ProcessEvent) {
        if self.table.contains_key(&event.id) {
            return;
        }
        let command_line = if event.kernel { Bytes::new() } else { arguments(event.id.tgid) };
        let process = Rc::new(RunningProgram::new(event, command_line));
        let (parent, grandparent) = (self.program(event.parent), self.program(event.grandparent));
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
            let running = Rc::clone(&process.ancestry.process);
            self.ended.push(id);
            self.count_in_mount(&running, false);
        }
        if self.current.get(&id.tgid) == Some(&id) {
            self.current.remove(&id.tgid);
        }
    }
}

/// The command line of a process that ran before the start; empty when it is gone.
fn arguments(tgid: u32) -> Bytes {
    use std::io::Read;

    let mut bytes = Bytes::new();
    if let Ok(file) = fs::File::open(format!("/proc/{tgid}/cmdline")) {
        // A process that ends meanwhile gives an error or nothing, and then its arguments are unknown.
        let _ = file.take(MAX_ARGUMENT_BYTES).read_to_end(&mut bytes);
    }
    command_line::from_proc(&bytes).to_vec()
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

    /// An execve, or a process that ran before the start.
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
    fn a_fork_and_an_exec_have_ancestors() {
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
    fn a_clone_with_its_siblings_parent_runs_the_program_that_cloned_it() {
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
    fn a_process_that_a_resync_does_not_find_has_ended() {
        let mut processes = shell();
        let init = Event::Existing(process(id(1, 0), ProcessId::default(), "/sbin/init", "init"));
        processes.resync(&[init], now());
        processes.forget_ended(now() + LINGER * 2);
        assert_eq!(processes.table.len(), 1);
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
        assert_eq!(processes.table.len(), 1);
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

    fn in_mount(id: ProcessId) -> Event {
        let executable = FileIdentity { inode: 3, device: 44, ..FileIdentity::default() };
        let event = process(id, ProcessId::default(), "/tmp/.mount_x/app", "app");
        Event::Executed(Box::new(ProcessEvent { executable, ..*event }))
    }

    fn image_mount() -> ImageMount {
        let mut image = RunningProgram::default();
        image.program.path = b"/opt/Trusted.AppImage".to_vec();
        image.executable.inode = 100;
        let (point, file) = (b"/tmp/.mount_x".to_vec(), Rc::new(Launch::new(&image)));
        ImageMount { device: 44, point, uid: 0, file, server: None, serial: 0, living: 0 }
    }

    #[test]
    fn a_mount_of_an_app_image_is_forgotten_with_its_last_process() {
        let mut processes = Processes::default();
        processes.apply(&in_mount(id(2, 1)), now());
        assert_eq!(processes.add_image_mount(image_mount(), false), []);
        assert_eq!(processes.add_image_mount(image_mount(), true), [id(2, 1)]);
        // A process that another program of the mount starts, and that executes one in it, and a further one.
        processes.apply(&Event::Forked(fork(id(3, 0), id(2, 1), "", "app")), now());
        processes.apply(&Event::Renamed(id(3, 0), b"other".to_vec()), now());
        processes.apply(&in_mount(id(3, 1)), now());
        processes.apply(&Event::Exited(id(2, 1)), now());
        processes.apply(&in_mount(id(3, 2)), now());
        assert!(processes.is_in_app_image(id(3, 2)));
        // It executes a program elsewhere: the file system may be unmounted from then on.
        processes.apply(&Event::Executed(process(id(3, 3), id(1, 0), "/bin/sh", "sh")), now());
        assert!(!processes.is_in_app_image(id(3, 3)));
        processes.apply(&in_mount(id(4, 1)), now());
        assert!(!processes.is_in_app_image(id(4, 1)), "the device number may be another file system's");
        assert!(processes.image_mounts.is_empty());
    }

    #[test]
    fn a_program_of_an_app_image_is_opened_through_the_server_of_the_mount() {
        let mut processes = Processes::default();
        processes.apply(&in_mount(id(2, 1)), now());
        let executable = FileIdentity { inode: 100, ..FileIdentity::default() };
        let server = process(id(7, 1), ProcessId::default(), "/opt/Trusted.AppImage", "Trusted");
        processes.apply(&Event::Executed(Box::new(ProcessEvent { executable, ..*server })), now());
        processes.add_image_mount(image_mount(), true);
        assert_eq!(processes.living(id(2, 1)).unwrap().opened_through(), Some(7));
        assert_eq!(processes.living(id(7, 1)).unwrap().opened_through(), Some(7));
        processes.apply(&Event::Exited(id(7, 1)), now());
        assert_eq!(processes.add_image_mount(image_mount(), true), [], "adopted already");
        processes.apply(&in_mount(id(8, 1)), now());
        assert_eq!(processes.living(id(8, 1)).unwrap().opened_through(), Some(7));
    }
}
