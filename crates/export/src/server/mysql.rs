//! MariaDB and MySQL.

use config::TlsMode;
use sqlx::{
    ConnectOptions, MySql, MySqlConnection, Row as _,
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlRow, MySqlSslMode},
    query::Query,
};

use super::{
    OnDuplicate,
    rows::{Cell, Row},
    tables::{Kind, Table},
};
use crate::settings::ServerSettings;

/// Values of one statement. The protocol allows 65,535.
pub(super) const MAX_PARAMETERS: usize = 20_000;

pub(super) async fn connect(settings: &ServerSettings) -> sqlx::Result<MySqlConnection> {
    let mut options = MySqlConnectOptions::new()
        .username(&settings.user)
        .database(&settings.database)
        .port(settings.port)
        .ssl_mode(match settings.tls {
            TlsMode::Disable => MySqlSslMode::Disabled,
            TlsMode::Prefer => MySqlSslMode::Preferred,
            TlsMode::Require => MySqlSslMode::Required,
            TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
            TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
        });
    options = match settings.is_socket() {
        true => options.socket(&settings.host),
        false => options.host(&settings.host),
    };
    if !settings.password.is_empty() {
        options = options.password(&settings.password);
    }
    if !settings.authority.is_empty() {
        options = options.ssl_ca_from_pem(settings.authority.clone().into_bytes());
    }
    if let Some(client) = &settings.client_certificate {
        options = options.ssl_client_cert_from_pem(&client.certificate).ssl_client_key_from_pem(&client.key);
    }
    let mut connection = options.disable_statement_logging().connect().await?;
    // Values that do not fit are errors, not cut; and rows that another host inserts are no gaps to wait for.
    for sql in [
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ] {
        execute(&mut connection, sql).await?;
    }
    Ok(connection)
}

pub(super) async fn execute(connection: &mut MySqlConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

fn bind<'a>(query: Query<'a, MySql, MySqlArguments>, cell: &'a Cell) -> Query<'a, MySql, MySqlArguments> {
    match cell {
        Cell::Integer(number) => query.bind(*number),
        Cell::Text(text) => query.bind(text),
        Cell::Bytes(bytes) => query.bind(bytes),
        Cell::Null => query.bind(None::<i64>),
    }
}

pub(super) async fn select(
    connection: &mut MySqlConnection,
    sql: &str,
    parameters: &[Cell],
    kinds: &[Kind],
) -> sqlx::Result<Vec<Row>> {
    let query = parameters.iter().fold(sqlx::query(sql), bind);
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| kinds.iter().enumerate().map(|(at, kind)| cell(row, at, *kind)).collect()).collect()
}

fn cell(row: &MySqlRow, index: usize, kind: Kind) -> sqlx::Result<Cell> {
    Ok(match kind {
        Kind::Integer => row.try_get::<Option<i64>, _>(index)?.into(),
        // Of text with a binary collation the client library believes that it is bytes.
        Kind::Text => row.try_get_unchecked::<Option<String>, _>(index)?.into(),
        Kind::Bytes => row.try_get::<Option<&[u8]>, _>(index)?.into(),
    })
}

/// Inserts rows with one statement.
pub(super) async fn insert(
    connection: &mut MySqlConnection,
    table: &Table,
    rows: &[Row],
    on_duplicate: OnDuplicate,
) -> sqlx::Result<()> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let row = format!("({})", vec!["?"; names.len()].join(", "));
    let rule = match on_duplicate {
        OnDuplicate::Refuse => "",
        // ON DUPLICATE KEY UPDATE would need the right to update.
        OnDuplicate::Ignore => "IGNORE ",
    };
    let sql = format!(
        "INSERT {rule}INTO {} ({}) VALUES {}",
        table.name,
        names.join(", "),
        vec![row; rows.len()].join(", ")
    );
    // Each number of rows is another statement: they are not worth keeping.
    let query = rows.iter().flatten().fold(sqlx::query(&sql).persistent(false), bind);
    query.execute(connection).await.map(|_| ())
}
