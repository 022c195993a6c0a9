//! Starts that fail, or that are unusual: sentences that help.

use std::net::TcpListener;

use crate::{
    http,
    logs::{Log, TRAFFIC, picosnitch},
    server::{Dash, free_port},
};

fn log() -> Log {
    Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC)])
}

#[test]
fn a_port_that_is_taken_is_left_to_its_owner() {
    let log = log();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // Somebody else was there first, on one of the two addresses of localhost.
        let Ok(other) = TcpListener::bind(address) else {
            eprintln!("skipped {address}: this machine does not have it");
            continue;
        };
        let port = other.local_addr().unwrap().port();
        let error = Dash::try_start(log.path(), &[], port).err().unwrap();
        assert!(error.contains(&format!("port {port} is taken by another program of yours")), "{error}");
        assert!(error.contains(&format!("PORT={}", port + 1)), "{error}");
        assert!(!error.contains("token"), "{error}");
    }
}

#[test]
fn both_addresses_of_localhost_are_ours() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    assert!(TcpListener::bind(("127.0.0.1", dash.port)).is_err());
    assert!(TcpListener::bind(("::1", dash.port)).is_err());
}

#[test]
fn without_a_log_the_page_says_so() {
    let place = tempfile::tempdir().unwrap();
    let dash = Dash::start(place.path(), &[]);
    let response = dash.get("/api/v1/query");
    assert_eq!((response.status, &*response.error()), (503, "no_log"));
    let health = dash.json("/api/v1/health");
    assert!(health["log_problem"].as_str().unwrap().contains("snitch.db"), "{health}");
    // What is known without it is told all the same.
    let metrics = dash.get("/metrics");
    assert_eq!(metrics.status, 200);
    for line in ["picosnitch_up 0", "picosnitch_log_readable 0"] {
        assert!(metrics.text().lines().any(|found| found == line), "{}", metrics.text());
    }
}

#[test]
fn without_authentication_everybody_reads_and_is_told_so() {
    let log = log();
    let dash = Dash::start(log.path(), &["--no-auth"]);
    assert_eq!(dash.token, "");
    assert_eq!(http::send(dash.port, "GET", "/api/v1/query?range=all", &[], b"").json()["total"]["sent"], 1);
    // Not from other sites all the same.
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(http::send(dash.port, "GET", "/api/v1/query?range=all", &foreign, b"").status, 403);
    assert_eq!(http::send(dash.port, "GET", "/api/v1/query", &[("Host", "evil.example")], b"").status, 403);
}

/// What a start prints when it ends at once.
fn refused(log: &Log, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = picosnitch(log.path(), "Europe/Berlin", "dash");
    command.env_remove("HOST").env_remove("PORT").args(arguments).envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{variables:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn wrong_settings_are_explained() {
    let log = log();
    for port in ["0", "65536", "http", "-1", " "] {
        let error = refused(&log, &[("PICOSNITCH_PORT", port)], &[]);
        assert!(error.contains("PICOSNITCH_PORT is no port"), "{error}");
    }
    let error = refused(&log, &[("PICOSNITCH_HOST", "example.com")], &[]);
    assert!(error.contains("no address to listen on"), "{error}");
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let error = refused(&log, &[("PICOSNITCH_HOST", host)], &["--no-auth"]);
        assert!(error.contains("needs a certificate and a password") && error.contains("ssh -L"), "{error}");
    }
    let error = refused(&log, &[], &["--open"]);
    assert!(error.contains("picosnitch-dash"), "{error}");
}

#[test]
fn the_name_of_the_machine_in_host_is_no_wish() {
    let log = log();
    let port = free_port().to_string();
    let mut command = picosnitch(log.path(), "Europe/Berlin", "dash");
    command.args(["--no-browser"]).env("HOST", "my-machine").env("PORT", &port);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with(&format!("http://localhost:{port}/#token=")), "{line}");
}
