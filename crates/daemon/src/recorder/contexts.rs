//! The context table: the contexts behind the ids of flows, and the digests of their executables. It is the only owner of
//! both; the window and the open connections look contexts up here.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::late_digests::LateDigests;
use config::log_rules::LogRules;
use identity::digests::{DigestState, Digests};
use live::connections::Contexts;
use model::{Event, ProcessContext};

/// A context, whose executables may still wait to be hashed.
#[derive(Clone, Debug)]
struct KnownContext {
    context: Arc<ProcessContext>,
    /// Ids of the executables of the process, its parent and its grandparent.
    executables: [Option<u32>; 3],
    /// Whether `context` has all digests that will ever come.
    complete: bool,
}

/// Contexts by the ids that the monitor gave them.
pub(super) struct ContextTable {
    rules: LogRules,
    digests: Digests,
    contexts: HashMap<u32, KnownContext>,
    forget_before: u32,
    late: LateDigests,
}

impl ContextTable {
    pub(super) fn new(rules: LogRules, digests: Digests) -> Self {
        Self { rules, digests, contexts: HashMap::new(), forget_before: 0, late: LateDigests::default() }
    }

    /// The digests of all executables.
    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Adds a context, without what the rules blank. Ids are never used again.
    pub(super) fn insert(&mut self, id: u32, mut context: ProcessContext, executables: [Option<u32>; 3]) {
        self.rules.blank_context(&mut context);
        self.contexts.insert(id, KnownContext { context: Arc::new(context), executables, complete: false });
    }

    /// Sets the rules, also for the contexts that are known.
    pub(super) fn set_rules(&mut self, rules: LogRules) {
        self.rules = rules;
        for known in self.contexts.values_mut() {
            self.rules.blank_context(Arc::make_mut(&mut known.context));
        }
    }

    /// Takes note that records of a context are written at `time` (unix seconds UTC) without digests that may still come.
    pub(super) fn await_late_digests(&mut self, id: u32, time: i64) {
        let Some(known) = self.contexts.get(&id) else { return };
        let context = &known.context;
        for (program, executable) in
            [&context.program, &context.parent, &context.grandparent].into_iter().zip(known.executables)
        {
            if let Some(executable) = executable.filter(|_| program.sha256.is_none()) {
                self.late.add(executable, context.uid, program, time);
            }
        }
    }

    /// The events about digests that came after records without them.
    pub(super) fn late_digests(&mut self, settled: &[(u32, DigestState)]) -> Vec<Event> {
        settled.iter().filter_map(|(executable, state)| self.late.take(*executable, state)).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Takes note that no flow of a context before this id comes any more.
    pub(super) fn forget_before(&mut self, id: u32) {
        self.forget_before = id;
    }

    /// Forgets the contexts of which no flow comes any more, except those that are `used`.
    pub(super) fn forget_unused(&mut self, used: &HashSet<u32>) {
        let forget_before = self.forget_before;
        self.contexts.retain(|id, _| *id >= forget_before || used.contains(id));
    }
}

impl Contexts for ContextTable {
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)> {
        let known = self.contexts.get_mut(&id)?;
        known.fill_in_digests(&self.digests);
        Some((Arc::clone(&known.context), known.complete))
    }
}

impl KnownContext {
    fn fill_in_digests(&mut self, digests: &Digests) {
        if self.complete {
            return;
        }
        let states = self.executables.map(|id| id.map(|id| digests.state(id)));
        let context = Arc::make_mut(&mut self.context);
        for (program, state) in
            [&mut context.program, &mut context.parent, &mut context.grandparent].into_iter().zip(&states)
        {
            if let Some(DigestState::Known(digest)) = state {
                program.sha256 = Some(*digest);
            }
        }
        self.complete = !states.contains(&Some(DigestState::Pending));
    }
}
