//! A database of the original: which format it has, and its rows.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::{
    contexts::Contexts,
    error::ImportError,
    fields::ReadRow,
    flat::FlatTable,
    interned::InternedTables,
    snapshot::{Opened, Snapshot},
    source::Format,
};

/// The columns of format 4.
const INTERNED_COLUMNS: [&str; 15] = [
    "contime",
    "send",
    "recv",
    "exe_id",
    "pexe_id",
    "gpexe_id",
    "uid",
    "family",
    "protocol",
    "lport",
    "rport",
    "laddr_id",
    "raddr_id",
    "domain_id",
    "netns",
];

/// The rows of a database.
enum Tables {
    Flat(FlatTable),
    Interned(InternedTables),
}

/// A database of the original.
pub(crate) struct Database {
    path: PathBuf,
    connection: Connection,
    tables: Tables,
    pub format: Format,
    pub opened: Opened,
}

impl Database {
    /// Looks into a database that was opened.
    pub fn new(path: &Path, snapshot: Snapshot) -> Result<Self, ImportError> {
        let opened = snapshot.opened();
        let fail = |source| ImportError::Read { path: path.to_owned(), row: 0, source };
        let foreign = |what: String| ImportError::Foreign { path: path.to_owned(), what };
        let connection = snapshot.connect().map_err(fail)?;
        // Nothing in the file may run a function or change it.
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF").map_err(fail)?;
        let id: i64 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
        if id == store::APPLICATION_ID {
            return Err(ImportError::OwnLog(path.to_owned()));
        }
        let columns = columns(&connection).map_err(fail)?;
        let has = |name: &str| columns.iter().any(|column| column == name);
        if columns.is_empty() {
            return Err(foreign("it has no table connections".to_owned()));
        }
        let (tables, format) = if has("exe_id") {
            let missing: Vec<&str> = INTERNED_COLUMNS.into_iter().filter(|name| !has(name)).collect();
            if !missing.is_empty() {
                return Err(foreign(format!("its table connections lacks {}", missing.join(", "))));
            }
            (Tables::Interned(InternedTables::default()), Format::Interned)
        } else {
            if !has("contime") || !has("exe") || !(has("rport") || has("port")) {
                return Err(foreign(format!(
                    "its table connections has the columns {}",
                    columns.join(", ").escape_debug()
                )));
            }
            let version = match (has("raddr"), has("pexe"), has("send")) {
                (true, ..) => 3,
                (_, true, _) => 2,
                (.., true) => 1,
                _ => 0,
            };
            (Tables::Flat(FlatTable::new(&columns)), Format::Flat(version))
        };
        Ok(Self { path: path.to_owned(), connection, tables, format, opened })
    }

    /// The number of the last row.
    pub fn last_row(&self) -> Result<i64, ImportError> {
        let sql = "SELECT coalesce(max(rowid), 0) FROM connections";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|source| self.fail(0, source))
    }

    /// Reads the rows after one, at most `limit`.
    pub fn read(
        &mut self,
        range: (i64, usize),
        contexts: &mut Contexts,
        found: &mut Vec<ReadRow>,
    ) -> Result<(), ImportError> {
        let read = match &mut self.tables {
            Tables::Flat(table) => table.read(&self.connection, range, contexts, found),
            Tables::Interned(tables) => tables.read(&self.connection, range, contexts, found),
        };
        // Rows before a damaged page are good.
        match read {
            Err(source) if found.is_empty() => Err(self.fail(range.0, source)),
            _ => Ok(()),
        }
    }

    fn fail(&self, row: i64, source: rusqlite::Error) -> ImportError {
        ImportError::Read { path: self.path.clone(), row, source }
    }
}

fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare(
        "SELECT name FROM pragma_table_info('connections') WHERE EXISTS \
         (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'connections')",
    )?;
    select.query_map([], |row| row.get(0))?.collect()
}
