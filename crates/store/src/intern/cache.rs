//! The cache of ids of recent content.

use std::collections::HashMap;

use super::content_digest::ContentDigest;

/// Entries of one cache, of about 72 bytes each. A full cache is emptied.
const MAX_CACHE_ENTRIES: usize = 8192;
/// Entries of one cache while a log is imported.
pub(super) const MAX_CACHE_ENTRIES_OF_IMPORT: usize = 65_536;

/// Rows by the digest of their content: `T` is their id, or has it.
pub(super) struct RowCache<T> {
    rows: HashMap<ContentDigest, T>,
    /// Entries that were added or changed in the open transaction.
    pending: Vec<ContentDigest>,
    pub(super) max_entries: usize,
}

impl<T> Default for RowCache<T> {
    fn default() -> Self {
        Self { rows: HashMap::new(), pending: Vec::new(), max_entries: MAX_CACHE_ENTRIES }
    }
}

impl<T: Copy> RowCache<T> {
    pub fn get(&self, digest: &ContentDigest) -> Option<T> {
        self.rows.get(digest).copied()
    }

    pub fn put(&mut self, digest: ContentDigest, row: T) {
        if self.rows.len() >= self.max_entries {
            self.clear();
        }
        self.rows.insert(digest, row);
        self.pending.push(digest);
    }

    pub fn commit(&mut self) {
        self.pending.clear();
    }

    pub fn roll_back(&mut self) {
        for digest in self.pending.drain(..) {
            self.rows.remove(&digest);
        }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.pending.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Frees the memory of an empty cache.
    pub fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.pending.shrink_to_fit();
    }
}
