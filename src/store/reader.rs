//! Reading the log, also while the daemon writes.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, types::ValueRef};

use super::{
    dimension::{Dimension, Kind, Value},
    error::StoreError,
    query::{Query, Range},
    schema::{self, Found, MIGRATIONS, failed},
    writer::loss_kind,
};
use crate::model::{Amounts, Loss, Sha256};

/// How long to wait for a lock; the writer holds one only for an instant.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One row of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The values of the dimensions, in the order of the query's `group_by`.
    pub values: Vec<Value>,
    /// The sum of the records.
    pub amounts: Amounts,
}

/// Reads the log, changing nothing.
pub struct Reader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

impl Reader {
    /// Opens the log at `path` for reading.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::is_permission`] tells a lack of rights.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(StoreError::NotAFile(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(path.to_owned()));
            }
            Err(source) => return Err(file(source)),
        }
        // SQLite would only say "unable to open". Opening the file here would, on closing it, drop the locks
        // of other connections of this process.
        nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK).map_err(|errno| file(errno.into()))?;
        let fail = failed(path, "cannot open the log for reading");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
        connection.execute_batch("PRAGMA trusted_schema = OFF").map_err(&fail)?;
        let known = MIGRATIONS.len() as i64;
        match schema::inspect(&connection, path)? {
            Found::Empty => Err(StoreError::Empty(path.to_owned())),
            Found::Version(found) if found < known => {
                Err(StoreError::Older { path: path.to_owned(), found, known })
            }
            Found::Version(_) => Ok(Self { path: path.to_owned(), connection }),
        }
    }

    /// Answers a question.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn query(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let compiled = query.compile();
        let read = || {
            let mut statement = self.connection.prepare(&compiled.sql)?;
            let dimensions = &query.group_by;
            let rows = statement.query_map(rusqlite::params_from_iter(&compiled.parameters), |row| {
                let mut values = Vec::with_capacity(dimensions.len());
                for (index, dimension) in dimensions.iter().enumerate() {
                    values.push(value(*dimension, row.get_ref(index)?));
                }
                let amount = |index| row.get(dimensions.len() + index).map(|sum: i64| sum.max(0) as u64);
                let amounts = Amounts { connections: amount(0)?, sent: amount(1)?, received: amount(2)? };
                Ok(Row { values, amounts })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(failed(&self.path, "cannot read the log"))
    }

    /// What was lost in the windows of a range: one entry per kind.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn losses(&self, range: Range) -> Result<Vec<Loss>, StoreError> {
        let (since, until) = range.bounds();
        let read = || {
            let mut statement = self.connection.prepare(
                "SELECT kind, sum(count) FROM loss WHERE time BETWEEN ?1 AND ?2 GROUP BY kind ORDER BY kind",
            )?;
            let rows = statement.query_map([since, until], |row| {
                let count: i64 = row.get(1)?;
                Ok(loss_kind(row.get(0)?).map(|kind| Loss { kind, count: count.max(0) as u64 }))
            })?;
            rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        };
        read().map_err(failed(&self.path, "cannot read the losses"))
    }
}

/// A value as a dimension means it. What does not fit its dimension (someone edited the file) is shown as
/// what it is.
fn value(dimension: Dimension, stored: ValueRef<'_>) -> Value {
    match (dimension.kind(), stored) {
        (_, ValueRef::Null) => Value::None,
        (_, ValueRef::Integer(number)) => Value::Integer(number),
        (Kind::Address, ValueRef::Blob(bytes)) => {
            if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
                Value::Address(Ipv4Addr::from(octets).into())
            } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
                Value::Address(Ipv6Addr::from(octets).into())
            } else {
                Value::Bytes(bytes.to_vec())
            }
        }
        (Kind::Sha256, ValueRef::Blob(bytes)) => match bytes.try_into() {
            Ok(digest) => Value::Sha256(Sha256(digest)),
            Err(_) => Value::Bytes(bytes.to_vec()),
        },
        (_, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (_, ValueRef::Real(number)) => Value::Bytes(number.to_string().into_bytes()),
    }
}
