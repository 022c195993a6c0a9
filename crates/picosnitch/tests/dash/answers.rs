//! Answers of the API are those of `picosnitch query`.

use model::Window;
use serde_json::{Value, json};

use crate::{
    http,
    logs::{Log, TRAFFIC, Traffic, UID},
    server::Dash,
};

const TIME: i64 = 1_700_000_000;

/// Programs, domains and users over some days.
fn log() -> Log {
    let mut traffic = Vec::new();
    for hour in 0..72_i64 {
        let time = TIME + hour * 3600;
        let scale = u64::try_from(hour).unwrap() + 1;
        traffic.push((
            time,
            Traffic { sent: scale, received: 1000 * scale, domain: "github.com", country: "US", ..TRAFFIC },
        ));
        let firefox =
            Traffic { exe: b"/usr/lib/firefox/firefox", digest: 1, uid: 0, unit: "app.scope", ..TRAFFIC };
        if hour % 3 == 0 {
            traffic.push((
                time + 10,
                Traffic { received: 7 * scale, domain: "example.org", port: 80, ..firefox },
            ));
        }
        if hour > 60 {
            traffic.push((
                time + 20,
                Traffic { exe: b"/opt/new", digest: 2, address: "10.0.0.7", sent: 3, ..TRAFFIC },
            ));
        }
    }
    Log::new("Europe/Berlin", &traffic)
}

/// The parameters of the API for options of the command.
fn target(options: &[&str]) -> String {
    let mut pairs = vec!["zone=Europe/Berlin".to_owned()];
    for option in options {
        let option = option.strip_prefix("--").unwrap();
        let (name, value) = option.split_once('=').unwrap_or((option, "1"));
        let (name, value) = match name {
            "internet" | "local" => ("scope".to_owned(), name),
            "with-seen" => ("seen".to_owned(), value),
            name => (name.replace('-', "_"), value),
        };
        pairs.push(format!("{name}={}", http::escape(value)));
    }
    format!("/api/v1/query?limit=10000&{}", pairs.join("&"))
}

#[test]
fn rows_are_those_of_the_command() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let questions: [&[&str]; 14] = [
        &["--range=all", "--group-by=exe"],
        &["--range=all", "--group-by=domain", "--sort=received", "--reverse"],
        &["--range=all", "--group-by=uid", "--group-by=port"],
        &["--range=all", "--group-by=day"],
        &["--range=all", "--group-by=hour-of-day", "--where=exe=firefox"],
        &["--range=all", "--group-by=exe", "--internet"],
        &["--range=all", "--group-by=exe", "--local"],
        &["--range=all", "--group-by=exe", "--with-seen"],
        &["--range=all", "--group-by=exe", "--find=FIRE"],
        &["--range=all", "--group-by=country", "--exclude=domain=github.com"],
        &["--since=2023-11-15", "--until=2023-11-16", "--group-by=exe"],
        &["--range=2023-11-15..2023-11-16", "--group-by=exe", "--compare=previous"],
        &["--range=all", "--group-by=exe", "--new-since=2023-11-17"],
        &["--range=all", "--group-by=sha256", "--where=uid=root"],
    ];
    for options in questions {
        let expected = log.json(options);
        let answer = dash.json(&target(options));
        for field in [
            "rows",
            "row_count",
            "total",
            "range",
            "scope",
            "losses",
            "sums_of_quarter_hours_before",
            "compared_with",
        ] {
            if let Some(expected) = expected.get(field) {
                assert_eq!(&answer[field], expected, "{field} of {options:?}");
            }
        }
        assert!(!answer["rows"].as_array().unwrap().is_empty(), "{options:?}");
    }
}

#[test]
fn a_page_of_rows_is_a_part_of_all() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let all = dash.json("/api/v1/query?range=all&group_by=hour&limit=10000");
    let page = dash.json("/api/v1/query?range=all&group_by=hour&limit=10&offset=20");
    assert_eq!(page["row_count"], all["row_count"]);
    assert_eq!(page["rows"].as_array().unwrap()[..], all["rows"].as_array().unwrap()[20..30]);
    assert_eq!(page["total"], all["total"]);
    let beyond = dash.json("/api/v1/query?range=all&group_by=hour&offset=100000");
    assert_eq!((&beyond["rows"], &beyond["row_count"]), (&json!([]), &all["row_count"]));
}

fn sum(column: &Value) -> u64 {
    column.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).sum()
}

#[test]
fn a_series_adds_up_to_the_rows() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let range = "since=1699999000&until=1700300000";
    let rows = dash.json(&format!("/api/v1/query?{range}&group_by=exe"));
    let series = dash.json(&format!("/api/v1/series?{range}&group_by=exe&top=2&parts=50&compare=previous"));
    let edges = series["edges"].as_array().unwrap();
    assert!(edges.len() <= 51 && edges.len() > 10, "{}", edges.len());
    for field in ["conns", "received", "sent"] {
        assert_eq!(series["total"][field].as_array().unwrap().len(), edges.len() - 1);
        assert_eq!(sum(&series["total"][field]), rows["total"][field], "{field}");
        let groups = series["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 2);
        let mut parts = sum(&series["other"][field]);
        for (group, row) in groups.iter().zip(rows["rows"].as_array().unwrap()) {
            assert_eq!(group["exe"], row["exe"]);
            assert_eq!(sum(&group[field]), row[field]);
            parts += sum(&group[field]);
        }
        assert_eq!(parts, rows["total"][field], "{field}");
        assert_eq!(series["before"][field].as_array().unwrap().len(), edges.len() - 1);
    }
    assert_eq!(series["extent"], json!([TIME, TIME + 71 * 3600 + 20]));
    let slots = series["slots"].as_object().unwrap();
    assert_eq!(slots.len(), 2);
    assert!(slots.values().all(|slot| (1..=8).contains(&slot.as_u64().unwrap())));
}

#[test]
fn another_range_has_all_of_its_traffic_in_as_many_parts() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    for (range, compare) in [
        ("2023-11-15", "2023-11-14..2023-11-16"),
        ("2023-11-15..2023-11-17", "2023-11-16"),
        ("2023-11-15", "previous"),
        ("2023-11", "previous"),
        ("2023-11-16", "2023-11-16 10:07..2023-11-16 10:19"),
        ("2023-11-17", "all"),
        ("all", "2023-11-15"),
    ] {
        let question =
            format!("range={}&compare={}&zone=Europe/Berlin", http::escape(range), http::escape(compare));
        let rows = dash.json(&format!("/api/v1/query?{question}"));
        let series = dash.json(&format!("/api/v1/series?parts=30&{question}"));
        for field in ["conns", "received", "sent"] {
            let before = &series["before"][field];
            assert_eq!(sum(before), rows["total"]["before"][field], "{field} of {range} and {compare}");
            assert_eq!(before.as_array().unwrap().len() + 1, series["edges"].as_array().unwrap().len());
        }
    }
}

#[test]
fn the_ends_of_time_are_answered() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let (min, max) = (i64::MIN, i64::MAX);
    for range in [
        format!("since={min}"),
        format!("until={max}"),
        format!("since={min}&until={max}"),
        format!("since={max}"),
    ] {
        for path in
            ["query?group_by=day&", "series?parts=20&", "series?group_by=exe&compare=2023-11-15&", "events?"]
        {
            let response = dash.get(&format!("/api/v1/{path}{range}"));
            assert!(matches!(response.status, 200 | 400), "{path}{range}: {}", response.text());
        }
    }
}

#[test]
fn a_question_with_too_many_rows_is_refused() {
    let log = Log::new("Europe/Berlin", &[]);
    // Half a million rows.
    log.write((0..1800).map(|at| Window {
        time: TIME + at * 10,
        records: (0..300).map(|port| Traffic { port, ..TRAFFIC }.record()).collect(),
        ..Window::default()
    }));
    let dash = Dash::start(log.path(), &[]);
    for path in ["query?limit=6&", "export?"] {
        let response = dash.get(&format!("/api/v1/{path}range=all&group_by=port&group_by=time"));
        assert_eq!((response.status, &*response.error()), (400, "bad_request"), "{}", response.text());
        assert!(response.text().contains("fewer dimensions"), "{}", response.text());
    }
    assert_eq!(dash.json("/api/v1/query?range=all&group_by=time")["row_count"], 1800);
}

#[test]
fn what_a_question_does_not_have_is_refused() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    for target in [
        "series?group_by=exe&new_since=2023-11-16",
        "series?group_by=exe&limit=3",
        "series?seen=1",
        "events?scope=internet",
        "seen?find=a",
        "search?q=a&sort=exe",
    ] {
        let response = dash.get(&format!("/api/v1/{target}"));
        assert_eq!((response.status, &*response.error()), (400, "bad_request"), "{target}");
        assert!(response.text().contains(" only"), "{}", response.text());
    }
}

#[test]
fn metrics_go_on_in_another_log() {
    let (log, other) = (log(), Log::new("Europe/Berlin", &[(TIME, TRAFFIC)]));
    let dash = Dash::start(log.path(), &[]);
    assert!(!dash.get("/metrics").text().contains("exe="));
    for name in ["snitch.db-wal", "snitch.db-shm"] {
        let _ = std::fs::remove_file(log.path().join(name));
    }
    // It ends before the one that it replaces.
    std::fs::rename(other.path().join("snitch.db"), log.path().join("snitch.db")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!dash.get("/metrics").text().contains("exe="));
    let window = |time, sent| Window {
        time,
        records: vec![Traffic { sent, ..TRAFFIC }.record()],
        ..Window::default()
    };
    // The daemon begins an epoch in the log that it finds in the place of its own: that is another one for all readers.
    log.write([window(TIME + 10, 3)]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!dash.get("/metrics").text().contains("exe="));
    log.write([window(TIME + 20, 5)]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let text = dash.get("/metrics").text();
    assert!(text.contains("{exe=\"/usr/bin/curl\",direction=\"sent\"} 5\n"), "{text}");
}

#[test]
fn names_of_numbers_come_along() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let answer = dash.json("/api/v1/query?range=all&group_by=uid&group_by=port");
    assert_eq!(answer["labels"]["uid"]["0"], "root");
    assert_eq!(answer["labels"]["port"], json!({"80": "http", "443": "https"}));
    assert_eq!(answer["labels"]["uid"].get(UID.to_string()), None);
}

#[test]
fn a_text_is_found_in_all_values() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let found = |text: &str| {
        let answer = dash.json(&format!("/api/v1/search?range=all&q={text}"));
        let results = answer["results"].as_array().unwrap().clone();
        results.into_iter().map(|result| result["dimension"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("github"), ["domain"]);
    assert_eq!(found("FIRE"), ["exe", "name"]);
    assert_eq!(found("root"), ["uid"]);
    assert_eq!(found("http"), ["port"]);
    assert_eq!(found("10.0.0"), ["address"]);
    assert_eq!(found("nowhere"), [""; 0]);
    // What a search has not is not ignored.
    for other in ["limit=3", "compare=previous", "group_by=exe", "sort=sent", "where=exe%3Dcurl", "seen=1"] {
        assert_eq!(dash.get(&format!("/api/v1/search?q=github&{other}")).status, 400, "{other}");
    }
}

#[test]
fn programs_and_events_are_listed() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let seen = dash.json("/api/v1/seen");
    let newest = &seen["rows"][0];
    assert_eq!((&newest["exe"], &newest["uid"]), (&json!("/opt/new"), &json!(UID)));
    assert_eq!(newest["first"], TIME + 61 * 3600 + 20);
    let expected = log.json(&["--seen"]);
    assert_eq!(seen["rows"].as_array().unwrap().len(), expected.as_array().unwrap().len());
    let one = dash.json("/api/v1/seen?where=exe%3D/opt/new");
    assert_eq!(one["rows"], json!([newest]));
    let events = dash.json("/api/v1/events?range=all");
    let expected = log.json(&["--events", "--range=all"]);
    let mut expected = expected.as_array().unwrap().clone();
    expected.reverse();
    for (event, expected) in events["rows"].as_array().unwrap().iter().zip(&expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&event[field], value, "{field}");
        }
        assert!(event["sentence"].is_string());
    }
    assert_eq!(dash.get("/api/v1/events?group_by=exe").status, 400);
    assert_eq!(dash.get("/api/v1/events?where=domain%3Da").status, 400);
}

#[test]
fn an_export_has_all_rows() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let csv = dash.get("/api/v1/export?range=all&group_by=exe&group_by=domain&zone=Europe/Berlin").text();
    let expected = log.text(&["--range=all", "--group-by=exe", "--group-by=domain", "--csv"]);
    assert_eq!(csv, expected);
    let rows = dash.get("/api/v1/export?range=all&group_by=hour&format=json&zone=Europe/Berlin").json();
    let expected = log.json(&["--range=all", "--group-by=hour"]);
    assert_eq!(rows, expected["rows"]);
    // As browsers ask.
    let compressed =
        dash.get_with("/api/v1/export?range=all&group_by=exe&format=json", &[("Accept-Encoding", "gzip")]);
    assert_eq!((compressed.status, compressed.header("content-encoding")), (200, Some("gzip")));
    assert!(
        compressed.body.starts_with(&[0x1f, 0x8b]) && compressed.body.len() > 100,
        "{:?}",
        compressed.body
    );
    let compared = dash.get("/api/v1/export?range=2023-11-15&compare=previous&group_by=exe").text();
    assert!(
        compared.starts_with("exe,change,conns,received,sent,conns_before,received_before,sent_before\r\n"),
        "{compared}"
    );
    assert_eq!(dash.get("/api/v1/export?range=2020&group_by=exe&format=json").json(), json!([]));
}

#[test]
fn a_log_that_was_replaced_is_noticed() {
    let (log, other) = (log(), Log::new("Europe/Berlin", &[(TIME, TRAFFIC)]));
    let dash = Dash::start(log.path(), &[]);
    let before = dash.json("/api/v1/query?range=all");
    for name in ["snitch.db", "snitch.db-wal", "snitch.db-shm"] {
        let _ = std::fs::remove_file(log.path().join(name));
    }
    let missing = dash.get("/api/v1/query?range=all&group_by=exe");
    assert_eq!((missing.status, &*missing.error()), (503, "no_log"));
    assert!(missing.header("retry-after").is_none());
    std::fs::copy(other.path().join("snitch.db"), log.path().join("snitch.db")).unwrap();
    let after = dash.json("/api/v1/query?range=all&group_by=exe");
    assert_ne!(before["log"], after["log"]);
    assert_eq!(after["total"]["sent"], 1);
    // What is no log is a sentence, and the next one is read again.
    std::fs::remove_file(log.path().join("snitch.db")).unwrap();
    std::fs::write(log.path().join("snitch.db"), "no database").unwrap();
    let broken = dash.get("/api/v1/query?range=all&group_by=uid");
    assert_eq!((broken.status, &*broken.error()), (500, "log"), "{}", broken.text());
}

#[test]
fn health_is_told_without_a_daemon() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let health = dash.counted_health();
    assert_eq!(health["daemon"], Value::Null);
    assert!(health["daemon_problem"].as_str().unwrap().contains("picosnitch is not running"));
    assert_eq!(health["log"]["records"], 72 + 24 + 11);
    assert_eq!(health["log"]["first"], TIME);
    assert_eq!(health["dash"]["pid"], dash.pid());
    assert!(health["retention"]["days"].as_u64().unwrap() > 0);
}

#[test]
fn metrics_are_those_of_prometheus() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let first = dash.get("/metrics").text();
    assert!(first.contains("picosnitch_up 0\n") && first.ends_with("# EOF\n"), "{first}");
    assert!(!first.contains("exe="), "traffic is counted from now on: {first}");
    let record = Traffic { exe: b"/bin/\"odd\"\n", sent: 70_000, ..TRAFFIC };
    log.write([Window { time: TIME + 72 * 3600, records: vec![record.record()], ..Window::default() }]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let text = dash.get("/metrics").text();
    let line = r#"picosnitch_traffic_bytes_total{exe="/bin/\"odd\"\n",direction="sent"} 70000"#;
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn the_description_has_every_path_and_parameter() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let description = dash.json("/api/v1/openapi.json");
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = description["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let response = http::send(dash.port, &method.to_uppercase(), path, &[], b"");
            assert!(!matches!(response.status, 404 | 405), "{method} {path}");
        }
    }
    for path in
        ["/api/v1/query", "/api/v1/series", "/api/v1/export", "/api/v1/live", "/metrics", "/api/v1/login"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    let parameters = paths["/api/v1/query"]["get"]["parameters"].as_array().unwrap();
    for name in [
        "range",
        "since",
        "until",
        "zone",
        "where",
        "exclude",
        "scope",
        "find",
        "group_by",
        "sort",
        "reverse",
        "seen",
        "new_since",
        "changed_since",
        "compare",
        "limit",
        "offset",
        "order",
    ] {
        assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
    }
    let schema = &description["components"]["schemas"]["QueryAnswer"];
    assert!(schema.is_object());
    assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}
