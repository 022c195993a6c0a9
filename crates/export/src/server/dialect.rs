//! What differs in the SQL of the database systems.

use config::ServerKind;

use super::{
    clickhouse::{self, PLACEHOLDER, tables::Kept},
    tables::{Column, Kind, OPTIONAL_TABLES, TABLES, Table},
};

/// Text that any character and case keeps apart. MEDIUMTEXT has at most 16 MB, and TEXT only 64 kB.
const MYSQL_TEXT: &str = "MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// The dialect of a database system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    PostgreSql,
    /// MariaDB and MySQL.
    MySql,
    /// ClickHouse.
    ClickHouse,
}

impl From<ServerKind> for Dialect {
    fn from(kind: ServerKind) -> Self {
        match kind {
            ServerKind::PostgreSql => Self::PostgreSql,
            ServerKind::MariaDb | ServerKind::MySql => Self::MySql,
            ServerKind::ClickHouse => Self::ClickHouse,
        }
    }
}

impl Dialect {
    /// The type of a column in a statement that makes a table.
    pub(super) fn type_name(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::PostgreSql | Self::MySql, Kind::Integer) => "BIGINT",
            (Self::ClickHouse, Kind::Integer) => "Int64",
            (Self::ClickHouse, Kind::Text | Kind::Bytes) => "String",
            (Self::PostgreSql, Kind::Text) => "TEXT",
            (Self::PostgreSql, Kind::Bytes) => "BYTEA",
            (Self::MySql, Kind::Text) => MYSQL_TEXT,
            // Digests and ids have at most 32; a key needs a bound.
            (Self::MySql, Kind::Bytes) => "VARBINARY(32)",
        }
    }

    /// The types that a column may have, as `information_schema.columns.data_type` names them.
    pub(crate) fn accepted_types(self, kind: Kind) -> &'static [&'static str] {
        match (self, kind) {
            (Self::PostgreSql | Self::MySql, Kind::Integer) => &["bigint"],
            (Self::ClickHouse, Kind::Integer) => &["Int64"],
            // Strings have any bytes.
            (Self::ClickHouse, Kind::Text | Kind::Bytes) => &["String"],
            (Self::PostgreSql, Kind::Text) => &["text", "character varying"],
            (Self::PostgreSql, Kind::Bytes) => &["bytea"],
            (Self::MySql, Kind::Text) => &["mediumtext", "longtext"],
            (Self::MySql, Kind::Bytes) => &["varbinary"],
        }
    }

    /// A placeholder for the parameter with a number, from 1 on.
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Self::PostgreSql => format!("${number}"),
            Self::MySql => "?".to_owned(),
            Self::ClickHouse => PLACEHOLDER.to_string(),
        }
    }

    /// The tables without which nothing is sent, the version last: where it is, all are.
    pub(crate) fn tables(self) -> Vec<&'static Table> {
        match self {
            Self::PostgreSql | Self::MySql => TABLES.to_vec(),
            Self::ClickHouse => clickhouse::tables::TABLES.iter().map(|kept| kept.table).collect(),
        }
    }

    /// The tables that came later, without which records are sent all the same. The version does not count them: exporters that do not
    /// know them go on.
    pub(crate) fn optional_tables(self) -> Vec<&'static Table> {
        match self {
            Self::PostgreSql | Self::MySql => OPTIONAL_TABLES.to_vec(),
            Self::ClickHouse => clickhouse::tables::OPTIONAL_TABLES.iter().map(|kept| kept.table).collect(),
        }
    }

    /// No bytes, as a constant.
    pub(crate) fn empty_bytes(self) -> &'static str {
        match self {
            Self::PostgreSql => "CAST('' AS BYTEA)",
            Self::MySql | Self::ClickHouse => "''",
        }
    }

    /// The sum of a column with numbers that are not negative, as one of 64 bits: larger ones stop at the largest number, as
    /// those of the log do far above.
    pub fn sum(self, column: &str) -> String {
        let type_name = match self {
            Self::PostgreSql => "BIGINT",
            Self::MySql => "SIGNED",
            // It wraps there.
            Self::ClickHouse => {
                let (limit, max) = (i64::MAX as f64, i64::MAX);
                return format!("if(SUM(toFloat64({column})) > {limit:e}, toInt64({max}), SUM({column}))");
            }
        };
        format!("CAST(LEAST(COALESCE(SUM({column}), 0), {}) AS {type_name})", i64::MAX)
    }

    /// Quotes a name.
    fn quoted(self, name: &str) -> String {
        match self {
            Self::PostgreSql => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::ClickHouse => format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")),
        }
    }

    /// The account in a statement about rights.
    fn account(self, user: &str) -> String {
        match self {
            Self::PostgreSql | Self::ClickHouse => self.quoted(user),
            // Of any host; an administrator may write a narrower one.
            Self::MySql => format!("'{}'@'%'", user.replace('\\', "\\\\").replace('\'', "''")),
        }
    }

    /// The statements that make a table and its index.
    pub(crate) fn create_table(self, table: &Table) -> Vec<String> {
        if self == Self::ClickHouse {
            return Kept::of(table).iter().map(clickhouse::schema::create_table).collect();
        }
        let column = |column: &Column| {
            let null = if column.is_optional { "" } else { " NOT NULL" };
            format!("    {} {}{null},\n", column.name, self.type_name(column.kind))
        };
        let columns: String = table.columns.iter().map(column).collect();
        let key: Vec<&str> = table.columns[..table.key].iter().map(|column| column.name).collect();
        let index = table.index.map(|column| (format!("{}_{column}", table.name), column));
        let (inner, options) = match self == Self::MySql {
            false => (String::new(), ""),
            // An index is a part of the table: CREATE INDEX IF NOT EXISTS is unknown to MySQL. InnoDB has transactions.
            true => (
                index.iter().map(|(name, column)| format!(",\n    INDEX {name} ({column})")).collect(),
                " ENGINE = InnoDB",
            ),
        };
        let mut statements = vec![format!(
            "CREATE TABLE IF NOT EXISTS {} (\n{columns}    PRIMARY KEY ({}){inner}\n){options}",
            table.name,
            key.join(", ")
        )];
        if let (Self::PostgreSql, Some((name, column))) = (self, index) {
            statements.push(format!("CREATE INDEX IF NOT EXISTS {name} ON {} ({column})", table.name));
        }
        statements
    }

    /// The statements that make all tables.
    pub(crate) fn create_tables(self) -> Vec<String> {
        let tables = self.optional_tables().into_iter().chain(self.tables());
        tables.flat_map(|table| self.create_table(table)).collect()
    }

    /// The statement that makes the view with one row for each record. Its columns are those of `connection_log` in the log
    /// (docs/schema.md), after those of the host and the name of the record.
    pub(crate) fn create_view(self, name: &str) -> String {
        if self == Self::ClickHouse {
            return clickhouse::schema::create_view(&self.quoted(name));
        }
        let hex = |column: &str| match self {
            Self::PostgreSql => format!("coalesce(encode({column}, 'hex'), '')"),
            Self::MySql | Self::ClickHouse => format!("coalesce(lower(hex({column})), '')"),
        };
        let [sha256, parent_sha256, gpsha256] = ["p.sha256", "pp.sha256", "gp.sha256"].map(hex);
        format!(
            "CREATE VIEW {} AS\n\
             SELECT l.host, l.epoch, r.log, r.window_number, r.sequence,\n\
             \x20   p.path AS executable, p.name AS name, p.command_line AS cmdline, {sha256} AS sha256, r.time,\n\
             \x20   e.domain, e.remote_address AS ip, r.remote_port AS port, c.uid,\n\
             \x20   pp.path AS parent_exe, pp.name AS parent_name, pp.command_line AS parent_cmdline, {parent_sha256} AS parent_sha256,\n\
             \x20   r.connections AS conns, r.sent, r.received,\n\
             \x20   gp.path AS gpexe, gp.name AS gpname, gp.command_line AS gpcmdline, {gpsha256} AS gpsha256,\n\
             \x20   e.domain_source, e.local_address AS laddress, r.local_port AS lport, e.protocol, e.family,\n\
             \x20   c.network_namespace AS netns, c.cgroup_path AS cgroup_path, c.unit, c.container, c.app,\n\
             \x20   e.country, e.network_number AS asn, e.network, r.folded\n\
             FROM picosnitch_record r\n\
             JOIN picosnitch_log l ON l.id = r.log\n\
             JOIN picosnitch_context c ON c.digest = r.context\n\
             JOIN picosnitch_program p ON p.digest = c.program\n\
             JOIN picosnitch_program pp ON pp.digest = c.parent\n\
             JOIN picosnitch_program gp ON gp.digest = c.grandparent\n\
             JOIN picosnitch_endpoint e ON e.digest = r.endpoint",
            self.quoted(name)
        )
    }

    /// The statement that stores the version of the tables.
    pub(crate) fn insert_version(self, version: i64) -> String {
        match self {
            Self::PostgreSql => {
                format!("INSERT INTO picosnitch_schema (version) VALUES ({version}) ON CONFLICT DO NOTHING")
            }
            Self::MySql => format!("INSERT IGNORE INTO picosnitch_schema (version) VALUES ({version})"),
            Self::ClickHouse => format!("INSERT INTO picosnitch_schema (version) VALUES ({version})"),
        }
    }

    /// The statements that give an account all rights that it needs.
    pub(crate) fn grants(self, user: &str, view: &str) -> Vec<String> {
        let grant = |right: &str, table: &str| format!("GRANT {right} ON {table} TO {}", self.account(user));
        let tables = self.tables().into_iter().chain(self.optional_tables());
        let mut grants: Vec<String> = tables.map(|table| grant("SELECT, INSERT", table.name)).collect();
        grants.push(grant("SELECT", &self.quoted(view)));
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(Dialect::PostgreSql.account("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::MySql.account("a'\\b"), "'a''\\\\b'@'%'");
        assert_eq!(Dialect::MySql.quoted("a`b"), "`a``b`");
    }

    #[test]
    fn no_key_has_long_text() {
        for table in TABLES.into_iter().chain(OPTIONAL_TABLES) {
            let keys = table.columns[..table.key]
                .iter()
                .chain(table.columns.iter().filter(|column| Some(column.name) == table.index));
            keys.for_each(|column| assert_ne!(column.kind, Kind::Text, "{} {}", table.name, column.name));
        }
    }
}
