//! ClickHouse, over its HTTP interface: one request for each statement. (The manual's "HTTP Interface"; the same from version 18 on.)

pub(crate) mod schema;
pub(crate) mod tables;
mod text;

pub(crate) use text::PLACEHOLDER;

use std::{
    borrow::Cow,
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use config::TlsMode;
use http_client::{ServerTls, Timeouts, is_certificate_refused, is_tls_refused};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::oneshot;
use ureq::{Agent, http::HeaderValue};

use super::{
    CONNECT_TIMEOUT, STATEMENT_TIMEOUT,
    rows::{Cell, Row},
    tables::{Kind, Table},
};
use crate::settings::ServerSettings;

/// The server closes connections that were not used for so long (`keep_alive_timeout`, 3 s by default in old versions).
const MAX_IDLE: Duration = Duration::from_secs(2);
/// The longest time for the answer to the first request with `tls = "prefer"`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_ANSWER_BYTES: u64 = 1 << 30;
/// Bytes of an error that are kept.
const MAX_ERROR_BYTES: usize = 2000;
/// Rows of one INSERT. Each makes a part of the table, which the server merges with others later: few large ones are best.
pub(super) const MAX_ROWS: usize = 20_000;
/// Bytes of one INSERT.
pub(super) const MAX_INSERT_BYTES: usize = 16 << 20;
/// Rows of an INSERT that the server may collect with those of other clients into one part.
const MAX_COLLECTED_ROWS: usize = 2000;
/// The first major versions that know the settings (its "Changelog").
const HAS_PARTITION_LIMIT: u32 = 19;
const HAS_ASYNC_INSERT: u32 = 22;

/// A server. A statement needs no connection of its own, so there is none to lose.
pub(super) struct ClickHouse {
    agent: Agent,
    url: String,
    database: String,
    user: HeaderValue,
    password: HeaderValue,
    /// The major version, for example 18.
    version: u32,
    /// What the names of its statements have in common (`query_id`); `None` if the kernel has no random number yet.
    id: Option<i64>,
    /// Statements that were sent.
    statements: AtomicU64,
}

/// An error of the server.
#[derive(Debug)]
pub(crate) struct ClickHouseError {
    /// Its number (`ErrorCodes.cpp`); empty if the answer has none.
    code: String,
    text: String,
}

impl ClickHouseError {
    /// Reads `Code: 60. DB::Exception: ...` (new versions) or `Code: 60, e.displayText() = ...` (old ones).
    fn new(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_ERROR_BYTES)]).trim().to_owned();
        let digits = text.split("Code: ").nth(1).unwrap_or_default();
        let code = digits.chars().take_while(char::is_ascii_digit).collect();
        Self { code, text }
    }

    /// Its number; 0 if it has none.
    pub fn number(&self) -> u32 {
        self.code.parse().unwrap_or(0)
    }

    /// Whether the account was refused a right.
    pub fn is_refusal(&self) -> bool {
        // READONLY, DATABASE_ACCESS_DENIED, QUERY_IS_PROHIBITED, ACCESS_DENIED
        matches!(self.number(), 164 | 291 | 392 | 497)
    }

    /// What to do about it, as the end of a sentence.
    pub fn hint(&self) -> &'static str {
        match self.number() {
            // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, IP_ADDRESS_NOT_ALLOWED, AUTHENTICATION_FAILED
            192..=195 | 516 => {
                " (is the user or the password wrong, or the account not allowed from this host?)"
            }
            // UNKNOWN_DATABASE
            81 => " (create the database first)",
            _ if self.is_refusal() => {
                " (the account lacks rights: `picosnitch export-sql` prints the statements that give them)"
            }
            // NOT_ENOUGH_SPACE
            243 => " (the disk of the server is full; what waits stays in the log)",
            // TOO_MANY_PARTS, TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED
            252 | 202 | 241 => " (the server has more to do than it can; what waits stays in the log)",
            // TABLE_IS_READ_ONLY
            242 => " (the server has lost its ZooKeeper or Keeper)",
            _ => "",
        }
    }
}

impl fmt::Display for ClickHouseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for ClickHouseError {}

impl DatabaseError for ClickHouseError {
    fn message(&self) -> &str {
        &self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        // A number, which no SQLSTATE with its five characters is.
        Some(Cow::Borrowed(&self.code))
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// Connects: asks for the version.
pub(super) async fn connect(settings: &ServerSettings) -> sqlx::Result<ClickHouse> {
    match settings.tls {
        TlsMode::Disable => connect_with(settings, None).await,
        TlsMode::Prefer => {
            let is_plain = speaks_plainly(settings).await;
            connect_with(settings, (!is_plain).then_some(false)).await
        }
        TlsMode::Require => connect_with(settings, Some(false)).await,
        TlsMode::VerifyCa | TlsMode::VerifyFull => connect_with(settings, Some(true)).await,
    }
}

/// Whether the server answers without TLS. It is asked without an account. (To begin with TLS is no way: a server without it may
/// wait for the end of what it takes for a request.)
async fn speaks_plainly(settings: &ServerSettings) -> bool {
    let timeouts = Timeouts { connect: PROBE_TIMEOUT, request: PROBE_TIMEOUT };
    let Ok(agent) = http_client::server_agent(None, timeouts, MAX_IDLE) else { return false };
    let url = format!("{}ping", url(settings, "http"));
    let asked = in_thread(move || agent.get(&url).call());
    matches!(asked.await, Ok(Ok(answer)) if answer.status().is_success())
}

/// Does what blocks in a thread of its own. Nobody waits for one whose answer is not wanted any longer, as a runtime would at its end
/// for its own threads: a server that does not answer would hold up the end of a program.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, answer) = oneshot::channel();
    let work = move || {
        let _ = sender.send(work());
    };
    thread::Builder::new().name("clickhouse".to_owned()).spawn(work)?;
    answer.await.map_err(io::Error::other)
}

/// The statement that ends those of the connection with this number, whoever waits for them.
pub(super) fn end_statements(id: i64) -> String {
    format!("KILL QUERY WHERE query_id LIKE 'picosnitch-{id}-%'")
}

fn url(settings: &ServerSettings, scheme: &str) -> String {
    let host = match settings.host.contains(':') {
        true => format!("[{}]", settings.host),
        false => settings.host.clone(),
    };
    format!("{scheme}://{host}:{}/", settings.port)
}

/// `is_verified`: whether the certificate of the server is checked; `None` without TLS.
async fn connect_with(settings: &ServerSettings, is_verified: Option<bool>) -> sqlx::Result<ClickHouse> {
    let tls = is_verified.map(|is_verified| ServerTls {
        is_verified,
        authority: &settings.authority,
        client: settings
            .client_certificate
            .as_ref()
            .map(|client| (client.certificate.as_str(), client.key.as_str())),
    });
    let timeouts = Timeouts { connect: CONNECT_TIMEOUT, request: STATEMENT_TIMEOUT };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let agent = http_client::server_agent(tls, timeouts, MAX_IDLE).map_err(sqlx::Error::config)?;
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(sqlx::Error::config);
    let mut server = ClickHouse {
        agent,
        url: url(settings, scheme),
        database: settings.database.clone(),
        user: value(&settings.user)?,
        password: value(&settings.password)?,
        version: 0,
        id: store::random_nonce(),
        statements: AtomicU64::new(0),
    };
    let version = server.ask("SELECT version()".to_owned()).await?;
    let version = String::from_utf8_lossy(&version);
    server.version = version.split('.').next().and_then(|major| major.trim().parse().ok()).unwrap_or(0);
    Ok(server)
}

impl ClickHouse {
    /// Sends a statement, and returns the answer.
    async fn ask(&self, sql: String) -> sqlx::Result<Vec<u8>> {
        self.ask_with(sql, &[]).await
    }

    async fn ask_with(&self, sql: String, settings: &[(&str, &str)]) -> sqlx::Result<Vec<u8>> {
        // No other statement may have its name while it runs.
        let number = self.statements.fetch_add(1, Ordering::Relaxed);
        let name = self.id.map(|id| ("query_id", format!("picosnitch-{id}-{number}")));
        let request = self
            .agent
            .post(&self.url)
            .query_pairs(name)
            .query("database", &self.database)
            // The status is that of the whole statement: the answer begins when it is ready.
            .query("wait_end_of_query", "1")
            .query_pairs(settings.iter().copied())
            .header("x-clickhouse-user", self.user.clone())
            .header("x-clickhouse-key", self.password.clone())
            .content_type("text/plain");
        let asked = in_thread(move || {
            let answer = request.send(sql)?;
            let status = answer.status();
            let body = answer.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
            Ok((status.is_success(), body))
        });
        match asked.await {
            Ok(Ok((true, body))) => Ok(body),
            Ok(Ok((false, body))) => Err(sqlx::Error::Database(Box::new(ClickHouseError::new(&body)))),
            Ok(Err(error)) => Err(client_error(error)),
            Err(error) => Err(sqlx::Error::Io(error)),
        }
    }

    /// The number by which [`end_statements`] knows the statements of this connection.
    pub fn id(&self) -> Option<i64> {
        self.id
    }

    pub async fn execute(&self, sql: &str) -> sqlx::Result<()> {
        self.ask(sql.to_owned()).await.map(|_| ())
    }

    pub async fn select(&self, sql: &str, parameters: &[Cell], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
        let sql = format!("{} FORMAT TabSeparated", text::with_parameters(sql, parameters));
        text::rows(&self.ask(sql).await?, kinds)
            .ok_or_else(|| sqlx::Error::Protocol("the answer has other columns than were asked for".into()))
    }

    /// Inserts rows with one statement; the server has them when this returns.
    pub async fn insert(&self, table: &Table, rows: &[Row]) -> sqlx::Result<()> {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let mut settings = self.insert_settings();
        if self.version >= HAS_ASYNC_INSERT && rows.len() <= MAX_COLLECTED_ROWS {
            settings.extend([("async_insert", "1"), ("wait_for_async_insert", "1")]);
        }
        let mut sql = format!("INSERT INTO {} ({}) FORMAT TabSeparated\n", table.name, names.join(", "));
        text::write_rows(&mut sql, rows);
        self.ask_with(sql, &settings).await.map(|_| ())
    }

    /// Executes an INSERT of what a SELECT finds; the server has the rows when this returns.
    pub async fn insert_selected(&self, sql: &str) -> sqlx::Result<()> {
        self.ask_with(sql.to_owned(), &self.insert_settings()).await.map(|_| ())
    }

    fn insert_settings(&self) -> Vec<(&'static str, &'static str)> {
        // The shards have the rows when the statement ends, if the table is one of a cluster.
        let mut settings = vec![("insert_distributed_sync", "1")];
        if self.version >= HAS_PARTITION_LIMIT {
            // An imported history has windows of many months.
            settings.push(("max_partitions_per_insert_block", "0"));
        }
        settings
    }
}

/// An error of the connection as the other clients have it.
fn client_error(error: ureq::Error) -> sqlx::Error {
    if is_certificate_refused(&error) {
        return sqlx::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    if is_tls_refused(&error) {
        return sqlx::Error::Tls(error.into());
    }
    match error {
        ureq::Error::Io(error) => sqlx::Error::Io(error),
        ureq::Error::Timeout(_) => sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, error)),
        other => sqlx::Error::Io(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_old_and_new_versions_have_their_numbers() {
        for (text, number) in [
            (&b"Code: 60, e.displayText() = DB::Exception: Table d.t doesn't exist., e.what() = DB::Exception"[..], 60),
            (b"Code: 516. DB::Exception: u: Authentication failed. (AUTHENTICATION_FAILED)", 516),
            (b"bad gateway", 0),
        ] {
            assert_eq!(ClickHouseError::new(text).number(), number);
        }
    }
}
