//! `--find`: values that contain a text.

use crate::logs::{Log, TRAFFIC, Traffic, UID};

const TIME: i64 = 1_700_000_000;

fn log() -> Log {
    let traffic = [
        Traffic { exe: b"/usr/lib/Firefox/firefox", domain: "github.com", ..TRAFFIC },
        Traffic { exe: "/opt/ÄRGER/gro\u{df}".as_bytes(), domain: "api.github.com", port: 80, ..TRAFFIC },
        Traffic { exe: b"/tmp/\xff\\x41", uid: 0, port: 22, ..TRAFFIC },
        Traffic { exe: b"/bin/curl", command_line: b"curl\0-o\0\xc3\xa4 b", uid: 0, port: 9, ..TRAFFIC },
    ];
    Log::new("Europe/Berlin", &traffic.map(|traffic| (TIME, traffic)))
}

fn found(log: &Log, dimension: &str, text: &str) -> Vec<String> {
    let mut found = log.texts(dimension, &["--range", "all", "-g", dimension, &format!("--find={text}")]);
    found.sort();
    found
}

#[test]
fn letters_match_in_either_case() {
    let log = log();
    for text in ["firefox", "FIREFOX", "b/fireF", "/firefox/"] {
        assert_eq!(found(&log, "exe", text), ["/usr/lib/Firefox/firefox"], "{text}");
    }
    for text in ["ärger", "Ärger", "GRO\u{df}", "/ä"] {
        assert_eq!(found(&log, "exe", text), ["/opt/ÄRGER/gro\u{df}"], "{text}");
    }
    assert_eq!(found(&log, "domain", "GitHub"), ["api.github.com", "github.com"]);
    assert_eq!(found(&log, "exe", "").len(), 4);
    assert_eq!(found(&log, "sha256", "ABAB"), ["ab".repeat(32)]);
}

#[test]
fn escapes_stand_for_their_bytes() {
    let log = log();
    for text in ["\\xff", "\\xFF\\x5c", "\\x5cx41", "\\x5C"] {
        assert_eq!(found(&log, "exe", text), ["/tmp/\\xff\\x5cx41"], "{text}");
    }
    // The letter of the escape is in other paths only.
    assert_eq!(found(&log, "exe", "\\x6f\\x70\\x74"), ["/opt/ÄRGER/gro\u{df}"]);
}

#[test]
fn arguments_are_found_across_their_boundaries() {
    let log = log();
    for text in ["curl -o", "-O ", " -o", "-o ä b", "Ä B", "curl -o Ä"] {
        assert_eq!(found(&log, "cmdline", text), ["curl -o 'ä b'"], "{text}");
    }
}

#[test]
fn users_and_ports_are_found_by_name() {
    let log = log();
    for text in ["root", "ROO"] {
        assert_eq!(found(&log, "uid", text), ["0"], "{text}");
    }
    assert_eq!(found(&log, "uid", "00000007"), [UID.to_string()]);
    assert_eq!(found(&log, "port", "HTTP"), ["443", "80"]);
    assert_eq!(found(&log, "port", "ssh"), ["22"]);
    assert_eq!(found(&log, "scope", "inter"), ["internet"]);
}

#[test]
fn the_answer_is_about_what_was_found() {
    let log = log();
    let answer = log.json(&["--range", "all", "-g", "exe", "-g", "port", "--find", "firefox"]);
    assert_eq!((&answer["row_count"], &answer["total"]["conns"]), (&1.into(), &1.into()));
    // The filters hold as well, also one on the same dimension.
    let both = ["--range", "all", "--find", "/", "-w", "exe=curl", "-w", "exe=firefox", "-x", "exe=*curl"];
    assert_eq!(log.texts("exe", &both), ["/usr/lib/Firefox/firefox"]);
    log.nothing(&["--range", "all", "--find", "chromium"], "no value has this text");
    log.nothing(&["--range", "all", "-g", "port", "--find", "xyz"], "no value has this text");
    for dimension in ["time", "day", "weekday"] {
        log.refuse(&["-g", dimension, "--find", "x"], "--find finds texts: group by another dimension");
    }
    log.refuse(&["--events", "--find", "x"], "cannot be used with");
    log.refuse(&["--seen", "--find", "x"], "cannot be used with");
}
