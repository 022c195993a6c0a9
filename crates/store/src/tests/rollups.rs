//! Rollups against the records: the same answer to every question, whatever happened to the log.

use super::{older_versions::rewrite_as_version, *};
use crate::{packed::Kept, rollup::LEVELS};

/// Numbers that only look random (xorshift), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn record(&mut self) -> Record {
        let paths = [b"/a".as_slice(), b"/b", b"/c/\xff", b"/d\0"];
        let remotes = ["192.0.2.1", "192.0.3.77", "2001:db8::1", "2001:db8::2"];
        let (path, remote) = (self.pick(&paths), self.pick(&remotes));
        let (sent, received) = (self.below(2000), self.below(70_000));
        let mut record = record(path, remote, 0, sent, received);
        record.tuple.remote_port = self.pick(&[443, 80, 53, -1, 0]);
        record.tuple.local_port = self.pick(&[40_000, 40_001, 50_000, 443, -1]);
        record.tuple.domain = self.pick(&[b"".as_slice(), b"a.example", b"b.example"]).to_vec();
        record.counters.connections = self.below(40);
        if self.below(9) == 0 {
            record.tuple.remote_address = None;
        }
        record.geo.country = self.pick(&["", "NL", "private"]).into();
        record.geo.network_number = self.below(2) as u32 * 64_496;
        let context = Arc::make_mut(&mut record.context);
        context.uid = self.below(3) as u32;
        if self.below(4) == 0 {
            context.program.sha256 = None;
        }
        if self.below(4) == 0 {
            context.cgroup.path = b"/user.slice".to_vec();
            context.cgroup.container = self.pick(&[b"".as_slice(), b"docker web-1"]).to_vec();
        }
        record
    }

    /// A question of any kind about times around `first` to `last`.
    fn query(&mut self, first: i64, last: i64) -> Query {
        let zone = self.pick(&[0, 3600, -34_200, 20_700, 45_900]);
        let point = |random: &mut Self| {
            let time = first - 5000 + random.below((last - first) as u64 + 10_000) as i64;
            // Any second, a window's end, or the edge of a local quarter, hour or day.
            let step = random.pick(&[1, 1, 10, 900, 3600, 86_400]);
            Some((time + zone).div_euclid(step) * step - zone).filter(|_| random.below(12) > 0)
        };
        let (mut since, mut until) = (point(self), point(self));
        if let (Some(a), Some(b)) = (since, until) {
            (since, until) = (Some(a.min(b)), Some(a.max(b) - i64::from(self.below(2) == 0)));
        }
        let group_by = (0..self.below(4)).map(|_| self.pick(&Dimension::ALL));
        let mut group_by: Vec<Dimension> = group_by.collect();
        group_by.sort();
        group_by.dedup();
        let filters = (0..self.below(4)).map(|_| self.filter()).collect();
        let sorts = [Sort::Total, Sort::Connections, Sort::Sent, Sort::Received];
        Query { range: Range { since, until }, group_by, filters, sort: self.pick(&sorts), limit: None }
    }

    fn filter(&mut self) -> Filter {
        let (dimension, value) = self.pick(&[
            ("exe", b"/a".as_slice()),
            ("exe", b"/c/\xff"),
            ("exe", b"/nowhere"),
            ("name", b"tool"),
            ("pexe", b"/bin/sh"),
            ("gpexe", b""),
            ("sha256", b""),
            ("gpsha256", b""),
            ("uid", b"1"),
            ("unit", b"tool.service"),
            ("domain", b""),
            ("domain", b"a.example"),
            ("address", b""),
            ("address", b"192.0.2.0/24"),
            ("address", b"2001:db8::1"),
            ("laddress", b"192.0.2.9"),
            ("port", b"443"),
            ("port", b"-1"),
            ("lport", b"40000"),
            ("family", b"ipv6"),
            ("protocol", b"tcp"),
            ("netns", b"7"),
        ]);
        Filter::parse(dimension.parse().unwrap(), value, self.below(3) == 0).unwrap()
    }
}

/// Asks `count` random questions and compares with what the records alone say.
fn compare(path: &std::path::Path, random: &mut Random, count: usize) {
    let reader = Reader::open(path).unwrap();
    let connection = Connection::open(path).unwrap();
    let (first, last) = reader.extent().unwrap().unwrap();
    let key =
        |row: &Row| (row.values.clone(), row.counters.connections, row.counters.sent, row.counters.received);
    let sorted = |mut rows: Vec<Row>| {
        rows.sort_by_key(key);
        rows
    };
    for _ in 0..count {
        let query = random.query(first, last);
        let answer = reader.query(&query).unwrap();
        let amount = |row: &Row| match query.sort {
            Sort::Connections => row.counters.connections,
            Sort::Sent => row.counters.sent,
            Sort::Received => row.counters.received,
            _ => row.counters.sent + row.counters.received,
        };
        assert!(answer.is_sorted_by(|a, b| amount(a) >= amount(b)), "{query:?}");
        let limit = random.below(5);
        let (limited, total) =
            reader.query_with_total(&Query { limit: Some(limit), ..query.clone() }).unwrap();
        let mut sum = Counters::default();
        answer.iter().for_each(|row| sum += row.counters);
        assert_eq!(total, sum, "{query:?}");
        assert_eq!(limited, answer.iter().take(limit as usize).cloned().collect::<Vec<_>>(), "{query:?}");
        assert_eq!(sorted(answer), sorted(oracle::answer(&connection, &query)), "{query:?}");
        // A chart is the same sums.
        let (zone, step) = (random.pick(&[0, 3600, -34_200, 20_700]), random.pick(&[1, 10, 900, 86_400]));
        let mut edges: Vec<i64> = (0..1 + random.below(8))
            .map(|_| first - 90_000 + random.below((last - first) as u64 + 180_000) as i64)
            .map(|edge| (edge + zone).div_euclid(step) * step - zone)
            .collect();
        // Neighbours as well.
        let begin = edges[0];
        edges.extend((0..random.below(6) as i64).map(|number| begin + number * step));
        edges.sort_unstable();
        let series = reader.series(&query.filters, &edges).unwrap();
        for (pair, sum) in edges.windows(2).zip(series) {
            let range = Range { since: Some(pair[0]), until: Some(pair[1] - 1) };
            let query = Query { range, filters: query.filters.clone(), ..Query::default() };
            assert_eq!(oracle::answer(&connection, &query)[0].counters, sum, "{pair:?} {query:?}");
        }
    }
}

/// Every rollup holds exactly the sum of its records.
fn check_totals(path: &std::path::Path) -> usize {
    let connection = Connection::open(path).unwrap();
    let mut count = 0;
    for level in &LEVELS {
        let sql = format!("SELECT start, connections, sent, received FROM {}", level.table);
        let mut statement = connection.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let start: i64 = row.get(0).unwrap();
            let sum: (i64, i64, i64) = connection
                .query_row(
                    "SELECT sum(connections), sum(sent), sum(received) FROM record WHERE time BETWEEN ?1 AND ?2",
                    [start, start + level.span - 1],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .unwrap();
            assert_eq!(
                sum,
                (row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap()),
                "{} {start}",
                level.table
            );
            count += 1;
        }
    }
    count
}

/// Rows of each table of rollups; that of quarters is the first.
fn rollups(path: &std::path::Path) -> Vec<i64> {
    LEVELS.iter().flat_map(|level| level.tables()).map(|table| count(path, table)).collect()
}

/// A day that tells everything needs no quarters.
fn check_quarters(path: &std::path::Path) {
    let sql = "SELECT count(*) FROM rollup_quarter_hour JOIN rollup_day ON rollup_day.start = \
               rollup_quarter_hour.start / 86400 * 86400";
    let both: i64 = Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(both, 0);
}

/// Writes windows over some days from `time` on, now and then with a clock that is set.
fn write(writer: &mut Writer, random: &mut Random, mut time: i64, windows: usize) -> i64 {
    for _ in 0..windows {
        time += match random.below(60) {
            0 => -(random.below(3 * 86_400) as i64),
            1 | 2 => random.below(5 * 86_400) as i64,
            3..=9 => random.below(7200) as i64,
            _ => 10,
        };
        let records = (0..random.below(6)).map(|_| random.record()).collect();
        writer.write(&window(time, records)).unwrap();
    }
    time
}

#[test]
fn rollups_equal_the_records_for_a_thousand_questions() {
    let (_directory, path) = place();
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut writer = Writer::open(&path).unwrap();
    // Two weeks before a month's change of DST in Europe, some days to go.
    let mut time = write(&mut writer, &mut random, 1_742_000_000, 2500);
    check_totals(&path);
    compare(&path, &mut random, 250);
    // A restart, also right after the clock was set back.
    for _ in 0..20 {
        drop(writer);
        writer = Writer::open(&path).unwrap();
        time = write(&mut writer, &mut random, time - random_step(time), 60);
    }
    check_totals(&path);
    compare(&path, &mut random, 250);
    // Retention, at any second.
    let (first, last) = Reader::open(&path).unwrap().extent().unwrap().unwrap();
    writer.purge(first + (last - first) / 3 + 777).unwrap();
    check_totals(&path);
    compare(&path, &mut random, 250);
    // What a restart after that finds to do, and goes on.
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    while writer.catch_up().unwrap() {}
    write(&mut writer, &mut random, time, 500);
    check_quarters(&path);
    assert!(check_totals(&path) > 100);
    assert!(rollups(&path).iter().all(|count| *count > 0), "{:?}", rollups(&path));
    compare(&path, &mut random, 250);
}

/// Some hours that differ from time to time.
fn random_step(time: i64) -> i64 {
    time % 9001
}

#[test]
fn a_log_of_version_1_gets_its_rollups_and_answers_all_the_while() {
    let (_directory, path) = place();
    let mut random = Random(77);
    write(&mut Writer::open(&path).unwrap(), &mut random, 1_700_000_000, 3000);
    rewrite_as_version(&path, 1);
    assert!(matches!(Reader::open(&path), Err(StoreError::Older { found: 1, .. })));
    let mut writer = Writer::open(&path).unwrap();
    assert!(rollups(&path).iter().all(|count| *count == 0), "{:?}", rollups(&path));
    compare(&path, &mut random, 10);
    let mut steps = 0;
    while writer.catch_up().unwrap() {
        steps += 1;
        if steps % 30 == 0 {
            // Killed and started again: it goes on where it was.
            drop(writer);
            writer = Writer::open(&path).unwrap();
            compare(&path, &mut random, 5);
        }
    }
    assert!(steps > 100, "{steps}");
    check_totals(&path);
    check_quarters(&path);
    compare(&path, &mut random, 50);
    assert!(rollups(&path)[1..].iter().all(|count| *count > 0), "{:?}", rollups(&path));
}

#[test]
fn a_log_of_version_3_gets_its_rollups_anew() {
    let (_directory, path) = place();
    let mut random = Random(99);
    write(&mut Writer::open(&path).unwrap(), &mut random, 1_700_000_000, 1500);
    rewrite_as_version(&path, 3);
    let mut writer = Writer::open(&path).unwrap();
    assert!(rollups(&path).iter().all(|count| *count == 0), "{:?}", rollups(&path));
    compare(&path, &mut random, 20);
    while writer.catch_up().unwrap() {}
    assert!(rollups(&path)[1..].iter().all(|count| *count > 0), "{:?}", rollups(&path));
    check_totals(&path);
    check_quarters(&path);
    compare(&path, &mut random, 100);
}

#[test]
fn a_bucket_with_too_many_cells_stays_without_local_ports_or_without_rollup() {
    let (_directory, path) = place();
    let mut random = Random(31);
    let mut writer = Writer::open(&path).unwrap();
    writer.most_cells = 30;
    for hour in 0..24 * 40 {
        let record = record(b"/a", "192.0.2.1", 443, 5, hour as u64);
        let on = |port| {
            let tuple = FlowTuple { local_port: 40_000 + i64::from(port), ..record.tuple.clone() };
            Record { tuple, ..record.clone() }
        };
        // By day: all tells; local ports are too many for a day; for a quarter as well; everything is.
        let records = match hour / 24 % 4 {
            0 => vec![record.clone()],
            1 => (0..2).map(on).collect(),
            2 => (0..40).map(on).collect(),
            _ => (0..40).map(|_| random.record()).collect(),
        };
        writer.write(&window(1_700_006_400 + hour * 3600, records)).unwrap();
    }
    let kept = |level: usize| {
        let connection = Connection::open(&path).unwrap();
        let sql = format!("SELECT packed_rows FROM {}", LEVELS[level].table);
        let mut statement = connection.prepare(&sql).unwrap();
        let kept = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let kept: Vec<bool> = kept.map(|bytes| Kept::of(&bytes.unwrap()).unwrap().local_port).collect();
        (kept.iter().filter(|local_port| **local_port).count(), kept.len())
    };
    // Quarters stay where the day does not tell all that they do.
    assert_eq!((kept(0), kept(1)), ((10 * 24, 2 * 10 * 24), (10, 30)));
    check_totals(&path);
    compare(&path, &mut random, 200);
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    while writer.catch_up().unwrap() {}
    compare(&path, &mut random, 50);
}

#[test]
fn a_failed_window_leaves_the_rollups_as_they_were() {
    let (_directory, path) = place();
    let mut random = Random(5);
    let mut writer = Writer::open(&path).unwrap();
    let time = write(&mut writer, &mut random, 1_700_000_000, 300);
    let before = rollups(&path);
    writer
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER fail BEFORE INSERT ON main.record BEGIN SELECT raise(ABORT, 'test'); END",
        )
        .unwrap();
    // It would leave a bucket, and go back into one that is rolled up.
    for time in [time + 90_000, time - 90_000] {
        writer.write(&window(time, vec![random.record()])).unwrap_err();
    }
    assert_eq!(rollups(&path), before);
    writer.connection.execute_batch("DROP TRIGGER fail").unwrap();
    writer.write(&window(time + 90_000, vec![random.record()])).unwrap();
    assert!(rollups(&path)[1] > before[1]);
    check_totals(&path);
}

#[test]
fn a_damaged_rollup_is_an_error_not_a_wrong_answer() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    write(&mut writer, &mut Random(5), 1_700_000_000, 300);
    writer
        .connection
        .execute_batch("UPDATE rollup_day SET packed_rows = x'1705ff'; UPDATE rollup_day_by_context SET packed_rows = x'0105ff'")
        .unwrap();
    for group_by in [vec![Dimension::Executable], vec![Dimension::Executable, Dimension::Port]] {
        let query = Query { group_by, ..Query::default() };
        let error = Reader::open(&path).unwrap().query(&query).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_question_can_be_interrupted_and_the_next_one_is_answered() {
    let (_directory, path) = place();
    let mut writer = Writer::open(&path).unwrap();
    let many: Vec<Record> = (0..20_000).map(|_| record(b"/a", "192.0.2.1", 443, 1, 0)).collect();
    (0..20).for_each(|number| writer.write(&window(100 + number, many.clone())).unwrap());
    let reader = Reader::open(&path).unwrap();
    let interrupter = reader.interrupter();
    let query = Query { group_by: vec![Dimension::Time], ..Query::default() };
    // Before it has begun: it does not begin.
    interrupter.interrupt();
    assert!(reader.query(&query).unwrap_err().is_interrupted());
    assert!(reader.losses(Range::default()).unwrap_err().is_interrupted());
    interrupter.resume();
    assert_eq!(reader.query(&query).unwrap().len(), 20);
    let (end, asked) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        while asked.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            std::thread::sleep(std::time::Duration::from_millis(1));
            interrupter.interrupt();
        }
        interrupter.resume();
    });
    let error = (0..100).find_map(|_| reader.query(&query).err()).unwrap();
    assert!(error.is_interrupted(), "{error}");
    end.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(reader.query(&query).unwrap().len(), 20);
}
