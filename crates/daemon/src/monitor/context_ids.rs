//! The short ids under which the recorder knows contexts.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    path::Path,
    rc::Rc,
};

use identity::{Ancestry, CgroupPath, Container, ContainerNames, RunningProgram};
use model::{CgroupInfo, ProcessContext, Program, ShrinkAfterBurst as _};

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
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct FlowOrigin {
    pub(super) uid: u32,
    pub(super) network_namespace: u32,
    /// Path of the cgroup in its hierarchy.
    pub(super) cgroup: Rc<[u8]>,
}

/// A program that equals one with the same path, name and command line.
struct ByContent(Rc<RunningProgram>);

impl PartialEq for ByContent {
    fn eq(&self, other: &Self) -> bool {
        self.0.program == other.0.program
    }
}

impl Eq for ByContent {}

impl Hash for ByContent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.program.hash(state);
    }
}

/// A program that equals itself only, so that its bytes need not be read.
struct ByAddress(Rc<RunningProgram>);

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ByAddress {}

impl Hash for ByAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).hash(state);
    }
}

/// Two flows with equal keys have the same context.
#[derive(PartialEq, Eq, Hash)]
struct ContextKey<P> {
    programs: [P; 3],
    /// The path of a program may name another file by now.
    executables: [Option<u32>; 3],
    origin: FlowOrigin,
}

/// Gives contexts their ids, and containers their names.
pub(super) struct ContextIds {
    containers: ContainerNames,
    ids: HashMap<ContextKey<ByContent>, u32>,
    /// The same ids, since the last [`ContextIds::forget_recent`]: most flows share their process with others.
    recent: HashMap<ContextKey<ByAddress>, u32>,
    /// Bytes of the programs in `ids`.
    bytes: usize,
    next: u32,
}

impl ContextIds {
    /// Names of containers are looked up below `root`.
    pub(super) fn new(root: &Path) -> Self {
        let containers = ContainerNames::new(root);
        Self { containers, ids: HashMap::new(), recent: HashMap::new(), bytes: 0, next: 0 }
    }

    /// Returns the id of a context, and appends to `updates` what the recorder must get before it. `executables` are those
    /// of the process, its parent and its grandparent.
    pub(super) fn id(
        &mut self,
        ancestry: &Ancestry,
        executables: [Option<u32>; 3],
        origin: FlowOrigin,
        updates: &mut Vec<ContextUpdate>,
    ) -> u32 {
        let programs = ancestry.programs().map(|running| ByAddress(Rc::clone(running)));
        let recent = ContextKey { programs, executables, origin: origin.clone() };
        if let Some(id) = self.recent.get(&recent) {
            return *id;
        }
        let programs = ancestry.programs().map(|running| ByContent(Rc::clone(running)));
        let key = ContextKey { programs, executables, origin };
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => self.add(key, updates),
        };
        self.recent.insert(recent, id);
        id
    }

    /// Lets go of the programs that have ended. Must be called after each batch of flows.
    pub(super) fn forget_recent(&mut self) {
        self.recent.shrink_after_burst();
        self.recent.clear();
    }

    /// Gives every context a new id from now on, so that the recorder gets them all again.
    pub(super) fn renew(&mut self, updates: &mut Vec<ContextUpdate>) {
        self.ids.clear();
        self.recent.clear();
        self.bytes = 0;
        updates.push(ContextUpdate::ForgetBefore(self.next));
    }

    fn add(&mut self, key: ContextKey<ByContent>, updates: &mut Vec<ContextUpdate>) -> u32 {
        let bytes = |ByContent(running): &ByContent| {
            let Program { path, name, command_line, .. } = &running.program;
            path.len() + name.len() + command_line.len()
        };
        let bytes: usize = key.programs.iter().map(bytes).sum();
        self.bytes += bytes;
        if self.ids.len() >= MAX_CONTEXTS || self.bytes > MAX_BYTES {
            self.renew(updates);
            self.bytes = bytes;
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let [program, parent, grandparent] = key.programs.each_ref().map(|running| running.0.program.clone());
        let FlowOrigin { uid, network_namespace, cgroup } = &key.origin;
        let mut cgroup = self.cgroup_info(cgroup);
        let app = &key.programs[0].0.app;
        if !app.is_empty() {
            cgroup.app.clone_from(app);
        }
        let (uid, network_namespace) = (*uid, *network_namespace);
        let context =
            Box::new(ProcessContext { program, parent, grandparent, uid, network_namespace, cgroup });
        updates.push(ContextUpdate::Add { id, context, executables: key.executables });
        self.ids.insert(key, id);
        id
    }

    fn cgroup_info(&mut self, cgroup: &[u8]) -> CgroupInfo {
        let found = CgroupPath::parse(cgroup);
        let containers = &mut self.containers;
        let label = |container: Container| container.label(containers.name(&container).as_deref());
        let container = found.container.map(label).unwrap_or_default();
        CgroupInfo { path: cgroup.to_vec(), unit: found.unit, container, app: found.app }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> FlowOrigin {
        FlowOrigin { uid: 0, network_namespace: 0, cgroup: Rc::default() }
    }

    fn ancestry(name: &[u8], command_line: &[u8]) -> Ancestry {
        let mut running = RunningProgram::default();
        running.program.name = name.to_vec();
        running.program.command_line = command_line.to_vec();
        Ancestry { process: Rc::new(running), ..Ancestry::default() }
    }

    #[test]
    fn equal_programs_of_two_processes_are_one_context() {
        let mut contexts = ContextIds::new(Path::new("/"));
        let mut id = |ancestry: &Ancestry, executable, origin| {
            contexts.id(ancestry, [executable, None, None], origin, &mut Vec::new())
        };
        let (first, second) = (ancestry(b"x", b"x 1"), ancestry(b"x", b"x 1"));
        assert_eq!([id(&first, None, origin()), id(&second, None, origin())], [0, 0]);
        assert_eq!(id(&ancestry(b"x", b"x 2"), None, origin()), 1);
        assert_eq!([id(&first, Some(1), origin()), id(&second, Some(1), origin())], [2, 2]);
        let elsewhere = || FlowOrigin { cgroup: b"/x".as_slice().into(), ..origin() };
        assert_eq!([id(&first, None, elsewhere()), id(&second, None, elsewhere())], [3, 3]);
        contexts.forget_recent();
        assert_eq!(contexts.id(&second, [None; 3], origin(), &mut Vec::new()), 0);
    }

    #[test]
    fn contexts_with_long_command_lines_get_new_ids_before_they_fill_the_memory() {
        let mut contexts = ContextIds::new(Path::new("/"));
        let mut forgotten = 0;
        for number in 0..4096_u32 {
            let ancestry = ancestry(number.to_string().as_bytes(), &[b'x'; 4096]);
            let mut updates = Vec::new();
            let id = contexts.id(&ancestry, [None; 3], origin(), &mut updates);
            assert_eq!(id, number);
            assert!(matches!(updates.last(), Some(ContextUpdate::Add { .. })));
            forgotten += updates.len() - 1;
            updates.clear();
            assert_eq!(contexts.id(&ancestry, [None; 3], origin(), &mut updates), id);
            assert!(updates.is_empty());
        }
        assert_eq!(forgotten, 4);
        assert!(contexts.ids.len() < 1100);
        assert!(contexts.bytes >= contexts.ids.len() * 4096);
    }
}
