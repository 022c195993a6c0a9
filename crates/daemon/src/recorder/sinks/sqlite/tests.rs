//! Tests of the sink that writes snitch.db.

use std::path::Path;

use super::*;
use model::{Counters, FlowTuple, GeoInfo, Record};

/// A sink that has not opened its log.
fn sink(directory: &Path) -> SqliteSink {
    let problems = Arc::new(Problems::new(directory.join("error.log")));
    SqliteSink::new(settings(directory), problems, Recorded::default())
}

fn settings(directory: &Path) -> LogSettings {
    LogSettings {
        database: directory.join("snitch.db"),
        retention_days: 1,
        max_bytes: Some(1_000_000_000),
        boot_id: "boot".into(),
        continuity: Continuity::Gap,
        configuration: String::new(),
    }
}

fn window(records: usize, losses: Vec<Loss>) -> Window {
    let record = Record {
        context: Arc::default(),
        geo: GeoInfo::default(),
        tuple: FlowTuple::default(),
        counters: Counters::default(),
        opened: false,
        folded: 0,
    };
    Window { records: vec![record; records], losses, ..Window::default() }
}

#[test]
fn what_was_lost_before_a_dropped_window_stays_in_the_log() {
    let loss = |count| Loss { kind: LossKind::Channel, count };
    let oldest = Window { losses: vec![loss(7)], ..Window::default() };
    let mut next = Window { losses: vec![loss(1)], ..Window::default() };
    assert_eq!(SqliteSink::drop_oldest(oldest, &mut next), 0);
    assert_eq!(next.losses, [loss(8)]);
}

#[test]
fn windows_without_records_are_bounded_too() {
    assert_eq!(SqliteSink::weight(&Window::default()), 1);
    assert_eq!(SqliteSink::weight(&window(3, Vec::new())), 3);
}

#[test]
fn what_was_given_up_is_a_loss_of_the_next_window() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path());
    let (channel, names) = (LossKind::Channel, LossKind::Names);
    let loss = |kind, count| Loss { kind, count };
    let mut first = window(2, vec![loss(channel, 7)]);
    sink.prepare(&mut first, 5);
    sink.give_up(vec![first]);
    // Windows with nothing but losses.
    sink.give_up(vec![window(0, vec![loss(names, 1)]), window(0, vec![loss(names, 2)])]);
    let mut next = window(1, vec![loss(channel, 1)]);
    sink.prepare(&mut next, 0);
    next.losses.sort_by_key(|loss| loss.kind);
    assert_eq!(next.losses, [loss(channel, 8), loss(LossKind::Log, 7), loss(names, 3)]);
    let mut later = window(1, Vec::new());
    sink.prepare(&mut later, 0);
    assert!(later.losses.is_empty());
    sink.give_up(vec![window(3, Vec::new()), window(0, Vec::new()), window(4, Vec::new())]);
    let reported = sink.problems.take_written();
    let expected =
        [5, 2, 7].map(|lost| format!("{lost} records or events could not be written and are lost."));
    assert_eq!(reported, expected);
}

#[test]
fn events_of_windows_that_could_not_be_written_are_kept_within_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path());
    let event = |count| Event { count, ..Event::new(EventKind::Alert, 1, "x") };
    let with = |events| Window { events, ..Window::default() };
    sink.give_up(vec![with((0..900).map(event).collect()), with((900..1200).map(event).collect())]);
    let mut next = with(vec![event(1200)]);
    sink.prepare(&mut next, 0);
    assert_eq!(
        next.events.iter().map(|event| event.count).collect::<Vec<_>>(),
        (200..=1200).collect::<Vec<_>>()
    );
    assert_eq!(next.losses, [Loss { kind: LossKind::Log, count: 200 }]);
    let mut later = with(vec![event(2000)]);
    assert_eq!(SqliteSink::drop_oldest(next, &mut later), 2);
    assert_eq!(later.events.len(), MAX_UNWRITTEN_EVENTS);
}

#[test]
fn a_foreign_log_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let problems = Arc::new(Problems::new(directory.path().join("error.log")));
    std::fs::create_dir(directory.path().join("snitch.db")).unwrap();
    assert!(SqliteSink::start(settings(directory.path()), Default::default(), problems).is_err());
}

#[test]
fn a_log_with_a_damaged_page_in_the_middle_is_set_aside_too() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("snitch.db");
    let mut sink = sink(directory.path());
    for time in 1..200 {
        assert_eq!(sink.write(&Window { time, ..window(30, Vec::new()) }), Outcome::Done);
    }
    sink.finish();
    drop(sink);
    let mut content = std::fs::read(&database).unwrap();
    let end = content.len();
    content[end / 4..end].fill(0xa5);
    std::fs::write(&database, &content).unwrap();
    let mut sink = self::sink(directory.path());
    let outcomes: Vec<Outcome> =
        (0..5).map(|time| sink.write(&Window { time: 1000 + time, ..window(1, Vec::new()) })).collect();
    assert!(outcomes[2..].iter().all(|outcome| *outcome == Outcome::Done), "{outcomes:?}");
    let told = sink.problems.take_written();
    assert!(told.iter().any(|text| text.contains("--salvage")), "{told:?}");
}

#[test]
fn a_change_of_owner_or_mode_is_no_replacement() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("snitch.db");
    let mut sink = sink(directory.path());
    let window = |records| Window { time: time::now(), ..window(records, Vec::new()) };
    assert_eq!(sink.write(&window(3)), Outcome::Done);
    for mode in [0o600, 0o644] {
        std::fs::set_permissions(&database, std::fs::Permissions::from_mode(mode)).unwrap();
        let link = directory.path().join("link");
        std::fs::hard_link(&database, &link).unwrap();
        std::fs::remove_file(link).unwrap();
        assert_eq!(sink.write(&window(1)), Outcome::Done);
    }
    assert_eq!(sink.problems.take_written(), Vec::<String>::new());
    let rows = store::Reader::open(&database).unwrap().query(&store::Query::default()).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(store::Reader::open(&database).unwrap().record_count().unwrap(), 5);
}

#[test]
fn a_damaged_log_is_set_aside_and_recording_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("snitch.db");
    let mut sink = sink(directory.path());
    assert_eq!(sink.write(&window(3, Vec::new())), Outcome::Done);
    sink.finish();
    let content = std::fs::read(&database).unwrap();
    let damaged: Vec<u8> =
        content.iter().enumerate().map(|(at, byte)| if at < 2000 { 7 } else { *byte }).collect();
    drop(sink);
    std::fs::write(&database, &damaged).unwrap();
    let mut sink = self::sink(directory.path());
    assert_eq!(sink.write(&window(2, Vec::new())), Outcome::Done);
    let told = sink.problems.take_written();
    assert!(told.iter().any(|text| text.contains("damaged") && text.contains("--salvage")), "{told:?}");
    let aside: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.to_string_lossy().contains(".damaged-") && !path.to_string_lossy().ends_with("shm")
        })
        .filter(|path| !path.to_string_lossy().ends_with("wal"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(std::fs::read(&aside[0]).unwrap(), damaged);
    let reader = store::Reader::open(&database).unwrap();
    let events = reader.events(store::Range::default(), &[EventKind::Log], 10).unwrap();
    assert!(events.iter().any(|event| event.text.contains("--salvage")), "{events:?}");
}

#[test]
fn a_log_that_is_removed_moved_or_overwritten_is_noticed_at_the_next_window() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("snitch.db");
    let moved = directory.path().join("moved.db");
    let records = |path: &Path| {
        let reader = store::Reader::open(path).unwrap();
        let rows =
            reader.query(&store::Query { group_by: vec![store::Dimension::Time], ..Default::default() });
        rows.unwrap().len()
    };
    let mut time = 1_700_000_000;
    let mut write = |sink: &mut SqliteSink| {
        time += 10;
        let mut outcome = Outcome::Retry;
        for _ in 0..3 {
            outcome = sink.write(&Window { time, ..window(1, Vec::new()) });
            if outcome == Outcome::Done {
                break;
            }
        }
        assert_eq!(outcome, Outcome::Done);
        sink.problems.take_written()
    };
    let mut sink = sink(directory.path());
    let mut written =
        |sink: &mut SqliteSink, windows: usize| (0..windows).flat_map(|_| write(sink)).collect::<Vec<_>>();
    written(&mut sink, 5);
    // Moved away: the moved one is complete.
    std::fs::rename(&database, &moved).unwrap();
    let told = written(&mut sink, 3);
    assert!(told.iter().any(|text| text.contains("removed, moved or replaced")), "{told:?}");
    assert_eq!((records(&moved), records(&database)), (5, 3));
    // Removed with its other files.
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", database.display())).unwrap();
    }
    let told = written(&mut sink, 4);
    assert!(told.iter().any(|text| text.contains("removed, moved or replaced")), "{told:?}");
    assert_eq!(records(&database), 4);
    // Replaced by an older copy, by rename and in place.
    for in_place in [false, true] {
        sink.finish();
        std::fs::copy(&database, &moved).unwrap();
        let before = records(&moved);
        written(&mut sink, 6);
        sink.finish();
        if in_place {
            std::fs::write(&database, std::fs::read(&moved).unwrap()).unwrap();
        } else {
            std::fs::rename(&moved, &database).unwrap();
        }
        let told = written(&mut sink, 2);
        assert!(told.iter().any(|text| text.contains("older copy")), "{in_place} {told:?}");
        assert_eq!(records(&database), before + 2, "{in_place}");
    }
}

#[test]
fn the_end_writes_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let problems = Arc::new(Problems::new(directory.path().join("error.log")));
    let worker =
        SqliteSink::start(settings(directory.path()), Default::default(), Arc::clone(&problems)).unwrap();
    let loss = Loss { kind: LossKind::Channel, count: 7 };
    worker.add(Window { time: time::now(), losses: vec![loss], ..Window::default() });
    worker.finish(LAST_PATIENCE);
    assert!(directory.path().join("snitch.db").exists());
    assert!(problems.take_written().is_empty());
}

#[test]
fn new_settings_are_taken_with_the_next_window_and_the_log_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path());
    sink.settings.configuration = "log.retention_days = 1".into();
    assert_eq!(sink.write(&window(1, Vec::new())), Outcome::Done);
    sink.new_settings.set(LogSettings { retention_days: 7, ..settings(directory.path()) });
    let second = LogSettings { configuration: "log.retention_days = 9".into(), ..settings(directory.path()) };
    sink.new_settings.set(LogSettings { retention_days: 9, ..second });
    assert_eq!(sink.settings.retention_days, 1);
    assert_eq!(sink.write(&window(1, Vec::new())), Outcome::Done);
    assert_eq!(sink.settings.retention_days, 9);
    assert!(sink.new_settings.lock().is_none() && !sink.is_reconfigured);
    drop(sink);
    let database = directory.path().join("snitch.db");
    let changes = || {
        let kinds = [EventKind::Configuration];
        store::Reader::open(&database).unwrap().events(store::Range::default(), &kinds, 10).unwrap().len()
    };
    let restart = |configuration| {
        let mut writer = Writer::open(&database).unwrap();
        writer.set_configuration(configuration).unwrap();
    };
    restart("log.retention_days = 9");
    assert_eq!(changes(), 0, "the log knew the configuration before");
    restart("log.retention_days = 10");
    assert_eq!(changes(), 1);
}
