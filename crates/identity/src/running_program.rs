//! A program as a process runs it, and what was executed before it.

use std::rc::Rc;

use model::{Bytes, FileIdentity, ProcessId, Program};

/// Programs that were executed one after the other, or started each other, and are remembered.
const MAX_LAUNCHES: u8 = 16;
/// Those that are kept when there are more.
const KEPT_LAUNCHES: usize = 4;

/// A program as one process runs it, with the identity of its executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningProgram {
    /// The process. While it lives, the executable can be opened through it.
    pub id: ProcessId,
    /// Path, name and arguments, without a digest.
    pub program: Program,
    /// The executable; its inode is 0 when unknown.
    pub executable: FileIdentity,
    /// The id of the executable, if the program was executed since the start.
    pub executable_id: Option<u32>,
    /// The AppImage that it is in, as text for users; empty outside of one.
    pub app: Bytes,
    /// The programs that were executed before it; `None` for one that ran before the start.
    pub(crate) launch: Option<Rc<Launch>>,
}

/// A program that executed another one, and the programs before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) path: Bytes,
    pub(crate) executable: FileIdentity,
    pub(crate) executable_id: Option<u32>,
    before: Option<Rc<Launch>>,
    /// Number of programs before it.
    depth: u8,
}

impl Launch {
    /// The launches of a program that replaces `before`.
    pub(crate) fn of(before: &RunningProgram) -> Rc<Self> {
        let earlier = match &before.launch {
            Some(launch) if launch.depth + 1 >= MAX_LAUNCHES => launch.newest(KEPT_LAUNCHES),
            launch => launch.clone(),
        };
        let depth = earlier.as_ref().map_or(0, |launch| launch.depth + 1);
        Rc::new(Self { depth, before: earlier, ..Self::new(before) })
    }

    /// The program alone.
    pub(crate) fn new(running: &RunningProgram) -> Self {
        Self {
            path: running.program.path.clone(),
            executable: running.executable,
            executable_id: running.executable_id,
            before: None,
            depth: 0,
        }
    }

    /// A copy of the newest launches.
    fn newest(&self, count: usize) -> Option<Rc<Self>> {
        let count = count.checked_sub(1)?;
        let before = self.before.as_ref().and_then(|before| before.newest(count));
        Some(Rc::new(Self {
            path: self.path.clone(),
            executable: self.executable,
            executable_id: self.executable_id,
            depth: before.as_ref().map_or(0, |launch| launch.depth + 1),
            before,
        }))
    }

    /// The program itself and those before it, newest first.
    pub(crate) fn all(self: &Rc<Self>) -> impl Iterator<Item = &Rc<Self>> {
        std::iter::successors(Some(self), |launch| launch.before.as_ref())
    }
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
    fn the_chain_of_programs_is_bounded_and_keeps_the_newest() {
        let mut program = running("/home/u/Name.AppImage", 100);
        for number in 0..50 {
            let launch = Some(Launch::of(&program));
            program = RunningProgram { launch, ..running("/bin/sh", number) };
            assert!(program.launch.as_ref().unwrap().depth < MAX_LAUNCHES);
            let has = |inode| {
                program.launch.iter().flat_map(Launch::all).any(|launch| launch.executable.inode == inode)
            };
            assert_eq!(has(100), number < u64::from(MAX_LAUNCHES), "{number}");
            if number >= 3 {
                assert!(has(number - 3), "{number}");
            }
        }
    }
}
