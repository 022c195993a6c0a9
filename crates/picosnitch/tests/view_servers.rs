//! `picosnitch view --source` in a real terminal, on real servers with copies of the logs of several hosts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet_servers;
#[path = "../../export/tests/server_process/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server_process;
#[allow(dead_code, reason = "not all of it is needed here")]
mod terminal;

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fleet_servers::FleetServer;
use server_process::{DATABASE, ServerProcess, System, with_each_sql_server};
use terminal::{Terminal, picosnitch};

/// How long the server is kept from answering.
const LOCKED: Duration = Duration::from_secs(6);
/// The same for a ClickHouse: less than a connection may take to begin.
const FROZEN: Duration = Duration::from_secs(5);

/// Keeps the server from answering questions about records for a while.
fn lock_records(server: &ServerProcess) {
    let seconds = LOCKED.as_secs();
    let sql = match server.system {
        System::PostgreSql => {
            format!("BEGIN; LOCK TABLE picosnitch_record; SELECT pg_sleep({seconds}); COMMIT")
        }
        System::MariaDb => {
            format!("LOCK TABLES picosnitch_record WRITE; SELECT SLEEP({seconds}); UNLOCK TABLES")
        }
        // It has no locks.
        System::ClickHouse | System::Chdb => return server.freeze_for(FROZEN),
    };
    server.administer(DATABASE, &sql);
}

fn screens_of_a_server(system: System) {
    let mut fleet = FleetServer::start(system);
    let options = fleet.options("agent").join(" ");
    let terminal = Terminal::start(150, 40);
    terminal.line(&picosnitch(fleet.place.path(), &format!("view {options}")));
    // The programs of all hosts, and on which of them the first one is.
    let screen = terminal.wait_until("the detail", |screen| {
        screen.contains("/opt/own") && screen.contains("Hosts") && screen.contains("laptop")
    });
    assert!(screen.contains("61.4 kB") && screen.contains("verdicts are on the machine"), "{screen}");
    assert!(screen.contains("  on ") && screen.contains("incomplete"), "{screen}");
    // The first tab has the hosts; what a host is called is text.
    terminal.press(&["BTab"]);
    // A row; the detail of the other tab may name it, too.
    terminal.wait_until("the hosts", |screen| screen.lines().any(|line| line.starts_with(" evil\\x1b]0")));
    terminal.press(&["Down", "Down"]);
    terminal.wait_for("evil\\x1b]0;owned\\x07<img src=x onerror=alert(1)> ──");
    assert!(!terminal.tmux(&["display", "-p", "#{pane_title}"]).contains("owned"));
    // Only this host, then its programs.
    terminal.press(&["/"]);
    terminal.line("laptop");
    terminal.wait_for("1 row found");
    terminal.press(&["Enter"]);
    let screen = terminal.wait_until("the programs of the host", |screen| {
        screen.contains("host=laptop") && screen.contains("/usr/bin/curl") && screen.contains("aaaaaaaa")
    });
    assert!(!screen.contains("/opt/own") && !screen.contains("bbbbbbbb"), "{screen}");
    // What is new, of a server as well.
    terminal.press(&["n"]);
    terminal.wait_for("only what is new");
    terminal.wait_for("first seen");
    terminal.press(&["n", "BSpace"]);
    // Events have their host.
    terminal.wait_for("evil");
    terminal.press(&["BTab"]);
    let screen = terminal.wait_for("curl is new on serv");
    assert!(screen.contains("laptop") && screen.contains("\\x1b]0;"), "{screen}");
    terminal.press(&["Tab", "Tab"]);
    terminal.wait_for("/opt/own");

    // Keys have an effect while the server does not answer.
    thread::scope(|scope| {
        let server = &fleet.server;
        scope.spawn(|| lock_records(server));
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        terminal.press(&["r", "Tab"]);
        terminal.wait_for("asking ");
        terminal.press(&["Tab", "Tab", "?"]);
        terminal.wait_for("Keys");
        assert!(begun.elapsed() < LOCKED / 2, "{:?}", begun.elapsed());
        terminal.press(&["q"]);
        terminal.wait_for("aaaaaaaaaaaaaa");
    });
    if system == System::PostgreSql {
        // Questions that were given up are ended on the server, too. (For ClickHouse a test of server_query has an endless one.)
        let of_agent = "SELECT integer(count(*)) FROM pg_stat_activity WHERE usename = 'agent'";
        let until = Instant::now() + Duration::from_secs(20);
        while fleet.server.numbers(of_agent) != [1] {
            assert!(Instant::now() < until, "{:?}", fleet.server.numbers(of_agent));
            thread::sleep(Duration::from_millis(100));
        }
    }

    // The server goes, and comes back.
    fleet.server.kill();
    terminal.press(&["r"]);
    // A question that was asked just before may have failed otherwise.
    let screen = terminal.wait_for("nothing listens there");
    assert!(screen.contains("it is tried again every ten seconds"), "{screen}");
    assert!(screen.contains("aaaaaaaaaaaaaa"), "the rows stay: {screen}");
    fleet.server.restart();
    terminal.wait_until("recovery without a key", |screen| !screen.contains("it is tried again"));
    // A connection that the server has ended is not an error.
    fleet.server.restart();
    terminal.press(&["BTab", "BTab", "BTab"]);
    let screen = terminal.wait_for("/opt/own");
    assert!(!screen.contains("it is tried again"), "{screen}");
    terminal.press(&["q"]);
    terminal.wait_until("the end", |screen| !screen.contains("/opt/own"));
}

/// What is wrong is said, and how to help it.
fn refusals(system: System) {
    let mut server = ServerProcess::start(system);
    let place = tempfile::tempdir().unwrap();
    let password = place.path().join("password");
    let address = fleet_servers::address(&server, "owner", "127.0.0.1");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
            .arg("--base-dir")
            .arg(place.path())
            .args(["view", "--source", &address, "--password-file"])
            .arg(&password)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    std::fs::write(&password, server_process::PASSWORD).unwrap();
    assert!(run().contains("no tables of picosnitch"), "{}", run());
    std::fs::write(&password, "wrong").unwrap();
    let wrong = run();
    assert!(wrong.contains("is the user or the password wrong") && !wrong.contains("view::"), "{wrong}");
    server.kill();
    assert!(run().contains("nothing listens there"), "{}", run());
}

with_each_sql_server! {
    screens_of_a_server
    refusals
}

/// The old version alone: the current one answers one question after the other here, which takes too long for a screen. The tests of
/// `dash` ask it the same.
mod clickhouse {
    use super::System;

    #[test]
    fn screens_of_a_server() {
        super::screens_of_a_server(System::ClickHouse);
    }

    #[test]
    fn refusals() {
        super::refusals(System::ClickHouse);
    }
}

#[test]
fn a_log_is_a_source_too() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("other.db");
    let mut writer = store::Writer::open(&log).unwrap();
    let records = vec![fleet_servers::record("/usr/bin/elsewhere", 1, "example.org", 5)];
    let time = fleet_servers::now() - 30;
    writer.write(&model::Window { time, records, ..model::Window::default() }).unwrap();
    let terminal = Terminal::start(100, 30);
    terminal.line(&picosnitch(place.path(), &format!("view --source {}", log.display())));
    let screen = terminal.wait_for("/usr/bin/elsewhere");
    assert!(!screen.contains("Hosts"), "{screen}");
    terminal.press(&["q"]);
}
