//! AppImages: a program in one file, which mounts its content as a FUSE file system in a directory of its own at each start.
//!
//! The programs in such a mount are that one file. Their own paths would be new at each start, and their files can be read by
//! one user only. An executed file is an AppImage if its header says so; a program is in it if its executable lies on a FUSE
//! file system of the user that runs it, and an AppImage is among the programs from which it was executed. A user can
//! arrange that for other programs of its own, and deceives nobody but itself.

use std::{
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
    running_program::{Launch, RunningProgram},
};
use model::{Bytes, FileIdentity, Mount, ProcessEvent, ProcessId};

/// Programs whose AppImage is searched at a time.
const MAX_CANDIDATES: usize = 64;
/// How long it is searched: the watcher of executables, or the opening of its file, may be slow.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Programs that may serve a mount and are looked at.
const MAX_SERVERS: usize = 8;
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
}

/// The search for the AppImages of programs.
#[derive(Debug, Default)]
pub struct AppImages {
    candidates: Vec<Candidate>,
}

impl AppImages {
    /// Adds a process that was executed, or ran before the start, if its program may be in an AppImage.
    pub fn add_process(&mut self, event: &ProcessEvent, now: Instant) {
        if is_candidate(&event.path) && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(Candidate { id: event.id, uid: event.uid, since: now });
        }
    }

    /// Looks for the AppImage of each program that was added. Must be called before the flows of these programs are sent.
    pub fn resolve(&mut self, processes: &mut Processes, executables: &mut Executables, now: Instant) {
        self.candidates.retain(|candidate| {
            let Some(running) =
                processes.get(candidate.id).map(|process| Rc::clone(&process.ancestry.process))
            else {
                return false;
            };
            // Another program of the same mount may have been resolved before.
            if !running.app.is_empty() {
                return false;
            }
            let Some((point, source)) = fuse_mount(&running, candidate.uid) else { return false };
            let launched = launched_by(&running, |file| executables.is_app_image(file));
            let found = launched
                .or_else(|| server_of(&running, (&source, candidate.uid), processes, executables, now));
            match found {
                Some(launch) => {
                    let device = running.executable.device;
                    let adopted = processes.add_image_mount(ImageMount {
                        device,
                        point,
                        uid: candidate.uid,
                        file: launch,
                    });
                    executables.forget_ids(&adopted);
                    false
                }
                None => now.duration_since(candidate.since) < MAX_WAIT,
            }
        });
    }
}

/// The AppImage among the programs that were executed before.
fn launched_by(running: &RunningProgram, is_app_image: impl Fn(&FileIdentity) -> bool) -> Option<Rc<Launch>> {
    let mut launches = running.launch.iter().flat_map(Launch::all);
    launches.find(|launch| is_app_image(&launch.executable)).map(Rc::clone)
}

/// The AppImage that serves a mount of this name, for programs that ran before the start: what was executed before is not
/// known then. It runs as the same user, and started the program or was started by it; a server that has left its parent is
/// still in the process group. Its file is opened to look at its header, which may take until a later call.
fn server_of(
    program: &RunningProgram,
    (source, uid): (&[u8], u32),
    processes: &Processes,
    executables: &mut Executables,
    now: Instant,
) -> Option<Rc<Launch>> {
    let own = ProcessLinks::read(program.id.tgid)?;
    let mut servers = Vec::new();
    for running in processes.programs().filter(|running| running.app.is_empty()) {
        if file_name(&running.program.path) == source
            && let Some(other) = ProcessLinks::read(running.id.tgid)
            && let Some(closeness) = own.closeness(&other, uid)
            && servers.len() < MAX_SERVERS
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

/// The mount point and the name of the FUSE mount of this user in which a program lies.
fn fuse_mount(running: &RunningProgram, uid: u32) -> Option<(Bytes, Bytes)> {
    let mut text = Vec::new();
    let mountinfo = File::open(format!("/proc/{}/mountinfo", running.id.tgid)).ok()?;
    mountinfo.take(MAX_MOUNTINFO_BYTES).read_to_end(&mut text).ok()?;
    mount_in(&text, running, uid)
}

fn mount_in(mountinfo: &[u8], running: &RunningProgram, uid: u32) -> Option<(Bytes, Bytes)> {
    let owner = format!("user_id={uid}");
    let mount = Mount::parse_all(mountinfo).rev().find(|mount| {
        mount.device == running.executable.device
            && (mount.kind == b"fuse" || mount.kind.starts_with(b"fuse."))
            && mount.options.split(|byte| *byte == b',').any(|option| option == owner.as_bytes())
            && is_below(&running.program.path, &mount.point)
    })?;
    Some((mount.point, mount.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(path: &str, inode: u64) -> RunningProgram {
        let mut running = RunningProgram::default();
        running.program.path = path.into();
        running.executable = FileIdentity { inode, device: 44, ..FileIdentity::default() };
        running
    }

    #[test]
    fn the_mount_has_to_be_one_of_the_user() {
        let mountinfo = b"24 22 0:44 / /tmp/.mount_NameAb ro,nosuid - fuse.Name.AppImage Name.AppImage ro,user_id=1000,group_id=7\n\
                          25 22 0:45 / /tmp/.mount_Other ro - ext4 /dev/sda1 rw,user_id=1000\n";
        let program = running("/tmp/.mount_NameAb/usr/bin/app", 3);
        let found = mount_in(mountinfo, &program, 1000).unwrap();
        assert_eq!(found, (b"/tmp/.mount_NameAb".to_vec(), b"Name.AppImage".to_vec()));
        assert_eq!(mount_in(mountinfo, &program, 100), None, "of another user");
        assert_eq!(mount_in(mountinfo, &running("/tmp/.mount_NameAbc/app", 3), 1000), None);
        let mut elsewhere = running("/tmp/.mount_Other/app", 3);
        elsewhere.executable.device = 45;
        assert_eq!(mount_in(mountinfo, &elsewhere, 1000), None, "not FUSE");
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
