//! What one run leaves to the next of its processes: the programs that they run, and those that started them.

use std::{rc::Rc, time::Instant};

use serde::{Deserialize, Serialize};

use crate::{
    processes::{Ancestry, Processes},
    running_program::RunningProgram,
};
use model::{Bytes, FileIdentity, ProcessId, Program};

impl Processes {
    /// What the next run needs of a process, see [`Processes::restore`]; `None` if the table does not have it.
    pub fn save(&self, id: ProcessId) -> Option<Vec<u8>> {
        let process = self.get(id)?;
        postcard::to_allocvec(&process.ancestry.programs().map(|running| SavedProgram::of(running))).ok()
    }

    /// The same of all processes.
    pub fn save_all(&self) -> Vec<(ProcessId, Vec<u8>)> {
        self.ids().filter_map(|id| Some((id, self.save(id)?))).collect()
    }

    /// Takes over what an earlier run has saved. A process that lives gets the programs that started it, as they were then; one
    /// that has ended since is kept until its flows are drained.
    pub fn restore(&mut self, saved: &[u8], now: Instant) {
        let Ok(programs) = postcard::from_bytes::<[SavedProgram; 3]>(saved) else { return };
        let [process, parent, grandparent] = programs.map(SavedProgram::into_running);
        match self.ancestry_mut(process.id) {
            Some(known) => {
                // Another process may have the name by now, and no other the rest.
                let name = known.process.program.name.clone();
                let running = Rc::make_mut(&mut known.process);
                running.program = Program { name, ..process.program.clone() };
                (known.parent, known.grandparent) = (parent, grandparent);
            }
            None => self.add_ended(Ancestry { process, parent, grandparent }, now),
        }
    }
}

/// A program as one run leaves it to the next.
#[derive(Serialize, Deserialize)]
struct SavedProgram {
    id: ProcessId,
    program: Program,
    executable: FileIdentity,
    app: Bytes,
    uid: u32,
}

impl SavedProgram {
    fn of(running: &RunningProgram) -> Self {
        Self {
            id: running.id,
            program: running.program.clone(),
            executable: running.executable,
            app: running.app.clone(),
            uid: running.uid,
        }
    }

    fn into_running(self) -> Rc<RunningProgram> {
        let Self { id, program, executable, app, uid } = self;
        Rc::new(RunningProgram { id, program, executable, app, uid, ..RunningProgram::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(id: ProcessId, name: &str) -> Vec<u8> {
        let of = |path: &str| SavedProgram {
            id,
            program: Program { path: path.into(), name: name.into(), ..Program::default() },
            executable: FileIdentity { inode: 7, ..FileIdentity::default() },
            app: Bytes::new(),
            uid: 1000,
        };
        postcard::to_allocvec(&["/bin/curl", "/bin/sh", "/sbin/init"].map(of)).unwrap()
    }

    #[test]
    fn a_process_that_has_ended_since_is_kept_as_it_was_saved() {
        let id = ProcessId { start: 5, tgid: 2, exec: 1 };
        let mut processes = Processes::default();
        processes.restore(&saved(id, "curl"), Instant::now());
        let paths = |processes: &Processes| {
            let ancestry = &processes.get(id).unwrap().ancestry;
            ancestry.programs().map(|running| running.program.path.clone())
        };
        let expected = ["/bin/curl", "/bin/sh", "/sbin/init"].map(|path| path.as_bytes().to_vec());
        assert_eq!(paths(&processes), expected);
        assert!(processes.living(id).is_none(), "it has ended");
        let mut next = Processes::default();
        for (_, bytes) in processes.save_all() {
            next.restore(&bytes, Instant::now());
        }
        assert_eq!(paths(&next), expected);
        let restored = &next.get(id).unwrap().ancestry.process;
        assert_eq!((restored.uid, restored.executable.inode), (1000, 7));
        // It is forgotten as others are.
        next.forget_ended(Instant::now() + std::time::Duration::from_secs(60));
        assert!(next.get(id).is_none() && next.save_all().is_empty());
    }

    #[test]
    fn a_process_that_lives_keeps_its_name_and_gets_its_ancestors() {
        let id = ProcessId { start: 5, tgid: 2, exec: 1 };
        let event = model::ProcessEvent { id, kernel: true, name: "renamed".into(), ..Default::default() };
        let mut processes = Processes::default();
        processes.add_existing(&[capture::Event::Existing(Box::new(event))]);
        processes.restore(&saved(id, "curl"), Instant::now());
        let ancestry = &processes.get(id).unwrap().ancestry;
        assert_eq!(ancestry.process.program.name, b"renamed");
        assert_eq!(ancestry.process.program.path, b"/bin/curl");
        assert_eq!(ancestry.parent.program.path, b"/bin/sh");
        assert!(processes.living(id).is_some());
        // What cannot be read changes nothing.
        processes.restore(b"\x07nonsense", Instant::now());
        assert_eq!(processes.save_all().len(), 1);
    }
}
