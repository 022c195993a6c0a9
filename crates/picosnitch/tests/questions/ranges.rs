//! Ranges and points of time.

use calendar::{Step, floor};
use model::text::time::now;

use crate::logs::{Log, TRAFFIC, Traffic, at, time_zone, zone_of_noon};

/// A log whose bytes name the records: 1, 2, 4, 8, ...
fn log(zone: &str, times: &[i64]) -> Log {
    let traffic = |(number, time): (usize, &i64)| (*time, Traffic { sent: 1 << number, ..TRAFFIC });
    Log::new(zone, &times.iter().enumerate().map(traffic).collect::<Vec<_>>())
}

/// The records of a range, by their bytes.
fn sent(log: &Log, arguments: &[&str]) -> u64 {
    log.json(arguments)["total"]["sent"].as_u64().unwrap()
}

#[test]
fn words_are_whole_parts_of_the_calendar() {
    let zone = zone_of_noon();
    let zone_of_log = time_zone(&zone);
    let start = |step| floor(step, now(), &zone_of_log);
    let (day, week, month, year) =
        (start(Step::Days), start(Step::Weeks), start(Step::Months), start(Step::Years));
    let yesterday = floor(Step::Days, day - 1, &zone_of_log);
    let last_month = floor(Step::Months, month - 1, &zone_of_log);
    let last_week = floor(Step::Weeks, week - 1, &zone_of_log);
    for (range, begin, end) in [
        ("today", day, day + 86_400),
        ("yesterday", yesterday, day),
        ("this-week", week, week + 7 * 86_400),
        ("last-week", last_week, week),
        ("last week", last_week, week),
        ("last-month", last_month, month),
        ("last-year", floor(Step::Years, year - 1, &zone_of_log), year),
    ] {
        let log = log(&zone, &[begin - 1, begin, end - 1, end]);
        assert_eq!(sent(&log, &["--range", range]), 6, "{range}");
        let bounds = &log.json(&["--range", range])["range"];
        assert_eq!((&bounds["since"], &bounds["until"]), (&begin.into(), &(end - 1).into()), "{range}");
        assert_eq!(sent(&log, &["--since", range, "--until", range]), 6, "{range}");
    }
    for (range, begin) in [("this-month", month), ("this-year", year)] {
        assert_eq!(sent(&log(&zone, &[begin - 1, begin]), &["--range", range]), 2, "{range}");
    }
    let week_ago = now() - 604_800;
    assert_eq!(sent(&log(&zone, &[week_ago - 60, week_ago + 60, now()]), &["--range", "1w"]), 6);
}

#[test]
fn dates_are_whole_parts_in_local_time() {
    for (range, begin, end) in [
        ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
        ("2025", "2024-12-31T23:00:00Z", "2025-12-31T23:00:00Z"),
        ("2026-03-28..2026-03-29", "2026-03-27T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-03..2026-10", "2026-02-28T23:00:00Z", "2026-10-31T23:00:00Z"),
        ("2026-10-25 02:30+02:00..2026-10-25 02:30+01:00", "2026-10-25T00:30:00Z", "2026-10-25T01:30:01Z"),
        ("2026-10-25 02:30..2026-10-25 02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:01Z"),
    ] {
        let (begin, end) = (at(begin), at(end));
        let log = log("Europe/Berlin", &[begin - 1, begin, end - 1, end]);
        assert_eq!(sent(&log, &["--range", range]), 6, "{range}");
    }
    let log = log("Europe/Berlin", &[at("2026-03-01"), at("2026-03-05"), at("2026-03-09")]);
    assert_eq!(sent(&log, &["--range", "2026-03-05.."]), 6);
    assert_eq!(sent(&log, &["--range", "..2026-03-05"]), 3);
    assert_eq!(sent(&log, &["--range", ".."]), 7);
}

#[test]
fn points_have_their_offset_or_are_local() {
    let log = log("Europe/Berlin", &[at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z")]);
    for (point, since, until) in [
        ("2026-10-25T00:30:00Z", 3, 1),
        ("2026-10-25 00:30Z", 3, 1),
        ("2026-10-25 06:15+05:45", 3, 1),
        ("2026-10-25T06:15:00+05:45", 3, 1),
        ("2026-10-25 02:30+02:00", 3, 1),
        ("2026-10-25T02:30:00+01:00", 2, 3),
        ("2026-10-24 20:30-05:00", 2, 3),
        // Twice in this night: from the first on, up to the last.
        ("2026-10-25 02:30", 3, 3),
        ("2026-10-25 02:31", 2, 3),
        ("2026-10-25 02:29", 3, 1),
        ("2026-10-25 03:00", 0, 3),
        ("1792891800", 2, 3),
        ("2026-10-25", 3, 3),
    ] {
        assert_eq!(sent(&log, &["--since", point]), since, "{point}");
        assert_eq!(sent(&log, &["--range", "52w", "--until", point]), until, "{point}");
        assert_eq!(sent(&log, &["--since", "2026", "--until", point]), until, "{point}");
    }
}

#[test]
fn a_mistake_says_what_to_write() {
    let log = log("Europe/Berlin", &[at("2026-10-25")]);
    for range in ["tomorrow", "", "0d", "5", "2026-13", "14:00", "-1d", "99999999999999999999d", "1d..0d..1d"]
    {
        let option = format!("--range={range}");
        log.refuse(&[&option], "write ");
    }
    for option in ["since", "until", "new-since", "changed-since"] {
        for point in ["", "tomorrow", "2026-02-30", "25:00", "2026-10-25 02:30+25:00", "5parsecs"] {
            log.refuse(
                &[format!("--{option}={point}")],
                &format!("--{option}: \"{point}\" is no time; write 2026"),
            );
        }
    }
    log.refuse(&["--range", "2026-10-25..2026-10-24"], "ends before it begins");
    log.refuse(
        &["--since", "2026-10-25 02:30+01:00", "--until", "2026-10-25 02:30+02:00"],
        "later than --until",
    );
    log.refuse(&["--range", "today", "--since", "1"], "cannot be used with");
    log.refuse(&["--range", "yesterday", "--until", "now"], "has an end of its own: leave --until out");
}
