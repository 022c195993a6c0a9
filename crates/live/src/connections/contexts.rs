//! The contexts of open connections: what the recorder knows of them, and whether the rules of the log hide them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use config::log_rules::{LogRules, MAX_DIGEST_WAIT_SECONDS};
use model::ProcessContext;

/// Resolves the context ids that flows carry.
pub trait Contexts {
    /// The context with this id as it is known now, and whether it has all digests that it will ever have. `None` if the id
    /// was not introduced, or is forgotten.
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)>;
}

/// Whether subscribers get the connections of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Shown,
    /// Not before the digest of the program is known, because a rule may ignore it.
    Withheld,
    /// Never, because a rule ignores the digest of the program.
    Ignored,
}

/// A context of open connections.
#[derive(Debug)]
pub(super) struct ContextState {
    pub(super) context: Arc<ProcessContext>,
    /// The context has all digests that it will ever have.
    pub(super) is_complete: bool,
    pub(super) visibility: Visibility,
    first_seen: Instant,
    /// The round of the last change of `context`.
    pub(super) changed_in: u64,
    /// Number of entries in the table.
    pub(super) connections: usize,
}

impl ContextState {
    pub(super) fn new(
        (context, is_complete): (Arc<ProcessContext>, bool),
        rules: &LogRules,
        round: u64,
    ) -> Self {
        let is_withheld = !is_complete && rules.has_digest_rules();
        let mut state = Self {
            context,
            is_complete,
            visibility: if is_withheld { Visibility::Withheld } else { Visibility::Shown },
            first_seen: Instant::now(),
            changed_in: round,
            connections: 0,
        };
        state.apply_rules(rules);
        state
    }

    /// Takes over what is known of the context now, and applies the rules. Returns whether its visibility has changed.
    pub(super) fn update(
        &mut self,
        latest: Option<(Arc<ProcessContext>, bool)>,
        rules: &LogRules,
        round: u64,
    ) -> bool {
        match latest {
            Some((context, is_complete)) => {
                if context != self.context {
                    (self.context, self.changed_in) = (context, round);
                }
                self.is_complete = is_complete;
            }
            // The recorder has forgotten the context: no more digests will come.
            None => self.is_complete = true,
        }
        let before = self.visibility;
        self.apply_rules(rules);
        self.visibility != before
    }

    fn apply_rules(&mut self, rules: &LogRules) {
        let patience = Duration::from_secs(MAX_DIGEST_WAIT_SECONDS.into());
        self.visibility = match self.visibility {
            _ if rules.ignores_digest(self.context.program.sha256) => Visibility::Ignored,
            Visibility::Withheld if !self.is_complete && self.first_seen.elapsed() <= patience => {
                Visibility::Withheld
            }
            _ => Visibility::Shown,
        };
    }
}
