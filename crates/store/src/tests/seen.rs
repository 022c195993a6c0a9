//! When values were first and last seen, and comparisons, against plain SQL.

use std::collections::BTreeMap;

use super::{checks::write_randomly, random::Random, *};
use crate::query::{Change, SeenFilter};

/// The dimensions whose values the records tell alone, with the SQL that does.
const DIMENSIONS: [(Dimension, &str); 8] = [
    (Dimension::Executable, "program.path"),
    (Dimension::Name, "program.name"),
    (Dimension::Uid, "context.uid"),
    (Dimension::Domain, "domain.name"),
    (Dimension::Country, "country.name"),
    (Dimension::Address, "address.bytes"),
    (Dimension::Port, "record.remote_port"),
    (Dimension::Sha256, "program.sha256"),
];

fn seen_by_sql(
    connection: &Connection,
    expression: &str,
    dimension: Dimension,
) -> BTreeMap<Value, (i64, i64)> {
    let sql = format!(
        "SELECT {expression}, min(record.time), max(record.time) FROM record \
         JOIN context ON context.id = record.context JOIN program ON program.id = context.program \
         JOIN endpoint ON endpoint.id = record.endpoint JOIN domain ON domain.id = endpoint.domain \
         JOIN country ON country.id = endpoint.country LEFT JOIN address ON address.id = endpoint.remote_address \
         GROUP BY 1"
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let value = crate::query::value_from_sql(dimension, row.get_ref(0)?);
        Ok((value, (row.get(1)?, row.get(2)?)))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn first_and_last_times_are_those_of_the_records() {
    let (_directory, path) = new_log();
    let mut random = Random(0x5eed_0001);
    let mut writer = Writer::open(&path).unwrap();
    let mut time = 1_742_000_000;
    for _ in 0..10 {
        time = write_randomly(&mut writer, &mut random, time, 100);
        // A restart empties the caches.
        drop(writer);
        writer = Writer::open(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        for (dimension, expression) in DIMENSIONS {
            let expected = seen_by_sql(&connection, expression, dimension);
            // What the log knows of a value does not depend on the range and the filters.
            let range = Range { since: Some(time - random.below(400_000) as i64), until: None };
            let query = Query {
                range,
                group_by: vec![dimension],
                seen: Some(SeenFilter::default()),
                ..Query::default()
            };
            for row in reader.query(&query).unwrap() {
                let seen = row.seen.unwrap();
                assert_eq!((seen.first, seen.last), expected[&row.values[0]], "{dimension} {:?}", row.values);
            }
            let since = time - 100_000;
            let new = Query {
                range: Range::default(),
                seen: Some(SeenFilter { new_since: Some(since), changed_since: None }),
                sort: Sort::FirstSeen,
                ..query
            };
            let rows = reader.query(&new).unwrap();
            let mut found: Vec<&Value> = rows.iter().map(|row| &row.values[0]).collect();
            assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.seen.map(|seen| seen.first))));
            found.sort();
            let is_new = |(value, (first, _)): (_, &(i64, i64))| (*first >= since).then_some(value);
            let expected: Vec<&Value> = expected.iter().filter_map(is_new).collect();
            assert_eq!(found, expected, "{dimension}");
        }
    }
}

#[test]
fn a_program_has_changed_when_it_has_another_digest() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let with_digest = |path: &[u8], digest: u8| {
        let mut record = record(path, "192.0.2.1", 443, 1, 1);
        let mut context = (*record.context).clone();
        context.program.sha256 = Some(Sha256([digest; 32]));
        record.context = Arc::new(context);
        record
    };
    writer.write(&window(1000, vec![with_digest(b"/a", 1), with_digest(b"/b", 1)])).unwrap();
    writer.write(&window(5000, vec![with_digest(b"/a", 2), with_digest(b"/b", 1)])).unwrap();
    writer.write(&window(9000, vec![with_digest(b"/a", 2), with_digest(b"/new", 9)])).unwrap();
    let reader = Reader::open(&path).unwrap();
    let changed = |since| {
        let seen = Some(SeenFilter { new_since: None, changed_since: Some(since) });
        let query = Query { group_by: vec![Dimension::Executable], seen, ..Query::default() };
        reader.query(&query).unwrap()
    };
    let rows = changed(4000);
    assert_eq!(rows.len(), 1);
    let seen = rows[0].seen.unwrap();
    assert_eq!((seen.first, seen.last, seen.digests, seen.changed), (1000, 9000, 2, Some(5000)));
    assert_eq!(rows[0].values, [Value::Bytes(b"/a".to_vec())]);
    assert!(changed(5001).is_empty());
    // The rows of the total are those that are left.
    let seen = Some(SeenFilter { new_since: Some(9000), changed_since: None });
    let query = Query { group_by: vec![Dimension::Executable], seen, ..Query::default() };
    let Answer { rows, total, .. } = reader.answer(&query).unwrap();
    assert_eq!((rows.len(), total.connections), (1, 1));
}

#[test]
fn a_comparison_has_the_answers_of_both_ranges() {
    let (_directory, path) = new_log();
    let mut random = Random(0x5eed_0002);
    let mut writer = Writer::open(&path).unwrap();
    write_randomly(&mut writer, &mut random, 1_742_000_000, 600);
    let reader = Reader::open(&path).unwrap();
    let (first, last) = reader.extent().unwrap().unwrap();
    for _ in 0..100 {
        let query = random.query(first, last);
        let before = random.query(first, last).range;
        let comparison = reader.compare(&query, before, CompareOrder::Difference).unwrap();
        let now = reader.answer(&query).unwrap();
        let earlier = Query { range: before, ..query.clone() };
        let then = reader.answer(&earlier).unwrap();
        assert_eq!((comparison.now, comparison.before), (now.total, then.total));
        let by_values = |rows: &[Row]| -> BTreeMap<Vec<Value>, Counters> {
            rows.iter().map(|row| (row.values.clone(), row.counters)).collect()
        };
        let by_now = reader.compare(&query, before, CompareOrder::Now).unwrap().rows;
        let of_now = by_now.iter().filter(|row| row.now.is_some()).map(|row| &row.values);
        assert!(of_now.eq(now.rows.iter().map(|row| &row.values)), "{query:?}");
        assert!(by_now.iter().skip(now.rows.len()).all(|row| row.change() == Change::Gone));
        let (now, then) = (by_values(&now.rows), by_values(&then.rows));
        for row in &comparison.rows {
            assert_eq!(row.now, now.get(&row.values).copied());
            assert_eq!(row.before, then.get(&row.values).copied());
            let is_new = row.before.is_none();
            assert_eq!(row.change() == Change::New, is_new, "{row:?}");
        }
        let all: std::collections::BTreeSet<_> = now.keys().chain(then.keys()).collect();
        assert_eq!(comparison.rows.len(), all.len());
    }
}

#[test]
fn a_program_whose_row_was_deleted_gets_one_again() {
    let (_directory, path) = new_log();
    drop(Writer::open(&path).unwrap());
    // As many rows as the table may have but one, of the same user and seen later.
    let sql = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 99999) \
               INSERT INTO program_seen (path, sha256, uid, first, last) \
               SELECT '/other/' || n, x'', 4294967294, 9000, 9000 FROM number";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let mut writer = Writer::open(&path).unwrap();
    let of = |time, path: &[u8]| window(time, vec![record(path, "192.0.2.1", 443, 1, 0)]);
    let has_row = || {
        let sql = "SELECT count(*) FROM program_seen WHERE path = '/a'";
        Connection::open(&path).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    };
    writer.write(&of(1000, b"/a")).unwrap();
    assert!(has_row());
    writer.write(&of(1010, b"/b")).unwrap();
    assert!(!has_row());
    writer.write(&of(1020, b"/a")).unwrap();
    assert!(has_row());
}

#[test]
fn a_comparison_sorts_by_a_dimension_that_is_grouped_by() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let records = vec![record(b"/a", "192.0.2.1", 443, 1, 0), record(b"/b", "192.0.2.1", 443, 9, 0)];
    writer.write(&window(1000, records)).unwrap();
    let reader = Reader::open(&path).unwrap();
    let before = Range { since: Some(1), until: Some(2) };
    let sorted = |sort| {
        let query = Query { group_by: vec![Dimension::Executable], sort, ..Query::default() };
        let rows = reader.compare(&query, before, CompareOrder::Difference).unwrap().rows;
        rows.into_iter().map(|row| row.values).collect::<Vec<_>>()
    };
    let value = |path: &[u8]| vec![Value::Bytes(path.to_vec())];
    assert_eq!(sorted(Sort::Dimension(Dimension::Executable)), [value(b"/a"), value(b"/b")]);
    // Any other order is that of the total.
    assert_eq!(sorted(Sort::Dimension(Dimension::Port)), [value(b"/b"), value(b"/a")]);
}
