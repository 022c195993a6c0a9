//! Which clients may read: those that show the token of this run, or one that was given for the password.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
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
/// Log-ins with a wrong password in [`ATTEMPT_PERIOD`], from one network of clients and of all together.
const MAX_ATTEMPTS: usize = 10;
const MAX_ALL_ATTEMPTS: usize = 100;
const ATTEMPT_PERIOD: Duration = Duration::from_secs(60);

/// Which clients may read.
pub(crate) enum Access {
    /// Every client that can connect.
    Everybody,
    /// Clients that show this token.
    Token(Token),
    /// Clients that were given a token for the password.
    Password(Password, Mutex<Sessions>),
}

/// The state of log-ins with the password.
#[derive(Default)]
pub(crate) struct Sessions {
    tokens: VecDeque<(Token, Instant)>,
    /// When they failed, and in which network the clients are.
    failures: VecDeque<(Instant, IpAddr)>,
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

    /// Gives a token for the password to the client at an address. The check takes long on purpose: call it where nothing else waits.
    ///
    /// # Errors
    /// The password is wrong, or too many were; there is no password.
    pub fn log_in(&self, password: &str, client: IpAddr) -> Result<Token, ApiError> {
        let Self::Password(known, sessions) = self else {
            return Err(ApiError::new(ErrorKind::BadRequest, "this server has no password"));
        };
        let client = network(client);
        let lock = || sessions.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut sessions = lock();
            while sessions.failures.front().is_some_and(|(time, _)| time.elapsed() > ATTEMPT_PERIOD) {
                sessions.failures.pop_front();
            }
            let own = sessions.failures.iter().filter(|(_, from)| *from == client).count();
            if own >= MAX_ATTEMPTS || sessions.failures.len() >= MAX_ALL_ATTEMPTS {
                return Err(ApiError::new(
                    ErrorKind::TooManyAttempts,
                    "too many wrong passwords; wait a minute and try again",
                ));
            }
            // Counted before the check, so that attempts at the same time count too.
            sessions.failures.push_back((Instant::now(), client));
        }
        if !known.is(password) {
            return Err(ApiError::new(ErrorKind::Unauthorized, "the password is wrong"));
        }
        let token = Token::random().map_err(|error| ApiError::new(ErrorKind::Busy, error.to_string()))?;
        let mut sessions = lock();
        if let Some(own) = sessions.failures.iter().rposition(|(_, from)| *from == client) {
            sessions.failures.remove(own);
        }
        sessions.tokens.retain(|(_, since)| since.elapsed() < SESSION_LENGTH);
        sessions.tokens.push_back((token.clone(), Instant::now()));
        while sessions.tokens.len() > MAX_SESSIONS {
            sessions.tokens.pop_front();
        }
        Ok(token)
    }
}

/// The network that one client may have: an IPv4 address, or the 64 bits of an IPv6 network in which it can choose any address.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password;

    #[test]
    fn wrong_passwords_of_one_client_lock_out_no_other() {
        let hash = password::hash("correct horse").unwrap();
        let access = Access::Password(Password::from_hash(&hash).unwrap(), Mutex::default());
        let kind = |password: &str, client: &str| {
            access.log_in(password, client.parse().unwrap()).map(|_| ()).map_err(|error| error.kind)
        };
        for host in 0..MAX_ATTEMPTS {
            assert_eq!(kind("wrong", &format!("2001:db8::{host}")), Err(ErrorKind::Unauthorized));
        }
        // Another address of the same network.
        assert_eq!(kind("correct horse", "2001:db8::ffff"), Err(ErrorKind::TooManyAttempts));
        assert_eq!(kind("correct horse", "2001:db8:0:1::1"), Ok(()));
        assert_eq!(kind("correct horse", "192.0.2.1"), Ok(()));
        let Access::Password(_, sessions) = &access else { return };
        assert_eq!(sessions.lock().unwrap().failures.len(), MAX_ATTEMPTS);
        // Too many of all together.
        let more =
            (0..MAX_ALL_ATTEMPTS as u32).map(|host| (Instant::now(), IpAddr::from(host.to_be_bytes())));
        sessions.lock().unwrap().failures.extend(more);
        assert_eq!(kind("correct horse", "192.0.2.1"), Err(ErrorKind::TooManyAttempts));
    }
}
