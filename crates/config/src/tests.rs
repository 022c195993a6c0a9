//! Every key and every kind of problem, in both formats.

use std::{fs, io, os::unix::fs::PermissionsExt};

use super::{layout::Layout, *};
use model::Sha256;

fn problems(text: &str, json: bool) -> Vec<String> {
    let result = if json { Config::from_json(text) } else { Config::from_toml(text) };
    let show = |problem: Problem| format!("{}: {}", problem.line.unwrap_or(0), problem.message);
    result.unwrap_err().into_iter().map(show).collect()
}

#[test]
fn the_default_file_has_every_key_with_its_default() {
    assert_eq!(Config::from_toml(Config::default_toml()).unwrap(), Config::default());
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
    // With every comment sign before a key removed it is still a valid file, with all keys.
    let open: String = Config::default_toml()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::from_toml(&open).unwrap();
    assert_eq!(config.monitor.rlimit_nofile, Some(1024));
    let names: Vec<String> = config.servers().map(|(name, _)| name).collect();
    assert_eq!(names, ["log.server", "export.office"]);
    assert_eq!(
        config.forwards().map(|(name, _)| name).collect::<Vec<_>>(),
        ["export.chat", "export.otel", "export.siem"]
    );
    let server = config.log.server.unwrap();
    assert_eq!((server.client, server.port, server.tls), (ServerKind::PostgreSql, 5432, TlsMode::Prefer));
    assert!(server.backfill && server.password_file.is_some() && server.ca.is_some());
}

#[test]
fn a_clickhouse_is_spoken_to_over_http() {
    let read = |more: &str| {
        Config::from_toml(&format!(
            "[log.server]\nclient = \"clickhouse\"\nuser = \"u\"\ndatabase = \"d\"\n{more}"
        ))
    };
    for (more, port) in [("", 8123), ("tls = \"require\"\n", 8443), ("tls = \"verify-full\"\nport = 1\n", 1)]
    {
        let server = read(more).unwrap().log.server.unwrap();
        assert_eq!((server.client, server.port), (ServerKind::ClickHouse, port));
    }
    let problems = read("host = \"/run/socket\"\n").unwrap_err();
    assert!(problems[0].message.contains("no Unix socket"), "{}", problems[0].message);
}

#[test]
fn other_tools_have_sections_beside_those_of_servers() {
    let text = "[export.a]\nclient = \"syslog\"\ntransport = \"tls\"\nhost = \"h\"\nca = \"/c\"\nfacility = \"local7\"\n\
                [export.b]\nclient = \"journald\"\nrecords = true\nkinds = [\"alert\", \"error\"]\nbackfill = true\n\
                [export.c]\nclient = \"webhook\"\nurl = \"https://h:8443/secret/{id}\"\ntoken = \"secret\"\nmethod = \"PUT\"\n\
                body = '{\"text\": \"{summary}\"}'\n[export.d]\nclient = \"mysql\"\nuser = \"u\"\ndatabase = \"d\"\n\
                [export.e]\nclient = \"syslog\"\ntransport = \"local\"\n\
                [export.f]\nclient = \"otlp\"\nurl = \"http://h/secret/\"\nmetrics = false\ncompression = \"none\"";
    let config = Config::from_toml(text).unwrap();
    assert_eq!(config.servers().count(), 1);
    let sections: Vec<&ForwardSection> = config.forwards().map(|(_, section)| section).collect();
    let Destination::Syslog(server) = &sections[0].destination else { panic!("{sections:?}") };
    assert_eq!(
        (server.port, server.facility.number(), server.address()),
        (6514, 23, "syslog at h:6514".to_owned())
    );
    let ports = sections.iter().map(|section| section.destination.tcp_port());
    assert_eq!(ports.collect::<Vec<_>>(), [Some(6514), None, Some(8443), None, Some(80)]);
    assert!(sections[1].records && sections[1].backfill && sections[1].kinds.len() == 2);
    let Destination::Webhook(hook) = &sections[2].destination else { panic!("{sections:?}") };
    assert_eq!((hook.origin(), sections[2].token.0.as_str()), ("https://h:8443", "secret"));
    let Destination::Otlp(collector) = &sections[4].destination else { panic!("{sections:?}") };
    assert_eq!((collector.url.0.as_str(), collector.origin()), ("http://h/secret", "http://h"));
    assert_eq!((collector.logs, collector.metrics, collector.compression), (true, false, Compression::None));
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
    let wrong = "[export.a]\nclient = \"syslog\"\ntransport = \"smoke\"\nurl = \"x\"\n[export.b]\nclient = \"webhook\"\nkinds = [\"no\"]\n\
                 [export.c]\nclient = \"webhook\"\nurl = \"ftp://secret\"\nbody = \"{\"\ntoken = \"a\"\ntoken_file = \"/t\"\n\
                 [export.d]\nclient = \"fax\"\n[export.e]\nclient = \"otlp\"\nurl = \"https://secret/?a\"\nlogs = false\n\
                 metrics = false\n[export.f]\nclient = \"otlp\"\nurl = \"https://h\"\nlogs = false\nrecords = true\n\
                 compression = \"zip\"";
    let found = problems(wrong, false);
    for expected in [
        "3: export.a.transport: the string \"smoke\" is not allowed",
        "4: export.a.url: unknown key",
        "7: export.b.kinds: the string \"no\" is not allowed",
        "5: export.b.url: missing",
        "10: export.c.url: the value (not shown here) is not allowed",
        "11: export.c.body: ",
        "13: export.c.token_file: there is a token, too",
        "15: export.d.client: the string \"fax\" is not allowed",
        "18: export.e.url: the value (not shown here) is not allowed",
        "20: export.e.metrics: there are no logs either",
        "25: export.f.records: they are sent as logs",
        "26: export.f.compression: the string \"zip\" is not allowed",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn servers_have_names_and_files_that_fit_together() {
    let server = "client = \"mysql\"\nuser = \"u\"\ndatabase = \"d\"";
    let text = format!("[export.a-1]\n{server}\nbackfill = false\n[export.b_2]\n{server}\nport = 1");
    let config = Config::from_toml(&text).unwrap();
    assert_eq!(config.export.keys().collect::<Vec<_>>(), ["a-1", "b_2"]);
    let servers: Vec<&SqlServer> = config.servers().map(|(_, server)| server).collect();
    assert!(!servers[0].backfill && servers[1].port == 1);
    assert!(config.without_effect().is_empty());
    let wrong = format!(
        "[export.\"A.b\"]\n{server}\n[export.c]\n{server}\npassword = \"secret\"\npassword_file = \"/f\"\ncertificate = \"/c\"\n\
         [export.d]\n{server}\nkey = \"k\"\ncolour = 1\n[export.e]\nuser = \"u\""
    );
    let found = problems(&wrong, false);
    for expected in [
        "1: export.A.b: not allowed as the name of a server",
        "10: export.c.password_file: there is a password, too",
        "11: export.c.certificate: its key is missing",
        "16: export.d.key: the string \"k\" is not allowed",
        "17: export.d.colour: unknown key",
        "18: export.e.client: missing",
        "18: export.e.database: missing",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn every_key_of_toml_arrives() {
    let config = Config::from_toml(
        r#"
        [monitor]
        bandwidth = false
        every_exe = true
        ring_buffer_pages = 0x100
        rlimit_nofile = 65536
        [log]
        sqlite = false
        text = true
        retention_days = 30
        retention_megabytes = 500
        write_limit_seconds = 3600
        addresses = false
        commands = false
        ignore = [
            "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
            443, -1, "Example.com", "192.0.2.7", "10.1.2.3/8", "2001:db8::1/32", "0.0.0.0/0",
        ]
        [log.server]
        client = "mariadb"
        host = "db.example.com"
        user = "u"
        password = "p \" "
        database = "d"
        table_name = "t_1"
        tls = "verify-full"
        [notifications]
        desktop = false
        [virustotal]
        api_key = "abc-DEF_1"
        file_upload = true
        request_limit_seconds = 0
        [names]
        reverse_dns = true
        "#,
    )
    .unwrap();
    let monitor =
        Monitor { bandwidth: false, every_exe: true, ring_buffer_pages: 256, rlimit_nofile: Some(65536) };
    assert_eq!(config.monitor, monitor);
    let network = |text: &str| IgnoreRule::Network(text.parse().unwrap());
    let digest = Sha256::from_hex(&"abcdef0123456789".repeat(4)).unwrap();
    let ignore = [
        IgnoreRule::Hash(digest),
        IgnoreRule::Port(443),
        IgnoreRule::Port(-1),
        IgnoreRule::Domain("example.com".to_owned()),
        network("192.0.2.7/32"),
        network("10.0.0.0/8"),
        network("2001:db8::/32"),
        network("0.0.0.0/0"),
    ];
    assert_eq!(config.log.ignore, ignore);
    let log = &config.log;
    assert_eq!((log.sqlite, log.text, log.addresses, log.commands), (false, true, false, false));
    assert_eq!((log.retention_days, log.write_limit_seconds), (30, 3600));
    assert_eq!(log.retention_megabytes, Some(500));
    let server = log.server.clone().unwrap();
    assert_eq!((server.client, server.port, server.tls), (ServerKind::MariaDb, 3306, TlsMode::VerifyFull));
    assert_eq!((server.password.0.as_str(), server.table_name.as_str()), ("p \" ", "t_1"));
    assert!(!config.notifications.desktop && config.virustotal.file_upload);
    assert_eq!(config.virustotal.api_key.0, "abc-DEF_1");
    assert_eq!(config.virustotal.request_limit_seconds, 0);
    assert!(config.names.reverse_dns);
    assert_eq!(config.without_effect().len(), 1, "log.sqlite is off");
}

#[test]
fn all_problems_of_a_toml_file_are_reported_at_once_with_line_key_value_and_range() {
    let text = r#"[monitor]
bandwidth = "yes"
ring_buffer_pages = 100
rlimit_nofile = 1e3
[log]
retention_days = 0
write_limit_seconds = -10
ignore = [70000, "abc def", "10.0.0.0/33", 1.5, "443", "", "deadbeefdeadbeefdeadbeefdeadbeef"]
colour = "blue"
[log.server]
client = "oracle"
port = 65536
password = 12345
[notifications]
desktop = 1
[virustotal]
api_key = "a\r\nHost: evil"
request_limit_seconds = 99999999999999999999
[unknown]
"#;
    let found = problems(text, false);
    let expected = [
        "2: monitor.bandwidth: the string \"yes\" is not allowed; allowed: true or false",
        "3: monitor.ring_buffer_pages: the integer 100 is not allowed; allowed: a power of two from 16 to 65536",
        "4: monitor.rlimit_nofile: the number 1e3 is not allowed; allowed: an integer from 256 to 1048576",
        "6: log.retention_days: the integer 0 is not allowed; allowed: an integer from 1 to 36500",
        "7: log.write_limit_seconds: the integer -10 is not allowed; allowed: an integer from 1 to 3600",
        "8: log.ignore: the integer 70000 is not allowed; allowed: a port from -1 to 65535",
        "8: log.ignore: \"abc def\" is not allowed: neither a hash",
        "8: log.ignore: \"10.0.0.0/33\" is not allowed: the length of the network is a number from 0 to 32",
        "8: log.ignore: the number 1.5 is not allowed",
        "8: log.ignore: \"443\" is not allowed: a port is a number",
        "8: log.ignore: \"\" is not allowed",
        "8: log.ignore: \"deadbeefdeadbeefdeadbeefdeadbeef\" is not allowed: a hash (SHA-256) has 64",
        "9: log.colour: unknown key; known here: sqlite, text,",
        "10: log.server.user: missing",
        "10: log.server.database: missing",
        "11: log.server.client: the string \"oracle\" is not allowed; allowed: \"postgresql\"",
        "12: log.server.port: the integer 65536 is not allowed; allowed: an integer from 1 to 65535",
        "13: log.server.password: the value (not shown here)",
        "15: notifications.desktop: the integer 1 is not allowed",
        "17: virustotal.api_key: the value (not shown here)",
        "18: virustotal.request_limit_seconds: the integer 99999999999999999999 is not allowed",
        "19: unknown: unknown key; known here: monitor, log, notifications, virustotal",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "found    {found}\nexpected {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.join("").contains("12345"));
}

#[test]
fn broken_toml_names_the_lines() {
    let found = problems("[log]\nsqlite = \ntext = tru\n[log]\n", false);
    assert!(found.iter().any(|problem| problem.starts_with("2: not valid TOML")), "{found:?}");
    assert!(found.iter().all(|problem| !problem.contains("unknown key")), "{found:?}");
    let found = problems("log = 3", false);
    assert_eq!(found, ["1: log: the integer 3 where a table is expected"]);
}

#[test]
fn every_key_of_json_arrives_with_comments_and_trailing_commas() {
    let config = Config::from_json(
        r##"# first
{
  "Bandwidth monitor": false, # a comment, with "quotes" and a comma,
  "DB retention (days)": 30, // another
  "DB sql log": false,
  "DB sql server": {"client": "psycopg2", "host": "h", "port": 5433, "user": "u # no comment",
                    "password": "p//q", "dbname": "d", "sslmode": "require", "table_name": "t",},
  "DB text log": true,
  "DB write limit (seconds)": 5,
  "Desktop notifications": false,
  "Every exe (not just conns)": true,
  "Log addresses": false,
  "Log commands": false,
  "Log ignore": ["com.example", "org.exam", "net.", 80, "192.0.2.0/24",],
  "Perf ring buffer (pages)": 128,
  "Set RLIMIT_NOFILE": 4096,
  "VT API key": "k", # key
  "VT file upload": true,
  "VT request limit (seconds)": 20, # last
}"##,
    )
    .unwrap();
    let monitor =
        Monitor { bandwidth: false, every_exe: true, ring_buffer_pages: 128, rlimit_nofile: Some(4096) };
    assert_eq!(config.monitor, monitor);
    let log = &config.log;
    assert_eq!((log.sqlite, log.text, log.addresses, log.commands), (false, true, false, false));
    assert_eq!((log.retention_days, log.write_limit_seconds), (30, 5));
    let server = log.server.clone().unwrap();
    assert_eq!((server.client, server.port, server.tls), (ServerKind::PostgreSql, 5433, TlsMode::Require));
    assert_eq!((server.user.as_str(), server.password.0.as_str()), ("u # no comment", "p//q"));
    assert_eq!((server.database.as_str(), server.table_name.as_str()), ("d", "t"));
    let prefix = |text: &str| IgnoreRule::ReversedDomainPrefix(text.to_owned());
    assert_eq!(log.ignore[..3], [prefix("com.example"), prefix("org.exam"), prefix("net.")]);
    assert_eq!(log.ignore[3], IgnoreRule::Port(80));
    assert!(matches!(log.ignore[4], IgnoreRule::Network(network) if network.prefix() == 24));
    assert!(!config.notifications.desktop && config.virustotal.file_upload);
    assert_eq!((config.virustotal.api_key.0.as_str(), config.virustotal.request_limit_seconds), ("k", 20));
}

#[test]
fn a_json_file_with_only_defaults_is_the_default() {
    let text = r#"{"DB sql server": {}, "Set RLIMIT_NOFILE": null, "Log ignore": [], "VT API key": ""}"#;
    assert_eq!(Config::from_json(text).unwrap(), Config::default());
    assert_eq!(Config::from_json("{}").unwrap(), Config::default());
}

#[test]
fn all_problems_of_a_json_file_are_reported_at_once() {
    let text = r#"{
  "DB retention (days)": -5,
  "DB sql server": {"client": "sqlite3", "charset": "utf8", "port": "1"},
  "Bandwith monitor": true,
  "Log ignore": ["", 3.5],
  "VT API key": null,
  "Set RLIMIT_NOFILE": "many"
}"#;
    let found = problems(text, true);
    let expected = [
        "2: DB retention (days): the integer -5 is not allowed; allowed: an integer from 1 to 36500",
        "3: DB sql server.client: the string \"sqlite3\" is not allowed; allowed: \"mariadb\"",
        "3: DB sql server.port: the string \"1\" is not allowed",
        "3: DB sql server.user: missing (or username)",
        "3: DB sql server.database: missing (or dbname) (or db)",
        "3: DB sql server.charset: unknown key; known here: client, host",
        "4: Bandwith monitor: unknown key; known here: Bandwidth monitor,",
        "5: Log ignore: \"\" is not allowed",
        "5: Log ignore: the number 3.5 is not allowed",
        "6: VT API key: the value",
        "7: Set RLIMIT_NOFILE: the string \"many\" is not allowed; allowed: an integer from 256",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "found    {found}\nexpected {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert_eq!(problems("[1]", true), ["0: the file: an array where a table is expected"]);
    let found = problems("{\n# c\n\"DB sql log\": tru\n}", true);
    assert!(found[0].starts_with("3: not valid JSON"), "{found:?}");
    for broken in ["", "{", "{\"a", "{\"a\\", "/", "{\"a\":1,,}", "{} x"] {
        Config::from_json(broken).unwrap_err();
    }
}

#[test]
fn json_may_have_a_byte_order_mark_and_comments_of_several_lines() {
    let text = "\u{feff}/* one\n \"two\" */ {\n/**/ \"DB text log\": /* ä */ true, // }\n\"VT API key\": \"a/*b*/\"\n}";
    assert_eq!(problems(text, true).len(), 1, "no letter of a text is a comment");
    let config = Config::from_json(&text.replace("a/*b*/", "a")).unwrap();
    assert!(config.log.text && config.virustotal.api_key.0 == "a");
    assert!(Config::from_toml("\u{feff}[log]\ntext = true\n").unwrap().log.text);
    let found = problems("{\n\"DB text log\": true, /* no end }\n", true);
    assert_eq!(found, ["2: not valid JSON: the comment that begins here has no end"]);
    let found = problems("/* a\n b */ {\n\"DB text log\": 1}", true);
    assert!(found[0].starts_with("3: DB text log: the integer 1"), "{found:?}");
}

#[test]
fn a_key_that_is_there_twice_is_a_problem() {
    let text = "{\n\"DB text log\": true,\n\"DB sql server\": {\"host\": \"a\",\n\"host\": \"b\"},\n\"DB text log\": false}";
    let found = problems(text, true);
    let twice = |line| {
        move |problem: &String| problem.starts_with(line) && problem.ends_with("there twice; remove one")
    };
    assert!(found.iter().any(twice("4: host:")) && found.iter().any(twice("5: DB text log:")), "{found:?}");
    let found = problems("[log]\ntext = true\ntext = false\n", false);
    assert!(found[0].starts_with("3: not valid TOML"), "{found:?}");
}

#[test]
fn every_key_that_the_original_ever_wrote_is_known() {
    let text = r#"{
  "Bandwidth monitor": true, "DB retention (days)": 30, "DB sql log": true, "DB sql server": {}, "DB text log": false,
  "DB write limit (seconds)": 10, "Dash scroll zoom": true, "Dash theme": "", "Data group": null, "Data mode": "600",
  "Data owner": 0, "Desktop notifications": true, "Desktop user": "", "Every exe (not just conns)": false,
  "GeoIP lookup": true, "Log addresses": true, "Log commands": true, "Log ignore": [], "Log ports": false,
  "Perf ring buffer (pages)": 256, "Set RLIMIT_NOFILE": null, "Set st_dev mask": null, "VT API key": "",
  "VT file upload": false, "VT request limit (seconds)": 15
}"#;
    let config = Config::from_json(text).unwrap();
    assert!(!config.log.ports);
    let sentences = config.without_effect();
    assert_eq!(sentences.len(), 5, "{sentences:?}");
    for key in [
        "Dash scroll zoom",
        "Dash theme",
        "Data owner",
        "Data group",
        "Data mode",
        "Desktop user",
        "GeoIP lookup",
        "Set st_dev mask",
    ] {
        assert!(sentences.iter().any(|sentence| sentence.contains(key)), "{key}: {sentences:?}");
    }
    assert_eq!(sentences[0].split(':').next(), Some("\"Dash scroll zoom\", \"Dash theme\" have no effect"));
    assert!(Config::from_json("{}").unwrap().without_effect().is_empty());
    assert!(!Config::from_toml("[log]\nports = false").unwrap().log.ports);
}

#[test]
fn a_toml_file_of_the_original_is_explained_in_one_problem() {
    let text = "[database]\nenabled = true\nretention_days = 30\n[database.remote]\nclient = \"psycopg\"\n[data]\nowner = 0\n\
                [log]\naddresses = true\nignore_domains = []\n[desktop]\nuser = \"\"\n[monitoring]\nevery_exe = true\n\
                [virustotal]\napi_key = \"secret\"\n";
    let found = problems(text, false);
    assert!(found.len() == 1 && found[0].starts_with("1: "), "{found:#?}");
    let expected = [
        "of the original picosnitch",
        "move it away",
        "`sudo picosnitch import`",
        "database.enabled is log.sqlite here",
        "database.remote.client is log.server.client here",
        "log.addresses,",
        "log.ignore_domains is log.ignore here",
        "monitoring.every_exe is monitor.every_exe here",
        "Without effect here: data.owner, desktop.user",
    ];
    for expected in expected {
        assert!(found[0].contains(expected), "{expected}: {}", found[0]);
    }
    assert!(!found[0].contains("text_log") && !found[0].contains("secret"), "{}", found[0]);
    assert_eq!(problems("[log]\nignore_ports = [1]", false).len(), 1);
    // A file of this picosnitch with one wrong table stays one.
    let found = problems("[monitor]\n[database]\n", false);
    assert!(found[0].starts_with("2: database: unknown key"), "{found:?}");
}

#[test]
fn what_looks_like_an_address_and_is_none_is_refused_with_a_hint() {
    for (text, hint) in [
        ("192.168.1", "write 192.168.1.0/24 for the network"),
        ("192.168.1.", "write 192.168.1.0/24 for the network"),
        ("10.0.0.*", "write 10.0.0.0/24 for the network"),
        ("10.x.x.x", "write 10.0.0.0/8 for the network"),
        ("192.168/16", "write 192.168.0.0/16 for the network"),
        ("10.0.0.256", "at most 255"),
        ("10.0.0.256/24", "at most 255"),
        ("010.0.0.1", "without zeros at the front"),
        ("10.0.0.1-10.0.0.9", "there are no ranges"),
        ("10.0.0.1-9", "there are no ranges"),
        ("10.0.0-9.1", "there are no ranges"),
        ("1.2.3.4/33", "the length of the network is a number from 0 to 32"),
        ("1.2.3.0/255.255.255.0", "the length of the network is a number from 0 to 32"),
        ("1.2.3.4.5", "four numbers"),
        ("1.2.3.4.", "four numbers"),
        ("0x7f.0.0.1", "four numbers"),
        ("0x7f000001", "four numbers"),
        ("10.0.0.1:80", "a port is a rule of its own"),
        ("[::1]:80", "without brackets"),
        ("fe80::1%eth0", "without its interface"),
        ("2001:db8::*", "there are no ranges"),
        ("2001:db8::1-2001:db8::9", "there are no ranges"),
        ("2001:db8", "colon"),
        ("2001:db8:0:0:1", "not an IPv6 address"),
        ("2001:db8::12345", "not an IPv6 address"),
        ("2001:db8::g", "not an IPv6 address"),
        ("2001:db8:/32", "not an IPv6 address"),
        ("2001:db8::/129", "the length of the network is a number from 0 to 128"),
    ] {
        let found = problems(&format!("[log]\nignore = [\"{text}\"]"), false);
        assert!(found.len() == 1 && found[0].contains(hint), "{text}: {found:?}");
        let found = problems(&format!("{{\"Log ignore\": [\"{text}\"]}}"), true);
        assert!(found.len() == 1 && found[0].contains(hint), "{text}: {found:?}");
    }
    for domain in
        ["1.example.com", "3com.com", "10.0.0.1.nip.io", "4.in-addr.arpa", "1-2.example", "localhost", "x"]
    {
        Config::from_toml(&format!("[log]\nignore = [\"{domain}\"]")).unwrap();
    }
    for domain in ["com.example.1", "arpa.in-addr.10", "net.", "com.exa"] {
        Config::from_json(&format!("{{\"Log ignore\": [\"{domain}\"]}}")).unwrap();
    }
}

#[test]
fn config_toml_comes_before_config_json() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(Some(directory.path()), None);
    let loaded = Config::load(&layout).unwrap();
    assert_eq!(loaded.source, Source::Defaults(directory.path().join("config.toml")));
    let json = directory.path().join("config.json");
    fs::write(&json, "{\"DB retention (days)\": 7}").unwrap();
    let loaded = Config::load(&layout).unwrap();
    assert_eq!((loaded.source, loaded.config.log.retention_days), (Source::Json(json.clone()), 7));
    Config::write_default(&layout.config).unwrap();
    assert_eq!(fs::metadata(&layout.config).unwrap().permissions().mode() & 0o777, 0o640);
    let loaded = Config::load(&layout).unwrap();
    assert_eq!((loaded.source, loaded.config), (Source::Toml(layout.config.clone()), Config::default()));
    assert_eq!(Config::write_default(&layout.config).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    let loaded = Config::load(&Layout::new(Some(directory.path()), Some(&json))).unwrap();
    assert_eq!(loaded.source, Source::Json(json));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().join("other.toml");
    let layout = Layout::new(Some(directory.path()), Some(&given));
    let error = Config::load(&layout).unwrap_err().to_string();
    assert!(error.contains("other.toml: cannot read"), "{error}");
    fs::write(&given, b"[log]\n# \xff\n").unwrap();
    let error = Config::load(&layout).unwrap_err().to_string();
    assert!(error.contains("line 2 is not UTF-8"), "{error}");
    fs::write(&given, "[log]\nretention_days = 0\nsqlite = 7\n").unwrap();
    let error = Config::load(&layout).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].contains("other.toml:2: log.retention_days"), "{error}");
    let error = Config::load(&Layout::new(None, Some(directory.path()))).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    let text = "[virustotal]\napi_key = \"hidden\"\n[log.server]\nclient = \"mysql\"\nuser = \"u\"\n\
                password = \"hidden\"\ndatabase = \"d\"";
    let config = Config::from_toml(text).unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert!(!json.contains("hidden") && json.contains("(set)"), "{json}");
    assert!(!format!("{config:?}").contains("hidden"));
}

#[test]
fn the_key_is_sent_encrypted_or_not_beyond_this_machine() {
    for (url, valid) in [
        ("https://www.virustotal.com/api/v3", true),
        ("http://127.0.0.1:8080/api/v3", true),
        ("http://localhost/x", true),
        ("http://[::1]:80", true),
        ("http://www.virustotal.com/api/v3", false),
        ("http://127.0.0.1.evil.example/", false),
        ("http://localhost@evil.example/", false),
        ("https://", false),
        ("https://a b", false),
        ("ftp://x", false),
        ("", false),
    ] {
        let text = format!("[virustotal]\nurl = \"{url}\"\n");
        assert_eq!(Config::from_toml(&text).is_ok(), valid, "{url}");
    }
}
