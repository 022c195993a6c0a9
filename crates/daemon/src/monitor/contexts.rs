//! ContextIds by the short ids under which the recorder knows them.

use std::{collections::HashMap, path::Path, time::Instant};

use identity::{Ancestry, CgroupPath, Container, ContainerNames, Executables};
use model::{Bytes, CgroupInfo, ProcessContext, Program};

/// ContextIds that are known at a time; with more, all get new ids.
const MAX_TALKERS: usize = 8192;
/// Bytes of their paths, names and command lines, which both the monitor and the recorder keep; compilers alone have
/// command lines of 4 KiB.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Something that the recorder has to be told before the traffic.
pub enum Introduction {
    /// A context, and the ids of its executables.
    ProcessContext(u32, Box<ProcessContext>, [Option<u32>; 3]),
    /// Everything before this id is forgotten.
    Forget(u32),
}

/// What makes two flows' contexts the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    programs: [Program; 3],
    /// The file of the same name may be another one by now.
    executables: [Option<u32>; 3],
    uid: u32,
    network_namespace: u32,
    cgroup: Bytes,
}

/// The table behind the ids.
pub struct ContextIds {
    containers: ContainerNames,
    contexts: HashMap<Key, u32>,
    bytes: usize,
    next: u32,
}

impl ContextIds {
    /// Nobody has talked. Names of containers are looked for below `root`.
    pub fn new(root: &Path) -> Self {
        Self { containers: ContainerNames::new(root), contexts: HashMap::new(), bytes: 0, next: 0 }
    }

    /// The id of a context, and what the recorder has to be told first.
    pub fn id(
        &mut self,
        ancestry: &Ancestry,
        executables: Option<&mut Executables>,
        (uid, network_namespace, cgroup): (u32, u32, Bytes),
        introductions: &mut Vec<Introduction>,
    ) -> u32 {
        let programs = [&ancestry.process, &ancestry.parent, &ancestry.grandparent];
        let now = Instant::now();
        let executables = match executables {
            Some(executables) => programs.map(|running| executables.id_of(running, now)),
            None => [None; 3],
        };
        let programs = programs.map(|running| running.program.clone());
        let key = Key { programs, executables, uid, network_namespace, cgroup };
        if let Some(id) = self.contexts.get(&key) {
            return *id;
        }
        let bytes = |program: &Program| program.path.len() + program.name.len() + program.command_line.len();
        self.bytes += key.programs.iter().map(bytes).sum::<usize>();
        if self.contexts.len() >= MAX_TALKERS || self.bytes > MAX_BYTES {
            self.contexts.clear();
            self.bytes = 0;
            introductions.push(Introduction::Forget(self.next));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let [program, parent, grandparent] = key.programs.clone();
        let context = ProcessContext {
            program,
            parent,
            grandparent,
            uid,
            network_namespace,
            cgroup: self.cgroup_info(&key.cgroup),
        };
        introductions.push(Introduction::ProcessContext(id, Box::new(context), executables));
        self.contexts.insert(key, id);
        id
    }

    fn cgroup_info(&mut self, cgroup: &Bytes) -> CgroupInfo {
        let found = CgroupPath::parse(cgroup);
        let containers = &mut self.containers;
        let label = |container: Container| container.label(containers.name(&container).as_deref());
        let container = found.container.map(label).unwrap_or_default();
        CgroupInfo { path: cgroup.clone(), unit: found.unit, container, app: found.app }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use identity::RunningProgram;

    #[test]
    fn talkers_with_long_command_lines_are_forgotten_before_they_fill_the_memory() {
        let mut contexts = ContextIds::new(Path::new("/"));
        let mut forgotten = 0;
        for number in 0..4096_u32 {
            let mut running = RunningProgram::default();
            running.program.command_line = vec![b'x'; 4096];
            running.program.name = number.to_string().into();
            let ancestry = Ancestry { process: Rc::new(running), ..Ancestry::default() };
            let mut introductions = Vec::new();
            let id = contexts.id(&ancestry, None, (0, 0, Bytes::new()), &mut introductions);
            assert_eq!(id, number);
            assert!(matches!(introductions.last(), Some(Introduction::ProcessContext(..))));
            forgotten += introductions.len() - 1;
            introductions.clear();
            assert_eq!(contexts.id(&ancestry, None, (0, 0, Bytes::new()), &mut introductions), id);
            assert!(introductions.is_empty());
        }
        assert_eq!(forgotten, 4);
        assert!(contexts.contexts.len() < 1100);
    }
}
