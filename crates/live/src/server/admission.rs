//! Who may connect: a bounded number of clients and of connections in a second, in total and for each user, so that one user
//! takes neither all places nor all the time.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{listener::MAX_SUBSCRIBERS, rate_limit::RateLimit};

/// Connections that are accepted at once and then in a second, from all users.
const BURST: u32 = 128;
const INTERVAL: Duration = Duration::from_millis(20);
/// Connections that are turned away at once and then in a second. They are cheap, and take none of the others.
const REFUSED_BURST: u32 = 512;
const REFUSED_INTERVAL: Duration = Duration::from_millis(1);
/// The same for the connections of one user that are accepted.
const USER_BURST: u32 = 64;
const USER_INTERVAL: Duration = Duration::from_millis(50);
/// Subscriptions of one user that begin at once and then in a second: each new one is sent all that is open.
const SUBSCRIPTION_BURST: u32 = 16;
const SUBSCRIPTION_INTERVAL: Duration = Duration::from_millis(500);
/// A user without credentials: the peer is gone.
const NO_USER: u32 = u32::MAX;

/// Limits the connections that are accepted, and the subscriptions that begin.
pub(super) struct Admission {
    all: RateLimit,
    refused: RateLimit,
    /// By user id. Users with nothing to limit are removed; `all` bounds the number of the others.
    users: HashMap<u32, RateLimit>,
    /// The same for subscriptions.
    subscriptions: HashMap<u32, RateLimit>,
}

impl Admission {
    pub(super) fn new(now: Instant) -> Self {
        let all = RateLimit::new(BURST, INTERVAL, now);
        let refused = RateLimit::new(REFUSED_BURST, REFUSED_INTERVAL, now);
        Self { all, refused, users: HashMap::new(), subscriptions: HashMap::new() }
    }

    /// When the next connection may be accepted.
    pub(super) fn due(&self) -> Instant {
        self.all.due().max(self.refused.due())
    }

    /// Counts a subscription of a user that is about to begin; false if there were too many of them.
    pub(super) fn count_subscription(&mut self, user: u32, now: Instant) -> bool {
        self.subscriptions.retain(|_, limit| !limit.is_idle(now));
        let new = || RateLimit::new(SUBSCRIPTION_BURST, SUBSCRIPTION_INTERVAL, now);
        self.subscriptions.entry(user).or_insert_with(new).take(now)
    }

    /// Decides about the connection of a user, and counts it; `connected` are the users of the other clients.
    ///
    /// # Errors
    /// The reason why it is turned away.
    pub(super) fn admit(
        &mut self,
        user: u32,
        connected: impl Iterator<Item = u32>,
        now: Instant,
    ) -> Result<(), &'static str> {
        let decision = self.decide(user, connected, now);
        match decision {
            Ok(()) => self.all.take(now),
            Err(_) => self.refused.take(now),
        };
        decision
    }

    fn decide(
        &mut self,
        user: u32,
        connected: impl Iterator<Item = u32>,
        now: Instant,
    ) -> Result<(), &'static str> {
        self.users.retain(|_, limit| !limit.is_idle(now));
        let limit = self.users.entry(user).or_insert_with(|| RateLimit::new(USER_BURST, USER_INTERVAL, now));
        if !limit.take(now) {
            return Err("Your user connects too often: at most twenty times a second.");
        }
        let (mut all, mut own) = (0, 0);
        for other in connected {
            all += 1;
            own += usize::from(other == user);
        }
        if all >= MAX_SUBSCRIBERS {
            Err("There are as many clients as picosnitch serves.")
        } else if own >= MAX_SUBSCRIBERS - all {
            // The rule that all shared things have: no more than what is still free.
            Err("Your user has as many clients as there are free places for all others.")
        } else {
            Ok(())
        }
    }
}

/// The user at the other end, as it was at connect(2).
pub(super) fn user_of(stream: &UnixStream) -> u32 {
    getsockopt(stream, PeerCredentials).map_or(NO_USER, |credentials| credentials.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_all_places() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let mut connected = Vec::new();
        for (user, places) in [(1000, 16), (1001, 8), (1002, 4), (1003, 2), (1004, 1), (1005, 1), (1006, 0)] {
            let mut taken = 0;
            while taken < 20 && admission.admit(user, connected.iter().copied(), now).is_ok() {
                connected.push(user);
                taken += 1;
            }
            assert_eq!(taken, places, "{user}");
        }
        assert_eq!(connected.len(), MAX_SUBSCRIBERS);
    }

    #[test]
    fn no_user_takes_all_the_time() {
        let mut now = Instant::now();
        let mut admission = Admission::new(now);
        let mut admit =
            |user, now| (0..100).filter(|_| admission.admit(user, [].into_iter(), now).is_ok()).count();
        assert_eq!((admit(1000, now), admit(1000, now), admit(0, now)), (64, 0, 64));
        now += Duration::from_secs(1);
        assert_eq!(admit(1000, now), 20);
        now += Duration::from_secs(100);
        assert_eq!(admit(1, now), 64);
        assert_eq!(admission.users.len(), 1);
        now += Duration::from_secs(100);
        // Those that are turned away take none of the others'.
        let mut admission = Admission::new(now);
        let mut admit =
            |user, now| (0..200).filter(|_| admission.admit(user, [].into_iter(), now).is_ok()).count();
        assert_eq!(admit(1, now), 64);
        assert!(admission.due() <= now);
        while admission.due() <= now {
            let _ = admission.admit(1, [].into_iter(), now);
        }
        assert_eq!(admission.due(), now + REFUSED_INTERVAL);
        let mut admission = Admission::new(now);
        for user in 0..BURST {
            admission.admit(user, [].into_iter(), now).unwrap();
        }
        assert_eq!(admission.due(), now + INTERVAL);
    }
}
