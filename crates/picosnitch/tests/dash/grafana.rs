//! The dashboard for Grafana asks for nothing that the server does not tell.

use std::{
    collections::BTreeSet, fs, io::Write, os::unix::net::UnixListener, path::Path, thread, time::Duration,
};

use live::protocol::HelloLine;
use model::Window;
use serde_json::Value;

use crate::{
    logs::{Log, TRAFFIC},
    server::Dash,
};

const TIME: i64 = 1_700_000_000;
const PREFIX: &str = "picosnitch_";

/// Answers as the daemon does, for as long as the test runs.
fn daemon(base: &Path) {
    fs::create_dir(base.join("run")).unwrap();
    let listener = UnixListener::bind(base.join("run").join(live::SOCKET_NAME)).unwrap();
    let own = std::process::id();
    let losses = [("flow_table_full".to_owned(), 3)].into();
    let hello = HelloLine {
        event: "hello".into(),
        version: "1".into(),
        monitor: own,
        recorder: own,
        losses,
        ..HelloLine::default()
    };
    thread::spawn(move || {
        for client in listener.incoming() {
            let _ = writeln!(client.unwrap(), "{}", serde_json::to_string(&hello).unwrap());
        }
    });
}

/// The names of metrics in a text: words with our prefix.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with(PREFIX)).map(str::to_owned).collect()
}

/// All texts at these keys, at any depth.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| texts(value, keys, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if keys.contains(&&**key) => found.push(text),
                    _ => texts(value, keys, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let log = Log::new("Europe/Berlin", &[(TIME, TRAFFIC)]);
    daemon(log.path());
    let dash = Dash::start(log.path(), &[]);
    // Traffic is counted from the first request on.
    assert_eq!(dash.get("/metrics").status, 200);
    log.write([Window { time: TIME + 10, records: vec![TRAFFIC.record()], ..Window::default() }]);
    thread::sleep(Duration::from_millis(1100));
    let metrics = dash.get("/metrics").text();
    let told: BTreeSet<String> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| names(line.split('{').next().unwrap()))
        .collect();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/grafana/picosnitch.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, &["expr", "query", "definition"], &mut queries);
    let asked: BTreeSet<String> = queries.iter().flat_map(|query| names(query)).collect();
    let missing: Vec<_> = asked.difference(&told).collect();
    assert!(asked.len() > 8 && missing.is_empty(), "{missing:?} {metrics}");
    // Labels, too.
    for label in ["exe", "direction", "kind", "process", "version"] {
        assert!(metrics.contains(&format!("{label}=\"")), "{label}: {metrics}");
    }
}
