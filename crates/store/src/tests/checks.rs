//! Checks of a log against an independent answer.

use std::path::Path;

use super::{random::Random, *};
use crate::rollup::LEVELS;

/// Compares the answers to `count` random queries with those of the records alone.
pub(super) fn compare(path: &Path, random: &mut Random, count: usize) {
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
        let sort_key = |row: &Row| match query.sort {
            Sort::Connections => row.counters.connections,
            Sort::Sent => row.counters.sent,
            Sort::Received => row.counters.received,
            _ => row.counters.sent + row.counters.received,
        };
        assert!(answer.is_sorted_by(|a, b| sort_key(a) >= sort_key(b)), "{query:?}");
        let (offset, limit) = (random.below(3), random.below(5));
        let Answer { rows: limited, row_count, total } =
            reader.answer(&Query { offset: Some(offset), limit: Some(limit), ..query.clone() }).unwrap();
        assert_eq!(row_count, answer.len(), "{query:?}");
        let mut sum = Counters::default();
        answer.iter().for_each(|row| sum += row.counters);
        assert_eq!(total, sum, "{query:?}");
        let page = answer.iter().skip(offset as usize).take(limit as usize);
        assert_eq!(limited, page.cloned().collect::<Vec<_>>(), "{query:?}");
        assert_eq!(sorted(answer), sorted(oracle::answer(&connection, &query)), "{query:?}");
        // A chart has the same sums.
        let (zone, step) = (random.pick(&[0, 3600, -34_200, 20_700]), random.pick(&[1, 10, 900, 86_400]));
        let mut edges: Vec<i64> = (0..1 + random.below(8))
            .map(|_| first - 90_000 + random.below((last - first) as u64 + 180_000) as i64)
            .map(|edge| (edge + zone).div_euclid(step) * step - zone)
            .collect();
        // Some edges are one step apart.
        let begin = edges[0];
        edges.extend((0..random.below(6) as i64).map(|number| begin + number * step));
        edges.sort_unstable();
        let series = reader.series(&query, &edges).unwrap();
        for (pair, sum) in edges.windows(2).zip(series) {
            let range = Range { since: Some(pair[0]), until: Some(pair[1] - 1) };
            let query = Query { range, group_by: Vec::new(), ..query.clone() };
            assert_eq!(oracle::answer(&connection, &query)[0].counters, sum, "{pair:?} {query:?}");
        }
        if random.below(3) == 0 {
            edges.truncate(4);
            check_series_by((&reader, &connection), &query, &edges, random);
        }
    }
}

/// Compares sums by interval of the largest groups with those of the records alone.
fn check_series_by(
    (reader, connection): (&Reader, &Connection),
    query: &Query,
    edges: &[i64],
    random: &mut Random,
) {
    let is_time = |dimension: Dimension| dimension == Dimension::Time || dimension.is_calendar();
    let dimensions: Vec<Dimension> =
        Dimension::ALL.into_iter().filter(|dimension| !is_time(*dimension)).collect();
    let query = Query { group_by: vec![random.pick(&dimensions)], ..query.clone() };
    let top = random.below(4) as usize;
    let SeriesByGroup { groups, total } = reader.series_by(&query, edges, top).unwrap();
    assert_eq!(total, reader.series(&query, edges).unwrap(), "{query:?}");
    let rows_of = |begin: i64, end: i64| {
        let range = Range { since: Some(begin), until: Some(end - 1) };
        oracle::answer(connection, &Query { range, ..query.clone() })
    };
    let mut expected = match edges {
        [begin, .., end] => rows_of(*begin, *end),
        _ => Vec::new(),
    };
    let bytes = |counters: Counters| counters.sent + counters.received;
    expected.sort_by(|a, b| {
        let largest = |row: &Row| (bytes(row.counters), row.counters.connections);
        largest(b).cmp(&largest(a)).then_with(|| a.values.cmp(&b.values))
    });
    let expected: Vec<Value> = expected.into_iter().take(top).map(|row| row.values[0].clone()).collect();
    let values: Vec<Value> = groups.iter().map(|group| group.value.clone()).collect();
    assert_eq!(values, expected, "{query:?}");
    let series = SeriesByGroup { groups, total };
    let rest = series.rest();
    for (index, pair) in edges.windows(2).enumerate() {
        let rows = rows_of(pair[0], pair[1]);
        let mut others = Counters::default();
        rows.iter().filter(|row| !values.contains(&row.values[0])).for_each(|row| others += row.counters);
        assert_eq!(rest[index], others, "{pair:?} {query:?}");
        for group in &series.groups {
            let row = rows.iter().find(|row| row.values[0] == group.value);
            let sum = row.map(|row| row.counters).unwrap_or_default();
            assert_eq!(group.sums[index], sum, "{:?} {pair:?} {query:?}", group.value);
        }
    }
}

/// Checks that every rollup has the sum of its records. Returns the number of rollups.
pub(super) fn check_totals(path: &Path) -> usize {
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

/// The number of rows of each table of rollups; that of quarters is the first.
pub(super) fn rollup_counts(path: &Path) -> Vec<i64> {
    LEVELS.iter().flat_map(|level| level.tables()).map(|table| count(path, table)).collect()
}

/// Checks that no quarter has a rollup if its day has one.
pub(super) fn check_quarters(path: &Path) {
    let sql = "SELECT count(*) FROM rollup_quarter_hour JOIN rollup_day ON rollup_day.start = \
               rollup_quarter_hour.start / 86400 * 86400";
    let both: i64 = Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(both, 0);
}

/// Writes random windows over some days from `time` on; sometimes the clock is set back. Returns the time of the last one.
pub(super) fn write_randomly(writer: &mut Writer, random: &mut Random, time: i64, windows: usize) -> i64 {
    write_records(writer, random, time, windows, Random::record)
}

/// As [`write_randomly`], with records that `record` makes.
pub(super) fn write_records(
    writer: &mut Writer,
    random: &mut Random,
    mut time: i64,
    windows: usize,
    record: fn(&mut Random) -> Record,
) -> i64 {
    for _ in 0..windows {
        time += match random.below(60) {
            0 => -(random.below(3 * 86_400) as i64),
            1 | 2 => random.below(5 * 86_400) as i64,
            3..=9 => random.below(7200) as i64,
            _ => 10,
        };
        let records = (0..random.below(6)).map(|_| record(random)).collect();
        writer.write(&window(time, records)).unwrap();
    }
    time
}
