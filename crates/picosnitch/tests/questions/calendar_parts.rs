//! Grouping by parts of the calendar, above all in the nights in which clocks change.

use model::text::time::now;
use serde_json::Value;

use crate::logs::{Log, TRAFFIC, Traffic, at, zone_of_noon};

/// A log whose bytes name the records: 1, 2, 4, 8, ...
fn log(zone: &str, times: &[&str]) -> Log {
    let traffic = |(number, time): (usize, &&str)| (at(time), Traffic { sent: 1 << number, ..TRAFFIC });
    Log::new(zone, &times.iter().enumerate().map(traffic).collect::<Vec<_>>())
}

/// The first and the last column of a table, without its heading and its total.
fn labels_and_sums(log: &Log, arguments: &[&str]) -> Vec<(String, String)> {
    let text = log.text(&[&["--range", "all", "--full"], arguments].concat());
    let lines: Vec<&str> = text.lines().collect();
    // The name of the total is in its line, or above it.
    let end = lines.iter().position(|line| line.starts_with("total of")).unwrap();
    let row = |line: &&str| {
        let mut columns = line.split("  ").filter(|column| !column.trim().is_empty());
        let label = columns.next().unwrap().trim().to_owned();
        (label, columns.last().unwrap().trim().trim_end_matches(" B").to_owned())
    };
    lines[1..end].iter().map(row).collect()
}

#[track_caller]
fn assert_parts(log: &Log, dimension: &str, expected: &[(&str, u64)]) {
    let rows = labels_and_sums(log, &["-g", dimension]);
    let expected: Vec<_> =
        expected.iter().map(|(label, sum)| ((*label).to_owned(), sum.to_string())).collect();
    assert_eq!(rows, expected, "{dimension}");
    let total: u64 = expected.iter().map(|(_, sum)| sum.parse::<u64>().unwrap()).sum();
    assert_eq!(log.json(&["--range", "all", "-g", dimension])["total"]["sent"], total, "{dimension}");
    // Each label can be typed, and selects its row.
    for (label, sum) in &rows {
        let filter = format!("{dimension}={label}");
        let sums = log.sums("sent", &["--range", "all", "-g", dimension, "--where", &filter]);
        assert_eq!(sums, [sum.parse::<u64>().unwrap()], "{filter}");
    }
}

/// Two weeks around the end of summer time in central Europe (2026-10-25, 01:00 UTC).
const AUTUMN: [&str; 7] = [
    "2026-10-17T22:30:00Z",
    "2026-10-24T21:59:59Z",
    "2026-10-24T22:00:00Z",
    "2026-10-25T00:30:00Z",
    "2026-10-25T01:30:00Z",
    "2026-10-25T22:59:59Z",
    "2026-10-31T23:00:00Z",
];

#[test]
fn the_night_in_which_an_hour_is_repeated() {
    let log = log("Europe/Berlin", &AUTUMN);
    assert_parts(
        &log,
        "hour",
        &[
            ("2026-10-18 00:00+02:00", 1),
            ("2026-10-24 23:00+02:00", 2),
            ("2026-10-25 00:00+02:00", 4),
            ("2026-10-25 02:00+02:00", 8),
            ("2026-10-25 02:00+01:00", 16),
            ("2026-10-25 23:00+01:00", 32),
            ("2026-11-01 00:00+01:00", 64),
        ],
    );
    assert_parts(
        &log,
        "day",
        &[("2026-10-18", 1), ("2026-10-24", 2), ("2026-10-25", 60), ("2026-11-01", 64)],
    );
    assert_parts(&log, "week", &[("2026-10-12", 1), ("2026-10-19", 62), ("2026-10-26", 64)]);
    assert_parts(&log, "month", &[("2026-10", 63), ("2026-11", 64)]);
    assert_parts(&log, "year", &[("2026", 127)]);
    assert_parts(&log, "weekday", &[("saturday", 2), ("sunday", 125)]);
    assert_parts(&log, "hour-of-day", &[("00", 69), ("02", 24), ("23", 34)]);
}

#[test]
fn the_night_in_which_an_hour_is_skipped() {
    let log = log(
        "Europe/Berlin",
        &[
            "2026-03-28T22:59:59Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T21:59:59Z",
            "2026-03-29T22:00:00Z",
        ],
    );
    assert_parts(
        &log,
        "hour",
        &[
            ("2026-03-28 23:00+01:00", 1),
            ("2026-03-29 00:00+01:00", 2),
            ("2026-03-29 01:00+01:00", 4),
            ("2026-03-29 03:00+02:00", 8),
            ("2026-03-29 23:00+02:00", 16),
            ("2026-03-30 00:00+02:00", 32),
        ],
    );
    assert_parts(&log, "day", &[("2026-03-28", 1), ("2026-03-29", 30), ("2026-03-30", 32)]);
    assert_parts(&log, "week", &[("2026-03-23", 31), ("2026-03-30", 32)]);
    assert_parts(&log, "weekday", &[("monday", 32), ("saturday", 1), ("sunday", 30)].map(|row| row));
}

#[test]
fn clocks_that_change_by_half_an_hour() {
    // Lord Howe Island: at 02:00 (+11:00) on 2026-04-05 back to 01:30, at 02:00 (+10:30) on 2026-10-04 on to 02:30.
    let back = log(
        "Australia/Lord_Howe",
        &["2026-04-04T14:59:59Z", "2026-04-04T15:00:00Z", "2026-04-04T15:29:59Z", "2026-04-04T15:30:00Z"],
    );
    assert_parts(
        &back,
        "hour",
        &[("2026-04-05 01:00+11:00", 1), ("2026-04-05 01:30+10:30", 6), ("2026-04-05 02:00+10:30", 8)],
    );
    assert_parts(&back, "hour-of-day", &[("01", 7), ("02", 8)]);
    assert_parts(&back, "day", &[("2026-04-05", 15)]);
    let on = log(
        "Australia/Lord_Howe",
        &["2026-10-03T15:29:59Z", "2026-10-03T15:30:00Z", "2026-10-03T15:59:59Z", "2026-10-03T16:00:00Z"],
    );
    assert_parts(
        &on,
        "hour",
        &[("2026-10-04 01:00+10:30", 1), ("2026-10-04 02:30+11:00", 6), ("2026-10-04 03:00+11:00", 8)],
    );
}

#[test]
fn a_zone_of_three_quarters_of_an_hour() {
    let log = log(
        "Asia/Kathmandu",
        &["2026-10-24T18:14:59Z", "2026-10-24T18:15:00Z", "2026-10-24T19:14:59Z", "2026-10-24T19:15:00Z"],
    );
    assert_parts(&log, "hour", &[("2026-10-24 23:00", 1), ("2026-10-25 00:00", 6), ("2026-10-25 01:00", 8)]);
    assert_parts(&log, "day", &[("2026-10-24", 1), ("2026-10-25", 14)]);
    assert_eq!(
        log.texts("hour_iso", &["--range", "all", "-g", "hour"]),
        ["2026-10-24T23:00:00+05:45", "2026-10-25T00:00:00+05:45", "2026-10-25T01:00:00+05:45"]
    );
}

#[test]
fn times_of_a_repeated_hour_have_offsets_that_can_be_typed() {
    let log = log("Europe/Berlin", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    let labels = ["2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00"];
    for (dimension, labels) in
        [("time", labels), ("hour", ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00"])]
    {
        assert_parts(&log, dimension, &[(labels[0], 1), (labels[1], 2)]);
        let sum = |since: &str, until: &str| {
            log.json(&["--since", since, "--until", until])["total"]["sent"].as_u64().unwrap()
        };
        assert_eq!(sum(labels[0], "2026-10-26"), 3, "{dimension}");
        assert_eq!(sum(labels[1], "2026-10-26"), 2, "{dimension}");
        let until =
            if dimension == "time" { labels } else { ["2026-10-25 02:59+02:00", "2026-10-25 02:59+01:00"] };
        assert_eq!((sum("2026", until[0]), sum("2026", until[1])), (1, 3), "{dimension}");
        // One of the two alone has its offset as well.
        let only =
            labels_and_sums(&log, &["-g", dimension, "--where", &format!("{dimension}={}", labels[1])]);
        assert_eq!(only, [(labels[1].to_owned(), "2".to_owned())]);
    }
    // The texts of JSON can be typed, too.
    for (iso, sum) in [("2026-10-25T02:30:00+02:00", 1), ("2026-10-25T02:30:00+01:00", 2)] {
        assert!(log.texts("time_iso", &["--range", "all", "-g", "time"]).contains(&iso.to_owned()));
        let filter = format!("time={iso}");
        assert_eq!(log.sums("sent", &["--range", "all", "-g", "time", "-w", &filter]), [sum]);
    }
}

#[test]
fn parts_without_traffic_are_added() {
    let log = log("Europe/Berlin", &AUTUMN);
    for (day, hours) in [("2026-10-24", 24), ("2026-10-25", 25)] {
        let arguments = ["--range", day, "-g", "hour", "--zeros"];
        let rows = log.values("hour", &arguments);
        assert_eq!(rows.len(), hours, "{day}");
        let steps = |rows: &[Value]| rows[1].as_i64().unwrap() - rows[0].as_i64().unwrap();
        assert!(rows.windows(2).all(|rows| steps(rows) == 3600), "{rows:?}");
        assert_eq!(log.json(&arguments)["row_count"], hours, "{day}");
    }
    let days = log.texts("day_iso", &["--range", "2026-10-23..2026-10-26", "-g", "day", "--zeros"]);
    let expected = ["23T00:00:00+02:00", "24T00:00:00+02:00", "25T00:00:00+02:00", "26T00:00:00+01:00"];
    assert_eq!(days, expected.map(|day| format!("2026-10-{day}")));
    let sums = log.sums("sent", &["--range", "2026-10-23..2026-10-26", "-g", "day", "--zeros"]);
    assert_eq!(sums, [0, 2, 60, 0]);
    // The quietest days.
    let quiet = ["--range", "2026-10-23..2026-10-26", "-g", "day", "--zeros", "--sort", "total", "--reverse"];
    assert_eq!(log.sums("sent", &quiet), [0, 0, 2, 60]);
    assert_eq!(log.sums("sent", &[&quiet[..], &["--limit", "2"]].concat()), [0, 0]);
    // Before the first record nothing was watched.
    log.nothing(&["--range", "2020-01", "-g", "day", "--zeros"], "the log has records from");
    assert_eq!(log.sums("sent", &["--range", "all", "-g", "weekday", "--zeros"]), [0, 0, 0, 0, 0, 2, 125]);
    assert_eq!(log.values("hour-of-day", &["--range", "all", "-g", "hour-of-day", "--zeros"]).len(), 24);
    // Each program has all of them; the longest go last by bytes.
    let both = ["--range", "2026-10-24..2026-10-25", "-g", "day", "-g", "exe", "--zeros", "--sort", "total"];
    assert_eq!(log.sums("sent", &both), [60, 2]);
    for refused in [&["--zeros"][..], &["--zeros", "-g", "time"], &["--zeros", "-g", "day", "-g", "hour"]] {
        log.refuse(refused, "--zeros needs --group-by with one of hour, day, week");
    }
    log.refuse(&["--zeros", "-g", "day", "--compare", "previous"], "--compare does not go with --zeros");
}

#[test]
fn parts_that_filters_exclude_are_not_added() {
    let log = log("Europe/Berlin", &AUTUMN);
    let zeros = |range: &'static str, dimension: &'static str, filter: &'static str| {
        log.sums("sent", &["--range", range, "-g", dimension, "--zeros", "-w", filter])
    };
    assert_eq!(zeros("2026-10-25", "hour", "hour-of-day=2"), [8, 16]);
    // A range is no part of the calendar.
    log.refuse(&["-w", "day=2026-10-24..2026-10-25"], "expected a point of time in it");
    log.refuse(&["--new-since", "2026-10-24..2026-10-25"], "2026-10-24..2026-10-25");
    assert_eq!(zeros("2026-10-18..2026-10-25", "hour", "hour-of-day=0").len(), 8);
    assert_eq!(zeros("2026-10-18..2026-10-31", "day", "weekday=sunday"), [1, 60]);
    assert_eq!(zeros("2026-10-24..2026-10-26", "weekday", "exe=curl"), [0, 2, 60]);
    log.nothing(&["--range", "all", "-g", "day", "--zeros", "-w", "exe=zzz"], "has exe=zzz");
    let twice = [(at(AUTUMN[0]), TRAFFIC), (at(AUTUMN[1]), Traffic { exe: b"/bin/a", ..TRAFFIC })];
    let log = Log::new("Europe/Berlin", &twice);
    let sorted = ["--range", "2026-10-18..2026-10-24", "-g", "day", "-g", "exe", "--zeros", "--sort", "exe"];
    assert_eq!(log.texts("exe", &sorted), [["/bin/a"; 7], ["/usr/bin/curl"; 7]].concat());
}

#[test]
fn parts_without_traffic_are_added_up_to_now() {
    let zone = zone_of_noon();
    let log = Log::new(&zone, &[(now() - 3 * 86_400, TRAFFIC)]);
    for range in ["1w", "all", "2000..2100"] {
        assert_eq!(log.sums("sent", &["--range", range, "-g", "day", "--zeros"]), [1, 0, 0, 0], "{range}");
    }
}

#[test]
fn every_time_has_its_text_beside_it() {
    let log = log("Europe/Berlin", &AUTUMN);
    let answer = log.json(&["--range", "2026-10-25", "-g", "time", "-g", "week", "-g", "hour-of-day"]);
    let row = &answer["rows"][1];
    assert_eq!(row["time_iso"], "2026-10-25T02:30:00+02:00");
    assert_eq!(
        (&row["week"], &row["week_iso"]),
        (&at("2026-10-18T22:00:00Z").into(), &"2026-10-19T00:00:00+02:00".into())
    );
    assert_eq!((&row["hour-of-day"], row.get("hour-of-day_iso")), (&2.into(), None));
    assert_eq!(answer["range"]["since_iso"], "2026-10-25T00:00:00+02:00");
    assert_eq!(answer["range"]["until_iso"], "2026-10-25T23:59:59+01:00");
    let csv = log.text(&["--range", "2026-10-25", "-g", "day", "-g", "weekday", "--csv"]);
    assert_eq!(
        csv,
        "day,day_iso,weekday,conns,received,sent\r\n1792879200,2026-10-25T00:00:00+02:00,sunday,4,0,60\r\n"
    );
}
