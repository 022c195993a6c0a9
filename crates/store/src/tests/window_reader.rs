//! Tests of reading whole windows.

use std::collections::BTreeMap;

use super::{random::Random, *};

fn read_all(path: &Path, max_records: u64) -> Vec<WholeWindow> {
    let reader = WindowReader::open(path).unwrap();
    let mut windows: Vec<WholeWindow> = Vec::new();
    loop {
        let last = windows.last().map_or(0, |window| window.mark.number);
        let next = reader.after(last, max_records).unwrap();
        if next.is_empty() {
            return windows;
        }
        windows.extend(next);
    }
}

fn counters(windows: &[WholeWindow]) -> Counters {
    let mut sum = Counters::default();
    windows.iter().flat_map(|window| &window.records).for_each(|record| sum += record.record.counters);
    sum
}

#[test]
fn windows_come_back_as_they_were_written() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.set_boot("b-1").unwrap();
    let mut odd = record(b"/odd/\xff\0\n", "2001:db8::1", 4_294_967_294, u64::MAX, 1 << 40);
    odd.tuple.domain = b"\xfe.example".to_vec();
    odd.tuple.domain_source = model::DomainSource::Tls;
    let mut many = record(b"/many", "192.0.2.7", 443, 5, 6);
    many.tuple.fold(&record(b"/many", "192.0.2.8", 80, 0, 0).tuple);
    many.tuple.domain = b"x".to_vec();
    let mut other = many.tuple.clone();
    other.domain = b"y".to_vec();
    many.tuple.fold(&other);
    (many.folded, many.geo) = (300, GeoInfo::default());
    let mut executed = record(b"/executed", "192.0.2.1", -1, 0, 0);
    (executed.tuple.remote_address, executed.tuple.local_address) = (None, None);
    let written = vec![odd.clone(), many, executed];
    let mut event = Event::new(EventKind::Alert, 99, "A new program.");
    event.path = b"/\xff".to_vec();
    let first = Window {
        time: 100,
        uptime: 7,
        records: written.clone(),
        events: vec![event.clone()],
        losses: vec![Loss { kind: LossKind::Names, count: 3 }],
        ..Window::default()
    };
    writer.write(&first).unwrap();
    // A window of the same second, one without records, and an earlier time.
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    writer.begin_recording(120, model::Continuity::Gap).unwrap();
    writer.write(&Window { time: 130, events: vec![event.clone()], ..Window::default() }).unwrap();
    writer.write(&window(50, vec![record(b"/a", "192.0.2.1", 443, 3, 4)])).unwrap();

    let windows = read_all(&path, u64::MAX);
    assert_eq!(windows.iter().map(|window| window.mark.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(windows.iter().map(|window| window.mark.time).collect::<Vec<_>>(), [100, 100, 130, 50]);
    let mut read: Vec<Record> = windows[0].records.iter().map(|record| record.record.clone()).collect();
    // The log bounds what a counter can be.
    odd.counters.sent = 1 << 52;
    let expected = [&[odd], &written[1..]].concat();
    read.iter_mut().for_each(|record| record.opened = false);
    assert_eq!(read, expected);
    assert_eq!((windows[0].boot_id.as_str(), windows[0].mark.uptime), ("b-1", 7));
    let kinds = |window: &WholeWindow| window.events.iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&windows[0]), [EventKind::Loss, EventKind::Alert]);
    assert_eq!(windows[0].events[1], event);
    assert_eq!(windows[1].records.len(), 1);
    assert_eq!(windows[1].records[0].sequence, 3);
    assert_eq!(kinds(&windows[2]), [EventKind::Gap, EventKind::Start, EventKind::Alert]);
    assert!(windows.iter().all(|window| window.deleted == 0 && window.mark.nonce.is_some()));
    for max_records in [1, 2, 4] {
        assert_eq!(read_all(&path, max_records), windows);
    }
    let reader = WindowReader::open(&path).unwrap();
    assert_eq!(reader.after(0, 1).unwrap().len(), 1, "a batch has a bound");
    assert_eq!(reader.mark(2).unwrap(), Some(windows[1].mark));
    assert_eq!(reader.mark(5).unwrap(), None);
    let state = reader.state().unwrap();
    assert_eq!((state.first_window, state.last_window, state.name.epoch), (Some(1), 4, 1));
}

#[test]
fn events_without_a_window_get_one() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.begin_recording(120, model::Continuity::Gap).unwrap();
    assert_eq!(read_all(&path, u64::MAX), []);
    for _ in 0..2 {
        // Once there are no more, there is no other window.
        writer.write_waiting_events(121, 7).unwrap();
        let windows = read_all(&path, u64::MAX);
        let events = windows[0].events.iter().map(|event| event.kind).collect::<Vec<_>>();
        assert_eq!((windows.len(), events), (1, vec![EventKind::Start]));
        assert_eq!((windows[0].mark.time, windows[0].mark.uptime), (121, 7));
        assert_eq!(windows[0].records, []);
    }
}

#[test]
fn deleted_records_are_counted_and_marks_stay() {
    let (_directory, path) = new_log();
    let mut random = Random(5);
    checks::write_randomly(&mut Writer::open(&path).unwrap(), &mut random, 1_700_000_000, 400);
    let before = read_all(&path, 50);
    let all = total(&path);
    assert_eq!(counters(&before), all);
    assert_eq!(before.iter().map(|window| window.records.len() as i64).sum::<i64>(), count(&path, "record"));
    // Detail that was cut for its size: the windows are there without records.
    let connection = Connection::open(&path).unwrap();
    let cut = before[100].mark.time;
    connection.execute("DELETE FROM record WHERE time <= ?1", [cut]).unwrap();
    drop(connection);
    let after = read_all(&path, 50);
    assert_eq!(after.len(), before.len());
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old.mark, new.mark);
        assert_eq!(new.deleted + new.records.len() as u64, old.records.len() as u64);
    }
    // Windows that are gone are no longer there.
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM window WHERE id <= 7", []).unwrap();
    drop(connection);
    assert_eq!(read_all(&path, 50)[0].mark.number, 8);
    assert_eq!(WindowReader::open(&path).unwrap().state().unwrap().first_window, Some(8));
}

#[test]
fn copies_of_a_log_have_marks_of_their_own_from_the_copy_on() {
    let (directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let same = |time| window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 2)]);
    writer.write(&same(100)).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    let copy = directory.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    for log in [&path, &copy] {
        Writer::open(log).unwrap().write(&same(110)).unwrap();
    }
    let [original, copy] = [&path, &copy].map(|log| WindowReader::open(log).unwrap());
    assert_eq!(original.state().unwrap(), copy.state().unwrap());
    assert_eq!(original.mark(1).unwrap(), copy.mark(1).unwrap());
    assert_ne!(original.mark(2).unwrap(), copy.mark(2).unwrap());
}

#[test]
fn events_of_older_versions_belong_to_a_window() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in [100, 110, 120] {
        writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    }
    for (number, time) in [(0, 50), (1, 105), (2, 110), (3, 115), (4, 999)] {
        let event = Event::new(EventKind::Error, time, number.to_string());
        writer.add_import_event(&event).unwrap();
    }
    drop(writer);
    older_versions::rewrite_as_version(&path, 9);
    drop(Writer::open(&path).unwrap());
    let texts = |windows: &[WholeWindow]| {
        let text = |event: &Event| event.text.clone();
        windows.iter().map(|window| window.events.iter().map(text).collect()).collect::<Vec<Vec<_>>>()
    };
    let windows = read_all(&path, 100);
    assert_eq!(texts(&windows), [vec!["0"], vec!["1", "2"], vec!["3"]]);
    assert!(windows.iter().all(|window| window.mark.nonce.is_none()));
    // The last one waits for the next window.
    Writer::open(&path).unwrap().write(&window(130, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    assert_eq!(texts(&read_all(&path, 100))[3], ["4"]);
}

#[test]
fn records_have_the_values_by_which_queries_group_and_filter() {
    let (_directory, path) = new_log();
    let (mut random, begin) = (Random(11), 1_700_000_000);
    checks::write_randomly(&mut Writer::open(&path).unwrap(), &mut random, begin, 400);
    let windows = read_all(&path, 1000);
    let end = windows.iter().map(|window| window.mark.time).max().unwrap();
    let (reader, mut found) = (Reader::open(&path).unwrap(), 0);
    for number in 0..300 {
        let mut query = random.query(begin, end);
        query.find = None;
        if let Some(dimension) = Dimension::ALL.get(number) {
            (query.group_by, query.filters) = (vec![*dimension], Vec::new());
        }
        let zone = query.zone.clone().unwrap_or(TimeZone::UTC);
        let is_in_range = |time: i64| {
            query.range.since.is_none_or(|since| time >= since)
                && query.range.until.is_none_or(|until| time <= until)
        };
        let mut expected: BTreeMap<Vec<Value>, Counters> = BTreeMap::new();
        for window in windows.iter().filter(|window| is_in_range(window.mark.time)) {
            for NumberedRecord { record, .. } in &window.records {
                let value = |dimension| record_value(record, window.mark.time, dimension, &zone);
                if Filter::pass(&query.filters, value) {
                    let values = query.group_by.iter().map(|dimension| value(*dimension)).collect();
                    *expected.entry(values).or_default() += record.counters;
                }
            }
        }
        let answer = reader.query(&query).unwrap().into_iter().map(|row| (row.values, row.counters));
        let mut answer: BTreeMap<Vec<Value>, Counters> = answer.collect();
        if query.group_by.is_empty() {
            // A sum is there also of nothing.
            answer.retain(|_, sums| *sums != Counters::default());
            expected.retain(|_, sums| *sums != Counters::default());
        }
        assert_eq!(answer.len(), expected.len(), "{query:?}");
        assert_eq!(answer, expected, "{query:?}");
        found += expected.len();
    }
    assert!(found > 1000, "{found} rows");
}

#[test]
fn the_first_window_since_a_time_is_found_in_the_order_of_writing() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in [100, 110, 50, 120] {
        writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
    }
    let reader = WindowReader::open(&path).unwrap();
    let number = |time| reader.mark_since(time).unwrap().map(|mark| mark.number);
    assert_eq!([0, 100, 101, 111, 121].map(number), [Some(1), Some(1), Some(2), Some(4), None]);
}

/// The numbers of the windows that a follower reads until there is nothing new.
fn numbers(follower: &mut WindowFollower) -> Vec<i64> {
    let mut numbers = Vec::new();
    loop {
        match follower.read().unwrap() {
            Followed::Windows { windows, .. } => {
                numbers.extend(windows.iter().map(|window| window.mark.number));
            }
            _ => return numbers,
        }
    }
}

#[test]
fn a_follower_goes_on_at_its_position_also_in_an_older_copy() {
    let (directory, path) = new_log();
    let write = |times: std::ops::Range<i64>| {
        let mut writer = Writer::open(&path).unwrap();
        for time in times {
            writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 2)])).unwrap();
        }
        writer.checkpoint().unwrap();
    };
    write(100..105);
    let open = |begin| WindowFollower::open(path.clone(), begin).unwrap();
    assert_eq!(numbers(&mut open(Begin::First)), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(&mut open(Begin::Since(103))), [4, 5]);
    let mut next = open(Begin::Next(105));
    assert_eq!((numbers(&mut next), next.position().mark.number), (Vec::new(), 5));
    let copy = directory.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    write(105..108);
    assert_eq!(numbers(&mut next), [6, 7, 8]);
    let position = next.position();
    let resume = || WindowFollower::resume(path.clone(), &position).unwrap();
    assert!(numbers(&mut resume()).is_empty());
    write(108..109);
    assert_eq!((numbers(&mut resume()), resume().behind(8).unwrap()), (vec![9], (1, Some(108))));
    // An older copy takes its place: what is recorded from then on is read, by the follower that knows it and by one that does not.
    drop(next);
    let mut known = resume();
    fs::remove_file(&path).unwrap();
    fs::rename(&copy, &path).unwrap();
    write(200..203);
    assert_eq!(numbers(&mut known).len(), 3);
    assert_eq!(numbers(&mut resume()).len(), 3);
    // Windows that were deleted are counted.
    let mut behind = open(Begin::Since(102));
    Connection::open(&path).unwrap().execute("DELETE FROM window WHERE id IN (3, 4)", []).unwrap();
    let Followed::Windows { deleted, windows, .. } = behind.read().unwrap() else { panic!() };
    assert_eq!((deleted, windows[0].mark.number), (2, 5));
}
