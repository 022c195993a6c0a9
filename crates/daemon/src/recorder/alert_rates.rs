//! How many alerts of each user are reported one by one. A user who runs ever new programs must neither fill exe.log nor hide
//! the alerts of others: what is above the rate is counted and reported together.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use model::{Event, EventKind, text::time};

/// Alerts of one user that are reported at once, as after the first start, and then in a minute.
const USER_BURST: u32 = 600;
const USER_RATE: u32 = 60;
/// The same for all users together.
const BURST: u32 = 2400;
const RATE: u32 = 240;
/// The same for verdicts of VirusTotal, which are of no user: as many as it is asked for.
const VERDICT_BURST: u32 = 60;
const VERDICT_RATE: u32 = 6;
/// Alerts that a user has whatever others do, before the rate of all users counts.
const MIN_OF_A_USER: u32 = 10;
/// Pause between two searches for users who are quiet.
const FORGET_PERIOD: Duration = Duration::from_secs(1);
/// Rates at a time. Beyond that users that one user can take on share one.
const MAX_SOURCES: usize = 256;
/// The first of the ids that user namespaces give to users (`SUB_UID_MIN` of login.defs(5)): one user may have 65,536 of them.
/// Users below it always have a rate of their own.
const FIRST_SUBORDINATE: u32 = 100_000;
/// How often the others are reported.
const PERIOD: Duration = Duration::from_secs(60);

/// Who causes alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    User(u32),
    /// The users that are not told apart, all of them with subordinate ids.
    Others,
    /// The verdicts of VirusTotal.
    Verdicts,
}

/// The subject of a rate. News about programs and changed contents are apart: those of one kind do not hide the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source {
    cause: Cause,
    is_about_digest: bool,
}

impl Source {
    fn user(&self) -> Option<u32> {
        match self.cause {
            Cause::User(user) => Some(user),
            Cause::Others | Cause::Verdicts => None,
        }
    }
}

/// Alerts that were not reported one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoldedAlerts {
    /// Their user; `None` for several users, or none.
    pub(super) user: Option<u32>,
    pub(super) count: u64,
}

impl FoldedAlerts {
    /// Their event in the log.
    pub(super) fn event(self) -> Event {
        let text = format!("{} more alerts were not listed one by one.", self.count);
        let mut event = Event::new(EventKind::Alert, time::now(), text);
        (event.subject, event.uid, event.count) = ("folded".to_owned(), self.user, self.count);
        event
    }

    /// Their line of exe.log.
    pub(super) fn line(self) -> String {
        let user = self.user.map_or("several users".to_owned(), |user| format!("uid {user}"));
        let now = time::local(time::now());
        format!("{now} {user:<16} {} more alerts; record.json has the programs (folded)\n", self.count)
    }
}

/// Limits alerts by their users.
pub(super) struct AlertRates {
    all: Allowance,
    sources: HashMap<Source, (Allowance, u64)>,
    /// When the folded alerts are reported, if there are any.
    due: Option<Instant>,
    /// When quiet users may be forgotten next, if there are too many.
    forget_at: Instant,
}

/// What may still be reported: grows with time up to a burst.
struct Allowance {
    left: u32,
    /// When `left` was right.
    since: Instant,
}

impl Allowance {
    /// Adds what has become allowed since the last call.
    fn refill(&mut self, burst: u32, a_minute: u32, now: Instant) {
        let step = PERIOD / a_minute;
        let passed = now.saturating_duration_since(self.since).as_millis() / step.as_millis().max(1);
        let steps = u32::try_from(passed).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(steps).min(burst);
        self.since = if self.left == burst { now } else { self.since + step * steps };
    }

    fn take(&mut self) -> bool {
        let has_some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_some
    }
}

fn is_subordinate(user: u32) -> bool {
    user >= FIRST_SUBORDINATE
}

impl AlertRates {
    pub(super) fn new(now: Instant) -> Self {
        let all = Allowance { left: BURST, since: now };
        Self { all, sources: HashMap::new(), due: None, forget_at: now }
    }

    /// Counts an alert of a user; false if it is not to be reported on its own.
    pub(super) fn admit(&mut self, user: u32, is_about_digest: bool, now: Instant) -> bool {
        let mut source = Source { cause: Cause::User(user), is_about_digest };
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            if now >= self.forget_at {
                self.forget_quiet(now);
                self.forget_at = now + FORGET_PERIOD;
            }
            if self.sources.len() >= MAX_SOURCES {
                match is_subordinate(user) {
                    true => source.cause = Cause::Others,
                    false => self.make_room(now),
                }
            }
        }
        let new = || (Allowance { left: USER_BURST, since: now }, 0);
        let (allowance, folded) = self.sources.entry(source).or_insert_with(new);
        allowance.refill(USER_BURST, USER_RATE, now);
        self.all.refill(BURST, RATE, now);
        let has_few = allowance.left > USER_BURST - MIN_OF_A_USER;
        // An alert that is admitted counts for all users, too, even if it is one of the few.
        let is_admitted = allowance.take() && (self.all.take() | has_few);
        if !is_admitted {
            *folded += 1;
            self.due.get_or_insert(now + PERIOD);
        }
        is_admitted
    }

    /// Counts an alert about a verdict of VirusTotal; false if it is not to be reported on its own.
    pub(super) fn admit_verdict(&mut self, now: Instant) -> bool {
        let source = Source { cause: Cause::Verdicts, is_about_digest: true };
        let new = || (Allowance { left: VERDICT_BURST, since: now }, 0);
        let (allowance, folded) = self.sources.entry(source).or_insert_with(new);
        allowance.refill(VERDICT_BURST, VERDICT_RATE, now);
        let is_admitted = allowance.take();
        if !is_admitted {
            *folded += 1;
            self.due.get_or_insert(now + PERIOD);
        }
        is_admitted
    }

    /// Removes the source of one user. Its folded alerts are reported with those of several users. The first to go are those
    /// of subordinate ids, then quiet ones, then those with the most folded alerts.
    fn make_room(&mut self, now: Instant) {
        let rank = |(source, (allowance, folded)): (&Source, &(Allowance, u64))| {
            (source.user().is_some_and(is_subordinate), *folded == 0, *folded, allowance.left)
        };
        let removable = self.sources.iter().filter(|(source, _)| source.user().is_some());
        let Some(source) = removable.max_by_key(|entry| rank(*entry)).map(|(source, _)| *source) else {
            return;
        };
        let folded = self.sources.remove(&source).map_or(0, |(_, folded)| folded);
        if folded > 0 {
            let shared = Source { cause: Cause::Others, ..source };
            let new = || (Allowance { left: USER_BURST, since: now }, 0);
            self.sources.entry(shared).or_insert_with(new).1 += folded;
        }
    }

    fn forget_quiet(&mut self, now: Instant) {
        self.sources.retain(|source, (allowance, folded)| {
            if source.cause == Cause::Verdicts {
                return true;
            }
            allowance.refill(USER_BURST, USER_RATE, now);
            *folded > 0 || allowance.left < USER_BURST
        });
    }

    /// When [`AlertRates::take_folded`] has something to return.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The alerts that were not reported one by one, once a minute; at once if `now` is `None`.
    pub(super) fn take_folded(&mut self, now: Option<Instant>) -> Vec<FoldedAlerts> {
        if self.due.is_none_or(|due| now.is_some_and(|now| now < due)) {
            return Vec::new();
        }
        self.due = None;
        let mut counts: HashMap<Option<u32>, u64> = HashMap::new();
        for (source, (_, folded)) in &mut self.sources {
            *counts.entry(source.user()).or_default() += std::mem::take(folded);
        }
        let mut all: Vec<_> = counts.into_iter().map(|(user, count)| FoldedAlerts { user, count }).collect();
        all.retain(|folded| folded.count > 0);
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rates: &mut AlertRates, user: u32, count: u32, now: Instant) -> u32 {
        (0..count).map(|_| u32::from(rates.admit(user, false, now))).sum()
    }

    #[test]
    fn a_flood_of_one_user_is_counted_and_hides_no_other_user() {
        let mut now = Instant::now();
        let mut rates = AlertRates::new(now);
        assert_eq!(admitted(&mut rates, 1000, 10_000, now), USER_BURST);
        assert_eq!(admitted(&mut rates, 1001, 20, now), 20);
        assert!(rates.admit(1000, true, now), "a changed program is not hidden by new ones");
        assert!(rates.take_folded(Some(now)).is_empty());
        now += PERIOD;
        assert_eq!(rates.due(), Some(now));
        let folded = FoldedAlerts { user: Some(1000), count: 10_000 - u64::from(USER_BURST) };
        assert_eq!(rates.take_folded(Some(now)), [folded]);
        assert_eq!((rates.due(), rates.take_folded(None)), (None, vec![]));
        assert_eq!(admitted(&mut rates, 1000, 10_000, now), USER_RATE);
        assert_eq!(rates.take_folded(None).len(), 1);
        now += PERIOD * 60;
        assert_eq!(admitted(&mut rates, 1000, 10_000, now), USER_BURST);
    }

    #[test]
    fn verdicts_have_a_rate_of_their_own() {
        let mut now = Instant::now();
        let mut rates = AlertRates::new(now);
        let admitted = |rates: &mut AlertRates, now| (0..100).filter(|_| rates.admit_verdict(now)).count();
        assert_eq!(admitted(&mut rates, now), 60);
        now += PERIOD;
        assert_eq!(rates.take_folded(Some(now)), [FoldedAlerts { user: None, count: 40 }]);
        assert_eq!(admitted(&mut rates, now), 6);
        assert!(rates.admit(0, true, now));
    }

    #[test]
    fn many_users_of_one_attacker_are_bounded_together() {
        let mut now = Instant::now();
        let mut rates = AlertRates::new(now);
        let mut first = 0;
        for user in 100_000..110_000 {
            first += admitted(&mut rates, user, 20, now);
        }
        assert!((BURST..BURST + MAX_SOURCES as u32 * MIN_OF_A_USER).contains(&first), "{first}");
        assert!(rates.sources.len() <= MAX_SOURCES + 1);
        // Root was quiet, and is not among those that share a rate.
        assert_eq!(admitted(&mut rates, 0, MIN_OF_A_USER, now), MIN_OF_A_USER);
        assert!(rates.admit(0, true, now));
        for user in 0..2000 {
            admitted(&mut rates, user, 1, now);
        }
        assert!(rates.sources.len() <= MAX_SOURCES + 2, "{}", rates.sources.len());
        let folded: u64 = rates.take_folded(None).iter().map(|folded| folded.count).sum();
        let total = 10_000 * 20 + u64::from(MIN_OF_A_USER) + 1 + 2000;
        assert!(folded > total - u64::from(first) - 3000 && folded <= total - u64::from(first), "{folded}");
        // A user that came before them is not affected.
        let mut rates = AlertRates::new(now);
        assert!(rates.admit(1000, false, now));
        for user in 100_000..101_000 {
            admitted(&mut rates, user, 20, now);
        }
        assert_eq!(admitted(&mut rates, 1000, 5, now), 5);
        // A new one is as soon as the others are quiet.
        rates.take_folded(None);
        now += PERIOD * 11;
        assert_eq!(admitted(&mut rates, 1001, 5, now), 5);
        assert!(rates.sources.len() < 10);
    }
}
