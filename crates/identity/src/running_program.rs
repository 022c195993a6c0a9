//! A program as a process runs it, and what was executed before it.

use std::rc::Rc;

use model::{Bytes, FileIdentity, ProcessEvent, ProcessId, Program};

/// Programs that a process has executed one after the other and that are remembered.
const MAX_LAUNCHES: u8 = 8;
/// Bytes of their paths. A user decides how many and how long they are.
const MAX_LAUNCH_BYTES: usize = 4096;

/// A program as one process runs it, with the identity of its executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningProgram {
    /// The process. While it lives, the executable can be opened through it, unless it is in an AppImage.
    pub id: ProcessId,
    /// Path, name and arguments, without a digest.
    pub program: Program,
    /// The executable; its inode is 0 when unknown.
    pub executable: FileIdentity,
    /// The id of the executable, if the program was executed since the start.
    pub executable_id: Option<u32>,
    /// The AppImage that it is in, as text for users; empty outside of one.
    pub app: Bytes,
    /// The mount of the AppImage, for a program in one.
    pub(crate) image: Option<InImage>,
    /// How the process came to it.
    pub(crate) origin: Origin,
    /// The user that executed it.
    pub(crate) uid: u32,
}

impl RunningProgram {
    /// The program of an event, with these arguments.
    pub(crate) fn new(event: &ProcessEvent, command_line: Bytes) -> Self {
        Self {
            id: event.id,
            program: Program {
                path: event.path.clone(),
                name: event.name.clone(),
                command_line,
                sha256: None,
            },
            executable: event.executable,
            uid: event.uid,
            ..Self::default()
        }
    }

    /// A process through which the executable can be opened while it lives: that of an AppImage is not the file that the
    /// process itself runs.
    pub(crate) fn opened_through(&self) -> Option<u32> {
        self.image.as_ref().map_or(Some(self.id.tgid), |image| image.server)
    }
}

/// How a process came to its program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It ran before the start, or is unknown.
    #[default]
    Before,
    /// The process is a copy of another one, and has executed nothing since.
    Forked,
    /// The process has executed it, after these programs.
    Executed(Option<Rc<Launch>>),
}

/// The mount in which a program lies whose executable is given as that of the AppImage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InImage {
    pub(crate) device: u32,
    /// The number of the mount among all that were found.
    pub(crate) serial: u64,
    /// A process that runs the AppImage itself, through which it can be opened.
    pub(crate) server: Option<u32>,
}

/// A program that executed another one in its process, and the programs before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) path: Bytes,
    pub(crate) executable: FileIdentity,
    pub(crate) executable_id: Option<u32>,
    /// The device of the mount, if it was in an AppImage.
    pub(crate) image_device: Option<u32>,
    before: Option<Rc<Launch>>,
    /// Number of programs before it.
    depth: u8,
    /// Bytes of all paths.
    bytes: usize,
}

impl Launch {
    /// The launches of a program that replaces `before`; none for the first program that a process executes, because what
    /// its copies do is not decided by the program that was forked.
    pub(crate) fn of(before: &RunningProgram) -> Option<Rc<Self>> {
        let Origin::Executed(earlier) = &before.origin else { return None };
        let launch = Self::new(before);
        let fits = |earlier: &&Rc<Self>| {
            earlier.depth + 1 < MAX_LAUNCHES && earlier.bytes + launch.bytes <= MAX_LAUNCH_BYTES
        };
        let earlier = earlier.as_ref().filter(fits).map(Rc::clone);
        let depth = earlier.as_ref().map_or(0, |earlier| earlier.depth + 1);
        let bytes = earlier.as_ref().map_or(0, |earlier| earlier.bytes) + launch.bytes;
        Some(Rc::new(Self { before: earlier, depth, bytes, ..launch }))
    }

    /// The program alone.
    pub(crate) fn new(running: &RunningProgram) -> Self {
        Self {
            path: running.program.path.clone(),
            executable: running.executable,
            executable_id: running.executable_id,
            image_device: running.image.as_ref().map(|image| image.device),
            before: None,
            depth: 0,
            bytes: running.program.path.len(),
        }
    }

    /// The program itself and those before it, newest first.
    pub(crate) fn all(self: &Rc<Self>) -> impl Iterator<Item = &Rc<Self>> {
        std::iter::successors(Some(self), |launch| launch.before.as_ref())
    }
}

#[cfg(test)]
impl RunningProgram {
    /// A program of this path and inode number, for tests.
    pub(crate) fn sample(path: &str, inode: u64) -> Self {
        let mut running = Self::default();
        running.program.path = path.into();
        running.executable = FileIdentity { inode, device: 44, ..FileIdentity::default() };
        running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: u64, path: &str) -> Vec<u64> {
        let mut program = RunningProgram {
            origin: Origin::Executed(None),
            ..RunningProgram::sample("/home/u/Name.AppImage", 100)
        };
        for number in 0..count {
            let origin = Origin::Executed(Launch::of(&program));
            program = RunningProgram { origin, ..RunningProgram::sample(path, number) };
        }
        let Origin::Executed(launch) = &program.origin else { return Vec::new() };
        assert!(launch.iter().all(|launch| launch.bytes <= MAX_LAUNCH_BYTES));
        launch.iter().flat_map(Launch::all).map(|launch| launch.executable.inode).collect()
    }

    #[test]
    fn the_chain_of_programs_is_bounded() {
        assert_eq!(chain(3, "/bin/sh"), [1, 0, 100]);
        assert_eq!(chain(8, "/bin/sh").len(), usize::from(MAX_LAUNCHES));
        assert_eq!(chain(9, "/bin/sh"), [7]);
        assert_eq!(chain(3, &"x".repeat(3000)), [1]);
    }

    #[test]
    fn a_chain_begins_with_the_first_program_that_the_process_executes() {
        let forked = RunningProgram { origin: Origin::Forked, ..RunningProgram::sample("/bin/sh", 1) };
        assert_eq!(Launch::of(&forked), None);
        assert_eq!(Launch::of(&RunningProgram::sample("/bin/sh", 1)), None, "ran before the start");
    }
}
