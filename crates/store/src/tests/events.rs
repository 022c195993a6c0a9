//! Tests of events, of when programs were seen, and of the start and end of recording.

use super::*;

fn event(kind: EventKind, time: i64, uid: Option<u32>) -> Event {
    Event { uid, ..Event::new(kind, time, format!("at {time}")) }
}

#[test]
fn events_are_read_back_by_time_and_kind() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let alert = Event {
        begin: Some(90),
        subject: "new exe".into(),
        path: b"/bad\xff".to_vec(),
        name: b"x\x1b[31m".to_vec(),
        sha256: Some(Sha256([7; 32])),
        count: 3,
        writer: Some(model::Writer { pid: 7, path: b"/w\xff".to_vec(), name: b"w".to_vec(), uid: Some(5) }),
        ..event(EventKind::Alert, 100, Some(1000))
    };
    let unknown = model::Writer { pid: u32::MAX, ..model::Writer::default() };
    let error = Event { writer: Some(unknown), ..event(EventKind::Error, 101, None) };
    let events = vec![alert.clone(), error.clone()];
    let losses = vec![Loss { kind: LossKind::Channel, count: 5 }];
    // A window with nothing but events is written, too.
    writer.write(&Window { time: 110, events, ..Window::default() }).unwrap();
    writer.write(&Window { time: 120, losses, ..Window::default() }).unwrap();
    let reader = Reader::open(&path).unwrap();
    let all = reader.events(Range::default(), &[], 10).unwrap();
    assert_eq!(
        all.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::Loss, EventKind::Error, EventKind::Alert]
    );
    assert_eq!(all[1..], [error, alert]);
    assert_eq!((all[0].subject.as_str(), all[0].count), ("channel", 5));
    assert_eq!(all[0].text, Loss { kind: LossKind::Channel, count: 5 }.sentence());
    let range = Range { since: Some(101), until: Some(110) };
    assert_eq!(reader.events(range, &[], 10).unwrap().len(), 1);
    assert_eq!(reader.events(Range::default(), &[EventKind::Alert, EventKind::Loss], 10).unwrap().len(), 2);
    assert_eq!(reader.events(Range::default(), &[], 1).unwrap(), all[..1]);
}

#[test]
fn the_user_with_most_events_loses_the_oldest() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let of =
        |uid, count: i64| (0..count).map(|number| event(EventKind::Alert, number, uid)).collect::<Vec<_>>();
    writer.write(&Window { time: 1, events: of(Some(1), 500), ..Window::default() }).unwrap();
    for _ in 0..11 {
        writer.write(&Window { time: 2, events: of(Some(2), 10_000), ..Window::default() }).unwrap();
    }
    let sql = "SELECT uid, count(*) FROM event GROUP BY uid";
    let mut statement = writer.connection.prepare(sql).unwrap();
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let counts: Vec<(u32, i64)> = counts.map(Result::unwrap).collect();
    assert_eq!(counts[0], (1, 500));
    assert!(counts[1].1 <= 99_500 && counts[1].1 > 98_000, "{counts:?}");
}

#[test]
fn programs_are_seen_first_and_last() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let start = 1_700_000_000;
    for window in 0..500 {
        let mut records = vec![record(b"/often", "192.0.2.1", 443, 1, 0)];
        if window == 100 {
            records.push(record(b"/once", "192.0.2.1", 443, 1, 0));
        }
        writer.write(&super::window(start + window * 10, records)).unwrap();
    }
    let last = |path_of: &[u8]| {
        let seen = Reader::open(&path).unwrap().programs_seen().unwrap();
        let program = seen.into_iter().find(|program| program.path == path_of).unwrap();
        (program.first - start, program.last - start)
    };
    assert_eq!((last(b"/often"), last(b"/once")), ((0, 4990), (1000, 1000)));
    // A restart, and a window of an earlier time.
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(start - 50, vec![record(b"/once", "192.0.2.1", 443, 1, 0)])).unwrap();
    assert_eq!(last(b"/once"), (-50, 1000));
    // It outlives the records.
    writer.write(&window(start + 100_000, vec![record(b"/later", "192.0.2.1", 443, 1, 0)])).unwrap();
    writer.purge(start + 90_000).unwrap();
    assert_eq!(last(b"/often").0, 0);
    assert_eq!(total(&path).sent, 1);
}

#[test]
fn a_start_tells_since_when_nothing_was_recorded() {
    let (_directory, path) = new_log();
    let gap = || {
        let gaps = Reader::open(&path).unwrap().events(Range::default(), &[EventKind::Gap], 10).unwrap();
        gaps.first().map(|event| (event.begin, event.time, event.text.contains("without being stopped")))
    };
    let run = |start: i64, stop: bool| {
        let mut writer = Writer::open(&path).unwrap();
        writer.begin_recording(start, model::Continuity::Gap).unwrap();
        writer.write(&window(start + 10, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
        if stop {
            let events = vec![Event::new(EventKind::Stop, start + 20, "")];
            writer.write(&Window { time: start + 20, events, ..Window::default() }).unwrap();
        }
    };
    run(1000, true);
    assert_eq!(gap(), None);
    run(2000, false);
    assert_eq!(gap(), Some((Some(1020), 2000, false)));
    run(3000, true);
    assert_eq!(gap(), Some((Some(2010), 3000, true)));
}

#[test]
fn another_configuration_is_an_event() {
    let (_directory, path) = new_log();
    let mut changes = Vec::new();
    for (time, lines) in [(1, "a = 1\nb = 2"), (2, "a = 1\nb = 2"), (3, "a = 1\nb = 3")] {
        let mut writer = Writer::open(&path).unwrap();
        writer.set_configuration(lines).unwrap();
        writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
        let kinds = [EventKind::Configuration];
        changes = Reader::open(&path).unwrap().events(Range::default(), &kinds, 10).unwrap();
        assert_eq!(changes.len(), usize::from(time == 3));
    }
    assert!(changes[0].text.ends_with(": b = 3"), "{}", changes[0].text);
}

#[test]
fn windows_are_numbered_in_the_order_of_writing_and_name_their_records() {
    let (_directory, path) = new_log();
    for (boot, times) in [("one", [100, 110, 110]), ("two", [50, 110, 120])] {
        let mut writer = Writer::open(&path).unwrap();
        writer.set_boot(boot).unwrap();
        for time in times {
            let records = vec![record(b"/a", "192.0.2.1", 443, 1, 0); 3];
            writer.write(&Window { uptime: time / 10, ..window(time, records) }).unwrap();
        }
    }
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT w.id, w.time, w.first_sequence, w.count, boot.boot_id, (SELECT count(*) FROM record WHERE time = w.time \
               AND sequence BETWEEN w.first_sequence AND w.first_sequence + w.count - 1) FROM window AS w \
               JOIN boot ON boot.id = w.boot ORDER BY w.id";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get::<_, i64>(5)?))
        })
        .unwrap();
    let rows: Vec<(i64, i64, i64, i64, String, i64)> = rows.map(Result::unwrap).collect();
    let expected =
        [(100, 0, "one"), (110, 0, "one"), (110, 3, "one"), (50, 0, "two"), (110, 6, "two"), (120, 0, "two")];
    let expected: Vec<_> = (1..)
        .zip(expected)
        .map(|(id, (time, first, boot))| (id, time, first, 3, boot.to_owned(), 3))
        .collect();
    assert_eq!(rows, expected);
}
