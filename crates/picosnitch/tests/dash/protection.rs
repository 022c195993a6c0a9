//! A server that other machines can reach: TLS, and a password.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    logs::{Log, TRAFFIC, picosnitch},
    server::{Dash, free_port},
};

const PASSWORD: &str = "correct horse battery staple";

/// A log with a certificate and a password in its configuration.
fn log() -> Log {
    let log = Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC)]);
    let made =
        picosnitch(log.path(), "UTC", "dash").arg("--make-certificate").arg(log.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut config = String::from_utf8(made.stdout).unwrap().split_once("[web]").unwrap().1.to_owned();
    let hash = hash(PASSWORD).unwrap();
    config = format!("[web]{config}{}", hash.trim_start_matches("[web]\n"));
    fs::write(log.path().join("config.toml"), config).unwrap();
    log
}

/// What `--hash-password` prints, or its error.
fn hash(password: &str) -> Result<String, String> {
    let place = tempfile::tempdir().unwrap();
    let mut command = picosnitch(place.path(), "UTC", "dash");
    command.arg("--hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// What curl gets, which checks the certificate.
fn curl(log: &Log, arguments: &[&str]) -> (String, Value) {
    let certificate = log.path().join("certificate.pem");
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"])
        .arg(certificate)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_password_opens_a_protected_server() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    assert_eq!(dash.token, "", "the address has no token");
    let url = format!("https://localhost:{}/api/v1", dash.port);
    let (status, session) = curl(&log, &[&format!("{url}/session")]);
    assert_eq!((&*status, &session["auth"]), ("200", &Value::from("password")));
    assert_eq!(curl(&log, &[&format!("{url}/query?range=all")]).0, "401");
    let login = |password: &str| {
        let body = serde_json::json!({"password": password}).to_string();
        curl(&log, &["-d", &body, &format!("{url}/login")])
    };
    let (status, answer) = login(PASSWORD);
    assert_eq!(status, "200", "{answer}");
    let bearer = format!("Authorization: Bearer {}", answer["token"].as_str().unwrap());
    let (status, answer) = curl(&log, &["-H", &bearer, &format!("{url}/query?range=all")]);
    assert_eq!((&*status, &answer["total"]["sent"]), ("200", &Value::from(1)));
    // Guesses are bounded, and who is logged in stays so.
    let mut statuses = Vec::new();
    for guess in 0..11 {
        statuses.push(login(&format!("guess number {guess}")).0);
    }
    assert_eq!(statuses[..10], vec!["401"; 10]);
    assert_eq!(statuses[10], "429");
    assert_eq!(login(PASSWORD).0, "429");
    assert_eq!(curl(&log, &["-H", &bearer, &format!("{url}/query?range=all")]).0, "200");
    for body in ["", "{}", "[]", "{\"password\": 7}", "{\"password\": \"x\", \"more\": 1}"] {
        assert_eq!(curl(&log, &["-d", body, "-X", "POST", &format!("{url}/login")]).0, "400", "{body}");
    }
    // Without encryption nothing is answered.
    let plain =
        Command::new("curl").args(["-s", "--max-time", "5", &url.replace("https", "http")]).output().unwrap();
    assert!(!plain.status.success());
}

#[test]
fn halves_of_a_protection_are_refused() {
    let log = log();
    let config = fs::read_to_string(log.path().join("config.toml")).unwrap();
    let start = |config: &str, host: &str| {
        fs::write(log.path().join("config.toml"), config).unwrap();
        let mut command = picosnitch(log.path(), "UTC", "dash");
        let output = command
            .args(["--no-browser"])
            .env("PICOSNITCH_PORT", free_port().to_string())
            .env("PICOSNITCH_HOST", host)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let without = |key: &str| -> String {
        config.lines().filter(|line| !line.starts_with(key)).flat_map(|line| [line, "\n"]).collect()
    };
    assert!(start(&without("key"), "localhost").contains("belong together"));
    assert!(start(&without("password_hash"), "0.0.0.0").contains("needs a certificate and a password"));
    let no_tls: String = without("key")
        .lines()
        .filter(|line| !line.starts_with("certificate"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(start(&no_tls, "0.0.0.0").contains("needs a certificate and a password"));
    fs::write(log.path().join("key.pem"), "no key").unwrap();
    assert!(start(&config, "localhost").contains("cannot read a key"));
}

#[test]
fn short_passwords_are_refused() {
    assert!(hash("short").unwrap_err().contains("at least 12 characters"));
    assert!(hash(PASSWORD).unwrap().contains("$argon2id$"));
}
