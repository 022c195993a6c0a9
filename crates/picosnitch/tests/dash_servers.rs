//! `picosnitch dash --source` on real servers with copies of the logs of several hosts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet_servers;
#[path = "dash/http.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod http;
#[path = "logs/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod logs;
#[path = "dash/server.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server;
#[path = "../../export/tests/server_process/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server_process;

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use fleet_servers::FleetServer;
use http::escape;
use serde_json::Value;
use server::Dash;
use server_process::{PASSWORD, ServerProcess, System, with_each_system};

/// How the hostile host is written in JSON: only what acts on a terminal is escaped.
const HOSTILE: &str = "evil\u{1b}]0;owned\u{7}<img src=x onerror=alert(1)>";

/// What a command prints as JSON.
fn command(fleet: &FleetServer, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .arg("--base-dir")
        .arg(fleet.place.path())
        .args(arguments)
        .args(fleet.options("agent"))
        .arg("--json")
        .env("TZ", "Europe/Berlin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn the_page_of_a_server(system: System) {
    let mut fleet = FleetServer::start(system);
    let options = fleet.options("agent");
    let dash = Dash::start(fleet.place.path(), &options.each_ref().map(String::as_str));
    let source = dash.json("/api/v1/source");
    assert_eq!(source["kind"], "server");
    assert!(source["name"].as_str().unwrap().contains(&format!("127.0.0.1:{}", fleet.server.port)));
    assert_eq!(source["last"].as_i64().unwrap() - source["first"].as_i64().unwrap(), 7200 + 190);
    assert!(dash.get("/").text().contains("<html lang=\"en\" data-source=\"server\">"));

    // The same answers as on the command line, with the hosts.
    for (target, arguments) in [
        ("group_by=host&range=1d", &["-g", "host", "--range", "1d"][..]),
        ("group_by=exe&seen=1&range=1d", &["--with-seen", "--range", "1d"]),
        (
            "group_by=sha256&where=host%3Dlaptop&range=1d",
            &["-g", "sha256", "-w", "host=laptop", "--range", "1d"],
        ),
        ("group_by=host&group_by=domain&range=1d", &["-g", "host", "-g", "domain", "--range", "1d"]),
    ] {
        let answer = dash.json(&format!("/api/v1/query?{target}&zone=Europe/Berlin"));
        let expected = command(&fleet, &[&["query"], arguments].concat());
        assert_eq!(answer["rows"], expected["rows"], "{target}");
        assert_eq!(answer["losses"], expected["losses"], "{target}");
        assert!(!answer["rows"].as_array().unwrap().is_empty());
    }
    let hosts = dash.json("/api/v1/query?group_by=host&range=1d");
    assert!(hosts["rows"].as_array().unwrap().iter().any(|row| row["host"] == HOSTILE), "{hosts}");
    // Charts, of hosts, too.
    let series = dash.json("/api/v1/series?group_by=host&range=1d&parts=24");
    let sum = |columns: &Value| {
        columns["sent"].as_array().unwrap().iter().map(|sent| sent.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum(&series["total"]), 20 * (100 + 200 + 1 + 7));
    assert_eq!(series["groups"].as_array().unwrap().iter().map(sum).collect::<Vec<_>>(), [4020, 2000, 140]);
    assert_eq!(series["gaps"].as_array().unwrap().len(), 0);
    let lost: u64 =
        series["losses"].as_array().unwrap().iter().map(|loss| loss["count"].as_u64().unwrap()).sum();
    assert_eq!(lost, 9);
    let of_laptop = dash.json("/api/v1/series?range=1d&parts=24&where=host%3Dlaptop");
    assert_eq!((sum(&of_laptop["total"]), of_laptop["losses"].as_array().unwrap().len()), (2000, 1));
    // Events have their host; numbers of users no names, since those of another machine are others.
    let events = dash.json("/api/v1/events?range=1d&kind=alert&where=host%3Dserver");
    assert_eq!(events["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&events["rows"][0]["host"], &events["rows"][0]["exe"]),
        (&"server".into(), &"/usr/bin/curl".into())
    );
    let users = dash.json("/api/v1/query?group_by=uid&range=1d");
    assert!(users["labels"]["uid"].is_null(), "{users}");
    let seen = dash.json("/api/v1/seen?where=exe%3D/usr/bin/curl");
    assert_eq!(seen["rows"].as_array().unwrap().len(), 2);
    let found = dash.json("/api/v1/search?q=lapt&range=1d");
    assert_eq!(found["results"][0]["dimension"], "host");

    // Questions about all hosts are those of the command.
    for (question, value, arguments) in [
        ("digest", "aa".repeat(32), &["digest", "aaaa"][..]),
        ("first", "/usr/bin/curl".into(), &["first", "curl"]),
        ("domain", ".example.org".into(), &["domain", ".example.org"]),
        ("unique", String::new(), &["unique"]),
        ("silent", "60".into(), &["silent", "--minutes", "60"]),
    ] {
        let target = format!(
            "/api/v1/fleet?question={question}&value={}&zone=Europe/Berlin&range=all",
            escape(&value)
        );
        let mut rows = dash.json(&target)["rows"].clone();
        let mut expected = command(&fleet, &[&["fleet"], arguments].concat());
        for row in [&mut rows, &mut expected].into_iter().flat_map(|rows| rows.as_array_mut().unwrap()) {
            // Of another second.
            row.as_object_mut().unwrap().remove("silent_seconds");
        }
        assert_eq!(rows, expected, "{question}");
        assert!(!rows.as_array().unwrap().is_empty(), "{question}");
    }
    let bad = |target: &str, parameter: &str| {
        let response = dash.get(&format!("/api/v1/fleet?{target}"));
        assert_eq!(
            (response.status, &response.json()["error"]["parameter"]),
            (400, &parameter.into()),
            "{target}"
        );
    };
    bad("question=other&value=x", "question");
    bad("question=digest", "value");
    bad("question=silent&value=-1", "value");
    bad("question=digest&value=xyz", "where");
    bad("question=unique&group_by=exe", "group_by");

    // What belongs to a machine is not there, with the reason.
    for (path, what) in
        [("/api/v1/health", "Health"), ("/api/v1/live", "live traffic"), ("/metrics", "/metrics")]
    {
        let response = dash.get(path);
        let text = response.json()["error"]["text"].as_str().unwrap().to_owned();
        assert_eq!((response.status, text.starts_with(what)), (404, true), "{text}");
        assert!(text.contains("the machine that records"), "{text}");
    }

    // The password is nowhere but in the process.
    let pid = dash.pid();
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!arguments.contains(PASSWORD), "{arguments:?}");
    for target in ["/", "/api/v1/source", "/api/v1/query?group_by=host", "/api/v1/openapi.json"] {
        let text = dash.get(target).text();
        assert!(
            !text.contains(PASSWORD) && !text.contains(&escape(PASSWORD)) && !text.contains("agent@"),
            "{target}"
        );
    }

    // The server goes and comes back.
    fleet.server.kill();
    let away = dash.get("/api/v1/query?group_by=exe&range=7d");
    let error = &away.json()["error"];
    assert_eq!((away.status, &error["kind"]), (502, &"server".into()));
    assert!(error["text"].as_str().unwrap().contains("nothing listens there"), "{error}");
    fleet.server.restart();
    assert_eq!(dash.json("/api/v1/query?group_by=host&range=6d")["row_count"], 3);
    // A server that was started again is no error.
    fleet.server.restart();
    assert_eq!(dash.json("/api/v1/query?group_by=host&range=5d")["row_count"], 3);
}

/// What is wrong is said by the page, which goes on trying.
fn refusals(system: System) {
    let server = ServerProcess::start(system);
    let place = tempfile::tempdir().unwrap();
    let password = place.path().join("password");
    // By its name, which is looked up after the rights are given up.
    let address = fleet_servers::address(&server, "owner", "localhost");
    let start = |text: &str| {
        fs::write(&password, text).unwrap();
        let file = password.display().to_string();
        Dash::start(place.path(), &["--source", &address, "--password-file", &file])
    };
    let wrong = start("wrong").get("/api/v1/query");
    assert_eq!((wrong.status, wrong.error()), (502, "server".to_owned()));
    assert!(wrong.text().contains("is the user or the password wrong"), "{}", wrong.text());
    let dash = start(PASSWORD);
    let empty = dash.get("/api/v1/query");
    assert_eq!((empty.status, empty.error()), (503, "no_log".to_owned()));
    assert!(empty.text().contains("no tables of picosnitch"), "{}", empty.text());
    // The first copy that arrives is shown.
    let log = place.path().join("a.db");
    let mut writer = store::Writer::open(&log).unwrap();
    let records = vec![fleet_servers::record("/usr/bin/first", 1, "example.org", 5)];
    writer.write(&model::Window { time: fleet_servers::now(), records, ..model::Window::default() }).unwrap();
    writer.checkpoint().unwrap();
    fleet_servers::send(&log, &server.settings("owner"), "first");
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = dash.get("/api/v1/query?group_by=exe");
        if answer.status == 200 && answer.json()["rows"][0]["exe"] == "/usr/bin/first" {
            break;
        }
        assert!(Instant::now() < until, "{}", answer.text());
        thread::sleep(Duration::from_millis(200));
    }
}

with_each_system! {
    the_page_of_a_server
    refusals
}

#[test]
fn a_log_is_a_source_too() {
    let place = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let log = other.path().join("other.db");
    let mut writer = store::Writer::open(&log).unwrap();
    let records = vec![fleet_servers::record("/usr/bin/elsewhere", 1, "example.org", 5)];
    let time = fleet_servers::now() - 30;
    writer.write(&model::Window { time, records, ..model::Window::default() }).unwrap();
    drop(writer);
    let dash = Dash::start(place.path(), &["--source", log.to_str().unwrap()]);
    assert_eq!(dash.json("/api/v1/query?group_by=exe")["rows"][0]["exe"], "/usr/bin/elsewhere");
    assert_eq!(dash.json("/api/v1/source")["kind"], "log");
    let host = dash.get("/api/v1/query?group_by=host");
    assert_eq!((host.status, host.error()), (400, "bad_request".to_owned()));
    let fleet = dash.get("/api/v1/fleet?question=unique");
    assert!(fleet.status == 404 && fleet.text().contains("one host only"), "{}", fleet.text());
    assert_eq!(dash.get("/api/v1/health").status, 404);
}
