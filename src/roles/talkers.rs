//! Talkers and executables by the short ids under which the recorder knows them.

use std::{
    collections::{HashMap, hash_map::Entry},
    os::fd::OwnedFd,
    rc::Rc,
};

use crate::{
    capture::ProcessId,
    identity::{
        Ancestry, Running,
        executable::{self, FileIdentity},
    },
    model::{Bytes, Program, Talker},
};

/// Talkers that are known at a time; with more, all get new ids.
const MOST_TALKERS: usize = 8192;
/// The same for executables.
const MOST_EXECUTABLES: usize = 4096;

/// Something that the recorder has to be told before the traffic.
pub enum Introduction {
    /// An executable to hash.
    Executable(u32, OwnedFd),
    /// A talker.
    Talker(u32, Box<Talker>, [Option<u32>; 3]),
    /// Everything before these ids (talker, executable) is forgotten.
    Forget(u32, u32),
}

/// What makes two flows' talkers the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Each process has its executable looked at: the file of the same name may be another one by now.
    instance: ProcessId,
    programs: [Program; 3],
    files: [(u32, u64); 3],
    uid: u32,
    network_namespace: u32,
    cgroup: Bytes,
}

/// The tables behind the ids.
#[derive(Default)]
pub struct Talkers {
    talkers: HashMap<Key, u32>,
    executables: HashMap<FileIdentity, u32>,
    next_talker: u32,
    next_executable: u32,
}

impl Talkers {
    /// The id of a talker, and what the recorder has to be told first.
    pub fn id(
        &mut self,
        ancestry: &Ancestry,
        uid: u32,
        network_namespace: u32,
        cgroup: Bytes,
        introductions: &mut Vec<Introduction>,
    ) -> u32 {
        let programs = [&ancestry.process, &ancestry.parent, &ancestry.grandparent];
        let key = Key {
            instance: ancestry.process.id,
            programs: programs.map(|running| running.program.clone()),
            files: programs.map(|running| (running.device, running.inode)),
            uid,
            network_namespace,
            cgroup,
        };
        if let Some(id) = self.talkers.get(&key) {
            return *id;
        }
        if self.talkers.len() >= MOST_TALKERS || self.executables.len() >= MOST_EXECUTABLES {
            self.talkers.clear();
            self.executables.clear();
            introductions.push(Introduction::Forget(self.next_talker, self.next_executable));
        }
        let executables = programs.map(|running| self.executable(running, introductions));
        let id = self.next_talker;
        self.next_talker = self.next_talker.wrapping_add(1);
        let [program, parent, grandparent] = key.programs.clone();
        let talker =
            Talker { program, parent, grandparent, uid, network_namespace, cgroup: key.cgroup.clone() };
        introductions.push(Introduction::Talker(id, Box::new(talker), executables));
        self.talkers.insert(key, id);
        id
    }

    fn executable(&mut self, running: &Rc<Running>, introductions: &mut Vec<Introduction>) -> Option<u32> {
        let (file, identity) = executable::open(running).ok()?;
        match self.executables.entry(identity) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(unknown) => {
                let id = *unknown.insert(self.next_executable);
                self.next_executable = self.next_executable.wrapping_add(1);
                introductions.push(Introduction::Executable(id, file.into()));
                Some(id)
            }
        }
    }
}
