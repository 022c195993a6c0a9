//! What is configured wrongly, altered or not trusted: said precisely, and mended without a loss.

use std::collections::BTreeMap;

use config::TlsMode;
use export::{ClientCertificate, ServerSettings};

use super::{
    exporter::{Exporter, send_all},
    log::{Log, on_server},
    server_process::{DATABASE, PASSWORD, ServerCertificate, ServerProcess, System, with_each_system},
};

with_each_system! {
    what_is_wrong_is_said_and_others_go_on
    certificates_are_checked
    an_account_is_known_by_its_certificate
}

fn what_is_wrong_is_said_and_others_go_on(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    let wrong = |change: &dyn Fn(&mut ServerSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        Exporter::start(&settings, &log.path, "host")
    };
    let password = wrong(&|settings| settings.password = "wrong".into()).wait_for_problem("password");
    assert!(password.contains("is the user or the password wrong"), "{password}");
    assert!(
        !password.contains(PASSWORD) && password.contains(&format!("127.0.0.1:{}", server.port)),
        "{password}"
    );
    wrong(&|settings| settings.user = "nobody-there".into())
        .wait_for_problem("is the user or the password wrong");
    if system != System::MariaDb {
        wrong(&|settings| settings.database = "nowhere".into()).wait_for_problem("create the database first");
    }
    wrong(&|settings| settings.port = 1).wait_for_problem("nothing listens there");
    wrong(&|settings| settings.host = "name.invalid".into()).wait_for_problem("cannot connect");
    wrong(&|settings| settings.tls = TlsMode::Require).wait_for_problem("TLS");
    // A table that was altered by hand: precise, and the copy in another database goes on.
    server.create_database("other");
    let other = ServerSettings { database: "other".into(), ..settings.clone() };
    send_all(&settings, &log);
    let altered = match system {
        System::PostgreSql => {
            "DROP VIEW connections; ALTER TABLE picosnitch_record ALTER COLUMN sent TYPE integer; ALTER TABLE \
                               picosnitch_event DROP COLUMN message; ALTER TABLE picosnitch_window DROP CONSTRAINT picosnitch_window_pkey"
        }
        System::MariaDb => {
            "ALTER TABLE picosnitch_record MODIFY sent INT; ALTER TABLE picosnitch_event DROP COLUMN message; ALTER \
                            TABLE picosnitch_window DROP PRIMARY KEY"
        }
        System::ClickHouse | System::Chdb => {
            "DROP TABLE connections; ALTER TABLE picosnitch_record MODIFY COLUMN sent Int32; ALTER TABLE picosnitch_event DROP \
                            COLUMN message; RENAME TABLE picosnitch_window TO kept; CREATE TABLE picosnitch_window AS kept ENGINE = \
                            MergeTree() ORDER BY log"
        }
    };
    server.execute_as("owner", altered).unwrap();
    let [broken, fine] = [&settings, &other].map(|settings| Exporter::start(settings, &log.path, "host"));
    let problem = broken.wait_for_problem("not as picosnitch made them");
    let expected = match system.is_clickhouse() {
        false => [
            "picosnitch_record.sent is int",
            "and must be bigint",
            "picosnitch_event.message is missing",
            "primary key of picosnitch_window must be (log, window_number)",
        ],
        true => [
            "picosnitch_record.sent is Int32 and must be Int64",
            "picosnitch_window must have the engine ReplacingMergeTree",
            "picosnitch_event.message is missing",
            "picosnitch_window must be sorted by (log, window_number)",
        ],
    };
    for what in expected {
        assert!(problem.contains(what), "{problem}");
    }
    log.write(5);
    fine.wait_until_sent(&log);
    assert_eq!(on_server(&server, "other"), log.copied());
    let repaired = match system {
        System::PostgreSql => {
            "DROP VIEW connections; ALTER TABLE picosnitch_record ALTER COLUMN sent TYPE bigint; ALTER TABLE picosnitch_event ADD COLUMN \
                               message text NOT NULL DEFAULT ''; ALTER TABLE picosnitch_window ADD PRIMARY KEY (log, window_number)"
        }
        System::MariaDb => {
            "ALTER TABLE picosnitch_record MODIFY sent BIGINT NOT NULL; ALTER TABLE picosnitch_event ADD COLUMN message \
                            MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL; ALTER TABLE picosnitch_window ADD PRIMARY \
                            KEY (log, window_number)"
        }
        System::ClickHouse | System::Chdb => {
            "ALTER TABLE picosnitch_record MODIFY COLUMN sent Int64; ALTER TABLE picosnitch_event ADD COLUMN message String; \
                            DROP TABLE picosnitch_window; RENAME TABLE kept TO picosnitch_window"
        }
    };
    server.execute_as("owner", repaired).unwrap();
    broken.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(broken.status().problem, None);
    // Tables of a later version.
    server.execute_as("owner", "INSERT INTO picosnitch_schema (version) VALUES (99)").unwrap();
    let newer = Exporter::start(&settings, &log.path, "host");
    newer.wait_for_problem("have version 99");
}

/// An authority and what it vouches for.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn server(&self, name: &str, year: i32) -> ServerCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let client_authority = self.certificate.pem();
        ServerCertificate { certificate: certificate.pem(), key: key.serialize_pem(), client_authority }
    }

    /// The certificate of an account.
    fn client(&self, name: &str) -> ClientCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        ClientCertificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn an_account_is_known_by_its_certificate(system: System) {
    if system.is_clickhouse() {
        return println!("it knows accounts by their passwords");
    }
    let authority = Authority::new();
    let mut server = ServerProcess::start_with(system, Some(&authority.server("127.0.0.1", 2100)));
    server.create_certified();
    let mut log = Log::new();
    log.write(5);
    send_all(&server.settings("owner"), &log);
    log.write(5);
    let settings = ServerSettings {
        user: "certified".into(),
        password: String::new(),
        tls: TlsMode::VerifyFull,
        authority: authority.certificate.pem(),
        ..server.settings("owner")
    };
    let with = |client_certificate| ServerSettings { client_certificate, ..settings.clone() };
    Exporter::start(&with(None), &log.path, "host").wait_for_problem("cannot connect");
    let foreign = Authority::new().client("certified");
    Exporter::start(&with(Some(foreign)), &log.path, "host").wait_for_problem("cannot connect");
    send_all(&with(Some(authority.client("certified"))), &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn certificates_are_checked(system: System) {
    if system == System::Chdb {
        return println!("the module has no server of its own, and so no TLS");
    }
    let authority = Authority::new();
    let mut log = Log::new();
    log.write(5);
    let servers: BTreeMap<&str, ServerProcess> =
        [("right", "127.0.0.1", 2100), ("other name", "db.example", 2100), ("expired", "127.0.0.1", 2001)]
            .into_iter()
            .map(|(key, name, year)| {
                let certificate = authority.server(name, year);
                (key, ServerProcess::start_with(system, Some(&certificate)))
            })
            .collect();
    let start = |server: &str, tls, authority: &str| {
        let mut settings = servers[server].settings("owner");
        (settings.tls, settings.authority) = (tls, authority.to_owned());
        Exporter::start(&settings, &log.path, "host")
    };
    let (pem, none) = (authority.certificate.pem(), String::new());
    let cases = [
        ("right", TlsMode::VerifyFull, &pem, true),
        ("right", TlsMode::VerifyFull, &none, false),
        ("right", TlsMode::VerifyCa, &none, false),
        ("right", TlsMode::Require, &none, true),
        ("other name", TlsMode::VerifyFull, &pem, false),
        // The client library compares the name in this mode as well: stricter than it need be.
        ("other name", TlsMode::VerifyCa, &pem, false),
        ("other name", TlsMode::Require, &none, true),
        ("expired", TlsMode::VerifyCa, &pem, false),
        ("expired", TlsMode::VerifyFull, &pem, false),
        ("expired", TlsMode::Prefer, &none, true),
    ];
    for (server, tls, authority, is_accepted) in cases {
        let exporter = start(server, tls, authority);
        match is_accepted {
            true => exporter.wait_until_sent(&log),
            false => {
                let problem = exporter.wait_for_problem("certificate");
                assert!(problem.contains("see the key `tls`"), "{server} {tls:?}: {problem}");
            }
        }
    }
}
