//! Imports of whole sources into a log.

use std::{fs, path::Path};

use calendar::TimeZone;
use model::GeoInfo;
use original_samples::{Format as Sample, Options, Sums, rows, write_conn_log, write_database};
use rusqlite::Connection;
use store::{Reader, Writer};
use tempfile::TempDir;

use super::*;

mod oddities;
mod repeated;
mod salvaged;
mod sources;

const DAY: i64 = 86_400;
/// The present time of these tests: 2026-11-05. Clocks changed eleven days before.
const NOW: i64 = 1_793_836_800;

/// A log, and a place for files of the original.
struct Place {
    directory: TempDir,
    settings: Settings,
}

impl Place {
    fn new(zone: &TimeZone) -> Self {
        let settings = Settings { zone: zone.clone(), cutoff: NOW - 365 * DAY, now: NOW };
        Self { directory: tempfile::tempdir().unwrap(), settings }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Imports a database.
    fn import(&self, path: &Path) -> SourceReport {
        self.import_source(Source::open_database(path, None).unwrap())
    }

    fn import_source(&self, mut source: Source) -> SourceReport {
        let mut writer = Writer::open(&self.path("log.db")).unwrap();
        writer.begin_import().unwrap();
        let mut target = Target {
            writer: &mut writer,
            max_bytes: None,
            locate: &mut |_| GeoInfo { country: "XX".into(), ..GeoInfo::default() },
            observe: &mut |_| {},
        };
        let report = import_source(&mut source, &mut target, &self.settings, &mut |_, _| {}).unwrap();
        while writer.roll_up_import(self.settings.now).unwrap() {}
        report
    }

    fn log(&self) -> Connection {
        Connection::open(self.path("log.db")).unwrap()
    }

    /// Records, connections and bytes of the log.
    fn sums(&self) -> [i64; 4] {
        sums(&self.log(), "SELECT count(*), sum(connections), sum(sent), sum(received) FROM record")
    }
}

fn sums(connection: &Connection, sql: &str) -> [i64; 4] {
    let columns = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
    connection.query_row(sql, [], columns).unwrap()
}

fn expected(sums: Sums) -> [i64; 4] {
    [sums.rows, sums.connections, sums.sent, sums.received].map(u64::cast_signed)
}

/// A sample of the last 20 days, which have an hour that comes twice. There is a row at least each quarter of an hour, so that its
/// two passages can be told apart.
fn sample(format: Sample, rows: u64) -> Options {
    Options::new(format, rows, 20, NOW - 60)
}
