//! Logs that cannot be read, requests that are obsolete, and changes of the log.

use std::{fs, os::unix::fs::symlink, time::Instant};

use super::*;
use crate::view::{keys::Action, messages::error_sentence, query};
use model::EventKind;
use server_query::{SourceError, SourceReader};
use store::Value;

/// Whether the query thread can open the log.
fn open(base: &Path) -> Result<(), SourceError> {
    let (sender, responses) = sync_channel(8);
    let _thread = QueryThread::start(log_in(base), Some(base.join("record.json")), sender).unwrap();
    match responses.recv_timeout(TIMEOUT).unwrap() {
        Event::Message(Response::Opened) => Ok(()),
        Event::Message(Response::Failed(_, error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_are_not_a_log_are_refused_with_advice() {
    let base = tempfile::tempdir().unwrap();
    let database = base.path().join("snitch.db");
    let refused = |expected: &str| {
        let sentence = error_sentence(&open(base.path()).unwrap_err());
        assert!(sentence.contains(expected), "{sentence}");
    };
    refused("start the daemon first");
    fs::create_dir(&database).unwrap();
    refused("not a regular file");
    fs::remove_dir(&database).unwrap();
    fs::write(&database, "this is a letter, and no database at all".repeat(100)).unwrap();
    refused("not a database, or is damaged");
    fs::write(&database, "").unwrap();
    refused("nothing is recorded yet");
    fs::remove_file(&database).unwrap();
    symlink("/dev/null", &database).unwrap();
    refused("not a regular file");
}

#[test]
fn the_newest_request_is_answered() {
    let mut screen = TestScreen::new((80, 24), PLAIN);
    for _ in 0..200 {
        assert_eq!(screen.state.act(Action::NextTab), Effect::Query);
        let query = screen.state.query(78);
        let number = screen.state.queries.next_number();
        screen.queries.request(number, Request::Screen(Box::new(query)));
    }
    let until = Instant::now() + TIMEOUT;
    while screen.state.queries.waiting {
        assert!(Instant::now() < until);
        screen.receive();
    }
    assert!(screen.state.queries.error.is_none(), "{:?}", screen.state.queries.error);
    let tab = Tab::ALL[200 % Tab::ALL.len()];
    assert_eq!(screen.state.tab, tab);
    let mut other = TestScreen::new((80, 24), PLAIN);
    other.tab(tab);
    assert_eq!(screen.labels(), other.labels());
}

#[test]
fn the_rows_stay_when_the_log_goes_away() {
    let mut screen = TestScreen::new((80, 24), PLAIN);
    let before = screen.labels();
    let database = screen.base.path().join("snitch.db");
    fs::rename(&database, screen.base.path().join("away")).unwrap();
    screen.press("r");
    assert!(screen.state.queries.error.as_ref().unwrap().contains("there is no log"));
    assert_eq!(screen.labels(), before);
    insta::assert_snapshot!("log_gone", screen.text().replace(screen.base.path().to_str().unwrap(), "/base"));
    fs::rename(screen.base.path().join("away"), &database).unwrap();
    screen.press("r");
    assert_eq!(screen.state.queries.error, None);
    assert_eq!(screen.labels(), before);
}

#[test]
fn a_damaged_record_json_costs_the_verdicts_only() {
    let mut screen = TestScreen::new((140, 40), PLAIN);
    fs::write(screen.base.path().join("record.json"), "{\"SHA256\": 7").unwrap();
    screen.press("r");
    let (_, detail) = screen.state.detail.loaded.as_ref().unwrap();
    assert!(detail.problem.as_ref().unwrap().contains("is damaged"));
    assert_eq!(detail.hashes.len(), 2);
}

#[test]
fn the_next_query_sees_what_was_written_meanwhile() {
    let mut screen = TestScreen::new((80, 24), PLAIN);
    let before = screen.state.list.answer.total;
    let mut writer = Writer::open(&screen.base.path().join("snitch.db")).unwrap();
    let context =
        Arc::new(ProcessContext { program: program("/usr/bin/new", 1), ..ProcessContext::default() });
    let time = NOW - 5;
    let records = vec![record(&context, "192.0.2.1:80", 6, counters(1, 7, 1_000_000_007))];
    writer.write(&Window { time, records, ..Window::default() }).unwrap();
    screen.press("r");
    assert_eq!(screen.state.list.answer.total.received, before.received + 1_000_000_007);
    assert_eq!(screen.labels()[0], "/usr/bin/new");
    assert_eq!(
        screen.state.list.selected_value(),
        Some(&Value::Bytes(b"/usr/lib/firefox/firefox".to_vec())),
        "the selection stays with its row"
    );
}

#[test]
fn the_chart_ends_with_the_rows_when_the_log_grows_between_them() {
    let mut screen = TestScreen::new((80, 24), PLAIN);
    screen.press("ttttt");
    let query = screen.state.query(78);
    let database = screen.base.path().join("snitch.db");
    let reader = SourceReader::open(&log_in(screen.base.path())).unwrap();
    let rows = query::rows(&reader, &query).unwrap();
    let context =
        Arc::new(ProcessContext { program: program("/usr/bin/new", 1), ..ProcessContext::default() });
    let records = vec![record(&context, "192.0.2.1:80", 6, counters(1, 7, 7))];
    let mut writer = Writer::open(&database).unwrap();
    writer.write(&Window { time: NOW + HOUR, records, ..Window::default() }).unwrap();
    let chart = query::series(&reader, &query, rows.extent, None, 78).unwrap();
    assert_eq!(chart.edges.last(), Some(&(NOW + 1)));
    let mut sum = Counters::default();
    chart.sums.iter().for_each(|part| sum += *part);
    assert_eq!(sum, rows.total);
}

/// A log with windows of this length, the last of which ended so long ago, and events.
fn silent_log(length: i64, ago: i64, events: &[(EventKind, i64)]) -> TestScreen {
    TestScreen::with((120, 24), PLAIN, |base| {
        let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
        let context =
            Arc::new(ProcessContext { program: program("/usr/bin/x", 1), ..ProcessContext::default() });
        for number in (0..4).rev() {
            let records = vec![record(&context, "192.0.2.1:80", 6, counters(1, 7, 7))];
            let time = NOW - ago - number * length;
            writer.write(&Window { time, records, ..Window::default() }).unwrap();
        }
        let events = events.iter().map(|(kind, ago)| model::Event::new(*kind, NOW - ago, "")).collect();
        writer.write(&Window { time: NOW, events, ..Window::default() }).unwrap();
    })
}

#[test]
fn it_says_since_when_nothing_was_recorded() {
    for (length, ago, expected) in [
        (10, 12, None),
        (10, 29, None),
        (10, 31, Some("nothing was recorded since 2026-03-01 14:19:34")),
        (300, 700, None),
        (300, 1000, Some("nothing was recorded since 2026-03-01 14:03:25")),
        (3600, 7200, None),
    ] {
        let text = silent_log(length, ago, &[]).text();
        match expected {
            Some(expected) => assert!(text.contains(expected), "{text}"),
            None => assert!(!text.contains("nothing was recorded"), "{text}"),
        }
    }
    let stopped = silent_log(10, 100, &[(EventKind::Start, 500), (EventKind::Stop, 90)]).text();
    assert!(stopped.contains("recording was stopped at 2026-03-01 14:18:35"), "{stopped}");
    let just_now = silent_log(10, 5, &[(EventKind::Stop, 2)]).text();
    assert!(just_now.contains("recording was stopped at 2026-03-01 14:20:03"), "{just_now}");
    let again = silent_log(10, 100, &[(EventKind::Stop, 90), (EventKind::Start, 80)]).text();
    assert!(again.contains("nothing was recorded since 2026-03-01 14:18:25"), "{again}");
    // What is over is not expected to go on.
    let mut screen = silent_log(10, 100, &[]);
    screen.press("h");
    screen.press("h");
    assert!(!screen.text().contains("nothing was recorded since"), "{}", screen.text());
}
