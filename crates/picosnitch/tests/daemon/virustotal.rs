//! VirusTotal, played by a server on this machine. The real one is never asked.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};

use super::{
    harness::{Daemon, base, error_log, fresh_address, picosnitch, root, wait_until},
    programs::{lines, program, record, run},
};

/// The server's verdicts by digest (number of engines that suspect it), and the digests and uploads that it received.
#[derive(Clone, Default)]
struct Server {
    known: Arc<Mutex<HashMap<String, u32>>>,
    asked: Arc<Mutex<Vec<String>>>,
    uploads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
        let server = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                server.answer(stream.unwrap());
            }
        });
        url
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(&stream);
        let mut request = String::new();
        let mut length = 0;
        reader.read_line(&mut request).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(bytes) = line.to_lowercase().strip_prefix("content-length: ") {
                length = bytes.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (status, body) = if request.starts_with("POST /api/v3/files ") {
            let name = b"filename=\"";
            let at = body.windows(name.len()).position(|window| window == name).unwrap() + name.len();
            self.uploads.lock().unwrap().push(String::from_utf8(body[at..at + 64].to_vec()).unwrap());
            ("200 OK", r#"{"data":{"type":"analysis","id":"x"}}"#.to_owned())
        } else {
            let digest = request.split([' ', '/']).nth(5).unwrap().to_owned();
            let found = self.known.lock().unwrap().get(&digest).copied();
            self.asked.lock().unwrap().push(digest);
            match found {
                Some(malicious) => (
                    "200 OK",
                    format!(
                        r#"{{"data":{{"attributes":{{"last_analysis_stats":{{"malicious":{malicious},"suspicious":0,"undetected":60,"harmless":1}}}}}}}}"#
                    ),
                ),
                None => ("404 Not Found", String::new()),
            }
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = (&stream).write_all((head + &body).as_bytes());
    }
}

fn configuration(url: &str, more: &str) -> String {
    format!("[virustotal]\napi_key = \"k\"\nurl = \"{url}\"\nrequest_limit_seconds = 0\n{more}")
}

/// The digest of a file, as sha256sum prints it.
fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// Makes a program with a digest of its own.
fn unique(base: &Path, name: &str) -> (std::path::PathBuf, String) {
    let path = program(base, name.as_bytes());
    fs::File::options().append(true).open(&path).unwrap().write_all(name.as_bytes()).unwrap();
    let digest = digest(&path);
    (path, digest)
}

#[test]
#[ignore = "needs root"]
fn verdicts_are_reported_kept_and_resumed() {
    let _root = root();
    let server = Server::default();
    let base = base(&configuration("http://127.0.0.1:9/api/v3", ""));
    let (bad, bad_digest) = unique(base.path(), "bad");
    let (good, good_digest) = unique(base.path(), "good");
    // No server answers: the digests wait, and an error says so.
    let daemon = Daemon::start(base.path());
    run(&bad, fresh_address());
    run(&good, fresh_address());
    daemon.wait_for("VirusTotal cannot be asked now");
    let verdict =
        |path: &Path, digest: &str| record(base.path())["SHA256"][path.to_str().unwrap()][digest].clone();
    wait_until("the digests", || {
        base.path().join("record.json").exists()
            && verdict(&bad, &bad_digest) == ""
            && verdict(&good, &good_digest) == ""
    });
    kill(daemon.recorder(), Signal::SIGKILL).unwrap();
    daemon.end();
    assert!(error_log(base.path()).contains("VirusTotal cannot be asked now"));
    // After a restart they are looked up, although their programs do not run.
    server.known.lock().unwrap().extend([(bad_digest.clone(), 3), (good_digest.clone(), 0)]);
    let url = server.start();
    super::harness::configure(base.path(), &configuration(&url, ""));
    let daemon = Daemon::start(base.path());
    wait_until("the verdicts", || {
        verdict(&bad, &bad_digest) == "suspicious: 3 malicious, 0 suspicious of 64"
            && verdict(&good, &good_digest) == "clean: 0 of 61"
    });
    let output = picosnitch(base.path(), &["status"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("VirusTotal") && text.contains("looked up"), "{text}");
    daemon.stop(Signal::SIGTERM);
    let told = lines(base.path(), "exe.log");
    for (path, digest, tag) in [(&bad, &bad_digest, "(suspicious)"), (&good, &good_digest, "(clean)")] {
        let expected = format!(" {} {} {tag}", &digest[..16], path.display());
        assert_eq!(told.iter().filter(|line| line[19..] == expected).count(), 1, "{expected}: {told:#?}");
    }
    assert!(server.uploads.lock().unwrap().is_empty(), "nothing is sent without being asked for");
    // They are not looked up again.
    let asked = server.asked.lock().unwrap().iter().filter(|digest| **digest == bad_digest).count();
    let daemon = Daemon::start(base.path());
    thread::sleep(Duration::from_secs(2));
    daemon.stop(Signal::SIGTERM);
    assert_eq!(server.asked.lock().unwrap().iter().filter(|digest| **digest == bad_digest).count(), asked);
}

#[test]
#[ignore = "needs root"]
fn an_unknown_file_is_uploaded_once_if_configured() {
    let _root = root();
    let server = Server::default();
    let base = base(&configuration(&server.start(), "file_upload = true\n"));
    let (path, digest) = unique(base.path(), "unheard-of");
    let daemon = Daemon::start(base.path());
    run(&path, fresh_address());
    let sent = || server.uploads.lock().unwrap().iter().filter(|name| **name == digest).count();
    wait_until("the upload", || sent() == 1);
    server.known.lock().unwrap().insert(digest.clone(), 7);
    let suspicious = format!("{} {} (suspicious)", &digest[..16], path.display());
    wait_until("the verdict", || {
        lines(base.path(), "exe.log").iter().any(|line| line.ends_with(&suspicious))
    });
    assert_eq!(sent(), 1);
    daemon.stop(Signal::SIGTERM);
}
