//! Which rows of a tab are shown, and what they are compared with.

use model::Scope;

use crate::term::cycle::cycle;

/// Which values are shown, by when they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    #[default]
    /// All values.
    All,
    /// Those that were never seen before the period.
    New,
    /// Programs that had another digest for the first time in the period.
    Changed,
}

/// The choices of the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowChoice {
    pub only: Only,
    /// The scope of the remote addresses; `None`: all.
    pub scope: Option<Scope>,
    /// Whether the rows are compared with the period before.
    pub compares: bool,
}

impl RowChoice {
    /// Switches `only` on, or off if it is on. Rows that are compared do not say when they were seen.
    pub fn toggle_only(&mut self, only: Only) {
        self.only = if self.only == only { Only::All } else { only };
        self.compares = false;
    }

    pub fn toggle_comparison(&mut self) {
        self.compares = !self.compares;
        self.only = Only::All;
    }

    pub fn next_scope(&mut self) {
        self.scope = cycle(&[None, Some(Scope::Internet), Some(Scope::Local)], self.scope, true);
    }

    /// The scope in words.
    pub fn scope_text(&self) -> Option<String> {
        self.scope.map(|scope| format!("{} only", scope.name()))
    }
}
