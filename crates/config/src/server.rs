//! `[log.server]`: the SQL server that gets a copy of every record.

use std::str::FromStr;

use serde::Serialize;

use super::{
    Secret,
    node::{Node, Raw, Reader},
};

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// PostgreSQL.
    PostgreSql,
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl Client {
    /// The port such a server listens on by convention.
    pub fn default_port(self) -> u16 {
        match self {
            Self::PostgreSql => 5432,
            Self::MariaDb | Self::MySql => 3306,
        }
    }
}

impl FromStr for Client {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "postgresql" => Ok(Self::PostgreSql),
            "mariadb" => Ok(Self::MariaDb),
            "mysql" => Ok(Self::MySql),
            _ => Err(()),
        }
    }
}

/// The original's names: those of the Python modules it uses.
struct OriginalClient(Client);

impl FromStr for OriginalClient {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "psycopg" | "psycopg2" => Ok(Self(Client::PostgreSql)),
            "mariadb" => Ok(Self(Client::MariaDb)),
            "pymysql" => Ok(Self(Client::MySql)),
            _ => Err(()),
        }
    }
}

/// How the connection is protected; the words are PostgreSQL's (`sslmode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not at all.
    Disable,
    /// If the server can.
    #[default]
    Prefer,
    /// Always, but whoever answers is believed.
    Require,
    /// Always, and the server's certificate is checked.
    VerifyCa,
    /// Always, and the certificate must be for this host.
    VerifyFull,
}

impl FromStr for Tls {
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

/// An SQL server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// The kind of server.
    pub client: Client,
    /// Name or address; a path that starts with `/` is that of a Unix socket (its directory for PostgreSQL).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password; empty: none.
    pub password: Secret,
    /// Name of the database.
    pub database: String,
    /// Table the records go to.
    pub table_name: String,
    /// How the connection is protected.
    pub tls: Tls,
}

const TLS_ALLOWED: &str = "\"disable\", \"prefer\", \"require\", \"verify-ca\" or \"verify-full\"";
const TEXT_ALLOWED: &str = "a string of 1 to 255 characters without control characters";
const TABLE_ALLOWED: &str = "1 to 63 letters, digits and underscores, not beginning with a digit";
const DEFAULT_TABLE: &str = "connections";
const DEFAULT_HOST: &str = "localhost";

fn is_text(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_password(text: &str) -> bool {
    text.len() <= 1024 && !text.contains('\0')
}

/// 63 is the length PostgreSQL cuts names at; 64 that of MySQL and MariaDB.
fn is_table_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads `[log.server]`; `None` if it is wrong (the problems are told).
pub(super) fn read_toml(log: &mut Reader<'_>, node: Node) -> Option<Server> {
    let mut table = log.sub("server", node);
    let client = table.word::<Client>("client", "\"postgresql\", \"mariadb\" or \"mysql\"");
    let host = table.text("host", TEXT_ALLOWED, is_text);
    let port = table.integer("port", 1..=u16::MAX);
    let user = table.text("user", TEXT_ALLOWED, is_text);
    let password = table.secret("password", "a string of at most 1024 bytes", is_password);
    let database = table.text("database", TEXT_ALLOWED, is_text);
    let table_name = table.text("table_name", TABLE_ALLOWED, is_table_name);
    let tls = table.word("tls", TLS_ALLOWED).unwrap_or_default();
    table.require(&["client", "user", "database"]);
    table.finish();
    let client = client?;
    Some(Server {
        client,
        host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: port.unwrap_or(client.default_port()),
        user: user?,
        password: Secret(password.unwrap_or_default()),
        database: database?,
        table_name: table_name.unwrap_or_else(|| DEFAULT_TABLE.to_owned()),
        tls,
    })
}

/// Reads the original's `DB sql server`: `client`, `table_name`, and the connection parameters of the
/// Python module, as far as they have a meaning here. An empty object is no server.
pub(super) fn read_json(top: &mut Reader<'_>, key: &'static str) -> Option<Server> {
    let node = top.take(key)?;
    if matches!(&node.raw, Raw::Table(entries) if entries.is_empty()) {
        return None;
    }
    let mut table = top.sub(key, node);
    let client =
        table.word::<OriginalClient>("client", "\"mariadb\", \"psycopg\", \"psycopg2\" or \"pymysql\"");
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
    let tls = table.word("sslmode", TLS_ALLOWED).unwrap_or_default();
    table.require(&["client"]);
    table.require_one_of(&["user", "username"]);
    table.require_one_of(&["database", "dbname", "db"]);
    table.finish();
    let OriginalClient(client) = client?;
    Some(Server {
        client,
        host: socket.or(host).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: port.unwrap_or(client.default_port()),
        user: user?,
        password: Secret(password.unwrap_or_default()),
        database: database?,
        table_name: table_name.unwrap_or_else(|| DEFAULT_TABLE.to_owned()),
        tls,
    })
}
