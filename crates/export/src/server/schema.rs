//! Makes the tables on a server, or checks those that are there.

use super::{
    Server,
    clickhouse::{self, ClickHouseError, tables::Kept},
    dialect::Dialect,
    rows::Cell,
    tables::{HEARTBEAT, Kind, SCHEMA, Table, VERSION},
};
use crate::error::ExportError;

/// The statements that make the tables and the view and give the account its rights, for an administrator.
pub(super) fn statements(server: &Server) -> Vec<String> {
    let dialect = server.dialect();
    let mut statements = dialect.create_tables();
    statements.push(dialect.insert_version(VERSION));
    statements
}

/// What there is on a server besides the tables that copies need.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Sentences about what could not be made.
    pub notices: Vec<String>,
    /// Whether heartbeats can be written.
    pub has_heartbeats: bool,
}

/// Makes the tables if there are none, and checks that they are as they should be. The view, which nothing but people need, and the
/// tables that came later may be missing.
pub(crate) async fn prepare(server: &mut Server, view: &str, name: &str) -> Result<Prepared, ExportError> {
    let mut prepared = Prepared::default();
    // The version is the last thing that is made: MariaDB and MySQL commit each table by itself, and may be killed between two.
    if !is_there(server, &SCHEMA).await? || server.tables_version().await? == 0 {
        for statement in statements(server) {
            server.execute(&statement, "cannot make the tables").await.map_err(|error| match error {
                ExportError::Sql { server, source, .. } if is_refusal(&source) => {
                    ExportError::MayNotCreate { server, name: name.to_owned(), source }
                }
                other => other,
            })?;
        }
    }
    if !has_relation(server, view).await? {
        let statement = server.dialect().create_view(view);
        if let Err(error) = server.execute(&statement, "cannot make the view").await {
            // The connection may be gone as well: then the next statement fails.
            prepared.notices.push(format!(
                "{}. Records are sent all the same; `picosnitch export-sql {name}` prints the statement that makes the view.",
                error.sentence()
            ));
        }
    }
    check(server).await?;
    prepared.has_heartbeats = true;
    let mut problems = Vec::new();
    for table in server.dialect().optional_tables() {
        if let Some(problem) = complete(server, table).await? {
            problems.push(problem);
            prepared.has_heartbeats &= table.name != HEARTBEAT.name;
        }
    }
    if !problems.is_empty() {
        let without_heartbeats = match prepared.has_heartbeats {
            true => "",
            false => ", and without heartbeats a host without traffic cannot be told from a silent one",
        };
        prepared.notices.push(format!(
            "on {} {}. Records are sent all the same; but without sums questions about long times are slow{without_heartbeats}. \
             Run `picosnitch export-sql {name}` and give what it prints to an account that may make tables, and restart picosnitch.",
            server.address(),
            problems.join("; ")
        ));
    }
    Ok(prepared)
}

/// Makes a table that came later, if it is missing. Returns what is wrong with it.
async fn complete(server: &mut Server, table: &Table) -> Result<Option<String>, ExportError> {
    if !is_there(server, table).await? {
        for statement in server.dialect().create_table(table) {
            if let Err(error) = server.execute(&statement, "cannot make a table").await {
                // The connection may be gone as well: then the next statement fails.
                return Ok(Some(format!("the table {} is missing ({})", table.name, error.sentence())));
            }
        }
    }
    let mut problems = Vec::new();
    check_table(server, table, &mut problems).await?;
    Ok((!problems.is_empty()).then(|| problems.join("; ")))
}

/// Whether the account was refused a right.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    if let Some(error) = database.try_downcast_ref::<ClickHouseError>() {
        return error.is_refusal();
    }
    match database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
        Some(error) => matches!(error.number(), 1044 | 1142 | 1227),
        // insufficient_privilege
        None => database.code().as_deref() == Some("42501"),
    }
}

async fn has_relation(server: &mut Server, name: &str) -> Result<bool, ExportError> {
    let [tables, schema_column, name_column] = match server.dialect() {
        Dialect::PostgreSql | Dialect::MySql => ["information_schema.tables", "table_schema", "table_name"],
        Dialect::ClickHouse => ["system.tables", "database", "name"],
    };
    let sql = format!(
        "SELECT count(*) FROM {tables} WHERE {schema_column} = {} AND {name_column} = {}",
        server.schema_function(),
        server.dialect().placeholder(1)
    );
    let found = server
        .select(&sql, &[Cell::Text(name.to_owned())], &[Kind::Integer], "cannot look for tables")
        .await?;
    Ok(found.iter().flatten().any(|count| count.integer() > Some(0)))
}

/// Whether a table is there. One on which the account has no right counts as missing.
async fn is_there(server: &mut Server, table: &Table) -> Result<bool, ExportError> {
    has_relation(server, table.name).await
}

/// Compares the tables with what they should be.
async fn check(server: &mut Server) -> Result<(), ExportError> {
    let version = server.tables_version().await?;
    let mut problems = Vec::new();
    // A replica of a ClickHouse may have its tables, and the row not yet from another one, which has it.
    if version < VERSION && server.dialect() != Dialect::ClickHouse {
        problems.push("picosnitch_schema has no version".to_owned());
    }
    for table in server.dialect().tables() {
        check_table(server, table, &mut problems).await?;
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(ExportError::Altered { server: server.address().to_owned(), problems }),
    }
}

pub(super) async fn check_table(
    server: &mut Server,
    table: &Table,
    problems: &mut Vec<String>,
) -> Result<(), ExportError> {
    if server.dialect() == Dialect::ClickHouse
        && let Some(kept) = Kept::of(table)
    {
        return clickhouse::schema::check_table(server, &kept, problems).await;
    }
    let there = server.columns(table.name).await?;
    if there.is_empty() {
        problems.push(format!("{} is missing, or the account may not use it", table.name));
        return Ok(());
    }
    for column in table.columns {
        let accepted = server.dialect().accepted_types(column.kind);
        match there.iter().find(|(name, _)| name == column.name) {
            None => problems
                .push(format!("{}.{} is missing, or the account may not use it", table.name, column.name)),
            Some((_, type_name)) if !accepted.contains(&type_name.as_str()) => problems
                .push(format!("{}.{} is {type_name} and must be {}", table.name, column.name, accepted[0])),
            Some(_) => {}
        }
    }
    // Without the primary key, a window that is sent again would be there twice.
    let key: Vec<&str> = table.columns[..table.key].iter().map(|column| column.name).collect();
    if server.primary_key(table.name).await? != key {
        problems.push(format!("the primary key of {} must be ({})", table.name, key.join(", ")));
    }
    let engine = server.engine(table.name).await?;
    if !engine.is_empty() && !engine.eq_ignore_ascii_case("InnoDB") {
        problems.push(format!("{} must have the engine InnoDB", table.name));
    }
    Ok(())
}
