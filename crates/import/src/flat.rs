//! The flat table `connections` of the original's formats 0 to 3: a row has all texts itself.

use rusqlite::{Connection, Row};

use crate::{
    cell::Cell,
    contexts::Contexts,
    fields::{Fields, ReadRow},
    oddity::Oddities,
};

/// The values that a row may have, and the names of their columns in one format or another.
const VALUES: [(Value, &[&str]); 18] = [
    (Value::Time, &["contime"]),
    (Value::Program(0, 0), &["exe"]),
    (Value::Program(0, 1), &["name"]),
    (Value::Program(0, 2), &["cmdline"]),
    (Value::Program(0, 3), &["sha256"]),
    (Value::Program(1, 0), &["pexe"]),
    (Value::Program(1, 1), &["pname"]),
    (Value::Program(1, 2), &["pcmdline"]),
    (Value::Program(1, 3), &["psha256"]),
    (Value::Uid, &["uid"]),
    (Value::Connections, &["conns", "events"]),
    (Value::Sent, &["send"]),
    (Value::Received, &["recv"]),
    (Value::LocalPort, &["lport"]),
    (Value::RemotePort, &["rport", "port"]),
    (Value::LocalAddress, &["laddr"]),
    (Value::RemoteAddress, &["raddr", "ip"]),
    (Value::Domain, &["domain"]),
];

/// A value of a row.
#[derive(Clone, Copy)]
enum Value {
    Time,
    /// Of the program (0) or its parent (1): path, name, command line, digest.
    Program(usize, usize),
    Uid,
    Connections,
    Sent,
    Received,
    LocalPort,
    RemotePort,
    LocalAddress,
    RemoteAddress,
    Domain,
}

/// The columns of a flat table.
pub(crate) struct FlatTable {
    sql: String,
    values: Vec<Value>,
}

impl FlatTable {
    /// `columns` are those that the table has.
    pub fn new(columns: &[String]) -> Self {
        let (mut values, mut selected) = (Vec::new(), vec!["rowid".to_owned()]);
        for (value, names) in VALUES {
            if let Some(name) = names.iter().find(|name| columns.iter().any(|column| column == *name)) {
                values.push(value);
                selected.push(format!("\"{name}\""));
            }
        }
        let selected = selected.join(", ");
        let sql = format!("SELECT {selected} FROM connections WHERE rowid > ?1 ORDER BY rowid LIMIT ?2");
        Self { sql, values }
    }

    /// Reads the rows after one, at most `limit`.
    pub fn read(
        &self,
        connection: &Connection,
        (after, limit): (i64, usize),
        contexts: &mut Contexts,
        found: &mut Vec<ReadRow>,
    ) -> rusqlite::Result<()> {
        let mut select = connection.prepare_cached(&self.sql)?;
        let mut rows = select.query([after, limit as i64])?;
        while let Some(row) = rows.next()? {
            found.push(self.read_row(row, contexts)?);
        }
        Ok(())
    }

    fn read_row(&self, row: &Row<'_>, contexts: &mut Contexts) -> rusqlite::Result<ReadRow> {
        let mut fields = Fields { number: row.get(0)?, ..Fields::default() };
        let mut programs = [[Cell::None; 4]; 3];
        for (at, value) in self.values.iter().enumerate() {
            let cell = Cell::from(row.get_ref(at + 1)?);
            match *value {
                Value::Time => fields.time = cell,
                Value::Program(of, part) => programs[of][part] = cell,
                Value::Uid => fields.uid = cell,
                Value::Connections => fields.connections = cell,
                Value::Sent => fields.sent = cell,
                Value::Received => fields.received = cell,
                Value::LocalPort => fields.local_port = cell,
                Value::RemotePort => fields.remote_port = cell,
                Value::LocalAddress => fields.local_address = cell,
                Value::RemoteAddress => fields.remote_address = cell,
                Value::Domain => fields.domain = cell,
            }
        }
        let mut odd = Oddities::default();
        fields.programs = programs.map(|cells| contexts.program(cells, &mut odd));
        Ok(fields.read(odd, contexts))
    }
}
