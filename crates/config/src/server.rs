//! `[log.server]` and `[export.NAME]`: the SQL servers that get a copy of every record.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    forward::{self, ForwardSection},
    node::{Node, NodeValue},
    ranges,
    secret::Secret,
    table_reader::TableReader,
};

/// The database system of an SQL server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// PostgreSQL: `postgresql` in the file.
    PostgreSql,
    /// MariaDB: `mariadb` in the file.
    MariaDb,
    /// MySQL: `mysql` in the file.
    MySql,
    /// ClickHouse: `clickhouse` in the file. It is spoken to over HTTP.
    ClickHouse,
}

impl ServerKind {
    /// The port on which such a server listens by convention, for connections that are protected like this.
    pub fn default_port(self, tls: TlsMode) -> u16 {
        match (self, tls) {
            (Self::PostgreSql, _) => 5432,
            (Self::MariaDb | Self::MySql, _) => 3306,
            // It has a port of its own for HTTPS (`http_port` and `https_port` in its manual).
            (Self::ClickHouse, TlsMode::Disable | TlsMode::Prefer) => 8123,
            (Self::ClickHouse, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull) => 8443,
        }
    }
}

impl FromStr for ServerKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "postgresql" => Ok(Self::PostgreSql),
            "mariadb" => Ok(Self::MariaDb),
            "mysql" => Ok(Self::MySql),
            "clickhouse" => Ok(Self::ClickHouse),
            _ => Err(()),
        }
    }
}

/// The same in a `config.json`, where the original picosnitch has the names of Python modules.
struct OriginalServerKind(ServerKind);

impl FromStr for OriginalServerKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "psycopg" | "psycopg2" => Ok(Self(ServerKind::PostgreSql)),
            "mariadb" => Ok(Self(ServerKind::MariaDb)),
            "pymysql" => Ok(Self(ServerKind::MySql)),
            _ => Err(()),
        }
    }
}

/// How the connection to the server is protected; the words are those of `sslmode` of PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// The connection is not encrypted.
    Disable,
    /// The connection is encrypted if the server supports it.
    #[default]
    Prefer,
    /// The connection is encrypted; the certificate of the server is not checked.
    Require,
    /// The connection is encrypted, and the certificate must come from a trusted authority.
    VerifyCa,
    /// As [`TlsMode::VerifyCa`], and the certificate must be for this host.
    VerifyFull,
}

impl FromStr for TlsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(()),
        }
    }
}

/// The SQL server that gets a copy of every record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SqlServer {
    /// The database system of the server.
    pub client: ServerKind,
    /// Host name or address; a path that starts with `/` is a Unix socket (for PostgreSQL its directory).
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
    /// User name on the server.
    pub user: String,
    /// Password; empty if there is none, or it is elsewhere.
    pub password: Secret,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Name of the database on the server.
    pub database: String,
    /// Name of the view with one row for each record.
    pub table_name: String,
    /// How the connection to the server is protected.
    pub tls: TlsMode,
    /// PEM file with the certificates of authorities that are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate by which the account is known.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of the certificate.
    pub key: Option<PathBuf>,
    /// Send what was recorded before the first connection as well.
    pub backfill: bool,
}

const CLIENT_ALLOWED: &str = "\"postgresql\", \"mariadb\", \"mysql\" or \"clickhouse\"; in [export.NAME] also \"syslog\", \"journald\", \"webhook\" or \"otlp\"";
const TLS_ALLOWED: &str = "\"disable\", \"prefer\", \"require\", \"verify-ca\" or \"verify-full\"";
const TEXT_ALLOWED: &str = "a string of 1 to 255 characters without control characters";
const TABLE_ALLOWED: &str = "1 to 63 letters, digits and underscores, not beginning with a digit";
const EXPORT_ALLOWED: &str = "1 to 32 lower-case letters, digits, hyphens and underscores";
/// Servers besides `[log.server]`.
const MAX_EXPORTS: usize = 8;
const DEFAULT_TABLE: &str = "connections";
const DEFAULT_HOST: &str = "localhost";

fn is_text(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_password(text: &str) -> bool {
    text.len() <= 1024 && !text.contains('\0')
}

/// The name is a part of the names of keys and of systemd's credentials.
fn is_export_name(text: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=32).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// PostgreSQL cuts names after 63 bytes; MySQL and MariaDB allow 64 characters.
fn is_table_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads `[log.server]` or a section of `[export]`; `None` if it has problems, which are added to those of `parent`.
pub(super) fn read_toml(parent: &mut TableReader<'_>, name: &str, node: Node) -> Option<SqlServer> {
    let mut table = parent.sub(name, node);
    let client = table.keyword::<ServerKind>("client", CLIENT_ALLOWED);
    let host_line = table.line_of("host");
    let host = table.text("host", TEXT_ALLOWED, is_text);
    let port = table.integer("port", 1..=u16::MAX);
    let user = table.text("user", TEXT_ALLOWED, is_text);
    let password =
        table.secret("password", "a string of at most 1024 bytes", is_password).unwrap_or_default();
    let database = table.text("database", TEXT_ALLOWED, is_text);
    let table_name = table.text("table_name", TABLE_ALLOWED, is_table_name);
    let tls = table.keyword("tls", TLS_ALLOWED).unwrap_or_default();
    let mut backfill = true;
    table.boolean("backfill", &mut backfill);
    let lines = ["password_file", "certificate", "key"].map(|key| table.line_of(key));
    let mut file = |key| table.text(key, ranges::FILE_ALLOWED, ranges::is_file_path).map(PathBuf::from);
    let (password_file, ca) = (file("password_file"), file("ca"));
    let (certificate, key) = (file("certificate"), file("key"));
    if password_file.is_some() && !password.is_empty() {
        table.problem(lines[0], "password_file", "there is a password, too; keep one of them");
    }
    match (&certificate, &key) {
        (Some(_), None) => table.problem(lines[1], "certificate", "its key is missing: the key `key`"),
        (None, Some(_)) => {
            table.problem(lines[2], "key", "its certificate is missing: the key `certificate`")
        }
        _ => {}
    }
    if client == Some(ServerKind::ClickHouse) && host.as_ref().is_some_and(|host| host.starts_with('/')) {
        table.problem(host_line, "host", "ClickHouse is spoken to over HTTP, which has no Unix socket");
    }
    table.require(&["client", "user", "database"]);
    table.finish();
    let client = client?;
    Some(SqlServer {
        client,
        host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: port.unwrap_or(client.default_port(tls)),
        user: user?,
        password: Secret(password),
        password_file,
        database: database?,
        table_name: table_name.unwrap_or_else(|| DEFAULT_TABLE.to_owned()),
        tls,
        ca,
        certificate,
        key,
        backfill,
    })
}

/// A section `[export.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ExportSection {
    /// An SQL server, which gets a copy of every record.
    Server(Box<SqlServer>),
    /// Another tool, which gets events.
    Forward(Box<ForwardSection>),
}

/// Reads `[export]`: a section for each further server, and for each other tool.
pub(super) fn read_exports(top: &mut TableReader<'_>) -> BTreeMap<String, ExportSection> {
    let mut exports = BTreeMap::new();
    let mut table = top.table("export");
    for (name, node) in table.take_all() {
        if !is_export_name(&name) {
            let name = name.escape_debug().to_string();
            table.problem(
                node.line,
                &name,
                format!("not allowed as the name of a server; allowed: {EXPORT_ALLOWED}"),
            );
            continue;
        }
        let section = match forward::is_forward(&node) {
            true => forward::read_toml(&mut table, &name, node).map(Box::new).map(ExportSection::Forward),
            false => read_toml(&mut table, &name, node).map(Box::new).map(ExportSection::Server),
        };
        exports.extend(section.map(|section| (name, section)));
    }
    table.finish();
    if exports.len() > MAX_EXPORTS {
        top.problem(None, "export", format!("more than {MAX_EXPORTS} servers"));
    }
    exports
}

/// Reads `DB sql server` of a `config.json`: `client`, `table_name`, and those connection parameters of the Python module
/// that have a meaning here. An empty object means that there is no server.
pub(super) fn read_json(top: &mut TableReader<'_>, key: &'static str) -> Option<SqlServer> {
    let node = top.take(key)?;
    if matches!(&node.value, NodeValue::Table(entries) if entries.is_empty()) {
        return None;
    }
    let mut table = top.sub(key, node);
    let client = table
        .keyword::<OriginalServerKind>("client", "\"mariadb\", \"psycopg\", \"psycopg2\" or \"pymysql\"");
    let host = table.text("host", TEXT_ALLOWED, is_text);
    let socket = table.text("unix_socket", "a path that starts with /", |path| path.starts_with('/'));
    let port = table.integer("port", 1..=u16::MAX);
    let user = table.text("user", TEXT_ALLOWED, is_text);
    let user = user.or(table.text("username", TEXT_ALLOWED, is_text));
    let password = table.secret("password", "a string of at most 1024 bytes", is_password);
    let password = password.or(table.secret("passwd", "a string of at most 1024 bytes", is_password));
    let mut database = None;
    for name in ["database", "dbname", "db"] {
        database = database.or(table.text(name, TEXT_ALLOWED, is_text));
    }
    let table_name = table.text("table_name", TABLE_ALLOWED, is_table_name);
    let tls = table.keyword("sslmode", TLS_ALLOWED).unwrap_or_default();
    table.require(&["client"]);
    table.require_one_of(&["user", "username"]);
    table.require_one_of(&["database", "dbname", "db"]);
    table.finish();
    let OriginalServerKind(client) = client?;
    Some(SqlServer {
        client,
        host: socket.or(host).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: port.unwrap_or(client.default_port(tls)),
        user: user?,
        password: Secret(password.unwrap_or_default()),
        database: database?,
        table_name: table_name.unwrap_or_else(|| DEFAULT_TABLE.to_owned()),
        tls,
        password_file: None,
        ca: None,
        certificate: None,
        key: None,
        backfill: true,
    })
}
