//! Against a server on this machine that gives recorded answers. The real one is never asked.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
};

use super::*;

/// What it would be for a file that three engines of 70 suspect, shortened to what matters.
const MALICIOUS: &str = r#"{"data":{"id":"0","type":"file","attributes":{"last_analysis_stats":{"malicious":2,
"suspicious":1,"undetected":60,"harmless":7,"timeout":1,"confirmed-timeout":0,"failure":0,"type-unsupported":5}}}}"#;
const CLEAN: &str = r#"{"data":{"attributes":{"last_analysis_stats":{"malicious":0,"suspicious":0,"undetected":69,
"harmless":1}}}}"#;
const NOT_FOUND: &str = r#"{"error":{"code":"NotFoundError","message":"File not found"}}"#;
const TAKEN: &str = r#"{"data":{"type":"analysis","id":"abc=="}}"#;

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Gives these answers, one a connection; what it was asked.
fn serve(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            requests.push(read_request(&mut stream));
            let _ = stream.write_all(&answer);
        }
        requests
    });
    (url, thread)
}

fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut bytes = [0; 65536];
    loop {
        let count = stream.read(&mut bytes).unwrap();
        request.extend_from_slice(&bytes[..count]);
        let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if request.len() >= head + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()) {
            return request;
        }
    }
}

fn start(url: &str, upload: bool, request_limit_seconds: u32) -> VirusTotal {
    let settings = Settings { url: url.to_owned(), key: "the-key".into(), upload, request_limit_seconds };
    VirusTotal::start_unchecked(&settings).unwrap()
}

fn file(bytes: &[u8]) -> (File, Sha256) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    (file, Sha256(Hasher::digest(bytes).into()))
}

/// Waits for the outcome of a job; the trouble that was told meanwhile.
fn outcome(virustotal: &VirusTotal, job: Job) -> (Result<Verdict, String>, Vec<String>) {
    let digest = job.digest;
    virustotal.offer(job).unwrap();
    let mut told = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let (mut outcomes, trouble) = virustotal.take();
        told.extend(trouble);
        if let Some(outcome) = outcomes.pop() {
            assert_eq!(outcome.digest, digest);
            return (outcome.verdict, told);
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no outcome: {told:?}");
}

fn job(number: u8) -> Job {
    Job { digest: Sha256([number; 32]), file: None, uploaded: false }
}

#[test]
fn verdicts_come_from_the_engines_counts() {
    let (url, server) =
        serve(vec![answer("200 OK", MALICIOUS), answer("200 OK", CLEAN), answer("404 Not Found", NOT_FOUND)]);
    let virustotal = start(&url, false, 0);
    let suspicious = Verdict::Suspicious(Stats { malicious: 2, suspicious: 1, total: 70 });
    assert_eq!(outcome(&virustotal, job(1)), (Ok(suspicious.clone()), vec![]));
    assert_eq!(suspicious.text(), "suspicious: 2 malicious, 1 suspicious of 70");
    let (clean, _) = outcome(&virustotal, job(2));
    assert_eq!(clean.unwrap().text(), "clean: 0 of 70");
    assert_eq!(outcome(&virustotal, job(3)).0, Ok(Verdict::Unknown));
    assert_eq!(virustotal.progress().looked_up, 3);
    let requests = server.join().unwrap();
    let first = String::from_utf8(requests[0].clone()).unwrap();
    assert!(first.starts_with(&format!("GET /api/v3/files/{} HTTP/1.1\r\n", "01".repeat(32))), "{first}");
    assert!(first.to_lowercase().contains("x-apikey: the-key\r\n"), "{first}");
}

#[test]
fn only_what_is_not_known_is_sent_and_only_the_bytes_that_were_hashed() {
    let content = b"\x7fELF and more\r\n--picosnitch".repeat(1000);
    let (bytes, digest) = file(&content);
    let (url, server) = serve(vec![
        answer("404 Not Found", NOT_FOUND),
        answer("200 OK", TAKEN),
        answer("404 Not Found", NOT_FOUND),
        answer("404 Not Found", NOT_FOUND),
        answer("404 Not Found", NOT_FOUND),
    ]);
    let virustotal = start(&url, true, 0);
    let job = |file: &File, uploaded| Job { digest, file: Some(file.try_clone().unwrap()), uploaded };
    assert_eq!(outcome(&virustotal, job(&bytes, false)).0, Ok(Verdict::Uploaded));
    // It is not sent twice.
    assert_eq!(outcome(&virustotal, job(&bytes, true)).0, Ok(Verdict::Uploaded));
    (&bytes).write_all(b"changed").unwrap();
    let changed = outcome(&virustotal, job(&bytes, false)).0.unwrap();
    assert_eq!(changed.text(), "unknown, not sent: it has changed since");
    bytes.set_len(MAX_UPLOAD + 1).unwrap();
    let giant = outcome(&virustotal, job(&bytes, false)).0.unwrap();
    assert!(giant.text().contains("more than 32 MiB"), "{}", giant.text());
    let requests = server.join().unwrap();
    let upload = &requests[1];
    assert!(upload.starts_with(b"POST /api/v3/files HTTP/1.1\r\n"));
    let found = upload.windows(content.len()).any(|window| window == content);
    assert!(found, "not the bytes of the file");
    assert!(!is_pending(&changed.text()) && is_pending(&Verdict::Uploaded.text()));
}

#[test]
fn trouble_of_the_server_is_told_once_and_tried_again() {
    let (url, server) = serve(vec![
        answer("429 Too Many Requests", ""),
        answer("503 Service Unavailable", ""),
        answer("200 OK", CLEAN),
    ]);
    let virustotal = start(&url, false, 0);
    let (verdict, told) = outcome(&virustotal, job(1));
    assert!(matches!(verdict, Ok(Verdict::Clean(_))), "{verdict:?}");
    assert!(told.len() == 1 && told[0].contains("429"), "{told:?}");
    assert!(virustotal.progress().waits.is_none());
    server.join().unwrap();
}

#[test]
fn a_server_that_is_away_or_hangs_up_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let virustotal = start(&format!("http://{address}"), false, 0);
    virustotal.offer(job(1)).unwrap();
    let mut told = None;
    while told.is_none() {
        told = virustotal.take().1;
        thread::sleep(Duration::from_millis(5));
    }
    assert!(told.unwrap().contains("cannot be asked now"));
    let listener = TcpListener::bind(address).unwrap();
    // It hangs up in the middle, then answers slowly.
    let (mut stream, _) = listener.accept().unwrap();
    read_request(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").unwrap();
    drop(stream);
    let (mut stream, _) = listener.accept().unwrap();
    read_request(&mut stream);
    for byte in answer("200 OK", CLEAN) {
        stream.write_all(&[byte]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    loop {
        if let (Some(outcome), _) = (virustotal.take().0.pop(), ()) {
            assert!(matches!(outcome.verdict, Ok(Verdict::Clean(_))), "{outcome:?}");
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_bad_key_is_told_and_ends_the_requests() {
    let (url, server) = serve(vec![answer("401 Unauthorized", "")]);
    let virustotal = start(&url, false, 0);
    virustotal.offer(job(1)).unwrap();
    let mut told = None;
    while told.is_none() {
        told = virustotal.take().1;
        thread::sleep(Duration::from_millis(5));
    }
    let told = told.unwrap();
    assert!(told.contains("virustotal.api_key") && !told.contains("the-key"), "{told}");
    server.join().unwrap();
    let _ = virustotal.offer(job(2));
    thread::sleep(Duration::from_millis(1500));
    assert!(virustotal.progress().stopped && virustotal.take().0.is_empty());
}

#[test]
fn answers_that_make_no_sense_are_given_up() {
    let huge = answer("200 OK", &"x".repeat(2 << 20));
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n".to_vec();
    for (nonsense, why) in [
        (huge, "too long"),
        (redirect, "a redirect"),
        (answer("200 OK", "{\"data\":"), "not understood"),
        (answer("200 OK", "{\"data\":{}}"), "not understood"),
        (answer("418 I'm a teapot", ""), "418"),
    ] {
        let (url, server) = serve(vec![nonsense; MAX_TRIES as usize]);
        let virustotal = start(&url, false, 0);
        let (verdict, told) = outcome(&virustotal, job(1));
        assert!(verdict.as_ref().is_err_and(|error| error.contains(why)), "{why}: {verdict:?}");
        assert!(told.is_empty());
        server.join().unwrap();
    }
}

#[test]
fn requests_keep_their_distance() {
    let (url, server) = serve(vec![answer("200 OK", CLEAN); 3]);
    let virustotal = start(&url, false, 1);
    let start = Instant::now();
    (1..4).for_each(|number| drop(outcome(&virustotal, job(number))));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    server.join().unwrap();
}

#[test]
fn root_asks_nobody() {
    if nix::unistd::geteuid().is_root() {
        let settings = Settings {
            url: "http://127.0.0.1:9".into(),
            key: "k".into(),
            upload: false,
            request_limit_seconds: 0,
        };
        assert!(VirusTotal::start(&settings).is_err_and(|why| why.contains("root")));
    }
}
