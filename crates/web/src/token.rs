//! Tokens: a client that shows one may read.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

/// Bytes of randomness, which nobody guesses.
const TOKEN_BYTES: usize = 32;

/// A secret that a client shows with each request: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// Makes a new one.
    ///
    /// # Errors
    /// The system has no random numbers (getrandom(2)).
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self(hex::encode(bytes)))
    }

    /// Whether a client has shown this token. The time that it takes tells nothing about the token.
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// The digits.
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_accepted() {
        let (token, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(token.text().len(), 64);
        assert!(token.is(token.text()));
        for wrong in [other.text(), "", &token.text()[1..], &format!("{} ", token.text())] {
            assert!(!token.is(wrong));
        }
    }
}
