//! The contexts behind the ids that flows carry, and the digests of their executables: the one owner of both.

use std::{collections::HashMap, sync::Arc};

use config::log_rules::LogRules;
use identity::digests::{DigestState, Digests};
use live::connections::Contexts;
use model::ProcessContext;

/// A context whose executables may still be on their way through the hasher.
#[derive(Clone, Debug)]
struct Known {
    context: Arc<ProcessContext>,
    /// Ids of the executables of the process, its parent and its grandparent.
    executables: [Option<u32>; 3],
    /// All digests that will ever come are in `context`.
    complete: bool,
}

/// Contexts by the ids that the monitor gave them.
pub struct ContextTable {
    rules: LogRules,
    digests: Digests,
    contexts: HashMap<u32, Known>,
    forget_before: u32,
}

impl ContextTable {
    /// No context is known.
    pub fn new(rules: LogRules, digests: Digests) -> Self {
        Self { rules, digests, contexts: HashMap::new(), forget_before: 0 }
    }

    /// The digests of all executables.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Introduces a context; ids are never used again.
    pub fn insert(&mut self, id: u32, mut context: ProcessContext, executables: [Option<u32>; 3]) {
        self.rules.blank_context(&mut context);
        self.contexts.insert(id, Known { context: Arc::new(context), executables, complete: false });
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Contexts before this one do not come again.
    pub fn forget_before(&mut self, id: u32) {
        self.forget_before = id;
    }

    /// Forgets those that do not come again, except the ones that are `used`.
    pub fn forget_unused(&mut self, used: impl Fn(u32) -> bool) {
        let forget_before = self.forget_before;
        self.contexts.retain(|id, _| *id >= forget_before || used(*id));
    }
}

impl Contexts for ContextTable {
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)> {
        let known = self.contexts.get_mut(&id)?;
        known.resolve(&self.digests);
        Some((Arc::clone(&known.context), known.complete))
    }
}

impl Known {
    fn resolve(&mut self, digests: &Digests) {
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
