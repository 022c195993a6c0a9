//! The page as a service, whose address `dash --open` reads.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Child, Output, Stdio},
};

use crate::{
    http,
    logs::{Log, TRAFFIC, picosnitch},
    server::free_port,
};

/// A service that runs until it is dropped.
struct Service {
    child: Child,
    port: u16,
    log: Log,
    runtime: tempfile::TempDir,
}

impl Service {
    /// Starts the page as systemd does, and waits until it is served.
    fn start(host: &str) -> Self {
        let log = Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC)]);
        let runtime = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = picosnitch(log.path(), "Europe/Berlin", "dash");
        command.arg("--no-browser").env("RUNTIME_DIRECTORY", runtime.path()).stdout(Stdio::piped());
        command.env("PICOSNITCH_HOST", host).env("PICOSNITCH_PORT", port.to_string());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // The journal is read by others than the page.
        assert_eq!(line, "The page is served. Open it with: picosnitch dash --open\n");
        Self { child, port, log, runtime }
    }

    fn file(&self, name: &str) -> String {
        let path = self.runtime.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0, "{name}");
        fs::read_to_string(path).unwrap()
    }

    fn open(&self) -> Output {
        open(self.log.path(), self.runtime.path())
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What `dash --open` does.
fn open(base: &Path, runtime: &Path) -> Output {
    let mut command = picosnitch(base, "Europe/Berlin", "dash");
    command.args(["--open", "--no-browser"]).env("RUNTIME_DIRECTORY", runtime).output().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty() && error.contains(words), "{error}");
}

#[test]
fn the_page_of_the_service_is_opened() {
    for (host, name) in [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")] {
        if TcpListener::bind((host, 0)).is_err() {
            eprintln!("skipped {host}: this machine does not have it");
            continue;
        }
        let service = Service::start(host);
        let token = service.file("token").trim().to_owned();
        assert_eq!(token.len(), 64);
        let url = format!("http://{name}:{}/#token={token}\n", service.port);
        assert_eq!(service.file("address"), url);
        let output = service.open();
        assert_eq!(String::from_utf8_lossy(&output.stdout), url, "{output:?}");
        if host != "::1" {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", &*bearer)];
            let answer = http::send(service.port, "GET", "/api/v1/query?range=all", &headers, b"");
            assert_eq!(answer.json()["total"]["sent"], 1);
        }
    }
}

#[test]
fn a_service_that_has_ended_is_not_opened() {
    let mut service = Service::start("localhost");
    service.stop();
    assert_refused(&service.open(), "does not serve port");
    fs::write(service.runtime.path().join("address"), "nonsense\n").unwrap();
    assert_refused(&service.open(), "has no address of a page");
    fs::remove_file(service.runtime.path().join("address")).unwrap();
    assert_refused(&service.open(), "the service does not run");
}

#[test]
#[ignore = "needs root"]
fn the_server_of_another_user_is_not_opened() {
    let service = Service::start("localhost");
    chown(service.runtime.path().join("address"), Some(4242), None).unwrap();
    assert_refused(&service.open(), "does not serve port");
}
