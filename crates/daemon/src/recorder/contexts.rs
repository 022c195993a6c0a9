//! The contexts behind the ids that flows carry, and the digests of their executables: the one owner of both.

use std::{collections::HashMap, sync::Arc};

use config::log_rules::LogRules;
use identity::digests::{Digests, State};
use live::connections::Contexts;
use model::Talker;

/// A talker whose executables may still be on their way through the hasher.
#[derive(Clone, Debug)]
struct Known {
    talker: Arc<Talker>,
    /// Ids of the executables of the process, its parent and its grandparent.
    executables: [Option<u32>; 3],
    /// All digests that will ever come are in `talker`.
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
    pub fn insert(&mut self, id: u32, mut talker: Talker, executables: [Option<u32>; 3]) {
        self.rules.blank_talker(&mut talker);
        self.contexts.insert(id, Known { talker: Arc::new(talker), executables, complete: false });
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
    fn context(&mut self, id: u32) -> Option<(Arc<Talker>, bool)> {
        let known = self.contexts.get_mut(&id)?;
        known.resolve(&self.digests);
        Some((Arc::clone(&known.talker), known.complete))
    }
}

impl Known {
    fn resolve(&mut self, digests: &Digests) {
        if self.complete {
            return;
        }
        let states = self.executables.map(|id| id.map(|id| digests.state(id)));
        let talker = Arc::make_mut(&mut self.talker);
        for (program, state) in
            [&mut talker.program, &mut talker.parent, &mut talker.grandparent].into_iter().zip(&states)
        {
            if let Some(State::Known(digest)) = state {
                program.sha256 = Some(*digest);
            }
        }
        self.complete = !states.contains(&Some(State::Pending));
    }
}
