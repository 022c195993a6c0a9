//! Imports that are repeated, interrupted, or of a source that has changed since.

use super::*;

/// A source of format 3 and its sums.
fn source(place: &Place, options: &Options) -> (std::path::PathBuf, Sums) {
    let path = place.path("snitch.db");
    let written = write_database(&path, options).unwrap();
    (path, written)
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn twice_is_once_and_a_source_that_has_grown_adds_what_is_new() {
    let options = sample(Sample::Version3, 10_000);
    let place = Place::new(&options.zone);
    let (path, written) = source(&place, &options);
    let (whole, older) = (place.path("whole.db"), place.path("older.db"));
    fs::copy(&path, &whole).unwrap();
    change(&path, "DELETE FROM connections WHERE rowid > 6000");
    fs::copy(&path, &older).unwrap();
    assert_eq!(place.import(&path).counts.imported, 6000);
    let again = place.import(&path);
    assert!(again.is_known && again.counts.read() == 0, "{again:?}");
    // It has grown, and its oldest rows are gone.
    change(&whole, "DELETE FROM connections WHERE rowid <= 4500");
    let grown = place.import(&whole);
    assert!(grown.is_known && grown.counts.imported == 4000, "{grown:?}");
    assert_eq!(place.sums(), expected(written));
    // An older copy has nothing new.
    assert_eq!(place.import(&older).counts.read(), 0);
    // Made anew, its rows have other numbers.
    change(&whole, "VACUUM; INSERT INTO connections SELECT * FROM connections ORDER BY rowid DESC LIMIT 1");
    let first: i64 = Connection::open(&whole)
        .unwrap()
        .query_row("SELECT min(rowid) FROM connections", [], |row| row.get(0))
        .unwrap();
    assert_eq!(first, 1, "VACUUM gives other numbers");
    let renumbered = place.import(&whole);
    assert!(renumbered.is_known && renumbered.counts.read() <= 1, "{renumbered:?}");
    let count = place.sums()[0];
    assert!(count - written.rows.cast_signed() <= 1, "{count}");
}

#[test]
fn what_was_upgraded_in_place_is_the_same_source() {
    let options = sample(Sample::Version0, 3000);
    let place = Place::new(&options.zone);
    let (path, _) = source(&place, &options);
    place.import(&path);
    change(
        &path,
        "ALTER TABLE connections RENAME COLUMN events TO conns; ALTER TABLE connections ADD COLUMN send integer DEFAULT 0; \
         ALTER TABLE connections ADD COLUMN recv integer DEFAULT 0; PRAGMA user_version = 1",
    );
    let report = place.import(&path);
    assert!(report.is_known && report.counts.read() == 0, "{report:?}");
}

#[test]
fn another_source_is_not_taken_for_a_known_one() {
    let options = sample(Sample::Version3, 3000);
    let place = Place::new(&options.zone);
    let (path, first) = source(&place, &options);
    place.import(&path);
    let other = place.path("other.db");
    let second = write_database(&other, &Options { seed: 2, ..options }).unwrap();
    assert!(!place.import(&other).is_known);
    assert_eq!(place.sums()[0].cast_unsigned(), first.rows + second.rows);
    assert!(place.import(&other).is_known && place.import(&path).is_known);
    assert_eq!(place.sums()[0].cast_unsigned(), first.rows + second.rows);
}

#[test]
fn rows_that_were_too_old_come_when_the_log_keeps_more() {
    let options = Options { days: 200, ..sample(Sample::Version4, 9000) };
    let mut place = Place::new(&options.zone);
    let (path, written) = source(&place, &options);
    let now = place.settings.now;
    place.settings.cutoff = now - 50 * DAY;
    let report = place.import(&path);
    assert!(report.counts.older > 6000, "{report:?}");
    let kept = report.counts.imported;
    assert_eq!(kept + report.counts.older, written.rows);
    // What was deleted here does not come again.
    let deleted = place.log().execute("DELETE FROM record WHERE time > ?1", [now - 10 * DAY]).unwrap() as u64;
    assert!(deleted > 100);
    place.settings.cutoff = now - 100 * DAY;
    let more = place.import(&path);
    assert!(more.counts.imported > 2000, "{more:?}");
    place.settings.cutoff = now - 365 * DAY;
    let rest = place.import(&path);
    assert_eq!(kept + more.counts.imported + rest.counts.imported, written.rows);
    assert_eq!(place.sums()[0].cast_unsigned(), written.rows - deleted);
    assert_eq!(place.import(&path).counts.read(), 0);
}

#[test]
fn an_import_that_was_interrupted_goes_on() {
    let options = sample(Sample::Version2, 30_000);
    let place = Place::new(&options.zone);
    let (path, written) = source(&place, &options);
    // An error ends it, as a full disk would: the sequence numbers of a time are used up.
    let broken = rows(&options).nth(17_000).unwrap().time;
    drop(Writer::open(&place.path("log.db")).unwrap());
    fail_at(&place, broken);
    let report = place.import(&path);
    assert!(report.error.is_some(), "{report:?}");
    let imported = place.sums()[0];
    assert!((12_000..17_001).contains(&imported), "{imported}");
    place.log().execute_batch("DROP TRIGGER full").unwrap();
    let report = place.import(&path);
    assert!(report.is_known && report.error.is_none(), "{report:?}");
    assert_eq!(place.sums(), expected(written));
}

#[test]
fn a_preview_says_what_an_import_does() {
    let options = sample(Sample::Version1, 3000);
    let place = Place::new(&options.zone);
    let (path, _) = source(&place, &options);
    let preview = |known: &[store::ImportSource]| {
        let mut source = Source::open_database(&path, None).unwrap();
        let log = store::LogBeforeImport::open(&place.path("log.db")).ok();
        preview_source(&mut source, (known, log.as_ref()), &place.settings, &mut |_, _| {}).unwrap()
    };
    let before = preview(&[]);
    assert!(!place.path("log.db").exists());
    assert_eq!(before.counts, place.import(&path).counts);
    let known = Reader::open(&place.path("log.db")).unwrap().import_sources().unwrap();
    let after = preview(&known);
    assert!(after.is_known && after.counts.read() == 0, "{after:?}");
}

#[test]
fn one_history_in_two_formats_is_imported_once() {
    // Without the hour that comes twice: the original's own conversion may place it otherwise.
    let formats = |from: Sample, until: Sample| {
        let options = |format| Options { zone: TimeZone::UTC, ..sample(format, 3000) };
        (options(from), options(until))
    };
    for (from, until) in [
        (Sample::Version3, Sample::Version4),
        (Sample::Version4, Sample::Version3),
        (Sample::Version1, Sample::Version2),
        (Sample::Version2, Sample::Version3),
    ] {
        let (first, second) = formats(from, until);
        let place = Place::new(&TimeZone::UTC);
        let (old, new) = (place.path("snitch.db"), place.path("picosnitch.db"));
        let written = write_database(&old, &first).unwrap();
        write_database(&new, &second).unwrap();
        // The old one was copied at some time, and does not have what was recorded since.
        change(&old, "DELETE FROM connections WHERE rowid > 2500");
        let old_rows = place.import(&old).counts.imported;
        assert_eq!(old_rows, 2500);
        let added = place.import(&new);
        assert!(added.error.is_none(), "{added:?}");
        // Rows of flat formats are known by their numbers.
        let present = if added.is_known { 0 } else { 2500 };
        assert_eq!((added.counts.present, added.counts.imported), (present, 500), "{from:?} {until:?}");
        let sums = place.sums();
        assert_eq!([sums[0], sums[2], sums[3]], {
            let [rows, _, sent, received] = expected(written);
            [rows, sent, received]
        });
        // Both are known from then on.
        for path in [&old, &new] {
            let again = place.import(path);
            assert!(again.is_known && again.counts.read() == 0, "{again:?}");
        }
    }
}

#[test]
fn a_text_log_and_a_database_of_one_history_are_imported_once() {
    for format in [Sample::Version2, Sample::Version4] {
        let options = Options { zone: TimeZone::UTC, ..sample(format, 1500) };
        for text_first in [true, false] {
            let place = Place::new(&TimeZone::UTC);
            let (text, database) = (place.path("conn.log"), place.path("snitch.db"));
            write_conn_log(&text, &options).unwrap();
            let written = write_database(&database, &options).unwrap();
            let sources = [Source::open_text(&text), Source::open_database(&database, None)];
            let mut sources = sources.map(Result::unwrap).into_iter();
            let (first, second) = (sources.next().unwrap(), sources.next().unwrap());
            let (first, second) = if text_first { (first, second) } else { (second, first) };
            assert_eq!(place.import_source(first).counts.imported, written.rows);
            let counts = place.import_source(second).counts;
            assert_eq!(counts.imported, 0, "{format:?} {text_first}");
            assert_eq!(place.sums(), expected(written));
        }
    }
}

#[test]
fn an_interrupted_import_of_the_second_file_goes_on() {
    let options = |format| Options { zone: TimeZone::UTC, ..sample(format, 18_000) };
    let place = Place::new(&TimeZone::UTC);
    let (old, new) = (place.path("snitch.db"), place.path("picosnitch.db"));
    let written = write_database(&old, &options(Sample::Version3)).unwrap();
    write_database(&new, &options(Sample::Version4)).unwrap();
    change(&old, "DELETE FROM connections WHERE rowid > 9000");
    place.import(&old);
    let broken = rows(&options(Sample::Version4)).nth(17_000).unwrap().time;
    fail_at(&place, broken);
    assert!(place.import(&new).error.is_some());
    place.log().execute_batch("DROP TRIGGER full").unwrap();
    let rest = place.import(&new);
    assert!(rest.is_known && rest.error.is_none(), "{rest:?}");
    assert_eq!(place.sums(), expected(written));
}

#[test]
fn two_copies_to_which_other_rows_were_added_give_all_rows_once() {
    let options = sample(Sample::Version3, 20_000);
    let place = Place::new(&options.zone);
    let (path, written) = source(&place, &options);
    let other = place.path("other.db");
    fs::copy(&path, &other).unwrap();
    // They have the first 10,000 rows in common.
    change(&path, "DELETE FROM connections WHERE rowid > 15000");
    change(&other, "DELETE FROM connections WHERE rowid BETWEEN 10001 AND 15000; VACUUM");
    assert_eq!(place.import(&path).counts.imported, 15_000);
    let added = place.import(&other);
    assert_eq!(added.counts.imported, 5000, "{added:?}");
    assert_eq!(place.sums(), expected(written));
    for path in [&path, &other] {
        let again = place.import(path);
        assert!(again.is_known && again.counts.read() == 0, "{again:?}");
    }
}

#[test]
fn equal_rows_of_one_source_all_arrive() {
    let options = sample(Sample::Version3, 100);
    let place = Place::new(&options.zone);
    let (path, written) = source(&place, &options);
    for _ in 0..10 {
        change(&path, "INSERT INTO connections SELECT * FROM connections LIMIT 2000");
    }
    let count = place.import(&path).counts.imported;
    assert!(count > 10_000, "more than one transaction: {count}");
    assert_eq!(place.sums()[0].cast_unsigned(), count);
    assert!(count > written.rows);
}

/// Lets the log refuse records of this time.
fn fail_at(place: &Place, time: i64) {
    let sql = format!(
        "CREATE TRIGGER full BEFORE INSERT ON record WHEN new.time = {time} BEGIN SELECT raise(ABORT, 'full'); END"
    );
    place.log().execute_batch(&sql).unwrap();
}
