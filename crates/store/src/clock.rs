//! The clock by which records grow old. No single reading of the machine's clock deletes anything: a clock that is wrong for
//! one start would delete a year.
//!
//! Two signs are independent: what the clock says, and the time that has passed by the boot clock (within one boot), or by
//! the last window (after a restart). A clock that runs ahead of both is doubted until it has been consistent for a week of
//! recording.

/// A reading of all clocks, at the end of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// Unix seconds UTC.
    pub time: i64,
    /// The id in table `boot` of the boot; 0 when unknown.
    pub boot: i64,
    /// Seconds since that boot (`CLOCK_BOOTTIME`).
    pub uptime: i64,
}

/// Difference that is no jump, seconds.
const TOLERANCE: i64 = 60 * 60;
/// How long the machine may be off before the clock needs another sign, seconds.
const MAX_UNSEEN: i64 = 7 * DAY;
/// Recording time for which a doubted clock must be consistent, seconds.
const GRACE: i64 = 7 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// A clock that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Seconds by which the clock differs from the trusted one.
    pub seconds: i64,
    /// Recording time for which that difference has been the same, seconds.
    pub credit: i64,
}

/// The trusted clock of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustedClock {
    /// The reading at the last window; a time of 0 for a log without windows.
    pub last: ClockReading,
    /// The trusted time at that window, unix seconds.
    pub trusted: i64,
    pub doubt: Option<Doubt>,
    /// The boot in which a step of the clock soon after the start was believed: one for each boot.
    pub stepped: i64,
}

/// The news about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockChange {
    /// It differs by so many seconds from what is explained, and is not believed.
    Doubted(i64),
    /// It is believed again: it agrees with the trusted clock, or was consistent for long enough.
    Believed,
}

impl TrustedClock {
    /// Takes the reading of a window.
    pub fn observe(&mut self, now: ClockReading) -> Option<ClockChange> {
        let last = std::mem::replace(&mut self.last, now);
        if last.time == 0 {
            self.trusted = now.time;
            return None;
        }
        let same_boot = now.boot != 0 && now.boot == last.boot && now.uptime >= last.uptime;
        // Restarts explain a bounded time only, and give little credit: each of them is a reading of the same clock.
        let passed = now.time.saturating_sub(last.time);
        let near = if (0..=MAX_UNSEEN).contains(&passed) { passed } else { 0 };
        let (explained, credit, gap) = match same_boot {
            // A machine without a clock of its own gets the time from the network soon after its start.
            true if last.uptime < TOLERANCE && self.stepped != now.boot && near > TOLERANCE => {
                self.stepped = now.boot;
                (near, now.uptime - last.uptime, 0)
            }
            true => (now.uptime - last.uptime, now.uptime - last.uptime, 0),
            false => (near, passed.clamp(0, DAY), passed.max(0) - near),
        };
        self.trusted = self.trusted.saturating_add(explained);
        let seconds = now.time.saturating_sub(self.trusted);
        if seconds.saturating_abs() <= TOLERANCE {
            self.trusted = now.time;
            return self.doubt.take().map(|_| ClockChange::Believed);
        }
        match &mut self.doubt {
            // A long time without the machine makes the difference larger, not the clock less consistent.
            Some(doubt)
                if doubt.seconds.saturating_add(gap).saturating_sub(seconds).saturating_abs()
                    <= TOLERANCE =>
            {
                doubt.seconds = seconds;
                doubt.credit = doubt.credit.saturating_add(credit);
                if doubt.credit < GRACE {
                    return None;
                }
                self.trusted = now.time;
                self.doubt = None;
                Some(ClockChange::Believed)
            }
            _ => {
                self.doubt = Some(Doubt { seconds, credit: 0 });
                Some(ClockChange::Doubted(seconds))
            }
        }
    }

    /// The time by which records grow old: never later than either clock.
    pub fn now(&self) -> i64 {
        self.trusted.min(self.last.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000;

    fn reading(time: i64, boot: i64, uptime: i64) -> ClockReading {
        ClockReading { time, boot, uptime }
    }

    fn clock() -> TrustedClock {
        let mut clock = TrustedClock::default();
        assert_eq!(clock.observe(reading(START, 1, 100)), None);
        clock
    }

    #[test]
    fn time_that_passed_is_believed() {
        let mut clock = clock();
        // A suspended machine: the boot clock counts that time.
        assert_eq!(clock.observe(reading(START + 30 * DAY, 1, 100 + 30 * DAY)), None);
        assert_eq!(clock.now(), START + 30 * DAY);
        // A machine that was off over some days.
        assert_eq!(clock.observe(reading(START + 36 * DAY, 2, 10)), None);
        assert_eq!(clock.now(), START + 36 * DAY);
        // Adjusted by some minutes.
        assert_eq!(clock.observe(reading(START + 36 * DAY + 600, 2, 20)), None);
        assert_eq!(clock.now(), START + 36 * DAY + 600);
    }

    #[test]
    fn a_jump_is_doubted_and_forgotten_once_it_is_undone() {
        for (boot, uptime) in [(1, 110), (2, 5), (0, 0)] {
            let mut clock = clock();
            let change = clock.observe(reading(START + 200 * DAY, boot, uptime));
            assert!(
                matches!(change, Some(ClockChange::Doubted(seconds)) if seconds >= 199 * DAY),
                "{change:?}"
            );
            assert!(clock.now() <= START + 10, "{}", clock.now() - START);
            assert_eq!(clock.observe(reading(START + 200 * DAY + 10, boot, uptime + 10)), None);
            // Back, 200 days too far, and right at last.
            for time in [START + 20, START - 200 * DAY, START + 40] {
                clock.observe(reading(time, 3, 10));
                assert!(clock.now() <= START + 100, "{}", clock.now() - START);
            }
        }
    }

    #[test]
    fn a_consistent_clock_is_believed_after_a_week_of_recording() {
        let mut clock = clock();
        let ahead = START + 200 * DAY;
        assert!(clock.observe(reading(ahead, 2, 0)).is_some());
        for hour in 1..7 * 24 {
            assert_eq!(clock.observe(reading(ahead + hour * 3600, 2, hour * 3600)), None, "{hour}");
        }
        assert_eq!(clock.observe(reading(ahead + 7 * DAY, 2, 7 * DAY)), Some(ClockChange::Believed));
        assert_eq!(clock.now(), ahead + 7 * DAY);
    }

    #[test]
    fn a_machine_that_is_used_once_a_fortnight_is_believed_in_the_end() {
        let mut clock = clock();
        let mut time = START;
        for boot in 2..40 {
            time += 14 * DAY;
            clock.observe(reading(time, boot, 100));
            time += 3600;
            clock.observe(reading(time, boot, 3700));
        }
        assert!(clock.now() > time - 8 * 14 * DAY, "{}", (time - clock.now()) / DAY);
    }

    #[test]
    fn the_time_that_comes_from_the_network_after_a_start_is_believed() {
        let mut clock = clock();
        for day in 1..30 {
            // The machine starts with the time at which it was switched off.
            let off = clock.last.time;
            assert_eq!(clock.observe(reading(off + 5, day + 1, 20)), None);
            assert_eq!(clock.observe(reading(START + day * DAY, day + 1, 60)), None, "{day}");
            assert_eq!(clock.now(), START + day * DAY);
            clock.observe(reading(START + day * DAY + 8 * 3600, day + 1, 60 + 8 * 3600));
        }
    }

    #[test]
    fn many_jumps_or_restarts_are_no_proof() {
        let mut jumping = clock();
        for jump in 1..50 {
            // Within one boot each jump of six days is doubted.
            jumping.observe(reading(START + jump * 6 * DAY, 1, 100 + jump));
        }
        assert!(jumping.now() < START + 7 * DAY, "{}", jumping.now() - START);
        let mut restarting = clock();
        restarting.observe(reading(START + 400 * DAY, 2, 1));
        for boot in 3..9 {
            restarting.observe(reading(START + 400 * DAY + boot, boot, 1));
        }
        assert!(restarting.now() < START + DAY, "{}", restarting.now() - START);
    }

    #[test]
    fn extreme_readings_do_no_harm() {
        for time in [i64::MIN, -1, i64::MAX] {
            let mut clock = clock();
            clock.observe(reading(time, 1, 200));
            clock.observe(reading(time, 9, i64::MAX));
            clock.observe(reading(START, 9, 0));
            assert!(clock.now() <= START + 8 * DAY, "{}", clock.now());
        }
    }
}
