//! SIGHUP: the configuration is read anew while traffic is recorded, and no flow is lost, counted twice, or judged by the wrong
//! rules.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use model::EventKind;
use nix::sys::signal::Signal;
use store::{Dimension, Range};

use super::harness::{
    Daemon, assert_recorded, base, configure, error_log, fresh_address, losses, reader, recorded, root,
    root_alone, talk,
};

fn configurations(base: &Path) -> Vec<String> {
    let events = reader(base).events(Range::default(), &[EventKind::Configuration], 1000).unwrap();
    events.into_iter().map(|event| event.text).collect()
}

/// Changes the configuration and waits until the daemon has taken it over.
fn reload(daemon: &Daemon, base: &Path, more: &str) {
    let before = daemon.text().matches("The configuration was").count();
    configure(base, more);
    daemon.signal(Signal::SIGHUP);
    super::harness::wait_until("the reload", || {
        daemon.text().matches("The configuration was").count() > before
    });
}

#[test]
#[ignore = "needs root"]
fn no_flow_is_lost_or_counted_twice_while_the_configuration_changes() {
    let _root = root_alone();
    let base = base("");
    let base = base.path();
    let daemon = Daemon::start(base);
    let address = fresh_address();
    let ended = Arc::new(AtomicBool::new(false));
    let traffic = {
        let ended = Arc::clone(&ended);
        thread::spawn(move || {
            let mut connections = 0;
            while !ended.load(Ordering::Relaxed) {
                talk(address, 100, 50);
                connections += 1;
            }
            connections
        })
    };
    let variants = [
        "retention_days = 7\n",
        "commands = false\nfold_above = 16\n",
        "text = true\nports = false\n",
        "retention_megabytes = 50\n[notifications]\ndesktop = false\n",
        "ignore = [1]\n[monitor]\nevery_exe = true\n",
        "ignore = [\"127.0.0.77\", \"example.com\"]\n[names]\ncountry_file = \"/nonexistent/file.mmdb\"\n",
    ];
    for variant in variants.iter().cycle().take(18) {
        reload(&daemon, base, variant);
        thread::sleep(Duration::from_millis(150));
    }
    ended.store(true, Ordering::Relaxed);
    let connections: u64 = traffic.join().unwrap();
    daemon.stop(Signal::SIGTERM);
    assert!(connections > 100, "{connections}");
    assert_recorded(base, address, connections, connections * 100, connections * 50);
    assert!(losses(base).is_empty(), "{:?}", losses(base));
    assert_eq!(configurations(base).len(), 18, "{:?}", configurations(base));
    assert!(base.join("conn.log").exists());
}

#[test]
#[ignore = "needs root"]
fn traffic_is_judged_by_the_rules_of_its_time() {
    let _root = root();
    let base = base("");
    let base = base.path();
    let daemon = Daemon::start(base);
    let (always, at_times) = (fresh_address(), fresh_address());
    let both = || [always, at_times].into_iter().for_each(|address| talk(address, 11, 7));
    both();
    reload(&daemon, base, &format!("ignore = [\"{at_times}\"]\n"));
    both();
    both();
    reload(&daemon, base, "");
    both();
    daemon.stop(Signal::SIGTERM);
    assert_eq!(recorded(base, Dimension::Address, always).connections, 4);
    assert_eq!(recorded(base, Dimension::Address, at_times).connections, 2, "the rule held for two of four");
    let told = configurations(base);
    assert!(told.iter().all(|text| text.contains("log.ignore = ")), "{told:?}");
    assert!(!told.concat().contains(&at_times.to_string()), "{told:?}");
}

#[test]
#[ignore = "needs root"]
fn command_lines_and_addresses_are_stored_from_the_moment_they_are_wanted() {
    let _root = root();
    let base = base("commands = false\naddresses = false\n");
    let base = base.path();
    let daemon = Daemon::start(base);
    talk(fresh_address(), 111, 1);
    reload(&daemon, base, "");
    let address = fresh_address();
    talk(address, 222, 2);
    // What is not written yet would be blanked.
    super::harness::wait_until("the record", || recorded(base, Dimension::Address, address).connections == 1);
    reload(&daemon, base, "commands = false\naddresses = false\n");
    talk(fresh_address(), 333, 3);
    daemon.stop(Signal::SIGTERM);
    let connection = rusqlite::Connection::open(base.join("snitch.db")).unwrap();
    let own = std::env::current_exe().unwrap();
    let sql = format!(
        "SELECT sent, cmdline <> '', ip <> '' FROM connection_log WHERE executable = '{}' AND sent IN (111, 222, 333) \
         ORDER BY sent",
        own.display()
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(i64, bool, bool)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [(111, false, false), (222, true, true), (333, false, false)]);
}

#[test]
#[ignore = "needs root"]
fn a_bad_configuration_is_refused_as_a_whole_and_keys_of_the_start_are_named() {
    let _root = root();
    let base = base("");
    let base = base.path();
    let daemon = Daemon::start(base);
    let address = fresh_address();
    // The rule beside the bad key must not hold.
    configure(base, &format!("ignore = [\"{address}\"]\nno_such_key = 1\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("is not used");
    let text = daemon.text();
    assert!(text.contains("no_such_key") && text.contains("stays in force"), "{text}");
    talk(address, 3, 4);
    reload(&daemon, base, "[monitor]\nring_buffer_pages = 128\n");
    assert!(daemon.text().contains("Only after a restart (`sudo "), "{}", daemon.text());
    // A file that cannot be read is no configuration either.
    fs::remove_file(base.join("config.toml")).unwrap();
    fs::create_dir(base.join("config.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    super::harness::wait_until("the refusal", || daemon.text().matches("is not used").count() == 2);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base, address, 1, 3, 4);
    assert!(error_log(base).contains("no_such_key"));
    assert!(configurations(base).concat().contains("monitor.ring_buffer_pages = 128 (was 64)"));
}
