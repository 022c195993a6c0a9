//! Traffic with the internet and with local networks.

use serde_json::{Value, json};

use crate::logs::{Log, TRAFFIC, Traffic};

fn log() -> Log {
    let to = |address, sent| (1_700_000_000, Traffic { address, sent, ..TRAFFIC });
    Log::new(
        "UTC",
        &[
            to("198.51.100.7", 1),
            to("2001:db8::1", 2),
            to("127.0.0.1", 4),
            to("192.168.1.1", 8),
            to("100.64.0.1", 16),
            to("ff02::fb", 32),
            to("many", 64),
            to("", 128),
        ],
    )
}

fn sent(log: &Log, arguments: &[&str]) -> Value {
    log.json(&[&["--range", "all"], arguments].concat())["total"]["sent"].clone()
}

#[test]
fn the_internet_and_local_networks_are_told_apart() {
    let log = log();
    assert_eq!((sent(&log, &["--internet"]), sent(&log, &["--local"])), (json!(3), json!(60)));
    assert_eq!(sent(&log, &["-w", "scope=internet", "-w", "scope=local"]), 63);
    assert_eq!(
        (sent(&log, &["-w", "scope=unknown"]), sent(&log, &["-w", "scope="])),
        (json!(64), json!(128))
    );
    assert_eq!((sent(&log, &["-x", "scope=local"]), sent(&log, &[])), (json!(195), json!(255)));
    let rows = &log.json(&["--range", "all", "-g", "scope"])["rows"];
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["scope"], &row["sent"])).collect();
    let expected = [
        (json!(null), json!(128)),
        (json!("unknown"), json!(64)),
        (json!("local"), json!(60)),
        (json!("internet"), json!(3)),
    ];
    assert_eq!(rows, expected.iter().map(|(scope, sent)| (scope, sent)).collect::<Vec<_>>());
}

#[test]
fn totals_say_which() {
    let log = log();
    let text = |option: &str| log.text(&["--range", "all", "-g", "port", option]);
    assert!(text("--internet").contains("total of 1 row, internet only"), "{}", text("--internet"));
    assert!(text("--local").contains("total of 1 row, local networks only"), "{}", text("--local"));
    assert!(!text("--full").contains("only"));
    for (option, scope) in
        [("--internet", json!("internet")), ("--local", json!("local")), ("--full", json!(null))]
    {
        assert_eq!(log.json(&["--range", "all", option])["scope"], scope);
    }
}

#[test]
fn what_has_no_scope_is_told() {
    let log = log();
    let note = |option: &str, filter: &str| log.ask(&["--range", "all", option, "-x", filter]).err;
    assert!(
        note("--internet", "exe=x").contains("--internet leaves out 192 B with several addresses or none")
    );
    assert!(note("--local", "address=many").contains("--local leaves out 128 B with"));
    let known = Log::new("UTC", &[(1_700_000_000, TRAFFIC)]);
    assert_eq!(known.ask(&["--range", "all", "--internet"]).err, "");
}

#[test]
fn contradictions_are_refused() {
    let log = log();
    log.refuse(&["--internet", "--local"], "cannot be used with");
    log.refuse(&["--internet", "--events"], "cannot be used with");
    log.refuse(&["--local", "--seen"], "cannot be used with");
    for option in ["--where", "--exclude"] {
        log.refuse(&["--internet", option, "scope=local"], "--internet and --local do not go with");
    }
    log.refuse(&["--where", "scope=lan"], "scope cannot be \"lan\": expected internet, local or unknown");
}
