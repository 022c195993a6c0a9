//! What the tests need of ClickHouse: its configuration, and requests without the code that is tested.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use super::PASSWORD;

/// The ports of a server.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP, for what the tests do themselves.
    pub http: u16,
    /// HTTPS, if it has a certificate.
    pub https: Option<u16>,
    pub tcp: u16,
    /// For other replicas.
    pub interserver: u16,
}

/// Writes the configuration of a server into its directory. `more` are further elements of it, as those of replicas.
pub fn write_configuration(directory: &Path, ports: Ports, more: &str) {
    let place = directory.display();
    let https = ports.https.map_or(String::new(), |port| {
        format!(
            "<https_port>{port}</https_port><openSSL><server><certificateFile>{place}/server.crt</certificateFile>\
             <privateKeyFile>{place}/server.key</privateKeyFile><caConfig>{place}/clients.crt</caConfig>\
             <verificationMode>relaxed</verificationMode><loadDefaultCAFile>false</loadDefaultCAFile></server></openSSL>"
        )
    });
    let Ports { http, tcp, interserver, .. } = ports;
    let configuration = format!(
        "<?xml version=\"1.0\"?><yandex><logger><level>warning</level><log>{place}/server.log</log><errorlog>{place}/errors.log</errorlog>\
         </logger><http_port>{http}</http_port>{https}<tcp_port>{tcp}</tcp_port>\
         <interserver_http_host>127.0.0.1</interserver_http_host><interserver_http_port>{interserver}</interserver_http_port>\
         <listen_host>127.0.0.1</listen_host><path>{place}/data/</path><tmp_path>{place}/data/tmp/</tmp_path>\
         <user_files_path>{place}/data/user_files/</user_files_path><users_config>{place}/users.xml</users_config>\
         <default_profile>default</default_profile><default_database>default</default_database>\
         <mark_cache_size>100000000</mark_cache_size><timezone>UTC</timezone>{more}</yandex>"
    );
    fs::write(directory.join("config.xml"), configuration).unwrap();
    write_accounts(directory, Agent::Stranger);
}

/// What the account `agent` may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// It may not even use the database.
    Stranger,
    /// It may insert and select: what docs/export.md says of old versions.
    Writer,
    /// It may select.
    Reader,
}

/// Writes the accounts.
pub fn write_accounts(directory: &Path, agent: Agent) {
    let account = |name: &str, password: &str, profile: &str, databases: &str| {
        format!(
            "<{name}>{password}<networks><ip>127.0.0.1</ip></networks><profile>{profile}</profile><quota>default</quota>\
             {databases}</{name}>"
        )
    };
    let password = format!("<password>{PASSWORD}</password>");
    let (profile, databases) = match agent {
        Agent::Stranger => ("reading", "<allow_databases><database>default</database></allow_databases>"),
        Agent::Writer => ("adding", ""),
        Agent::Reader => ("reading", ""),
    };
    let users = format!(
        "<?xml version=\"1.0\"?><yandex><profiles><default/><adding><allow_ddl>0</allow_ddl></adding>\
         <reading><readonly>1</readonly></reading></profiles><users>{}{}{}</users><quotas><default/></quotas></yandex>",
        account("admin", "<password></password>", "default", ""),
        account("owner", &password, "default", ""),
        account("agent", &password, profile, databases),
    );
    // At once, as the server may read it at any moment.
    fs::write(directory.join("users.new"), users).unwrap();
    fs::rename(directory.join("users.new"), directory.join("users.xml")).unwrap();
}

/// Sends a statement as a user, and returns the answer.
pub fn request(port: u16, [user, password]: [&str; 2], database: &str, sql: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let head = format!(
        "POST /?database={database}&wait_end_of_query=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-clickhouse-user: {user}\r\n\
         x-clickhouse-key: {password}\r\ncontent-length: {}\r\n\r\n",
        sql.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(sql.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => without_chunks(body),
        false => body.to_owned(),
    };
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(body),
        false => Err(io::Error::other(body)),
    }
}

fn without_chunks(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        text += &rest[..length];
        body = rest[length..].trim_start_matches("\r\n");
    }
    text
}
