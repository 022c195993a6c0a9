//! The worker against a server on this machine with recorded responses. VirusTotal itself is never asked.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
};

use super::*;
use crate::verdict::{EngineCounts, is_pending};

/// The response for a file that three engines of 70 suspect, without the parts that are not read.
const MALICIOUS: &str = r#"{"data":{"id":"0","type":"file","attributes":{"last_analysis_stats":{"malicious":2,
"suspicious":1,"undetected":60,"harmless":7,"timeout":1,"confirmed-timeout":0,"failure":0,"type-unsupported":5}}}}"#;
const CLEAN: &str = r#"{"data":{"attributes":{"last_analysis_stats":{"malicious":0,"suspicious":0,"undetected":69,
"harmless":1}}}}"#;
const NOT_FOUND: &str = r#"{"error":{"code":"NotFoundError","message":"File not found"}}"#;
const TAKEN: &str = r#"{"data":{"type":"analysis","id":"abc=="}}"#;

fn response(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Serves these responses, one for each connection; the thread returns the requests.
fn serve(responses: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut requests = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().unwrap();
            requests.push(read_request(&mut stream));
            let _ = stream.write_all(&response);
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

fn start(url: &str, upload: bool, request_limit_seconds: u32) -> LookupWorker {
    let settings = Settings { url: url.to_owned(), key: "the-key".into(), upload, request_limit_seconds };
    LookupWorker::start_unchecked(&settings).unwrap()
}

fn file(bytes: &[u8]) -> (File, Sha256) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    (file, Sha256(Hasher::digest(bytes).into()))
}

/// Waits for the result of a request; also returns the sentences about problems until then.
fn result_of(worker: &LookupWorker, request: LookupRequest) -> (Result<Verdict, String>, Vec<String>) {
    let digest = request.digest;
    worker.offer(request).unwrap();
    let mut problems = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let (mut results, problem) = worker.take_results();
        problems.extend(problem);
        if let Some(result) = results.pop() {
            assert_eq!(result.digest, digest);
            return (result.verdict, problems);
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no result: {problems:?}");
}

fn request(number: u8) -> LookupRequest {
    LookupRequest { digest: Sha256([number; 32]), file: None, is_uploaded: false }
}

#[test]
fn verdicts_come_from_the_engines_counts() {
    let (url, server) = serve(vec![
        response("200 OK", MALICIOUS),
        response("200 OK", CLEAN),
        response("404 Not Found", NOT_FOUND),
    ]);
    let worker = start(&url, false, 0);
    let suspicious = Verdict::Suspicious(EngineCounts { malicious: 2, suspicious: 1, total: 70 });
    assert_eq!(result_of(&worker, request(1)), (Ok(suspicious.clone()), vec![]));
    assert_eq!(suspicious.text(), "suspicious: 2 malicious, 1 suspicious of 70");
    let (clean, _) = result_of(&worker, request(2));
    assert_eq!(clean.unwrap().text(), "clean: 0 of 70");
    assert_eq!(result_of(&worker, request(3)).0, Ok(Verdict::Unknown));
    assert_eq!(worker.status().looked_up, 3);
    let requests = server.join().unwrap();
    let first = String::from_utf8(requests[0].clone()).unwrap();
    assert!(first.starts_with(&format!("GET /api/v3/files/{} HTTP/1.1\r\n", "01".repeat(32))), "{first}");
    assert!(first.to_lowercase().contains("x-apikey: the-key\r\n"), "{first}");
}

#[test]
fn only_unknown_files_are_uploaded_and_only_the_bytes_that_were_hashed() {
    let content = b"\x7fELF and more\r\n--picosnitch".repeat(1000);
    let (bytes, digest) = file(&content);
    let (url, server) = serve(vec![
        response("404 Not Found", NOT_FOUND),
        response("200 OK", TAKEN),
        response("404 Not Found", NOT_FOUND),
        response("404 Not Found", NOT_FOUND),
        response("404 Not Found", NOT_FOUND),
    ]);
    let worker = start(&url, true, 0);
    let request = |file: &File, is_uploaded| LookupRequest {
        digest,
        file: Some(file.try_clone().unwrap()),
        is_uploaded,
    };
    assert_eq!(result_of(&worker, request(&bytes, false)).0, Ok(Verdict::Uploaded));
    // It is not uploaded twice.
    assert_eq!(result_of(&worker, request(&bytes, true)).0, Ok(Verdict::Uploaded));
    (&bytes).write_all(b"changed").unwrap();
    let changed = result_of(&worker, request(&bytes, false)).0.unwrap();
    assert_eq!(changed.text(), "unknown, not sent: it has changed since");
    bytes.set_len(MAX_UPLOAD_BYTES + 1).unwrap();
    let giant = result_of(&worker, request(&bytes, false)).0.unwrap();
    assert!(giant.text().contains("more than 32 MiB"), "{}", giant.text());
    let requests = server.join().unwrap();
    let upload = &requests[1];
    assert!(upload.starts_with(b"POST /api/v3/files HTTP/1.1\r\n"));
    let found = upload.windows(content.len()).any(|window| window == content);
    assert!(found, "not the bytes of the file");
    assert!(!is_pending(&changed.text()) && is_pending(&Verdict::Uploaded.text()));
}

#[test]
fn a_problem_of_the_server_is_reported_once_and_the_request_repeated() {
    let (url, server) = serve(vec![
        response("429 Too Many Requests", ""),
        response("503 Service Unavailable", ""),
        response("200 OK", CLEAN),
    ]);
    let worker = start(&url, false, 0);
    let (verdict, problems) = result_of(&worker, request(1));
    assert!(matches!(verdict, Ok(Verdict::Clean(_))), "{verdict:?}");
    assert!(problems.len() == 1 && problems[0].contains("429"), "{problems:?}");
    assert!(worker.status().waiting_reason.is_none());
    server.join().unwrap();
}

#[test]
fn a_server_that_is_away_or_hangs_up_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let worker = start(&format!("http://{address}"), false, 0);
    worker.offer(request(1)).unwrap();
    let mut problem = None;
    while problem.is_none() {
        problem = worker.take_results().1;
        thread::sleep(Duration::from_millis(5));
    }
    assert!(problem.unwrap().contains("cannot be asked now"));
    let listener = TcpListener::bind(address).unwrap();
    // It hangs up in the middle, then answers slowly.
    let (mut stream, _) = listener.accept().unwrap();
    read_request(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").unwrap();
    drop(stream);
    let (mut stream, _) = listener.accept().unwrap();
    read_request(&mut stream);
    for byte in response("200 OK", CLEAN) {
        stream.write_all(&[byte]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    loop {
        if let Some(result) = worker.take_results().0.pop() {
            assert!(matches!(result.verdict, Ok(Verdict::Clean(_))), "{result:?}");
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_bad_key_is_reported_and_ends_the_requests() {
    let (url, server) = serve(vec![response("401 Unauthorized", "")]);
    let worker = start(&url, false, 0);
    worker.offer(request(1)).unwrap();
    let mut problem = None;
    while problem.is_none() {
        problem = worker.take_results().1;
        thread::sleep(Duration::from_millis(5));
    }
    let problem = problem.unwrap();
    assert!(problem.contains("virustotal.api_key") && !problem.contains("the-key"), "{problem}");
    server.join().unwrap();
    let _ = worker.offer(request(2));
    thread::sleep(Duration::from_millis(1500));
    assert!(worker.status().next_request.is_none(), "it would be another one");
    assert!(worker.take_results().0.is_empty());
}

#[test]
fn unusable_responses_are_given_up_after_three_requests() {
    let huge = response("200 OK", &"x".repeat(2 << 20));
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n".to_vec();
    for (unusable, why) in [
        (huge, "too long"),
        (redirect, "a redirect"),
        (response("200 OK", "{\"data\":"), "not understood"),
        (response("200 OK", "{\"data\":{}}"), "not understood"),
        (response("418 I'm a teapot", ""), "418"),
    ] {
        let (url, server) = serve(vec![unusable; MAX_ATTEMPTS as usize]);
        let worker = start(&url, false, 0);
        let (verdict, problems) = result_of(&worker, request(1));
        assert!(verdict.as_ref().is_err_and(|error| error.contains(why)), "{why}: {verdict:?}");
        assert!(problems.is_empty());
        server.join().unwrap();
    }
}

#[test]
fn requests_keep_their_distance() {
    let (url, server) = serve(vec![response("200 OK", CLEAN); 3]);
    let worker = start(&url, false, 1);
    let start = Instant::now();
    (1..4).for_each(|number| drop(result_of(&worker, request(number))));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    server.join().unwrap();
}

#[test]
#[ignore = "needs root"]
fn root_starts_no_worker() {
    let settings = Settings {
        url: "http://127.0.0.1:9".into(),
        key: "k".into(),
        upload: false,
        request_limit_seconds: 0,
    };
    assert!(LookupWorker::start(&settings).is_err_and(|error| error.to_string().contains("root")));
}
