//! What other sites, other programs and the bytes of strangers try: one test for each line of the table of attacks in docs/web.md.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use crate::{
    http::{self, connect, escape},
    logs::{Log, TRAFFIC, Traffic},
    server::Dash,
};

const TIME: i64 = 1_700_000_000;

fn log() -> Log {
    Log::new("Europe/Berlin", &[(TIME, TRAFFIC)])
}

#[test]
fn a_name_that_points_here_is_not_answered() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let names = [
        "evil.example",
        "evil.example:5100",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1].evil",
    ];
    for host in names {
        for path in ["/", "/api/v1/health", "/static/js/main.js", "/metrics"] {
            let response = dash.get_with(path, &[("Host", host)]);
            assert_eq!((response.status, &*response.error()), (403, "forbidden"), "{host:?} {path}");
        }
    }
    for host in ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:5100", "127.0.0.2"] {
        assert_eq!(dash.get_with("/api/v1/health", &[("Host", host)]).status, 200, "{host}");
    }
    // HTTP/1.1 needs one host, and not two.
    let mut stream = connect(dash.port);
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(matches!(http::read(&mut stream).status, 400 | 403));
}

#[test]
fn another_site_gets_no_answer_even_with_the_token() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let port = dash.port;
    let own = format!("http://localhost:{port}");
    let foreign = [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("https://localhost:{port}"),
        format!("http://localhost:{}", port.wrapping_add(1)),
        format!("{own}.evil.example"),
    ];
    for origin in &foreign {
        for (method, path) in [("GET", "/api/v1/health"), ("POST", "/api/v1/login"), ("GET", "/metrics")] {
            let bearer = format!("Bearer {}", dash.token);
            let headers = [("Authorization", &*bearer), ("Origin", origin)];
            let response = http::send(port, method, path, &headers, b"");
            assert_eq!((response.status, &*response.error()), (403, "forbidden"), "{origin} {path}");
            assert_eq!(response.header("access-control-allow-origin"), None);
        }
    }
    for site in ["cross-site", "same-site", "odd"] {
        assert_eq!(dash.get_with("/api/v1/health", &[("Sec-Fetch-Site", site)]).status, 403, "{site}");
        assert_eq!(dash.get_with("/static/js/main.js", &[("Sec-Fetch-Site", site)]).status, 403, "{site}");
    }
    // A link from another site leads to the page, which is empty without the token; a frame or a script of it does not.
    let link =
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    assert_eq!(dash.get_with("/", &link).status, 200);
    let frame =
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")];
    assert_eq!(dash.get_with("/", &frame).status, 403);
    for (method, status) in [("OPTIONS", 403), ("PUT", 403), ("DELETE", 403), ("POST", 405)] {
        let kind = if status == 403 { "forbidden" } else { "method_not_allowed" };
        let headers = [("Authorization", &*format!("Bearer {}", dash.token)), ("Origin", &*own)];
        let response = http::send(port, method, "/api/v1/query", &headers, b"");
        assert_eq!((response.status, &*response.error()), (status, kind), "{method}");
    }
    assert_eq!(
        dash.get_with("/api/v1/health", &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]).status,
        200
    );
}

#[test]
fn without_the_token_of_this_run_nothing_is_told() {
    let log = log();
    let earlier = Dash::start(log.path(), &[]).token.clone();
    let dash = Dash::start(log.path(), &[]);
    assert_ne!(dash.token, earlier);
    let wrong = [
        String::new(),
        format!("Bearer {earlier}"),
        "Bearer ".to_owned(),
        format!("Basic {}", dash.token),
        format!("Bearer {} ", &dash.token[..63]),
        format!("bearer {}", dash.token),
    ];
    let paths = ["query", "series", "events", "seen", "search?q=a", "health", "live", "export"];
    let paths = paths.map(|path| format!("/api/v1/{path}")).into_iter().chain(["/metrics".to_owned()]);
    for path in paths {
        for value in &wrong {
            let headers = [("Authorization", &**value)];
            let response = http::send(dash.port, "GET", &path, &headers, b"");
            assert_eq!((response.status, &*response.error()), (401, "unauthorized"), "{path} {value:?}");
            assert!(!response.text().contains("curl"), "{}", response.text());
        }
        // Nor in the address, which proxies and histories keep.
        let response = http::send(
            dash.port,
            "GET",
            &format!("{path}{}token={}", if path.contains('?') { "&" } else { "?" }, dash.token),
            &[],
            b"",
        );
        assert_eq!(response.status, 401, "{path}");
    }
    for path in ["/api/v1/session", "/api/v1/openapi.json", "/"] {
        assert_eq!(http::send(dash.port, "GET", path, &[], b"").status, 200, "{path}");
    }
}

#[test]
fn every_answer_forbids_scripts_of_others() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    for path in ["/", "/program", "/static/js/main.js", "/api/v1/health", "/api/v1/nothing", "/nothing"] {
        let response = dash.get(path);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(response.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert!(response.header("cache-control").is_some(), "{path}");
        assert_eq!(response.header("set-cookie"), None, "{path}");
    }
    let page = dash.get("/").text();
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("onload"), "{page}");
}

#[test]
fn the_bytes_of_strangers_stay_data() {
    let exe = b"/tmp/<script>alert(1)</script>\"'\x1b]0;t\x07\xff%0d%0a";
    let odd = Traffic {
        exe,
        command_line: b"a\0</script><img src=x onerror=alert(1)>",
        unit: "<b>.service",
        domain: "\"><svg onload=alert(1)>.example",
        ..TRAFFIC
    };
    let log = Log::new("Europe/Berlin", &[(TIME, odd)]);
    let dash = Dash::start(log.path(), &[]);
    for dimension in ["exe", "name", "cmdline", "unit", "domain"] {
        let response = dash.get(&format!("/api/v1/query?range=all&group_by={dimension}"));
        assert_eq!(response.header("content-type"), Some("application/json"), "{dimension}");
        let value = response.json()["rows"][0][dimension].as_str().unwrap().to_owned();
        assert!(!response.text().chars().any(char::is_control), "{:?}", response.text());
        // What an answer shows finds its record again.
        let target = format!("/api/v1/query?range=all&where={}", escape(&format!("{dimension}={value}")));
        assert_eq!(dash.json(&target)["total"]["sent"], 1, "{target}");
    }
    let export = dash.get("/api/v1/export?range=all&group_by=exe&group_by=cmdline");
    assert_eq!(export.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(export.header("content-disposition").unwrap().starts_with("attachment"));
    assert!(!export.text().contains('\u{1b}'), "{}", export.text());
    assert_eq!(dash.get("/metrics").status, 200);
}

#[test]
fn values_do_not_become_sql() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let texts = [
        "' OR 1=1 --",
        "'; DROP TABLE connections; --",
        "\\",
        "%",
        "_",
        "x' UNION SELECT * FROM sqlite_schema --",
        "\u{0}",
    ];
    for text in texts {
        let text = escape(text);
        for target in [
            format!("/api/v1/query?range=all&where=exe%3D{text}"),
            format!("/api/v1/query?range=all&where=domain%3D{text}"),
            format!("/api/v1/query?range=all&group_by=exe&find={text}"),
            format!("/api/v1/series?range=all&exclude=unit%3D{text}"),
            format!("/api/v1/search?range=all&q={text}"),
            format!("/api/v1/events?range=all&where=exe%3D{text}"),
            format!("/api/v1/seen?where=exe%3D{text}"),
        ] {
            assert_eq!(dash.get(&target).status, 200, "{target}");
        }
        for parameter in [
            "group_by", "sort", "range", "since", "zone", "scope", "limit", "kind", "order", "nothing",
            "where",
        ] {
            let response = dash.get(&format!("/api/v1/query?{parameter}={text}"));
            assert_eq!((response.status, &*response.error()), (400, "bad_request"), "{parameter} {text}");
        }
    }
    assert_eq!(dash.json("/api/v1/query?range=all")["total"]["sent"], 1);
    assert_eq!(dash.json("/api/v1/query?range=all&group_by=exe&find=%25")["row_count"], 0);
}

#[test]
fn no_path_leads_out_of_the_page() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let served_from = Dash::start(log.path(), &["--static-dir", log.path().to_str().unwrap()]);
    for path in [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/static/..\\..\\etc\\passwd",
        "/static/",
        "/static",
        "/static/js",
        "/etc/passwd",
        "/../etc/passwd",
        "/api/v1/../../etc/passwd",
        "/static/js/main.js%00",
    ] {
        for dash in [&dash, &served_from] {
            let response = dash.get(path);
            assert!(matches!(response.status, 400 | 404), "{path}: {}", response.text());
            assert!(!response.text().contains("root:"), "{path}");
        }
    }
}

#[test]
fn slow_clients_lock_nobody_out() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    // More than the server keeps, and none of them ends its request.
    let mut slow: Vec<_> = (0..700)
        .map(|number| {
            let mut stream = connect(dash.port);
            stream.write_all(if number % 2 == 0 { b"GET / HT" } else { b"" }).unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(dash.get("/api/v1/health").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    // Nor do those that get an answer, but not with the token.
    let idle: Vec<_> = (0..700)
        .map(|_| {
            let mut stream = connect(dash.port);
            let head = "GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.read_exact(&mut [0; 12]));
            stream
        })
        .collect();
    assert_eq!(dash.get("/api/v1/query?range=all").status, 200);
    drop(idle);
    let begin = Instant::now();
    // Those that are left are closed after ten seconds.
    let mut last = slow.pop().unwrap();
    let mut bytes = Vec::new();
    last.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    last.read_to_end(&mut bytes).expect("the server closes a slow connection");
    assert!(begin.elapsed() < Duration::from_secs(25));
}

#[test]
fn huge_requests_are_refused() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let long = "a".repeat(100_000);
    let response = dash.get(&format!("/api/v1/query?find={long}"));
    assert!(matches!(response.status, 0 | 400 | 414 | 431), "{}", response.status);
    let many = "where=exe%3Da&".repeat(100);
    assert_eq!(dash.get(&format!("/api/v1/query?{many}")).status, 400);
    let response = dash.get_with("/api/v1/health", &[("X-Long", &long)]);
    assert!(matches!(response.status, 0 | 400 | 431), "{}", response.status);
    for target in [
        "/api/v1/query?limit=10001",
        "/api/v1/query?limit=-1",
        "/api/v1/query?offset=99999999999",
        "/api/v1/series?parts=1001",
        "/api/v1/series?top=21",
        "/api/v1/events?limit=5001",
        "/api/v1/search?q=",
        "/api/v1/query?group_by=exe&group_by=uid&group_by=port&group_by=domain&group_by=unit",
    ] {
        assert_eq!((dash.get(target).status, &*dash.get(target).error()), (400, "bad_request"), "{target}");
    }
    let body = vec![b'x'; 100_000];
    let headers = [("Content-Type", "application/json")];
    let response = http::send(dash.port, "POST", "/api/v1/login", &headers, &body);
    assert!(matches!(response.status, 0 | 413), "{}", response.status);
    assert_eq!(dash.get("/api/v1/health").status, 200);
}

#[test]
fn streams_are_bounded() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    let head = format!(
        "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        dash.token
    );
    let open = || {
        let mut stream = connect(dash.port);
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let streams: Vec<_> = (0..400).map(|_| open()).collect();
    let served = streams.iter().filter(|(_, status)| status.ends_with("200")).count();
    let refused = streams.iter().filter(|(_, status)| status.ends_with("503")).count();
    assert_eq!((served, refused), (12, 388));
    assert_eq!(dash.json("/api/v1/health")["dash"]["streams"], 12);
    drop(streams);
    let begin = Instant::now();
    while dash.json("/api/v1/health")["dash"]["streams"] != 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the places are free again");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(open().1.ends_with("200"));
}
