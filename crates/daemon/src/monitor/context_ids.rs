//! The short ids under which the recorder knows contexts.

use std::{collections::HashMap, path::Path, time::Instant};

use identity::{Ancestry, CgroupPath, Container, ContainerNames, Executables};
use model::{Bytes, CgroupInfo, ProcessContext, Program};

/// Contexts that have an id at a time; with more, all get new ids.
const MAX_CONTEXTS: usize = 8192;
/// Bytes of their paths, names and command lines, which both the monitor and the recorder keep; compilers alone have
/// command lines of 4 KiB.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// An update that the recorder must get before the next flow.
pub(super) enum ContextUpdate {
    /// A new context, and the ids of the executables of the process, its parent and its grandparent.
    Add { id: u32, context: Box<ProcessContext>, executables: [Option<u32>; 3] },
    /// The ids before this one are not used any more.
    ForgetBefore(u32),
}

/// The parts of a context that come from the flow: uid, namespace, cgroup.
pub(super) struct FlowOrigin {
    pub(super) uid: u32,
    pub(super) network_namespace: u32,
    /// Path of the cgroup in its hierarchy.
    pub(super) cgroup: Bytes,
}

/// Two flows with equal keys have the same context.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ContextKey {
    programs: [Program; 3],
    /// The path of a program may name another file by now.
    executables: [Option<u32>; 3],
    uid: u32,
    network_namespace: u32,
    cgroup: Bytes,
}

/// Gives contexts their ids, and containers their names.
pub(super) struct ContextIds {
    containers: ContainerNames,
    ids: HashMap<ContextKey, u32>,
    /// Bytes of the programs in `ids`.
    bytes: usize,
    next: u32,
}

impl ContextIds {
    /// Names of containers are looked up below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { containers: ContainerNames::new(root), ids: HashMap::new(), bytes: 0, next: 0 }
    }

    /// Returns the id of a context, and appends to `updates` what the recorder must get before it.
    pub(super) fn id(
        &mut self,
        ancestry: &Ancestry,
        executables: Option<&mut Executables>,
        origin: FlowOrigin,
        updates: &mut Vec<ContextUpdate>,
    ) -> u32 {
        let programs = [&ancestry.process, &ancestry.parent, &ancestry.grandparent];
        let now = Instant::now();
        let executables = match executables {
            Some(executables) => programs.map(|running| executables.id_of(running, now)),
            None => [None; 3],
        };
        let programs = programs.map(|running| running.program.clone());
        let FlowOrigin { uid, network_namespace, cgroup } = origin;
        let key = ContextKey { programs, executables, uid, network_namespace, cgroup };
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let bytes = |program: &Program| program.path.len() + program.name.len() + program.command_line.len();
        self.bytes += key.programs.iter().map(bytes).sum::<usize>();
        if self.ids.len() >= MAX_CONTEXTS || self.bytes > MAX_BYTES {
            self.ids.clear();
            self.bytes = 0;
            updates.push(ContextUpdate::ForgetBefore(self.next));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let [program, parent, grandparent] = key.programs.clone();
        let cgroup = self.cgroup_info(&key.cgroup);
        let context =
            Box::new(ProcessContext { program, parent, grandparent, uid, network_namespace, cgroup });
        updates.push(ContextUpdate::Add { id, context, executables });
        self.ids.insert(key, id);
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
    fn contexts_with_long_command_lines_get_new_ids_before_they_fill_the_memory() {
        let mut contexts = ContextIds::new(Path::new("/"));
        let origin = || FlowOrigin { uid: 0, network_namespace: 0, cgroup: Bytes::new() };
        let mut forgotten = 0;
        for number in 0..4096_u32 {
            let mut running = RunningProgram::default();
            running.program.command_line = vec![b'x'; 4096];
            running.program.name = number.to_string().into();
            let ancestry = Ancestry { process: Rc::new(running), ..Ancestry::default() };
            let mut updates = Vec::new();
            let id = contexts.id(&ancestry, None, origin(), &mut updates);
            assert_eq!(id, number);
            assert!(matches!(updates.last(), Some(ContextUpdate::Add { .. })));
            forgotten += updates.len() - 1;
            updates.clear();
            assert_eq!(contexts.id(&ancestry, None, origin(), &mut updates), id);
            assert!(updates.is_empty());
        }
        assert_eq!(forgotten, 4);
        assert!(contexts.ids.len() < 1100);
    }
}
