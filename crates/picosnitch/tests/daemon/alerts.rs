//! Alerts in exe.log, known programs in record.json, and the text logs.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use known_programs::KnownPrograms;
use nix::sys::signal::{Signal, kill};

use super::{
    harness::{
        Daemon, SmallDisk, WINDOW, assert_recorded, base, configure, fresh_address, place, root, talk,
        wait_until,
    },
    programs::{lines, program, record, run},
};

#[test]
#[ignore = "needs root"]
fn a_new_program_is_alerted_once_also_after_a_restart() {
    let _root = root();
    let base = base("");
    let path = program(base.path(), b"stranger");
    for start in 0..2 {
        let daemon = Daemon::start(base.path());
        run(&path, fresh_address());
        run(&path, fresh_address());
        daemon.stop(Signal::SIGTERM);
        let told: Vec<_> = lines(base.path(), "exe.log")
            .into_iter()
            .filter(|line| line.contains("/stranger ") && !line.contains("parent)"))
            .collect();
        assert_eq!(told.len(), 1, "start {start}: {told:?}");
        let expected = format!(" stranger         {} (new name, exe)", path.display());
        assert_eq!(told[0][19..], expected);
    }
    let record = record(base.path());
    let path = path.to_str().unwrap();
    assert_eq!(record["Executables"][path], serde_json::json!(["stranger"]));
    assert_eq!(record["Names"]["stranger"], serde_json::json!([path]));
    assert_eq!(record["SHA256"][path].as_object().unwrap().len(), 1);
    for file in ["exe.log", "record.json"] {
        let mode = fs::metadata(base.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{file}");
    }
    // The same path gets other contents.
    let daemon = Daemon::start(base.path());
    File::options().append(true).open(path).unwrap().write_all(b"changed").unwrap();
    run(Path::new(path), fresh_address());
    daemon.stop(Signal::SIGTERM);
    let changed: Vec<_> = lines(base.path(), "exe.log")
        .into_iter()
        .filter(|line| line.contains("/stranger (new hash), "))
        .collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    // It had not been executed since the start, so nothing watched it.
    assert!(
        changed[0].ends_with(", changed while it was not watched, not known who wrote it"),
        "{changed:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn names_of_any_bytes_reach_the_files_without_control_characters() {
    let _root = root();
    let base = base("text = true\n");
    let name = b"we\x1b[31m\n\xff,\"<b>";
    let path = program(base.path(), name);
    let daemon = Daemon::start(base.path());
    run(&path, fresh_address());
    daemon.stop(Signal::SIGTERM);
    let again = Daemon::start(base.path());
    run(&path, fresh_address());
    again.stop(Signal::SIGTERM);
    for file in ["exe.log", "conn.log"] {
        let text = fs::read_to_string(base.path().join(file)).unwrap();
        let raw = text.chars().find(|character| character.is_control() && *character != '\n');
        assert_eq!(raw, None, "{file}: {text:?}");
    }
    let told =
        lines(base.path(), "exe.log").into_iter().filter(|line| line.contains("/we\\x1b[31m\\x0a\\xff"));
    assert_eq!(told.count(), 1);
    assert!(lines(base.path(), "conn.log").iter().all(|line| line.split(',').count() == 16));
    let key = format!("{}/we\u{1b}[31m\n\\xff,\"<b>", base.path().display());
    assert!(record(base.path())["Executables"].as_object().unwrap().contains_key(&key));
}

#[test]
#[ignore = "needs root"]
fn a_damaged_record_is_kept_and_recording_goes_on() {
    let _root = root();
    for (round, damaged) in ["{\"Executables\": {", "", "[1]"].into_iter().enumerate() {
        let base = base("");
        let path = base.path().join("record.json");
        fs::write(&path, damaged).unwrap();
        let daemon = Daemon::start(base.path());
        daemon.wait_for("record.json is damaged");
        let address = fresh_address();
        run(&program(base.path(), format!("after{round}").as_bytes()), address);
        daemon.stop(Signal::SIGTERM);
        let kept: Vec<_> = fs::read_dir(base.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("record.json.damaged-"))
            .collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(fs::read_to_string(kept[0].path()).unwrap(), damaged);
        assert!(record(base.path())["Names"].as_object().unwrap().contains_key(&format!("after{round}")));
        assert!(!base.path().join("record.journal").exists());
    }
}

#[test]
#[ignore = "needs root"]
fn the_record_is_whole_after_a_kill_at_any_moment() {
    let _root = root();
    let base = base("");
    let mut known = 0;
    for (round, milliseconds) in [300, 900, 1100, 1350, 1700, 2100].into_iter().enumerate() {
        let daemon = Daemon::start(base.path());
        let place = base.path().to_owned();
        let traffic = thread::spawn(move || {
            for number in 0..30 {
                let path = program(&place, format!("p{round}-{number}").as_bytes());
                let listener = TcpListener::bind((fresh_address(), 0)).unwrap();
                let here = listener.local_addr().unwrap();
                let script = format!("exec 3<>/dev/tcp/{}/{}", here.ip(), here.port());
                assert!(Command::new(&path).args(["-c", &script]).status().unwrap().success());
                fs::remove_file(path).unwrap();
                thread::sleep(Duration::from_millis(60));
            }
        });
        thread::sleep(Duration::from_millis(milliseconds));
        let victim = if round % 2 == 0 { daemon.monitor() } else { daemon.recorder() };
        kill(victim, Signal::SIGKILL).unwrap();
        daemon.end();
        traffic.join().unwrap();
        if base.path().join("record.json").exists() {
            let now = KnownPrograms::load(&base.path().join("record.json")).unwrap().count();
            assert!(now >= known, "{now} < {known}");
            known = now;
        }
    }
    assert!(known > 10, "{known}: nothing was saved before the kills");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_reported_and_everything_is_written_later() {
    let _root = root();
    let place = place();
    let base = place.path().join("small");
    fs::create_dir(&base).unwrap();
    let _disk = SmallDisk::mount(&base, "6m");
    configure(&base, "sqlite = false\ntext = true\n");
    let elsewhere = tempfile::tempdir().unwrap();
    // Alerts about other programs may have begun a page of exe.log: two of such length do not fit into its rest.
    let deep = elsewhere.path().join(["d"; 12].map(|name| name.repeat(240)).join("/"));
    fs::create_dir_all(&deep).unwrap();
    let paths = [&b"late"[..], b"later"].map(|name| program(&deep, name));
    let daemon = Daemon::start(&base);
    let mut filler = File::create(base.join("filler")).unwrap();
    let page = [1; 4096];
    while filler.write_all(&page).is_ok() {}
    drop(filler);
    for path in &paths {
        run(path, fresh_address());
    }
    for file in ["exe.log", "conn.log", "record.json"] {
        let says = |text: &str| {
            text.lines().any(|line| {
                line.contains(file)
                    && (line.contains("could not be written") || line.contains("cannot be written"))
            })
        };
        wait_until(file, || says(&daemon.text()));
    }
    let has_later = || lines(&base, "exe.log").iter().any(|line| line.contains("/later "));
    assert!(!has_later());
    fs::remove_file(base.join("filler")).unwrap();
    daemon.wait_for("record.json can be written again");
    daemon.wait_for("exe.log can be written again; 0 alerts are missing");
    talk(fresh_address(), 1, 1);
    daemon.wait_for("conn.log can be written again.");
    daemon.stop(Signal::SIGTERM);
    assert!(lines(&base, "exe.log").iter().any(|line| line.contains("/late ")));
    assert!(lines(&base, "conn.log").iter().all(|line| line.split(',').count() == 16));
    assert!(record(&base)["Names"].as_object().unwrap().contains_key("late"));
}

#[test]
#[ignore = "needs root"]
fn files_that_are_removed_while_it_runs_are_reported_and_begun_again() {
    let _root = root();
    let base = base("text = true\n");
    let daemon = Daemon::start(base.path());
    run(&program(base.path(), b"before"), fresh_address());
    let files = ["exe.log", "conn.log", "record.json"].map(|file| base.path().join(file));
    for file in &files {
        wait_until("the first lines", || fs::read_to_string(file).is_ok_and(|text| text.contains("before")));
        fs::remove_file(file).unwrap();
    }
    run(&program(base.path(), b"after"), fresh_address());
    for sentence in ["exe.log was removed", "conn.log was removed", "record.json or its journal was removed"]
    {
        daemon.wait_for(&format!("{sentence} while picosnitch runs"));
    }
    daemon.stop(Signal::SIGTERM);
    for file in &files {
        assert!(fs::read_to_string(file).unwrap().contains("after"), "{}", file.display());
    }
    assert!(record(base.path())["Names"].as_object().unwrap().contains_key("before"));
}

#[test]
#[ignore = "needs root"]
fn sighup_opens_the_logs_again() {
    let _root = root();
    let base = base("text = true\n");
    let daemon = Daemon::start(base.path());
    let first = program(base.path(), b"first");
    run(&first, fresh_address());
    let is_first = |line: &String| line.contains("/first,");
    wait_until("the first window", || lines(base.path(), "conn.log").iter().any(is_first));
    thread::sleep(WINDOW * 3);
    for file in ["conn.log", "exe.log"] {
        fs::rename(base.path().join(file), base.path().join(format!("{file}.old"))).unwrap();
    }
    daemon.signal(Signal::SIGHUP);
    let address = fresh_address();
    talk(address, 7, 8);
    run(&program(base.path(), b"second"), fresh_address());
    wait_until("the new file", || {
        lines(base.path(), "conn.log").iter().any(|line| line.contains("/second,"))
    });
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 7, 8);
    assert!(lines(base.path(), "exe.log.old").iter().any(|line| line.contains("/first ")));
    assert!(lines(base.path(), "exe.log").iter().any(|line| line.contains("/second ")));
    assert!(!lines(base.path(), "conn.log").iter().any(is_first));
}
