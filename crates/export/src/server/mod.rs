//! A connection to a server.

pub(crate) mod clickhouse;
pub(crate) mod dialect;
mod mysql;
mod postgres;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod tables;

use std::{future::Future, time::Duration};

use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tokio::time::timeout;

use self::{
    clickhouse::ClickHouse,
    dialect::Dialect,
    rows::{Cell, Row, parts},
    tables::{Kind, SUM, SUM_CLAIM, Table, VERSION},
};
use crate::{error::ExportError, settings::ServerSettings};

/// The longest time until a connection is made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time of a statement. A connection that answers nothing for so long is given up: its transaction is rolled back, or
/// was committed, which the server is asked at the next connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest pause between two statements of a transaction, after which the server rolls it back.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for taking leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const BEGINNING: &str = "cannot begin a transaction";
/// Bytes of one statement. MariaDB's and MySQL's `max_allowed_packet` is 16 MB and more by default.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// What happens to a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDuplicate {
    /// The statement fails.
    Refuse,
    /// The row is left out: the key is a digest of its content.
    Ignore,
}

/// A connection to a server. After an error it is not used again.
pub struct Server {
    address: String,
    connection: Connection,
}

enum Connection {
    PostgreSql(PgConnection),
    MySql(MySqlConnection),
    ClickHouse(Box<ClickHouse>),
}

impl Server {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached, or does not let the account in.
    pub async fn connect(settings: &ServerSettings) -> Result<Self, ExportError> {
        let address = settings.address();
        let connect = async {
            Ok(match Dialect::from(settings.kind) {
                Dialect::PostgreSql => Connection::PostgreSql(postgres::connect(settings).await?),
                Dialect::MySql => Connection::MySql(mysql::connect(settings).await?),
                Dialect::ClickHouse => Connection::ClickHouse(Box::new(clickhouse::connect(settings).await?)),
            })
        };
        match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(connection)) => Ok(Self { address, connection }),
            Ok(Err(source)) => Err(ExportError::Connect { server: address, source }),
            Err(_) => Err(ExportError::Timeout {
                server: address,
                seconds: CONNECT_TIMEOUT.as_secs(),
                doing: "connecting",
            }),
        }
    }

    /// Takes leave of the server, which would write a warning into its log otherwise.
    pub async fn close(self) {
        let closed = async {
            match self.connection {
                Connection::PostgreSql(connection) => connection.close().await,
                Connection::MySql(connection) => connection.close().await,
                Connection::ClickHouse(_) => Ok(()),
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }

    /// A number by which [`Server::end_question`] knows the questions of this connection; `None` if the server does not tell it.
    ///
    /// # Errors
    /// The server refuses it or does not answer.
    pub async fn id(&mut self) -> Result<Option<i64>, ExportError> {
        let sql = match &self.connection {
            Connection::PostgreSql(_) => "SELECT CAST(pg_backend_pid() AS BIGINT)",
            Connection::MySql(_) => "SELECT CAST(CONNECTION_ID() AS SIGNED)",
            Connection::ClickHouse(server) => return Ok(server.id()),
        };
        let rows = self.select(sql, &[], &[Kind::Integer], "cannot begin").await?;
        Ok(rows.iter().flatten().find_map(Cell::integer))
    }

    /// Ends the question of another connection of this account, which it may always do (pg_terminate_backend, KILL, KILL QUERY).
    ///
    /// # Errors
    /// The server refuses it or does not answer; the question may have ended by itself.
    pub async fn end_question(&mut self, id: i64) -> Result<(), ExportError> {
        let sql = match self.dialect() {
            Dialect::PostgreSql => format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid = {id}"
            ),
            Dialect::MySql => format!("KILL {id}"),
            Dialect::ClickHouse => clickhouse::end_statements(id),
        };
        self.execute(&sql, "cannot end a question").await
    }

    /// The server in a sentence.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The SQL that it speaks.
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::PostgreSql(_) => Dialect::PostgreSql,
            Connection::MySql(_) => Dialect::MySql,
            Connection::ClickHouse(_) => Dialect::ClickHouse,
        }
    }

    /// The function that names the place of the tables in `information_schema`.
    pub(crate) fn schema_function(&self) -> &'static str {
        match self.connection {
            Connection::PostgreSql(_) => "current_schema()",
            Connection::MySql(_) => "database()",
            Connection::ClickHouse(_) => "currentDatabase()",
        }
    }

    /// Executes a statement without parameters; `doing` is what it cannot do, for an error.
    ///
    /// # Errors
    /// The server refuses it or does not answer.
    pub async fn execute(&mut self, sql: &str, doing: &'static str) -> Result<(), ExportError> {
        let Self { address, connection } = self;
        let execute = async {
            match connection {
                Connection::PostgreSql(connection) => postgres::execute(connection, sql).await,
                Connection::MySql(connection) => mysql::execute(connection, sql).await,
                Connection::ClickHouse(server) => server.execute(sql).await,
            }
        };
        bounded(address, doing, execute).await
    }

    /// Executes an INSERT of what a SELECT finds.
    pub(crate) async fn insert_selected(
        &mut self,
        sql: &str,
        doing: &'static str,
    ) -> Result<(), ExportError> {
        let Self { address, connection } = self;
        match connection {
            Connection::PostgreSql(_) | Connection::MySql(_) => self.execute(sql, doing).await,
            Connection::ClickHouse(server) => bounded(address, doing, server.insert_selected(sql)).await,
        }
    }

    /// Begins a transaction that writes. A client that falls silent in it, since its machine lost power or the network, would keep what it has
    /// claimed for hours, until TCP gives up: the server ends such a transaction after [`IDLE_TIMEOUT`].
    pub(crate) async fn begin(&mut self) -> Result<(), ExportError> {
        if self.dialect() == Dialect::MySql {
            // It holds for any pause, and is set back after the transaction.
            let seconds = IDLE_TIMEOUT.as_secs();
            self.execute(&format!("SET SESSION wait_timeout = {seconds}"), BEGINNING).await?;
        }
        self.execute("BEGIN", BEGINNING).await
    }

    /// Commits the transaction.
    pub(crate) async fn commit(&mut self) -> Result<(), ExportError> {
        self.execute("COMMIT", "cannot commit a transaction").await?;
        if self.dialect() == Dialect::MySql {
            self.execute("SET SESSION wait_timeout = DEFAULT", "cannot end a transaction").await?;
        }
        Ok(())
    }

    /// Asks for a sign of life, so that nothing between the two closes a connection that is not used.
    pub(crate) async fn ping(&mut self) -> Result<(), ExportError> {
        self.execute("SELECT 1", "does not answer").await
    }

    /// Ends a transaction that reads.
    ///
    /// # Errors
    /// The server refuses it or does not answer.
    pub async fn end_read(&mut self) -> Result<(), ExportError> {
        match self.dialect() {
            Dialect::PostgreSql | Dialect::MySql => self.execute("COMMIT", "cannot end a transaction").await,
            Dialect::ClickHouse => Ok(()),
        }
    }

    /// Begins a transaction that reads, whose statements all see the same state of the tables; ClickHouse has none, so that each
    /// sees what is there when it begins.
    ///
    /// # Errors
    /// The server refuses it or does not answer.
    pub async fn begin_read(&mut self) -> Result<(), ExportError> {
        match self.dialect() {
            Dialect::ClickHouse => Ok(()),
            Dialect::PostgreSql => {
                // A table of 80,000 groups fits into this memory, and not into that of the default (4 MB). To compile such a question
                // takes longer than to interpret it.
                let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
                           SELECT set_config(name, CASE WHEN name = 'jit' THEN 'off' \
                           WHEN setting::bigint < 32768 THEN '32MB' ELSE setting || 'kB' END, true) \
                           FROM pg_settings WHERE name IN ('jit', 'work_mem')";
                self.execute(sql, BEGINNING).await
            }
            Dialect::MySql => {
                self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", BEGINNING).await?;
                self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", BEGINNING).await
            }
        }
    }

    /// Returns the rows of a question, whose columns have these kinds. Null is allowed everywhere. `doing` is what it cannot do, for
    /// an error.
    ///
    /// # Errors
    /// The server refuses it or does not answer.
    pub async fn select(
        &mut self,
        sql: &str,
        parameters: &[Cell],
        kinds: &[Kind],
        doing: &'static str,
    ) -> Result<Vec<Row>, ExportError> {
        let Self { address, connection } = self;
        let select = async {
            match connection {
                Connection::PostgreSql(connection) => {
                    postgres::select(connection, sql, parameters, kinds).await
                }
                Connection::MySql(connection) => mysql::select(connection, sql, parameters, kinds).await,
                Connection::ClickHouse(server) => server.select(sql, parameters, kinds).await,
            }
        };
        bounded(address, doing, select).await
    }

    /// Inserts rows. `on_duplicate` is nothing to ClickHouse, which knows no duplicates.
    pub(crate) async fn insert(
        &mut self,
        table: &'static Table,
        rows: &[Row],
        on_duplicate: OnDuplicate,
        doing: &'static str,
    ) -> Result<(), ExportError> {
        let Self { address, connection } = self;
        let (max_rows, max_bytes) = match connection {
            Connection::PostgreSql(_) => (postgres::MAX_ROWS, MAX_STATEMENT_BYTES),
            Connection::MySql(_) => (mysql::MAX_PARAMETERS / table.columns.len(), MAX_STATEMENT_BYTES),
            Connection::ClickHouse(_) => (clickhouse::MAX_ROWS, clickhouse::MAX_INSERT_BYTES),
        };
        for part in parts(rows, max_rows, max_bytes) {
            let insert = async {
                match connection {
                    Connection::PostgreSql(connection) => {
                        postgres::insert(connection, table, part, on_duplicate).await
                    }
                    Connection::MySql(connection) => {
                        mysql::insert(connection, table, part, on_duplicate).await
                    }
                    Connection::ClickHouse(server) => server.insert(table, part).await,
                }
            };
            bounded(address, doing, insert).await?;
        }
        Ok(())
    }

    /// The version of the tables; 0 if it is not there yet.
    ///
    /// # Errors
    /// [`ExportError::Newer`]; [`ExportError::Sql`] also if there are no tables.
    pub async fn tables_version(&mut self) -> Result<i64, ExportError> {
        let sql = "SELECT max(version) FROM picosnitch_schema";
        let rows = self.select(sql, &[], &[Kind::Integer], "cannot read the version of the tables").await?;
        let found = rows.iter().flatten().find_map(Cell::integer).unwrap_or(0);
        match found > VERSION {
            true => Err(ExportError::Newer { server: self.address.clone(), found, known: VERSION }),
            false => Ok(found),
        }
    }

    /// Whether the tables of sums are there and the account may use them.
    ///
    /// # Errors
    /// [`ExportError::Sql`], [`ExportError::Timeout`].
    pub async fn has_sums(&mut self) -> Result<bool, ExportError> {
        let mut problems = Vec::new();
        for table in self.dialect().optional_tables() {
            if [SUM.name, SUM_CLAIM.name].contains(&table.name) {
                schema::check_table(self, table, &mut problems).await?;
            }
        }
        Ok(problems.is_empty())
    }

    /// The names and types of the columns of a table, as far as the account may use them.
    pub async fn columns(&mut self, table: &str) -> Result<Vec<(String, String)>, ExportError> {
        let sql = match self.dialect() {
            Dialect::PostgreSql => {
                "SELECT column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = $1"
            }
            Dialect::MySql => {
                "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = database() AND table_name = ?"
            }
            Dialect::ClickHouse => {
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = \u{1}"
            }
        };
        let table = Cell::Text(table.to_owned());
        let rows = self.select(sql, &[table], &[Kind::Text, Kind::Text], "cannot look at the tables").await?;
        Ok(rows.into_iter().filter_map(pair).collect())
    }

    /// The columns of the primary key of a table; on ClickHouse those by which it is sorted.
    pub async fn primary_key(&mut self, table: &str) -> Result<Vec<String>, ExportError> {
        let sql = match self.dialect() {
            Dialect::PostgreSql => {
                "SELECT a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) ON true \
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
                 WHERE i.indisprimary AND n.nspname = current_schema() AND c.relname = $1 ORDER BY k.place"
            }
            Dialect::MySql => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.statistics \
                 WHERE table_schema = database() AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index"
            }
            Dialect::ClickHouse => {
                "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = \u{1}"
            }
        };
        let table = Cell::Text(table.to_owned());
        let rows = self.select(sql, &[table], &[Kind::Text], "cannot look at the tables").await?;
        let names = rows.into_iter().flatten().map(Cell::text);
        Ok(match self.dialect() {
            Dialect::PostgreSql | Dialect::MySql => names.collect(),
            // All in one text, which some versions have in parentheses.
            Dialect::ClickHouse => {
                let all: Vec<String> = names.collect();
                all.join("").trim_matches(['(', ')']).split(", ").map(str::to_owned).collect()
            }
        })
    }

    /// The engine of a table; empty if the system has one only.
    pub async fn engine(&mut self, table: &str) -> Result<String, ExportError> {
        let sql = match self.dialect() {
            Dialect::PostgreSql => return Ok(String::new()),
            Dialect::MySql => {
                "SELECT CAST(engine AS CHAR) FROM information_schema.tables \
                 WHERE table_schema = database() AND table_name = ?"
            }
            Dialect::ClickHouse => {
                "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = \u{1}"
            }
        };
        let table = Cell::Text(table.to_owned());
        let rows = self.select(sql, &[table], &[Kind::Text], "cannot look at the tables").await?;
        Ok(rows.into_iter().flatten().map(Cell::text).next().unwrap_or_default())
    }
}

fn pair(row: Row) -> Option<(String, String)> {
    let [first, second] = <[Cell; 2]>::try_from(row).ok()?;
    Some((first.text(), second.text()))
}

/// Waits for a statement, as long as one may take.
async fn bounded<T>(
    server: &str,
    doing: &'static str,
    work: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, ExportError> {
    match timeout(STATEMENT_TIMEOUT, work).await {
        Ok(result) => result.map_err(|source| ExportError::Sql { server: server.to_owned(), doing, source }),
        Err(_) => Err(ExportError::Timeout {
            server: server.to_owned(),
            seconds: STATEMENT_TIMEOUT.as_secs(),
            doing: "a statement was waited for",
        }),
    }
}

/// The statements that make the tables and the view on a server, for an administrator who does so instead of picosnitch.
pub fn schema_sql(settings: &ServerSettings) -> Vec<String> {
    let dialect = Dialect::from(settings.kind);
    let mut statements = dialect.create_tables();
    statements.push(dialect.insert_version(tables::VERSION));
    // The statements are also run to complete older tables, whose view is there.
    let create = match dialect {
        Dialect::PostgreSql | Dialect::MySql => "CREATE OR REPLACE VIEW",
        // Old versions cannot replace one.
        Dialect::ClickHouse => "CREATE VIEW IF NOT EXISTS",
    };
    statements.push(dialect.create_view(&settings.view).replacen("CREATE VIEW", create, 1));
    statements
}

/// The statements that give the account of a server all rights that it needs once there are tables.
pub fn grant_sql(settings: &ServerSettings) -> Vec<String> {
    Dialect::from(settings.kind).grants(&settings.user, &settings.view)
}
