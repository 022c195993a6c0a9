//! Who may read: who shows the token of this run, or one that was given for the password.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{
    error::{ApiError, ErrorKind},
    password::Password,
    token::Token,
};

/// How long a token that was given for the password is good.
const SESSION_LENGTH: Duration = Duration::from_secs(12 * 3600);
/// Such tokens at the same time; the oldest goes first.
const MAX_SESSIONS: usize = 64;
/// Log-ins with a wrong password in [`ATTEMPT_PERIOD`], of all clients together.
const MAX_ATTEMPTS: usize = 10;
const ATTEMPT_PERIOD: Duration = Duration::from_secs(60);

/// Who may read.
pub(crate) enum Access {
    /// Everybody who can connect.
    Everybody,
    /// Who shows this token.
    Token(Token),
    /// Who knows the password.
    Password(Password, Mutex<Sessions>),
}

/// The state of log-ins with the password.
#[derive(Default)]
pub(crate) struct Sessions {
    tokens: VecDeque<(Token, Instant)>,
    failures: VecDeque<Instant>,
}

impl Access {
    /// The word for clients.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Everybody => "none",
            Self::Token(_) => "token",
            Self::Password(..) => "password",
        }
    }

    /// Whether a request with these headers may read.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::to_str);
        let shown = match shown {
            Some(Ok(value)) => value.strip_prefix("Bearer ").unwrap_or_default(),
            _ => "",
        };
        match self {
            Self::Everybody => true,
            Self::Token(token) => token.is(shown),
            Self::Password(_, sessions) => {
                let sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
                let is_shown =
                    |(token, since): &(Token, Instant)| since.elapsed() < SESSION_LENGTH && token.is(shown);
                sessions.tokens.iter().any(is_shown)
            }
        }
    }

    /// Gives a token for the password. The check takes long on purpose: call it where nothing else waits.
    ///
    /// # Errors
    /// The password is wrong, or too many were; there is no password.
    pub fn log_in(&self, password: &str) -> Result<Token, ApiError> {
        let Self::Password(known, sessions) = self else {
            return Err(ApiError::new(ErrorKind::BadRequest, "this server has no password"));
        };
        let lock = || sessions.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut sessions = lock();
            while sessions.failures.front().is_some_and(|time| time.elapsed() > ATTEMPT_PERIOD) {
                sessions.failures.pop_front();
            }
            if sessions.failures.len() >= MAX_ATTEMPTS {
                return Err(ApiError::new(
                    ErrorKind::TooManyAttempts,
                    "too many wrong passwords; wait a minute and try again",
                ));
            }
            // Counted before the check, so that attempts at the same time count too.
            sessions.failures.push_back(Instant::now());
        }
        if !known.is(password) {
            return Err(ApiError::new(ErrorKind::Unauthorized, "the password is wrong"));
        }
        let token = Token::random().map_err(|error| ApiError::new(ErrorKind::Busy, error.to_string()))?;
        let mut sessions = lock();
        sessions.failures.pop_back();
        sessions.tokens.retain(|(_, since)| since.elapsed() < SESSION_LENGTH);
        sessions.tokens.push_back((token.clone(), Instant::now()));
        while sessions.tokens.len() > MAX_SESSIONS {
            sessions.tokens.pop_front();
        }
        Ok(token)
    }
}
