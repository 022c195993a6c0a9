//! AppImages: a program in one file, which mounts its content as a FUSE file system in a directory of its own at each start.
//!
//! The programs in such a mount are that one file. Their own paths would be new at each start, and their files can be read by
//! one user only. An executed file is an AppImage if its header says so. A FUSE file system is that of an AppImage if it
//! has its file's name and belongs to the same user, and a process that executed the AppImage has then executed a program in
//! it, without any other mount in between. All programs in it are the AppImage from then on, while one of them lives. A user
//! can arrange that for other programs of its own, by what it has the AppImage do, and deceives nobody but itself.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    app_image_mount::{ImageMount, file_name, is_below},
    executables::Executables,
    mounts::MAX_MOUNTINFO_BYTES,
    processes::Processes,
    running_program::{Launch, Origin, RunningProgram},
};
use model::{Bytes, FileIdentity, Mount, ProcessEvent, ProcessId};

/// Programs whose AppImage is searched at a time, and those of one user.
const MAX_CANDIDATES: usize = 256;
const MAX_USER_CANDIDATES: usize = 32;
/// How long it is searched: the watcher of executables, or the opening of its file, may be slow.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Programs that may serve a mount and are looked at.
const MAX_SERVERS: usize = 8;
/// Bytes of mountinfo in one call, after which no other file of the same user, or of anybody, is read.
const MAX_USER_BYTES: u64 = 1024 * 1024;
const MAX_BYTES: u64 = 8 * MAX_USER_BYTES;
/// Processes that are looked up in /proc in one call.
const MAX_LOOKUPS: usize = 512;
/// The beginning of the name of the directory in which an AppImage is mounted.
const MOUNT_PREFIX: &[u8] = b"/.mount_";

/// Whether a path is like those of programs in AppImages. It proves nothing, but most programs are no candidates then.
pub(crate) fn is_candidate(path: &[u8]) -> bool {
    path.windows(MOUNT_PREFIX.len()).any(|window| window == MOUNT_PREFIX)
}

/// A program whose path is like those in AppImages, and that is not known to be in one.
#[derive(Debug)]
struct Candidate {
    id: ProcessId,
    uid: u32,
    since: Instant,
    /// The mount that it is in, once it was looked up. It cannot change while the program runs.
    mount: Option<FoundMount>,
}

/// Where a FUSE file system is mounted, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FoundMount {
    point: Bytes,
    source: Bytes,
}

/// What one call has read. Users decide how much there is, and the flows of all wait meanwhile.
#[derive(Debug, Default)]
struct Work {
    /// Bytes of mountinfo by user.
    bytes: HashMap<u32, u64>,
    lookups: usize,
}

impl Work {
    fn is_allowed(&self, uid: u32) -> bool {
        self.bytes.get(&uid).is_none_or(|bytes| *bytes < MAX_USER_BYTES)
            && self.bytes.values().sum::<u64>() < MAX_BYTES
    }
}

/// The search for the AppImages of programs.
#[derive(Debug, Default)]
pub struct AppImages {
    candidates: Vec<Candidate>,
}

impl AppImages {
    /// Adds a process that was executed, or ran before the start, if its program may be in an AppImage.
    pub fn add_process(&mut self, event: &ProcessEvent, now: Instant) {
        if !is_candidate(&event.path) || self.candidates.len() >= MAX_CANDIDATES {
            return;
        }
        let of_user = self.candidates.iter().filter(|candidate| candidate.uid == event.uid).count();
        if of_user < MAX_USER_CANDIDATES {
            self.candidates.push(Candidate { id: event.id, uid: event.uid, since: now, mount: None });
        }
    }

    /// Looks for the AppImage of each program that was added. Must be called before the flows of these programs are sent.
    pub fn resolve(&mut self, processes: &mut Processes, executables: &mut Executables, now: Instant) {
        let mut work = Work::default();
        self.candidates.retain_mut(|candidate| {
            let Some(process) = processes.get(candidate.id) else { return false };
            let running = Rc::clone(&process.ancestry.process);
            // While it lives, its device number cannot be that of another file system.
            let is_living = processes.living(candidate.id).is_some();
            if !is_living && candidate.mount.is_none() {
                return false;
            }
            // Another program of the same mount may have been resolved before.
            if !running.app.is_empty() {
                return false;
            }
            let is_awaited = now.duration_since(candidate.since) < MAX_WAIT;
            let image = match search(&running, |file| executables.is_app_image(file)) {
                Search::Never => return false,
                Search::Later => return is_awaited,
                Search::Server => None,
                Search::Found(image) => Some(image),
            };
            if candidate.mount.is_none() {
                if !work.is_allowed(candidate.uid) {
                    return is_awaited;
                }
                candidate.mount = fuse_mount(&running, candidate.uid, &mut work);
            }
            let Some(mount) = &candidate.mount else { return false };
            let image = match image {
                Some(image) if file_name(&image.path) != mount.source => return false,
                Some(image) => image,
                None => {
                    let search = ServerSearch { program: &running, mount, uid: candidate.uid };
                    match search.run(processes, executables, (&mut work, now)) {
                        Some(image) => image,
                        None => return is_awaited,
                    }
                }
            };
            let mount = ImageMount {
                device: running.executable.device,
                point: mount.point.clone(),
                uid: candidate.uid,
                file: image,
                server: None,
                serial: 0,
                living: 0,
            };
            executables.forget_ids(&processes.add_image_mount(mount, is_living));
            false
        });
    }
}

/// Where the AppImage of a program is to be found.
#[derive(Debug, PartialEq, Eq)]
enum Search {
    /// This file, if it has the name of the mount.
    Found(Rc<Launch>),
    /// Among the programs that run under the name of the mount.
    Server,
    /// Not yet: the headers of the files that were executed may be unknown.
    Later,
    Never,
}

/// Looks for the AppImage among the programs that the process executed before. If one of them was in another mount, that
/// is the one that an AppImage before it has mounted.
fn search(running: &RunningProgram, is_app_image: impl Fn(&FileIdentity) -> bool) -> Search {
    let launch = match &running.origin {
        Origin::Before => return Search::Server,
        Origin::Forked | Origin::Executed(None) => return Search::Never,
        Origin::Executed(Some(launch)) => launch,
    };
    for launch in launch.all() {
        if launch.image_device.is_some() || is_candidate(&launch.path) {
            if launch.image_device.unwrap_or(launch.executable.device) != running.executable.device {
                return Search::Never;
            }
        } else if is_app_image(&launch.executable) {
            return Search::Found(Rc::clone(launch));
        }
    }
    Search::Later
}

/// The search for the AppImage that serves a mount, by the name of the mount, for programs that ran before the start: what
/// was executed before is not known then, and for no other program may a name decide.
struct ServerSearch<'a> {
    program: &'a RunningProgram,
    mount: &'a FoundMount,
    uid: u32,
}

impl ServerSearch<'_> {
    /// It runs as the same user, and started the program or was started by it; a server that has left its parent may still be
    /// in the process group. Its file is opened to look at its header, which may take until a later call.
    fn run(
        &self,
        processes: &Processes,
        executables: &mut Executables,
        (work, now): (&mut Work, Instant),
    ) -> Option<Rc<Launch>> {
        let own = ProcessLinks::read(self.program.id.tgid)?;
        let mut servers = Vec::new();
        for running in processes.programs().filter(|running| running.app.is_empty()) {
            if file_name(&running.program.path) != self.mount.source {
                continue;
            }
            work.lookups += 1;
            if work.lookups > MAX_LOOKUPS || servers.len() >= MAX_SERVERS {
                return None;
            }
            if let Some(other) = ProcessLinks::read(running.id.tgid)
                && let Some(closeness) = own.closeness(&other, self.uid)
            {
                servers.push((closeness, running));
            }
        }
        let closest = servers.iter().map(|(closeness, _)| *closeness).min()?;
        let mut servers = servers.into_iter().filter(|(closeness, _)| *closeness == closest);
        let (_, server) = servers.next()?;
        // Two of the same name: which one it is would be a guess.
        if servers.any(|(_, other)| other.program.path != server.program.path) {
            return None;
        }
        let mut launch = Launch::new(server);
        launch.executable_id = executables.id_of(server, now);
        executables.is_app_image(&server.executable).then(|| Rc::new(launch))
    }
}

/// How a process is related to others, from /proc.
struct ProcessLinks {
    pid: u32,
    uid: u32,
    parent: u32,
    group: u32,
}

impl ProcessLinks {
    /// Reads proc_pid_stat(5); `None` when the process is gone.
    fn read(pid: u32) -> Option<Self> {
        let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = String::from_utf8_lossy(stat.get(name_end + 2..)?).into_owned();
        let mut fields = rest.split(' ').skip(1).map(|field| field.parse().unwrap_or_default());
        Some(Self { pid, uid, parent: fields.next()?, group: fields.next()? })
    }

    /// How close a process of this user is, smaller for closer ones; `None` if it is not related.
    fn closeness(&self, other: &Self, uid: u32) -> Option<u8> {
        if other.uid != uid || other.pid == self.pid {
            None
        } else if other.pid == self.parent || other.parent == self.pid {
            Some(0)
        } else {
            (other.group == self.group).then_some(1)
        }
    }
}

/// The FUSE mount of this user in which a program lies.
fn fuse_mount(running: &RunningProgram, uid: u32, work: &mut Work) -> Option<FoundMount> {
    let mut text = Vec::new();
    let mountinfo = File::open(format!("/proc/{}/mountinfo", running.id.tgid)).ok()?;
    let read = mountinfo.take(MAX_MOUNTINFO_BYTES).read_to_end(&mut text);
    *work.bytes.entry(uid).or_default() += text.len() as u64;
    read.ok()?;
    mount_in(&text, running, uid)
}

fn mount_in(mountinfo: &[u8], running: &RunningProgram, uid: u32) -> Option<FoundMount> {
    let owner = format!("user_id={uid}");
    let mount = Mount::parse_all(mountinfo).rev().find(|mount| {
        mount.device == running.executable.device
            && (mount.kind == b"fuse" || mount.kind.starts_with(b"fuse."))
            && mount.options.split(|byte| *byte == b',').any(|option| option == owner.as_bytes())
            && is_below(&running.program.path, &mount.point)
    })?;
    Some(FoundMount { point: mount.point, source: mount.source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::Event;

    #[test]
    fn the_mount_has_to_be_one_of_the_user() {
        let mountinfo = b"24 22 0:44 / /tmp/.mount_NameAb ro,nosuid - fuse.Name.AppImage Name.AppImage ro,user_id=1000,group_id=7\n\
                          25 22 0:45 / /tmp/.mount_Other ro - ext4 /dev/sda1 rw,user_id=1000\n";
        let program = RunningProgram::sample("/tmp/.mount_NameAb/usr/bin/app", 3);
        let found = mount_in(mountinfo, &program, 1000).unwrap();
        let point = b"/tmp/.mount_NameAb".to_vec();
        assert_eq!(found, FoundMount { point, source: b"Name.AppImage".to_vec() });
        assert_eq!(mount_in(mountinfo, &program, 100), None, "of another user");
        assert_eq!(mount_in(mountinfo, &RunningProgram::sample("/tmp/.mount_NameAbc/app", 3), 1000), None);
        let mut elsewhere = RunningProgram::sample("/tmp/.mount_Other/app", 3);
        elsewhere.executable.device = 45;
        assert_eq!(mount_in(mountinfo, &elsewhere, 1000), None, "not FUSE");
    }

    fn event(exec: u32, path: &str, device: u32) -> Box<ProcessEvent> {
        let executable = FileIdentity { inode: 100, device, ..FileIdentity::default() };
        Box::new(ProcessEvent { id: id(5, exec), path: path.into(), executable, ..ProcessEvent::default() })
    }

    fn id(tgid: u32, exec: u32) -> ProcessId {
        ProcessId { start: u64::from(tgid), tgid, exec }
    }

    /// What is found for the last of the programs that one process executes after the other. AppImages are on device 8.
    fn after(programs: &[(&str, u32)]) -> Search {
        let mut processes = Processes::default();
        processes.apply(&Event::Forked(event(0, "", 0)), Instant::now());
        for (exec, (path, device)) in (1..).zip(programs) {
            processes.apply(&Event::Executed(event(exec, path, *device)), Instant::now());
        }
        let last = processes.living(id(5, u32::try_from(programs.len()).unwrap())).unwrap();
        search(last, |file| file.device == 8)
    }

    #[test]
    fn only_a_program_that_ran_before_the_start_is_found_by_a_name() {
        assert_eq!(search(&RunningProgram::sample("/tmp/.mount_x/evil", 3), |_| true), Search::Server);
        assert_eq!(after(&[("/tmp/.mount_x/evil", 44)]), Search::Never);
        assert_eq!(after(&[("/bin/sh", 1), ("/tmp/.mount_x/evil", 44)]), Search::Later);
    }

    #[test]
    fn a_program_is_found_by_what_its_process_executed_and_no_mount_in_between() {
        let image = ("/opt/Trusted.AppImage", 8);
        let (run, app) = (("/tmp/.mount_x/AppRun", 44), ("/tmp/.mount_x/app", 44));
        for programs in
            [vec![image, app], vec![image, ("/bin/sh", 1), app], vec![image, run, ("/bin/sh", 1), app]]
        {
            let Search::Found(launch) = after(&programs) else { panic!("{programs:?}") };
            assert_eq!(launch.path, image.0.as_bytes());
        }
        assert_eq!(after(&[image, run, ("/tmp/.mount_y/evil", 45)]), Search::Never);
        assert_eq!(after(&[image, run, ("/nfs/B.AppImage", 9), ("/tmp/.mount_b/AppRun", 45)]), Search::Never);
    }

    #[test]
    fn what_an_app_image_starts_in_another_process_is_not_in_it() {
        let mut processes = Processes::default();
        let now = Instant::now();
        processes.apply(&Event::Forked(event(0, "", 0)), now);
        processes.apply(&Event::Executed(event(1, "/opt/Trusted.AppImage", 8)), now);
        let child =
            ProcessEvent { id: id(6, 1), parent: id(5, 1), grandparent: id(5, 1), ..*event(1, "", 8) };
        processes.apply(&Event::Forked(Box::new(child)), now);
        for (exec, path, device) in [(2, "/bin/sh", 1), (3, "/tmp/.mount_y/evil", 45)] {
            let executed = ProcessEvent { id: id(6, exec), ..*event(exec, path, device) };
            processes.apply(&Event::Executed(Box::new(executed)), now);
        }
        let evil = processes.living(id(6, 3)).unwrap();
        assert_eq!(search(evil, |file| file.device == 8), Search::Later, "the shell only");
    }

    #[test]
    fn one_user_cannot_take_all_places() {
        let mut images = AppImages::default();
        for uid in [1, 2] {
            for exec in 0..1000 {
                let event = ProcessEvent { uid, ..*event(exec, "/tmp/.mount_x/app", 44) };
                images.add_process(&event, Instant::now());
            }
            assert_eq!(images.candidates.len(), MAX_USER_CANDIDATES * uid as usize);
        }
        let mut work = Work::default();
        work.bytes.insert(1, MAX_USER_BYTES);
        assert!(!work.is_allowed(1) && work.is_allowed(2));
    }

    #[test]
    fn a_server_is_the_parent_a_child_or_in_the_group_and_of_the_same_user() {
        let links = |pid, uid, parent, group| ProcessLinks { pid, uid, parent, group };
        let own = links(10, 1000, 9, 5);
        for (other, expected) in [
            (links(9, 1000, 1, 9), Some(0)),
            (links(11, 1000, 10, 11), Some(0)),
            (links(12, 1000, 1, 5), Some(1)),
            (links(12, 1000, 1, 12), None),
            (links(11, 1001, 10, 5), None),
            (links(10, 1000, 9, 5), None),
        ] {
            assert_eq!(own.closeness(&other, 1000), expected, "{}", other.pid);
        }
        let found = ProcessLinks::read(std::process::id()).unwrap();
        assert_eq!(found.parent, std::os::unix::process::parent_id());
    }
}
