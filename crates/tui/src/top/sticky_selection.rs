//! A selection that stays with its row when the rows of a list are sorted again.

use crate::term::widgets::ListState;

/// The selection of a list whose rows have keys of type `K`.
#[derive(Clone, Debug)]
pub struct StickySelection<K> {
    pub position: ListState,
    /// Key of the selected row; `None`: the selection follows the first row, whichever it is.
    key: Option<K>,
}

impl<K> Default for StickySelection<K> {
    fn default() -> Self {
        Self { position: ListState::default(), key: None }
    }
}

impl<K: Clone + PartialEq> StickySelection<K> {
    /// Index of the selected row.
    pub fn index(&self) -> usize {
        self.position.selected
    }

    /// Follows the first row again.
    pub fn reset(&mut self) {
        self.position.reset();
        self.key = None;
    }

    /// Whether the selection follows the first row.
    pub fn is_following(&self) -> bool {
        self.key.is_none()
    }

    /// Selects a row of the list with these keys, and stays with it. Returns whether the index of the selected row has changed.
    pub fn select<'a>(&mut self, row: usize, mut keys: impl ExactSizeIterator<Item = &'a K>) -> bool
    where
        K: 'a,
    {
        let changed = self.position.select(row, keys.len());
        self.key = keys.nth(self.index()).cloned();
        changed
    }

    /// Selects the same row again after the list has changed; if the row is gone, the row that now has its index.
    pub fn follow<'a>(&mut self, mut keys: impl ExactSizeIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let count = keys.len();
        let row = match &self.key {
            Some(key) => keys.position(|found| found == key).unwrap_or(self.index()),
            None => 0,
        };
        self.position.select(row, count);
    }
}
