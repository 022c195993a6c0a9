//! Bursts: the first few notifications are shown as they are, the rest together.

use std::time::{Duration, Instant};

use super::{Kind, Notice};

/// Notifications of one kind that are shown by themselves within [`SHORTEST`].
const SHOWN: u64 = 3;
/// How long the others are collected; twice as long each time while they do not end.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(64);
/// Folded notifications whose text is shown.
const NAMED: usize = 5;

/// Folds notifications of one kind.
#[derive(Debug)]
pub struct Fold {
    kind: Kind,
    since: Option<Instant>,
    length: Duration,
    shown: u64,
    named: Vec<Notice>,
    held: u64,
}

impl Fold {
    /// Nothing was shown yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, since: None, length: SHORTEST, shown: 0, named: Vec::new(), held: 0 }
    }

    /// A notification: it comes back if it is to be shown now.
    pub fn add(&mut self, notice: Notice, now: Instant) -> Option<Notice> {
        if self.held == 0 && self.since.is_none_or(|since| now.saturating_duration_since(since) > self.length)
        {
            (self.since, self.length, self.shown) = (Some(now), SHORTEST, 0);
        }
        if self.shown < SHOWN {
            self.shown += 1;
            return Some(notice);
        }
        self.held += 1;
        if self.named.len() < NAMED {
            self.named.push(notice);
        }
        None
    }

    /// When [`Fold::take`] has something.
    pub fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.held > 0).map(|since| since + self.length)
    }

    /// What was folded, when it is due.
    pub fn take(&mut self, now: Instant) -> Option<Notice> {
        if self.due()? > now {
            return None;
        }
        let (count, mut named) = (std::mem::take(&mut self.held), std::mem::take(&mut self.named));
        self.since = Some(now);
        self.length = (self.length * 2).min(LONGEST);
        self.shown = SHOWN;
        if count == 1 {
            return named.pop();
        }
        let mut body: Vec<String> =
            named.iter().map(|notice| format!("{}: {}", notice.title, notice.body)).collect();
        let more = count - body.len() as u64;
        body.push(match more {
            0 => format!("All are in {}.", self.kind.log()),
            _ => format!("and {more} more; all are in {}.", self.kind.log()),
        });
        Some(Notice {
            kind: self.kind,
            title: format!("{count} {}", self.kind.many()),
            body: body.join("\n"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(number: u32) -> Notice {
        Notice { kind: Kind::Program, title: format!("New program {number}"), body: "/bin/x".into() }
    }

    #[test]
    fn a_burst_becomes_one_notification() {
        let mut fold = Fold::new(Kind::Program);
        let start = Instant::now();
        let shown = (0..17).filter_map(|number| fold.add(notice(number), start)).count();
        assert_eq!(shown, 3);
        assert_eq!(fold.due(), Some(start + SHORTEST));
        assert_eq!(fold.take(start), None);
        let folded = fold.take(start + SHORTEST).unwrap();
        assert_eq!(folded.title, "14 new programs");
        assert!(folded.body.starts_with("New program 3: /bin/x\n"), "{}", folded.body);
        assert!(folded.body.ends_with("and 9 more; all are in exe.log."), "{}", folded.body);
        assert_eq!((fold.due(), fold.take(start + LONGEST)), (None, None));
    }

    #[test]
    fn a_flood_is_told_more_and_more_rarely_and_then_forgotten() {
        let mut fold = Fold::new(Kind::Error);
        let mut now = Instant::now();
        let mut shown = 0;
        for number in 0..6000 {
            shown += u32::from(fold.add(notice(number), now).is_some());
            shown += u32::from(fold.take(now).is_some());
            now += Duration::from_millis(100);
        }
        assert!((8..20).contains(&shown), "{shown}");
        now += LONGEST * 2;
        fold.take(now);
        now += LONGEST * 2;
        assert!(fold.add(notice(1), now).is_some());
    }

    #[test]
    fn a_single_one_that_was_held_is_shown_as_it_is() {
        let mut fold = Fold::new(Kind::Program);
        let start = Instant::now();
        (0..4).for_each(|number| drop(fold.add(notice(number), start)));
        assert_eq!(fold.take(start + SHORTEST), Some(notice(3)));
    }
}
