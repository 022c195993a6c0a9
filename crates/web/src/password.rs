//! The password of a server that other machines can reach: only its Argon2id hash is in the configuration.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use ring::rand::{SecureRandom, SystemRandom};

/// Fewer characters are guessed too easily.
pub const MIN_PASSWORD_LENGTH: usize = 12;

/// Bytes of the salt, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// The hash of a password, as the configuration has it (PHC string, `$argon2id$...`).
pub(crate) struct Password(String);

impl Password {
    /// Reads a hash; `None` if it is none of Argon2.
    pub fn from_hash(hash: &str) -> Option<Self> {
        let parsed = PasswordHash::new(hash).ok()?;
        parsed.algorithm.as_str().starts_with("argon2").then(|| Self(hash.to_owned()))
    }

    /// Whether this is the password.
    pub fn is(&self, password: &str) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

/// The hash of a password for the configuration.
///
/// # Errors
/// There are no random numbers for the salt.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| argon2::password_hash::Error::Crypto)?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_fits_its_hash() {
        let hash = hash("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let password = Password::from_hash(&hash).unwrap();
        assert!(password.is("correct horse battery"));
        assert!(!password.is("correct horse batterz") && !password.is(""));
        assert!(Password::from_hash("plain").is_none());
    }
}
