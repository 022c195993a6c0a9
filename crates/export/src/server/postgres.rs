//! PostgreSQL.

use config::TlsMode;
use sqlx::{
    ConnectOptions, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgConnectOptions, PgRow, PgSslMode},
    query::Query,
};

use super::{
    IDLE_TIMEOUT, OnDuplicate,
    rows::{Cell, Row},
    tables::{Kind, Table},
};
use crate::settings::ServerSettings;

/// Rows of one statement.
pub(super) const MAX_ROWS: usize = 10_000;

pub(super) async fn connect(settings: &ServerSettings) -> sqlx::Result<PgConnection> {
    // Neither a file of passwords nor anything else that the environment names but what the configuration says.
    let mut options = PgConnectOptions::new_without_pgpass()
        .username(&settings.user)
        .database(&settings.database)
        .port(settings.port)
        .application_name("picosnitch")
        .ssl_mode(match settings.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
    options = match settings.is_socket() {
        true => options.socket(&settings.host),
        false => options.host(&settings.host),
    };
    if !settings.password.is_empty() {
        options = options.password(&settings.password);
    }
    if !settings.authority.is_empty() {
        options = options.ssl_root_cert_from_pem(settings.authority.clone().into_bytes());
    }
    if let Some(client) = &settings.client_certificate {
        options = options.ssl_client_cert_from_pem(&client.certificate).ssl_client_key_from_pem(&client.key);
    }
    let mut connection = options.disable_statement_logging().connect().await?;
    let milliseconds = IDLE_TIMEOUT.as_millis();
    execute(&mut connection, &format!("SET idle_in_transaction_session_timeout = {milliseconds}")).await?;
    Ok(connection)
}

pub(super) async fn execute(connection: &mut PgConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

pub(super) async fn select(
    connection: &mut PgConnection,
    sql: &str,
    parameters: &[Cell],
    kinds: &[Kind],
) -> sqlx::Result<Vec<Row>> {
    let query = parameters.iter().fold(sqlx::query(sql), |query, cell| match cell {
        Cell::Integer(number) => query.bind(*number),
        Cell::Text(text) => query.bind(text),
        Cell::Bytes(bytes) => query.bind(bytes),
        Cell::Null => query.bind(None::<i64>),
    });
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| kinds.iter().enumerate().map(|(at, kind)| cell(row, at, *kind)).collect()).collect()
}

fn cell(row: &PgRow, index: usize, kind: Kind) -> sqlx::Result<Cell> {
    Ok(match kind {
        Kind::Integer => row.try_get::<Option<i64>, _>(index)?.into(),
        Kind::Text => row.try_get::<Option<String>, _>(index)?.into(),
        Kind::Bytes => row.try_get::<Option<&[u8]>, _>(index)?.into(),
    })
}

/// Inserts rows, each column as one array: so the statement is the same for any number of rows.
pub(super) async fn insert(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[Row],
    on_duplicate: OnDuplicate,
) -> sqlx::Result<()> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let arrays: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let type_name = match column.kind {
                Kind::Integer => "bigint",
                Kind::Text => "text",
                Kind::Bytes => "bytea",
            };
            format!("${}::{type_name}[]", at + 1)
        })
        .collect();
    let rule = match on_duplicate {
        OnDuplicate::Refuse => "",
        OnDuplicate::Ignore => " ON CONFLICT DO NOTHING",
    };
    let sql = format!(
        "INSERT INTO {} ({}) SELECT * FROM unnest({}){rule}",
        table.name,
        names.join(", "),
        arrays.join(", ")
    );
    let mut query = sqlx::query(&sql);
    for (at, column) in table.columns.iter().enumerate() {
        query = bind_column(query, rows, at, column.kind);
    }
    query.execute(connection).await.map(|_| ())
}

fn bind_column<'a>(
    query: Query<'a, Postgres, PgArguments>,
    rows: &[Row],
    at: usize,
    kind: Kind,
) -> Query<'a, Postgres, PgArguments> {
    let cells = rows.iter().map(|row| row.get(at));
    match kind {
        Kind::Integer => {
            query.bind(cells.map(|cell| cell.and_then(Cell::integer)).collect::<Vec<Option<i64>>>())
        }
        Kind::Text => {
            let text = |cell: Option<&Cell>| match cell {
                Some(Cell::Text(text)) => Some(text.clone()),
                _ => None,
            };
            query.bind(cells.map(text).collect::<Vec<Option<String>>>())
        }
        Kind::Bytes => {
            let bytes = |cell: Option<&Cell>| match cell {
                Some(Cell::Bytes(bytes)) => Some(bytes.clone()),
                _ => None,
            };
            query.bind(cells.map(bytes).collect::<Vec<Option<Vec<u8>>>>())
        }
    }
}
