//! Logs that cannot be read, and questions that are not wanted any more.

use std::{fs, os::unix::fs::symlink, time::Instant};

use super::*;
use crate::view::ask::sentence;
use store::StoreError;

/// What the thread says first about a file.
fn first(base: &Path) -> Result<(), StoreError> {
    let (sender, answers) = sync_channel(8);
    let _asker = Asker::start(&base.join("snitch.db"), &base.join("record.json"), sender).unwrap();
    match answers.recv_timeout(PATIENCE).unwrap() {
        Event::Message(Answer::Opened) => Ok(()),
        Event::Message(Answer::Failed(_, error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_are_no_log_are_refused_with_advice() {
    let base = tempfile::tempdir().unwrap();
    let database = base.path().join("snitch.db");
    let refused = |expected: &str| {
        let sentence = sentence(&first(base.path()).unwrap_err());
        assert!(sentence.contains(expected), "{sentence}");
    };
    refused("start the daemon first");
    fs::create_dir(&database).unwrap();
    refused("not a regular file");
    fs::remove_dir(&database).unwrap();
    fs::write(&database, "this is a letter, and no database at all".repeat(100)).unwrap();
    refused("not a database, or is damaged");
    fs::write(&database, "").unwrap();
    refused("holds no log yet");
    fs::remove_file(&database).unwrap();
    symlink("/dev/null", &database).unwrap();
    refused("not a regular file");
}

#[test]
fn the_newest_question_is_answered() {
    let mut bench = Bench::new((80, 24), PLAIN);
    for _ in 0..200 {
        let todo = bench.state.act(crate::view::keys::Action::NextTab);
        assert_eq!(todo, Todo::Ask);
        let question = bench.state.question(78);
        let number = bench.state.next_number();
        bench.asker.ask(number, Request::Screen(Box::new(question)));
    }
    let until = Instant::now() + PATIENCE;
    while bench.state.waiting {
        assert!(Instant::now() < until);
        bench.receive();
    }
    assert_eq!(bench.state.answered.unwrap().0, 200 % crate::view::tabs::TABS.len());
    assert!(bench.state.error.is_none(), "{:?}", bench.state.error);
}

#[test]
fn a_log_that_goes_away_is_said_and_the_rows_stay() {
    let mut bench = Bench::new((80, 24), PLAIN);
    let before = bench.labels();
    let database = bench._base.path().join("snitch.db");
    fs::rename(&database, bench._base.path().join("away")).unwrap();
    bench.press("r");
    assert!(bench.state.error.as_ref().unwrap().contains("there is no log"));
    assert_eq!(bench.labels(), before);
    insta::assert_snapshot!(
        "log_gone",
        bench.screen().replace(bench._base.path().to_str().unwrap(), "/base")
    );
    fs::rename(bench._base.path().join("away"), &database).unwrap();
    bench.press("r");
    assert_eq!(bench.state.error, None);
    assert_eq!(bench.labels(), before);
}

#[test]
fn a_damaged_record_of_programs_costs_the_verdicts_only() {
    let mut bench = Bench::new((140, 40), PLAIN);
    fs::write(bench._base.path().join("record.json"), "{\"SHA256\": 7").unwrap();
    bench.press("r");
    let (_, detail) = bench.state.detail.as_ref().unwrap();
    assert!(detail.problem.as_ref().unwrap().contains("is damaged"));
    assert_eq!(detail.contents.len(), 2);
}

#[test]
fn what_a_daemon_writes_meanwhile_is_there_at_the_next_question() {
    let mut bench = Bench::new((80, 24), PLAIN);
    let before = bench.state.rows.total;
    let mut writer = Writer::open(&bench._base.path().join("snitch.db")).unwrap();
    let context =
        Arc::new(ProcessContext { program: program("/usr/bin/new", 1), ..ProcessContext::default() });
    let time = NOW - 5;
    let records = vec![Record { time, ..record(&context, ("192.0.2.1", 80, 6), (1, 7, 1_000_000_007)) }];
    writer.write(&Window { time, records, losses: vec![] }).unwrap();
    bench.press("r");
    assert_eq!(bench.state.rows.total.received, before.received + 1_000_000_007);
    assert_eq!(bench.labels()[0], "/usr/bin/new");
    assert_eq!(
        bench.state.value(),
        Some(&store::Value::Bytes(b"/usr/lib/firefox/firefox".to_vec())),
        "the selection stays with its row"
    );
}
