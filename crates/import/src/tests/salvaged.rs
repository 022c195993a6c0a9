//! An original's history in a log that is damaged and salvaged.

use store::salvage;

use super::*;

/// A log that has imported a source, which is closed, so that it can be salvaged. Returns its place, its path and the source.
fn imported(options: &Options) -> (Place, std::path::PathBuf, std::path::PathBuf) {
    let place = Place::new(&options.zone);
    let source = place.path("snitch.db");
    write_database(&source, options).unwrap();
    place.import(&source);
    let damaged = place.path("damaged.db");
    Writer::open(&place.path("log.db")).unwrap().checkpoint().unwrap();
    fs::rename(place.path("log.db"), &damaged).unwrap();
    for other in ["log.db-wal", "log.db-shm", "log.identity"] {
        let _ = fs::remove_file(place.path(other));
    }
    (place, damaged, source)
}

fn salvage_into(place: &Place, damaged: &Path) -> store::Salvaged {
    salvage(damaged, &mut Writer::open(&place.path("log.db")).unwrap()).unwrap()
}

#[test]
fn an_import_after_a_salvage_doubles_nothing_and_adds_what_was_destroyed() {
    for format in [Sample::Version2, Sample::Version4] {
        let (place, damaged, source) = imported(&sample(format, 4000));
        let sums = sums(
            &Connection::open(&damaged).unwrap(),
            "SELECT count(*), sum(connections), sum(sent), sum(received) FROM record",
        );
        // Pages in the middle of the file are destroyed.
        let mut bytes = fs::read(&damaged).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 8 * 4096].fill(0x55);
        fs::write(&damaged, &bytes).unwrap();
        let salvaged = salvage_into(&place, &damaged);
        assert!((1..4000).contains(&salvaged.records) || salvaged.incomplete > 0, "{salvaged:?}");
        let report = place.import(&source);
        assert_eq!(report.counts.present, salvaged.records, "{salvaged:?} {report:?}");
        assert_eq!(report.counts.imported, 4000 - salvaged.records);
        assert_eq!(place.sums(), sums);
        // And again, in any order.
        assert_eq!(salvage_into(&place, &damaged).records, 0);
        assert_eq!(place.import(&source).counts.read(), 0);
    }
}

#[test]
fn a_salvage_after_an_import_doubles_nothing() {
    let options = sample(Sample::Version3, 3000);
    let (place, damaged, source) = imported(&options);
    place.import(&source);
    let before = place.sums();
    // The countries were looked up in another version of their file.
    place.log().execute_batch("UPDATE country SET name = 'YY' WHERE name = 'XX'").unwrap();
    let salvaged = salvage_into(&place, &damaged);
    assert_eq!((salvaged.records, salvaged.known_records), (0, 3000), "{salvaged:?}");
    assert_eq!(place.sums(), before);
}
