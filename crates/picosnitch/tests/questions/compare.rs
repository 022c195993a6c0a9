//! Two ranges side by side.

use model::{Window, text::time::now};
use serde_json::json;

use crate::logs::{Log, TRAFFIC, Traffic, at, zone_of_noon};

/// Traffic of both days: what a program sent on the first and on the second.
const PROGRAMS: [(&[u8], u64, u64); 5] = [
    (b"/bin/grown", 100, 250),
    (b"/bin/shrunk", 80, 20),
    (b"/bin/same", 5, 5),
    (b"/bin/gone", 40, 0),
    (b"/bin/new", 0, 7),
];

fn log(zone: &str, [before, now]: [i64; 2]) -> Log {
    let traffic = |time, exe, sent| (sent > 0).then_some((time, Traffic { exe, sent, ..TRAFFIC }));
    let both = |(exe, first, second)| [traffic(before, exe, first), traffic(now, exe, second)];
    Log::new(zone, &PROGRAMS.into_iter().flat_map(both).flatten().collect::<Vec<_>>())
}

fn two_days() -> Log {
    log("UTC", [at("2026-11-03T12:00:00Z"), at("2026-11-04T12:00:00Z")])
}

const CHANGES: [(&str, &str); 5] = [
    ("/bin/grown", "grown"),
    ("/bin/shrunk", "shrunk"),
    ("/bin/gone", "gone"),
    ("/bin/new", "new"),
    ("/bin/same", "same"),
];

#[track_caller]
fn assert_changes(log: &Log, arguments: &[&str]) {
    let exes = log.texts("exe", arguments);
    let changes = log.texts("change", arguments);
    let rows: Vec<_> = exes.iter().map(String::as_str).zip(changes.iter().map(String::as_str)).collect();
    assert_eq!(rows, CHANGES, "{arguments:?}");
    let total = &log.json(arguments)["total"];
    assert_eq!(
        (&total["now"]["sent"], &total["before"]["sent"]),
        (&282.into(), &225.into()),
        "{arguments:?}"
    );
}

#[test]
fn a_range_is_compared_with_the_one_before_or_any_other() {
    let log = two_days();
    assert_changes(&log, &["--range", "2026-11-04", "--compare", "previous"]);
    assert_changes(&log, &["--range", "2026-11-04", "--compare", "2026-11-03"]);
    assert_changes(&log, &["--since", "2026-11-04", "--until", "2026-11-04", "--compare", "previous"]);
    assert_changes(&log, &["--range", "2026-11-04", "--compare", "2026-11-02..2026-11-03"]);
    let zone = zone_of_noon();
    // An hour ago, so that the time of the day has passed yesterday as well.
    let today = now() - 3600;
    let log = self::log(&zone, [today - 86_400, today]);
    for arguments in [
        ["--range", "today", "--compare", "yesterday"],
        ["--range", "today", "--compare", "previous"],
        ["--range", "1d", "--compare", "previous"],
        ["--range", "2h", "--compare", "yesterday"],
    ] {
        assert_changes(&log, &arguments);
    }
}

#[test]
fn an_unfinished_day_is_compared_with_as_much_of_the_day_before() {
    let zone = zone_of_noon();
    let today = now() - 3600;
    // What yesterday had in its last hours does not count yet.
    let log =
        Log::new(&zone, &[(today - 86_400, TRAFFIC), (today - 86_400 + 4 * 3600, TRAFFIC), (today, TRAFFIC)]);
    let total =
        |other| log.json(&["--range", "today", "--compare", other])["total"]["before"]["conns"].clone();
    assert_eq!((total("previous"), total("yesterday")), (json!(1), json!(2)));
}

#[test]
fn json_and_csv_have_both_sides() {
    let log = two_days();
    let compare = ["--range", "2026-11-04", "--compare", "previous", "-w", "exe=gone", "-w", "exe=new"];
    let answer = log.json(&compare);
    assert_eq!(
        answer["compared_with"],
        json!({"since": at("2026-11-03T00:00:00Z"), "since_iso": "2026-11-03T00:00:00+00:00",
               "until": at("2026-11-03T23:59:59Z"), "until_iso": "2026-11-03T23:59:59+00:00",
               "losses": [], "sums_of_quarter_hours_before": null, "sums_of_quarter_hours_before_iso": null})
    );
    assert_eq!(answer["range"]["since_iso"], "2026-11-04T00:00:00+00:00");
    assert_eq!(answer["row_count"], 2);
    let begin = "the log begins at 2026-11-03 12:00:00: it has only a part of the range that this one is compared with";
    assert_eq!(answer["notes"], json!([begin]));
    assert_eq!(
        answer["rows"],
        json!([
            {"exe": "/bin/gone", "change": "gone", "now": null, "before": {"conns": 1, "received": 0, "sent": 40}},
            {"exe": "/bin/new", "change": "new", "now": {"conns": 1, "received": 0, "sent": 7}, "before": null},
        ])
    );
    let csv = log.text(&[&compare[..], &["--csv"]].concat());
    assert_eq!(
        csv,
        "exe,change,conns,received,sent,conns_before,received_before,sent_before\r\n\
         /bin/gone,gone,0,0,0,1,0,40\r\n/bin/new,new,1,0,7,0,0,0\r\n"
    );
    // The total is that of all rows, also of those beyond the limit.
    let limited = log.json(&["--range", "2026-11-04", "--compare", "previous", "--limit", "1"]);
    assert_eq!((&limited["row_count"], &limited["total"]["now"]["sent"]), (&5.into(), &282.into()));
    assert_eq!(limited["rows"].as_array().unwrap().len(), 1);
    let table = log.text(&["--range", "2026-11-04", "--compare", "previous", "--limit", "1"]);
    assert!(table.contains("total of 5 rows; 1 shown"), "{table}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let log = two_days();
    log.refuse(&["--range", "all", "--compare", "previous"], "--range all has nothing before it");
    for dimension in ["time", "hour", "day", "week", "month", "year"] {
        log.refuse(&["--compare", "previous", "-g", dimension], "group by hour-of-day or weekday");
    }
    log.refuse(&["--compare", "next"], "--compare: \"next\" is no range; write a length");
    log.refuse(&["--events", "--compare", "previous"], "cannot be used with");
    let empty = ["--range", "2026-01-01", "--compare", "previous"];
    let answer = log.ask(&empty);
    assert!(
        answer.code == Some(0) && answer.err.contains("no rows: nothing was recorded in this range"),
        "{answer:?}"
    );
}

#[test]
fn the_other_range_is_looked_at_as_well() {
    let log = two_days();
    let notes = |other| log.json(&["--range", "2026-11-04", "--compare", other])["notes"].to_string();
    assert!(
        notes("2026-11-02").contains("12:00:00: there is nothing to compare with"),
        "{}",
        notes("2026-11-02")
    );
    assert_eq!(notes("2026-11-03 12:00..2026-11-03"), "[]");
    let losses = vec![model::Loss { kind: model::LossKind::FlowTableFull, count: 2 }];
    log.write([Window { time: at("2026-11-03T13:00:00Z"), losses, ..Window::default() }]);
    assert!(notes("2026-11-03").contains("incomplete in the range that this one is compared with"));
    let answer = log.json(&["--range", "2026-11-04", "--compare", "2026-11-03"]);
    assert_eq!((&answer["compared_with"]["losses"][0]["count"], &answer["losses"]), (&2.into(), &json!([])));
    // Also where neither range has a row.
    let nothing =
        ["--range", "2026-11-04", "--compare", "2026-11-03", "-w", "exe=/usr/bin/curl", "-w", "port=1"];
    let notes = log.json(&nothing)["notes"].to_string();
    assert!(notes.contains("no rows") && notes.contains("compared with"), "{notes}");
}

#[test]
fn less_than_a_percent_is_a_word() {
    for (sent, word) in [([1000, 1001], "grown"), ([1001, 1000], "shrunk")] {
        let traffic =
            |day: usize| (at(["2026-11-03", "2026-11-04"][day]), Traffic { sent: sent[day], ..TRAFFIC });
        let log = Log::new("UTC", &[traffic(0), traffic(1)]);
        let table = log.text(&["--range", "2026-11-04", "--compare", "previous"]);
        assert!(table.matches(word).count() == 2 && !table.contains(" %"), "{table}");
    }
}
