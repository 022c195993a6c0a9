//! The cache of ids of recent content.

use std::collections::HashMap;

use super::content_digest::ContentDigest;

/// Entries of one cache, of about 56 bytes each. A full cache is emptied.
const MAX_CACHE_ENTRIES: usize = 8192;

/// Ids by the digest of their content.
#[derive(Default)]
pub(super) struct IdCache {
    ids: HashMap<ContentDigest, i64>,
    /// Entries that were added in the open transaction.
    pending: Vec<ContentDigest>,
}

impl IdCache {
    pub fn get(&self, digest: &ContentDigest) -> Option<i64> {
        self.ids.get(digest).copied()
    }

    pub fn put(&mut self, digest: ContentDigest, id: i64) {
        if self.ids.len() >= MAX_CACHE_ENTRIES {
            self.ids.clear();
            self.pending.clear();
        }
        self.ids.insert(digest, id);
        self.pending.push(digest);
    }

    pub fn commit(&mut self) {
        self.pending.clear();
    }

    pub fn roll_back(&mut self) {
        for digest in self.pending.drain(..) {
            self.ids.remove(&digest);
        }
    }
}
