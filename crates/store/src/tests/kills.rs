//! kill -9 at any moment: nothing is damaged, no window is lost or there twice, every sum is right.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    checks::{check_quarters, compare, write_randomly},
    older_versions::rewrite_as_version,
    random::Random,
    *,
};
use crate::growth_budget::{Allowance, GrowthLimit};

/// Set for the process that is killed: the path of the log.
const PATH: &str = "PICOSNITCH_TEST_KILLED_LOG";
/// What the process prints before it opens the log, and after that.
const START_OF_TEST: &str = "running 1 test";
const OPENED: &str = "opened";
/// Begin of the time of its windows; they go on from the last one.
const START: i64 = 1_700_000_000;
/// Every window with a multiple of this number has an old time.
const OLD: i64 = 40;
/// Each other window has this much of a user whose growth is not limited.
const SENT: u64 = 7;

/// Writes windows until it is killed, and says so after each. Deletes, folds and sums meanwhile.
#[test]
#[ignore = "the process that a_kill_at_any_moment_does_no_harm starts and kills"]
fn killed_process() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let mut writer = Writer::open(&path).unwrap();
    writer.set_boot("boot").unwrap();
    let little = Allowance { bytes_per_hour: 100_000, burst: 20_000 };
    writer.limit_growth(GrowthLimit { detail: little, programs: little });
    let begin = writer.identity.last_window;
    println!("opened {begin}");
    for number in begin + 1.. {
        let mut random = Random(number as u64 * 77 + 1);
        // A window without any record is not written, and would have no number.
        let mut records: Vec<Record> = (0..=random.below(60)).map(|_| random.record()).collect();
        let uptime = number * 60;
        let mut time = START + uptime;
        if number % OLD == 0 {
            // The clock was wrong for a moment: these are purged.
            time = START - 5_000_000 + number;
        } else {
            let mut counted = record(b"/counted", "192.0.2.1", 443, SENT, 0);
            Arc::make_mut(&mut counted.context).uid = 9;
            records.push(counted);
        }
        writer.write(&Window { uptime, ..window(time, records) }).unwrap();
        println!("window {number}");
        match number % OLD {
            5 => drop(writer.purge(START - 100_000).unwrap()),
            10 => drop(writer.cut_detail(writer.used_bytes().unwrap() - 8192).unwrap()),
            15 | 20 => drop(writer.delete_orphans().unwrap()),
            30 => writer.checkpoint().unwrap(),
            _ => drop(writer.catch_up().unwrap()),
        }
    }
}

/// Runs the process and kills it `milliseconds` after the line with `begin`. Returns the number of the last window that it
/// said it had written.
fn run_and_kill(path: &Path, begin: &str, milliseconds: u64) -> Option<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kills::killed_process", "--ignored", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 && !line.contains(begin) {
        line.clear();
    }
    thread::sleep(Duration::from_millis(milliseconds));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let said = |line: &str| line.rsplit_once("window ").and_then(|(_, number)| number.parse().ok());
    // The last line may be cut.
    let whole = &rest[..rest.rfind('\n').map_or(0, |end| end + 1)];
    assert!(!rest.contains("panicked"), "{rest}");
    whole.lines().filter_map(said).next_back()
}

#[test]
fn a_kill_at_any_moment_does_no_harm() {
    let (_directory, path) = new_log();
    let mut random = Random(2026);
    let mut last = 0;
    for kill in 0..200 {
        // Some are killed while they open the log.
        let begin = random.pick(&[START_OF_TEST, OPENED, OPENED, OPENED]);
        if let Some(said) = run_and_kill(&path, begin, random.below(60)) {
            last = last.max(said);
        }
        if !path.exists() || fs::metadata(&path).unwrap().len() == 0 {
            continue;
        }
        let connection = Connection::open(&path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "kill {kill}");
        if schema::version(&connection, &path).unwrap() == 0 {
            continue;
        }
        let written: i64 = connection.query_row("SELECT last_window FROM log", [], |row| row.get(0)).unwrap();
        assert!((last..=last + 1).contains(&written), "kill {kill}: {last} said, {written} written");
        last = written;
        let counted = typed(Dimension::Uid, b"9", false).remove(0);
        let sum = rows(&path, &[], vec![counted])[0].counters;
        let windows = (written - written / OLD) as u64;
        assert_eq!((sum.sent, sum.connections), (SENT * windows, windows), "kill {kill}");
    }
    assert!(last > 200, "{last}");
    let epoch: i64 =
        Connection::open(&path).unwrap().query_row("SELECT epoch FROM log", [], |row| row.get(0)).unwrap();
    assert_eq!(epoch, 1, "no kill looks like a restored log");
    while Writer::open(&path).unwrap().catch_up().unwrap() {}
    check_quarters(&path);
}

#[test]
fn a_kill_during_the_migration_leaves_a_whole_log() {
    let (_directory, path) = new_log();
    let mut random = Random(5);
    write_randomly(&mut Writer::open(&path).unwrap(), &mut random, START - 40_000_000, 3000);
    let before = total(&path);
    rewrite_as_version(&path, 4);
    let _ = fs::remove_file(path.with_extension("identity"));
    let old = fs::read(&path).unwrap();
    let mut migrated = 0;
    for kill in 0..30 {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
        fs::write(&path, &old).unwrap();
        let _ = fs::remove_file(path.with_extension("identity"));
        run_and_kill(&path, START_OF_TEST, kill);
        let version = schema::version(&Connection::open(&path).unwrap(), &path).unwrap();
        let current = MIGRATIONS.len() as i64;
        assert!((4..=current).contains(&version), "{version}");
        migrated += i64::from(version == current);
        drop(Writer::open(&path).unwrap());
        let counted = typed(Dimension::Uid, b"9", true).remove(0);
        assert!(rows(&path, &[], vec![counted])[0].counters.sent >= before.sent, "{kill}");
        let connection = Connection::open(&path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "kill {kill}");
    }
    assert!(migrated < 30, "killed too late to tell");
    compare(&path, &mut random, 30);
}
