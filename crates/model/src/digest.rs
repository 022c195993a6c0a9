//! Digests of files.

use serde::{Deserialize, Serialize};

/// The SHA-256 digest of an executable file (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest in lower-case hexadecimal, 64 digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads 64 hexadecimal digits of either case; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }
}
