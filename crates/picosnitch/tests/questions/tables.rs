//! The forms of tables: on terminals of several widths, and in a pipe.

use model::{Event, EventKind, Loss, LossKind, Sha256, Window};
use tui::text::width;

use crate::{
    logs::{Log, TRAFFIC, Traffic, UID, at},
    screen::{assert_fits, on_terminal},
};

const LONG: &[u8] = b"/home/somebody/.local/share/Steam/steamapps/common/SteamLinuxRuntime_sniper/pressure-vessel/bin/pv-adverb";

fn log() -> Log {
    let [first, second] = ["2026-11-03T12:00:07Z", "2026-11-04T13:30:19Z"].map(at);
    let firefox = Traffic {
        exe: b"/usr/lib/firefox/firefox",
        domain: "push.services.mozilla.com",
        country: "US",
        received: 12_400_000,
        sent: 345_678,
        ..TRAFFIC
    };
    let long = Traffic {
        exe: LONG,
        domain: "cdn-with-a-very-long-name.eu-central-1.content.example.com",
        ..firefox
    };
    let wide = Traffic {
        exe: "/opt/\u{6f22}\u{5b57}/\u{30b2}\u{30fc}\u{30e0}".as_bytes(),
        uid: 0,
        sent: 17,
        ..TRAFFIC
    };
    let odd = Traffic { exe: b"/tmp/\x1b[m\xff", digest: 0, ..wide };
    let log = Log::new(
        "Europe/Berlin",
        &[
            (first, firefox),
            (first, Traffic { received: 1, sent: 5_000_000_000, ..long }),
            (first, odd),
            (second, Traffic { received: 400, ..firefox }),
            (second, wide),
            (second, Traffic { received: 70_000, ..long }),
        ],
    );
    log.write([Window { time: second + 10, losses: losses(), events: events(second), ..Window::default() }]);
    log
}

fn losses() -> Vec<Loss> {
    vec![Loss { kind: LossKind::Names, count: 12_345 }]
}

fn events(time: i64) -> Vec<Event> {
    let mut alert = Event::new(
        EventKind::Alert,
        time,
        "A program that was never seen before has connected to the network.",
    );
    alert.subject = "new exe".to_owned();
    alert.uid = Some(UID);
    alert.path = LONG.into();
    alert.name = b"pv-adverb".to_vec();
    alert.sha256 = Some(Sha256([0xab; 32]));
    let mut gap = Event::new(EventKind::Gap, time + 1, "Nothing was recorded.");
    gap.begin = Some(time - 300);
    let text = "cannot hash /opt/\u{6f22}\u{5b57}/a-directory-with-a-long-name/another-directory-with-a-long-name/\
                and-one-more/program: Permission denied\u{1b}[31m";
    let mut error = Event::new(EventKind::Error, time + 2, text);
    error.uid = Some(0);
    error.path = "/opt/\u{6f22}\u{5b57}/program".as_bytes().to_vec();
    error.name = b"worker".to_vec();
    vec![alert, gap, error]
}

/// The questions whose answers have a form of their own.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("records", &["--range", "all"]),
    (
        "records_by_three",
        &["--range", "all", "-g", "exe", "-g", "domain", "-g", "uid", "--limit", "3", "--internet"],
    ),
    ("records_with_seen", &["--range", "all", "--with-seen"]),
    ("events", &["--events", "--range", "all"]),
    ("seen", &["--seen"]),
    ("compare", &["--range", "2026-11-04", "--compare", "previous"]),
];

/// The names of the program files that an answer may have, as a table shows them.
const NAMES: [&str; 4] = ["firefox", "pv-adverb", "\u{30b2}\u{30fc}\u{30e0}", "\\x1b[m\\xff"];

#[test]
fn tables_fit_the_terminal() {
    let log = log();
    for (name, arguments) in QUESTIONS {
        let mut shown = format!("query {}\n", arguments.join(" "));
        for columns in [60, 80, 120] {
            let text = on_terminal(&log, columns, arguments);
            assert_fits(&text, columns.into());
            shown += &format!("\n{columns:-<0$}\n{text}", usize::from(columns));
        }
        insta::assert_snapshot!(name, shown);
    }
}

#[test]
fn the_names_of_programs_are_never_cut() {
    let log = log();
    for (_, arguments) in QUESTIONS {
        let whole = log.text(arguments);
        // With the times beside them, numbers alone nearly fill 60 columns.
        let widths = if arguments.contains(&"--with-seen") { [80, 100, 120] } else { [60, 80, 120] };
        for columns in widths {
            let text = on_terminal(&log, columns, arguments);
            for name in NAMES.iter().filter(|name| whole.contains(**name)) {
                assert!(text.contains(name), "{name} at {columns}:\n{text}");
            }
        }
    }
}

#[test]
fn nothing_is_cut_in_a_pipe() {
    let log = log();
    let mut shown = String::new();
    for (_, arguments) in QUESTIONS {
        let text = log.text(arguments);
        assert!(!text.contains('\u{2026}'), "{text}");
        shown += &format!("query {}\n{text}\n", arguments.join(" "));
        // The option wants the same on a terminal; only the sentences of events need no lines of their own.
        if !arguments.contains(&"--events") {
            assert_eq!(on_terminal(&log, 60, &[arguments, &["--full"]].concat()), text);
        }
    }
    assert_fits(&shown, usize::MAX);
    insta::assert_snapshot!("pipe", shown);
}

#[test]
fn columns_line_up_at_every_width() {
    let log = log();
    for columns in 45..100 {
        let text = on_terminal(&log, columns, &["--range", "all", "-g", "exe", "-g", "domain"]);
        assert_fits(&text, columns.into());
        let rows: Vec<&str> = text.lines().take(4).collect();
        assert!(rows.iter().all(|row| width(row) == width(rows[0])), "{text}");
    }
}

#[test]
fn a_terminal_without_a_size_has_eighty_columns() {
    let log = log();
    let arguments = ["--range", "all", "-g", "exe", "-g", "domain"];
    assert_eq!(on_terminal(&log, 0, &arguments), on_terminal(&log, 80, &arguments));
}
