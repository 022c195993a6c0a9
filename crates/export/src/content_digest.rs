//! The key of a row that many records refer to: a digest of its content, so that no answer of the server is needed to refer to
//! it, and equal rows of all hosts are one.

use sha2::{Digest, Sha256};

/// The first 128 bits of a SHA-256 digest. To find two contents with the same one takes about 2^64 attempts.
pub(crate) type ContentDigest = [u8; 16];

/// A digest over several fields. The length of each precedes it, so that different fields never give the same bytes.
pub(crate) struct ContentHasher(Sha256);

impl ContentHasher {
    /// Begins the digest of a row of this table.
    pub fn new(table: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.bytes(table.as_bytes());
        hasher
    }

    pub fn number(&mut self, number: i64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as i64).0.update(bytes);
        self
    }

    pub fn finish(&self) -> ContentDigest {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        let mut first = ContentDigest::default();
        first.copy_from_slice(&digest[..16]);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let digest = |fields: &[&str]| {
            let mut hasher = ContentHasher::new("table");
            for field in fields {
                hasher.bytes(field.as_bytes());
            }
            hasher.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab", ""]), digest(&["ab"]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }
}
