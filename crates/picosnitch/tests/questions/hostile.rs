//! Input that nobody would type.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use crate::{
    logs::{Log, TRAFFIC, Traffic},
    screen::all_on_terminal,
};

fn log() -> Log {
    let odd = Traffic { exe: b"/tmp/\x1b]0;title\x07\xff\xe2\x80\xae", domain: "a.example", ..TRAFFIC };
    Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC), (1_700_000_000, odd)])
}

/// Asserts that a query answers or refuses, and prints nothing on which a terminal acts.
#[track_caller]
fn assert_sane(log: &Log, arguments: &[&OsStr]) -> Option<i32> {
    let (text, code) = all_on_terminal(log, 100, arguments);
    let shown: String = text.chars().take(2000).collect();
    assert!(matches!(code, Some(0..=2)), "{code:?} {shown}");
    assert!(!text.contains("panicked") && !text.contains("overflow"), "{shown}");
    let acts = |character: char| {
        character != '\n' && (character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character))
    };
    // The command line parser colours its words.
    let plain = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"]
        .iter()
        .fold(text.clone(), |text, colour| text.replace(colour, ""));
    assert!(!plain.chars().any(acts), "{shown:?}");
    assert!(code == Some(0) || !text.trim().is_empty());
    code
}

/// What the bytes are put behind.
const OPTIONS: [&str; 14] = [
    "--range=",
    "--since=",
    "--until=",
    "--where=",
    "--where=exe=",
    "--where=cmdline=",
    "--where=domain=",
    "--where=day=",
    "--where=sha256=",
    "--exclude=",
    "--find=",
    "--new-since=",
    "--changed-since=",
    "--compare=",
];

#[test]
fn every_option_takes_any_bytes() {
    let log = log();
    let long = [b'a'; 130_000];
    let stars = b"*a".repeat(1000);
    let values: [&[u8]; 12] = [
        b"",
        b"\xff\xfe",
        b"\x1b]0;title\x07\x1b[2J",
        b"\xe2\x80\xae\xc2\x9b31m",
        b"\n\r\t",
        b"\\x",
        b"\\u{110000}",
        b"'",
        b"..",
        &long,
        &stars,
        b"=",
    ];
    for option in OPTIONS {
        for value in values {
            let argument = [option.as_bytes(), value].concat();
            assert_sane(&log, &[OsStr::from_bytes(&argument)]);
        }
    }
    // The words of the command line parser itself.
    for option in ["--group-by=", "--sort=", "--limit=", "--events --kind=", "", "--"] {
        for value in ["", "x", "\u{e4}", "'", "=", "-1", "99999999999999999999"] {
            let arguments = format!("{option}{value}");
            assert_sane(&log, &arguments.split(' ').map(OsStr::new).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_megabyte_of_filters_is_answered() {
    let log = log();
    let value = "x".repeat(100_000);
    let filters: Vec<String> =
        ["exe", "cmdline", "domain", "name", "container", "exe", "cmdline", "domain", "unit", "app"]
            .iter()
            .flat_map(|dimension| ["--where".to_owned(), format!("{dimension}={value}")])
            .collect();
    let answer = log.ask(&[&["--range".to_owned(), "all".to_owned()], &filters[..]].concat());
    assert!(answer.code == Some(0) && answer.out.contains("total of 0 rows"), "{}", answer.out);
}

#[test]
fn the_ends_of_time_are_times() {
    let log = log();
    let ends = ["-9223372036854775808", "-9223372036854775807", "9223372036854775806", "9223372036854775807"];
    let far = ["-377705116800", "253402207201", "-62135596800", "0000-01-01", "9999-12-31", "9999", "0000"];
    let points: Vec<&str> = ends.into_iter().chain(far).collect();
    let more: [&[&str]; 8] = [
        &[],
        &["--compare", "previous"],
        &["--group-by", "hour"],
        &["--group-by", "day", "--zeros"],
        &["--group-by", "year", "--zeros"],
        &["--events"],
        &["--seen"],
        &["--json"],
    ];
    for point in &points {
        for option in ["since", "until", "new-since", "changed-since", "compare", "range"] {
            let option = format!("--{option}={point}");
            for more in more {
                let arguments: Vec<&OsStr> =
                    [&[option.as_str()], more].concat().into_iter().map(OsStr::new).collect();
                assert_sane(&log, &arguments);
            }
        }
        for dimension in ["time", "hour", "day", "week", "month", "year"] {
            let filter = format!("--where={dimension}={point}");
            assert_sane(&log, &[OsStr::new("--range=all"), OsStr::new(&filter)]);
        }
        for range in ["today", "yesterday", "this-hour", "last-hour", "last-year", "1d", "99999d"] {
            let (range, until) = (format!("--range={range}"), format!("--until={point}"));
            assert_sane(&log, &[OsStr::new(&range), OsStr::new(&until)]);
        }
    }
    let all = log.json(&["--since=-9223372036854775808", "--until=9223372036854775807"]);
    assert_eq!((&all["row_count"], &all["range"]["since"]), (&2.into(), &i64::MIN.into()));
}

#[test]
fn limits_from_nothing_to_everything() {
    let log = log();
    let rows = |limit: &str| {
        let answer = log.json(&["--range", "all", "--limit", limit]);
        (answer["row_count"].as_u64().unwrap(), answer["rows"].as_array().unwrap().len())
    };
    assert_eq!((rows("0"), rows("1"), rows("18446744073709551615")), ((2, 0), (2, 1), (2, 2)));
    let table = log.text(&["--range", "all", "--limit", "0"]);
    assert!(table.contains("total of 2 rows; 0 shown"), "{table}");
    for list in ["--events", "--seen"] {
        assert_eq!(log.json(&[list, "--range", "all", "--limit", "0"]), serde_json::json!([]));
        assert!(log.json(&[list, "--range", "all", "--limit", "18446744073709551615"]).is_array());
    }
    let compared = ["--range", "2023-11-14", "--compare", "previous"];
    for limit in ["0", "18446744073709551615"] {
        log.text(&[&compared[..], &["--limit", limit]].concat());
    }
    for limit in ["-1", "18446744073709551616", "", "many"] {
        log.refuse(&[format!("--limit={limit}")], "--limit");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let log = log();
    let pairs: [&[&str]; 12] = [
        &["--json", "--csv"],
        &["--range", "1d", "--since", "1d"],
        &["--internet", "--local"],
        &["--events", "--seen"],
        &["--events", "--group-by", "exe"],
        &["--events", "--compare", "previous"],
        &["--events", "--zeros"],
        &["--events", "--with-seen"],
        &["--events", "--new-since", "1d"],
        &["--seen", "--sort", "total"],
        &["--seen", "--changed-since", "1d"],
        &["--seen", "--find", "x"],
    ];
    for pair in pairs {
        log.refuse(pair, "cannot be used with");
    }
    log.refuse(&["--kind", "alert"], "--events");
    log.refuse(&["--group-by", "exe", "--group-by", "exe"], "--group-by exe is there twice");
    log.refuse(&["--group-by", "exe", "--sort", "port"], "--sort port needs --group-by port");
}
