//! Small inputs that once failed, each with its whole kind: configurations, values and texts that go in and come out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use known_programs::{Novelty, Rank, RecordFile};
use model::{Loss, LossKind, Sha256, Window};
use serde_json::{Value, json};

use logs::{Answer, Log, TRAFFIC, Traffic, at, run};

#[allow(dead_code, reason = "tests/questions uses the rest")]
mod logs;

const TIME: i64 = 1_700_000_000;

/// Checks a configuration file of this name.
fn check(name: &str, contents: &[u8], arguments: &[&str]) -> Answer {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join(name), contents).unwrap();
    run(base.path(), "UTC", "check-config", arguments)
}

/// The configuration in a valid file, and the notes about it.
fn valid(name: &str, contents: &[u8]) -> (Value, String) {
    let answer = check(name, contents, &["--json"]);
    assert_eq!(answer.code, Some(0), "{}", answer.out);
    let json: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(json["valid"], true);
    (json["config"].clone(), json["notes"].to_string())
}

/// The problems of a file, one a line.
fn problems(name: &str, contents: &[u8]) -> String {
    let answer = check(name, contents, &[]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(78), ""), "{}", answer.err);
    answer.err
}

#[test]
fn c1_every_config_json_of_the_original_is_read() {
    // As its releases write it, all keys with their defaults; later ones have other keys than earlier ones.
    let first = br#"{
  "Bandwidth monitor": true, "DB retention (days)": 365, "DB sql log": true, "DB sql server": {}, "DB text log": false,
  "DB write limit (seconds)": 1, "Dash scroll zoom": true, "Dash theme": "", "Data group": 0, "Data mode": 420,
  "Data owner": 0, "Desktop notifications": true, "Desktop user": "", "Every exe (not just conns)": false,
  "GeoIP lookup": true, "Log addresses": true, "Log commands": true, "Log ignore": [], "Log ports": false,
  "Perf ring buffer (pages)": 256, "Set RLIMIT_NOFILE": null, "Set st_dev mask": null, "VT API key": "",
  "VT file upload": false, "VT request limit (seconds)": 15}"#;
    let (config, notes) = valid("config.json", first);
    assert_eq!((&config["log"]["ports"], &config["log"]["addresses"]), (&json!(false), &json!(true)));
    for key in
        ["Dash scroll zoom", "Dash theme", "GeoIP lookup", "Set st_dev mask", "Data owner", "Desktop user"]
    {
        assert!(notes.contains(key) && notes.contains("no effect"), "{key}: {notes}");
    }
    let (config, _) = valid("config.json", br#"{"Log ports": true, "Dash theme": 7}"#);
    assert_eq!(config["log"]["ports"], true);
    let unknown = problems("config.json", br#"{"Dash colour": true}"#);
    assert!(unknown.contains("Dash colour"), "{unknown}");
}

#[test]
fn c2_its_config_toml_is_recognised_and_explained() {
    let file = b"[database]\nenabled = true\nretention_days = 30\n[database.remote]\nclient = \"\"\n[data]\nowner = 0\n\
                 [log]\naddresses = true\nignore_domains = []\n[desktop]\nuser = \"\"\n[monitoring]\nevery_exe = true\n\
                 [virustotal]\napi_key = \"hidden\"\n";
    let explained = problems("config.toml", file);
    for expected in [
        "original picosnitch",
        "`sudo picosnitch import` brings it over",
        "database.enabled is log.sqlite here",
        "Without effect here: data.owner",
    ] {
        assert!(explained.contains(expected), "{expected}: {explained}");
    }
    assert!(explained.lines().count() == 1 && !explained.contains("hidden"), "{explained}");
}

#[test]
fn c3_its_record_json_is_read_as_the_daemon_reads_it() {
    // No command reads the file without recording: this is the call by which the recorder does.
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("record.json");
    let digest = Sha256([0xab; 32]);
    for name in [&b"/bin/\xff"[..], br"/bin/\udcff", br"/bin/\uDCFF", br"/bin/\\xff"] {
        let sha256 = digest.to_hex();
        let parts = [
            b"{\"Executables\": {\"",
            name,
            b"\": [\"n\"]}, \"SHA256\": {\"",
            name,
            b"\": {\"",
            sha256.as_bytes(),
        ];
        fs::write(&path, [&parts.concat()[..], b"\": \"clean\"}}}"].concat()).unwrap();
        let (mut file, notes) = RecordFile::open(&path);
        assert_eq!(notes, [""; 0]);
        {
            let shared = file.known();
            let mut known = shared.lock();
            assert_eq!(known.observe(Rank::Program, b"/bin/\xff", b"n"), Novelty::Nothing);
            assert!(!known.observe_digest(b"/bin/\xff", digest));
            known.observe(Rank::Program, b"/bin/other", b"n");
        }
        file.finish();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains(r#""/bin/\\xff""#), "{written}");
    }
}

#[test]
fn c4_rules_that_look_like_addresses_and_are_none_are_refused() {
    for (rule, hint) in [
        ("192.168.1", "write 192.168.1.0/24 for the network"),
        ("10.0.0.256", "at most 255"),
        ("010.0.0.1", "without zeros at the front"),
        ("10.0.0.1-10.0.0.9", "there are no ranges"),
        ("192.168.*.*", "write 192.168.0.0/16 for the network"),
        ("10.0.0.0/33", "from 0 to 32"),
        ("fe80::1%eth0", "without its interface"),
    ] {
        let toml = problems("config.toml", format!("[log]\nignore = [\"{rule}\"]\n").as_bytes());
        let json = problems("config.json", format!("{{\"Log ignore\": [\"{rule}\"]}}").as_bytes());
        for told in [toml, json] {
            assert!(told.contains(rule) && told.contains(hint), "{rule}: {told}");
        }
    }
    let (config, _) = valid("config.toml", b"[log]\nignore = [\"10.0.0.1.nip.io\", \"192.168.1.0/24\"]\n");
    assert_eq!(config["log"]["ignore"].as_array().unwrap().len(), 2);
}

/// Paths of which each looks like another one in an output that is not lossless.
const PATHS: [&[u8]; 12] = [
    b"/tmp/\xff",
    b"/tmp/\\xff",
    b"/tmp/\\x5cxff",
    b"/tmp/\n",
    b"/tmp/\\x0a",
    b"/tmp/\\n",
    b"/tmp/\\x41",
    b"/tmp/A",
    b"/tmp/\\",
    "/tmp/\u{202e}".as_bytes(),
    b"/tmp/\\u{202e}",
    b"=/tmp/'\",\xe2\x80",
];

/// A field of CSV without its quotes, and without the apostrophe in front of what a spreadsheet might take for a formula.
fn csv_field(line: &str) -> String {
    let field = match line.strip_prefix('"') {
        Some(rest) => rest[..rest.rfind("\",").unwrap()].replace("\"\"", "\""),
        None => line.split(',').next().unwrap().to_owned(),
    };
    field.strip_prefix('\'').map_or(field.clone(), str::to_owned)
}

#[test]
fn c5_what_an_output_shows_finds_exactly_its_row() {
    let traffic =
        |(number, exe): (usize, &&'static [u8])| (TIME, Traffic { exe, sent: 1 << number, ..TRAFFIC });
    let log = Log::new("UTC", &PATHS.iter().enumerate().map(traffic).collect::<Vec<_>>());
    let query = ["--range", "all", "--sort", "sent"];
    let json = log.texts("exe", &query);
    let csv = log.text(&[&query[..], &["--csv"]].concat());
    let csv: Vec<String> = csv.lines().skip(1).map(csv_field).collect();
    let table = log.text(&query);
    let table: Vec<&str> =
        table.lines().skip(1).map(|line| line.split("  ").next().unwrap()).take(PATHS.len()).collect();
    assert_eq!((json.len(), csv.len(), table.len()), (PATHS.len(), PATHS.len(), PATHS.len()));
    for (number, path) in PATHS.iter().enumerate() {
        // The largest comes first.
        let at = PATHS.len() - 1 - number;
        for shown in [&json[at], &csv[at], &table[at].to_owned()] {
            for option in ["--where", "--exclude"] {
                let filter = format!("exe={shown}");
                let answer = log.json(&["--range", "all", option, &filter]);
                let one = 1_u64 << number;
                let expected = if option == "--where" { one } else { (1 << PATHS.len()) - 1 - one };
                assert_eq!(
                    answer["total"]["sent"],
                    expected,
                    "{option} {filter:?} of {}",
                    path.escape_ascii()
                );
            }
        }
        assert!(!table[at].contains(['\n', '\u{202e}']) && !csv[at].contains('\u{202e}'));
    }
    // The bytes themselves, where they are no escape.
    let raw = [&b"exe="[..], b"/tmp/\xff"].concat();
    let answer = log.json(&[OsStr::new("--range=all"), OsStr::new("--where"), OsStr::from_bytes(&raw)]);
    assert_eq!(answer["total"]["sent"], 1);
}

#[test]
fn c6_command_lines_keep_their_arguments() {
    let lines: [(&[u8], &str); 6] = [
        (b"bash\0-c\0S\0A\0", "bash -c S A ''"),
        (b"bash\0-c\0S\0A", "bash -c S A"),
        (b"bash\0-c\0S\0A\0B", "bash -c S A B"),
        (b"bash\0-c\0S\0A B", "bash -c S 'A B'"),
        (b"bash\0-c\0S\0it's\n", "bash -c S 'it'\\''s\\x0a'"),
        (b"nginx: master process", "nginx: master process"),
    ];
    let traffic = |(number, (command_line, _)): (usize, &(&'static [u8], &str))| {
        (TIME, Traffic { command_line, sent: 1 << number, ..TRAFFIC })
    };
    let log = Log::new("UTC", &lines.iter().enumerate().map(traffic).collect::<Vec<_>>());
    let table = log.text(&["--range", "all", "-g", "cmdline"]);
    for (number, (_, shown)) in lines.iter().enumerate() {
        assert!(table.lines().any(|line| line.split("  ").next() == Some(shown)), "{shown}: {table}");
        let filter = format!("cmdline={shown}");
        assert_eq!(
            log.json(&["--range", "all", "--where", &filter])["total"]["sent"],
            1 << number,
            "{filter}"
        );
    }
    assert_eq!(log.json(&["--range", "all", "-g", "cmdline"])["row_count"], lines.len());
}

#[test]
fn c7_values_as_people_have_them_are_answered() {
    let log = Log::new("UTC", &[(TIME, Traffic { address: "10.0.0.2", uid: 0, digest: 0x5c, ..TRAFFIC })]);
    for filter in ["address=::ffff:10.0.0.2", "uid=root", "sha256=5c5c5c5c5c5c5c5c", "port=https"] {
        assert_eq!(log.json(&["--range", "all", "-w", filter])["total"]["sent"], 1, "{filter}");
    }
    log.refuse(&["-w", "port=65536"], "expected a port from 0 to 65535");
    log.nothing(&["--since", "2100-01-01"], "the range begins in the future");
    log.nothing(&["--range", "all", "-w", "uid=1000000009"], "no record in the whole log has uid=1000000009");
}

#[test]
fn c8_a_repeated_hour_has_offsets_that_are_accepted() {
    let times = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"].map(at);
    let log = Log::new("Europe/Berlin", &[(times[0], TRAFFIC), (times[1], Traffic { sent: 2, ..TRAFFIC })]);
    for (dimension, labels) in [
        ("time", ["2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00"]),
        ("hour", ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00"]),
    ] {
        let table = log.text(&["--range", "all", "-g", dimension]);
        let shown: Vec<&str> = table.lines().skip(1).map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(shown[..2], labels, "{table}");
        let sent = |since: &str, until: &str| {
            log.json(&["--since", since, "--until", until])["total"]["sent"].clone()
        };
        assert_eq!((sent(labels[0], "2026-10-26"), sent(labels[1], "2026-10-26")), (json!(3), json!(2)));
        assert_eq!(sent("2026-10-25", labels[1]), if dimension == "time" { 3 } else { 1 });
    }
    // Without an offset it is both: no hour is missing.
    let both = log.json(&["--since", "2026-10-25 02:30", "--until", "2026-10-25 02:30"]);
    assert_eq!(both["total"]["sent"], 3);
}

#[test]
fn c9_json_may_have_a_mark_and_comments_and_no_key_twice() {
    for file in [
        "\u{feff}{\"Log ports\": false}",
        "{/* of\n two lines */ \"Log ports\": /**/ false // and of one\n}",
        "\u{feff}// first\n{\"Log ports\": false,}",
    ] {
        assert_eq!(valid("config.json", file.as_bytes()).0["log"]["ports"], false, "{file}");
    }
    let twice = problems("config.json", b"{\"Log ports\": false,\n \"Log ports\": true}");
    assert!(twice.contains("config.json:2:") && twice.contains("Log ports"), "{twice}");
}

#[test]
fn c10_losses_have_words_for_people_and_names_for_programs() {
    let log = Log::new("UTC", &[(TIME, TRAFFIC)]);
    let losses = LossKind::ALL.map(|kind| Loss { kind, count: 7 }).to_vec();
    log.write([Window { time: TIME + 10, losses, ..Window::default() }]);
    let answer = log.json(&["--range", "all"]);
    let losses = answer["losses"].as_array().unwrap();
    assert_eq!(losses.len(), LossKind::ALL.len());
    for loss in losses {
        let (kind, text) = (loss["kind"].as_str().unwrap(), loss["text"].as_str().unwrap());
        assert!(kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{kind}");
        assert!(loss["consequence"].is_string() && text.starts_with("7 ") && text.ends_with('.'), "{loss}");
    }
    assert!(losses.iter().any(|loss| loss["kind"] == "flow_table_bytes"));
    let subjects = log.texts("subject", &["--events", "--range", "all", "--kind", "loss"]);
    assert!(subjects.contains(&"process_events".to_owned()), "{subjects:?}");
    // People read sentences, on standard error and among the events.
    let told = log.ask(&["--range", "all"]).err + &log.text(&["--events", "--range", "all"]);
    assert!(
        told.contains("some traffic is in no record") && told.contains("7 process events were lost"),
        "{told}"
    );
    for name in ["FlowTableBytes", "ProcessEvents", "flow_table", "process_events"] {
        assert!(!told.contains(name), "{name}: {told}");
    }
}
