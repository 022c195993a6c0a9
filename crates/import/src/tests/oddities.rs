//! Rows that are not as they should be.

use super::*;

#[test]
fn garbage_is_imported_as_far_as_it_can_be_read_and_counted() {
    let place = Place::new(&TimeZone::UTC);
    let path = place.path("snitch.db");
    let now = calendar::rfc3339(place.settings.now - 1000, &TimeZone::UTC)[..19].replace('T', " ");
    let future = calendar::rfc3339(place.settings.now + 9 * DAY, &TimeZone::UTC)[..19].replace('T', " ");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE connections (exe text, name text, cmdline text, sha256 text, contime text, domain text, ip text, \
             port integer, uid integer, pexe text, pname text, pcmdline text, psha256 text, conns integer, send integer, \
             recv integer); PRAGMA user_version = 2",
        )
        .unwrap();
    let insert = |values: &str| {
        let values = values.replace("NOW", &format!("'{now}'"));
        connection.execute(&format!("INSERT INTO connections VALUES ({values})"), []).unwrap();
    };
    insert(
        "'/a', 'a', 'a b', 'no digest', NOW, 'com.example', '192.0.2.1', 443, 0, '', '', '', '', 1, 10, 20",
    );
    insert("NULL, NULL, NULL, NULL, NOW, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL");
    insert("7, x'ff00', 'a', '', NOW, '', 'not an address', 99999, -5, '', '', '', '', 'x', -1, 1.5");
    insert("'/a', 'a', 'a', '', 'yesterday', '', '', 1, 0, '', '', '', '', 1, 1, 1");
    insert(&format!("'/a', 'a', 'a', '', '{future}', '', '', 1, 0, '', '', '', '', 1, 1, 1"));
    insert("'/a', 'a', 'a', '', '1999-01-01 00:00:00', '', '', 1, 0, '', '', '', '', 1, 1, 1");
    insert("'/a', 'a', CAST(zeroblob(200000) AS TEXT), '', NOW, '', '', -1, 0, '', '', '', '', 3, 0, 0");
    let report = place.import(&path);
    let counts = &report.counts;
    assert_eq!((counts.imported, counts.older, counts.future, counts.unreadable), (4, 1, 1, 1), "{report:?}");
    assert_eq!((counts.executions, counts.connections, counts.sent, counts.received), (1, 1, 10, 21));
    let of = |oddity| counts.odd.iter().find(|(odd, _)| *odd == oddity).map_or(0, |(_, count)| *count);
    assert_eq!(of(Oddity::DigestText), 1);
    assert_eq!(of(Oddity::MissingValue), 1);
    assert_eq!(of(Oddity::WrongType), 1);
    assert_eq!(of(Oddity::BadAddress), 1);
    assert_eq!(of(Oddity::BadPort), 1);
    assert_eq!(of(Oddity::BadUser), 2);
    assert_eq!(of(Oddity::Nul), 2);
    assert_eq!(of(Oddity::Shortened), 1);
    assert_eq!(place.import(&path).counts.read(), 0);
}

#[test]
fn references_to_nothing_are_told() {
    let options = sample(Sample::Version4, 200);
    let place = Place::new(&TimeZone::UTC);
    let path = place.path("picosnitch.db");
    let written = write_database(&path, &options).unwrap();
    let change = "DELETE FROM executables WHERE id > 3; DELETE FROM domains; DELETE FROM addresses WHERE id % 2; \
                  UPDATE connections SET exe_id = NULL WHERE rowid = 1";
    Connection::open(&path).unwrap().execute_batch(change).unwrap();
    let report = place.import(&path);
    assert_eq!(place.sums(), expected(written));
    let odd: Vec<Oddity> = report.counts.odd.iter().map(|(odd, _)| *odd).collect();
    assert!(odd.contains(&Oddity::MissingReference) && odd.contains(&Oddity::MissingValue), "{report:?}");
}

#[test]
fn hours_that_come_twice_and_never_are_counted() {
    let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let mut place = Place::new(&zone);
    // 2025-12-01 12:00 UTC.
    place.settings.now = 1_764_590_400;
    place.settings.cutoff = 0;
    let path = place.path("snitch.db");
    let connection = Connection::open(&path).unwrap();
    let schema = "CREATE TABLE connections (exe text, name text, cmdline text, sha256 text, contime text, domain text, \
                  ip text, port integer, uid integer, events integer)";
    connection.execute_batch(schema).unwrap();
    for time in ["2025-03-30 02:30:00", "2025-10-26 02:59:00", "2025-10-26 02:00:00", "2025-10-26 03:00:00"] {
        let insert = "INSERT INTO connections VALUES ('/a', 'a', 'a', '', ?1, '', '', 1, 0, 1)";
        connection.execute(insert, [time]).unwrap();
    }
    let report = place.import(&path);
    assert_eq!(report.counts.odd, [(Oddity::SkippedTime, 1), (Oddity::RepeatedTime, 2)]);
    let log = place.log();
    let mut select = log.prepare("SELECT time FROM record ORDER BY time").unwrap();
    let times: Vec<i64> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(times, [1_743_296_400, 1_761_440_340, 1_761_440_400, 1_761_444_000]);
}

#[test]
fn a_damaged_page_ends_the_import_and_what_is_before_it_stays() {
    let options = sample(Sample::Version3, 20_000);
    let place = Place::new(&options.zone);
    let path = place.path("snitch.db");
    write_database(&path, &options).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 40 * 4096].fill(0xee);
    fs::write(&path, bytes).unwrap();
    let report = place.import(&path);
    let error = model::error_chain(&**report.error.as_ref().unwrap());
    assert!(error.contains("after row") && error.contains("damaged"), "{error}");
    assert!(report.counts.imported > 5000, "{report:?}");
    assert_eq!(place.sums()[0].cast_unsigned(), report.counts.imported);
}
