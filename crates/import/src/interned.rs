//! The interned tables of the original's format 4: a row refers to programs, domains and addresses.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use model::Program;
use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};

use crate::{
    cell::Cell,
    contexts::{Contexts, add_missing},
    fields::{Fields, ReadRow, program},
    oddity::Oddities,
};

const SELECT: &str = "SELECT rowid, contime, send, recv, exe_id, pexe_id, gpexe_id, uid, family, protocol, lport, rport, \
                      laddr_id, raddr_id, domain_id, netns FROM connections WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
/// Bytes, and entries, of one cache. A full cache is emptied.
const MAX_CACHED_BYTES: usize = 2 << 20;
const MAX_CACHED: usize = 16_384;

/// Values by their id, with what is odd about them.
struct Cache<T> {
    values: HashMap<i64, (T, Oddities)>,
    bytes: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), bytes: 0 }
    }
}

impl<T: Clone> Cache<T> {
    /// The value of an id, which `read` reads with its size if it is not there.
    fn get(
        &mut self,
        id: i64,
        odd: &mut Oddities,
        read: impl FnOnce(&mut Oddities) -> rusqlite::Result<(T, usize)>,
    ) -> rusqlite::Result<T> {
        if let Some((value, of_value)) = self.values.get(&id) {
            odd.union(*of_value);
            return Ok(value.clone());
        }
        let mut of_value = Oddities::default();
        let (value, bytes) = read(&mut of_value)?;
        if self.values.len() >= MAX_CACHED || self.bytes + bytes > MAX_CACHED_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        odd.union(of_value);
        self.values.insert(id, (value.clone(), of_value));
        Ok(value)
    }
}

/// A text of another table, as it stands there.
#[derive(Clone)]
enum Text {
    None,
    Bytes(Rc<[u8]>),
    Other(i64),
}

impl Text {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::None => Cell::Text(b""),
            Self::Bytes(bytes) => Cell::Text(bytes),
            Self::Other(number) => Cell::Integer(*number),
        }
    }
}

/// Reads interned tables.
#[derive(Default)]
pub(crate) struct InternedTables {
    programs: Cache<Arc<Program>>,
    domains: Cache<Text>,
    addresses: Cache<Text>,
}

impl InternedTables {
    /// Reads the rows after one, at most `limit`.
    pub fn read(
        &mut self,
        connection: &Connection,
        (after, limit): (i64, usize),
        contexts: &mut Contexts,
        found: &mut Vec<ReadRow>,
    ) -> rusqlite::Result<()> {
        let mut select = connection.prepare_cached(SELECT)?;
        let mut rows = select.query([after, limit as i64])?;
        while let Some(row) = rows.next()? {
            found.push(self.read_row(connection, row, contexts)?);
        }
        Ok(())
    }

    fn read_row(
        &mut self,
        connection: &Connection,
        row: &Row<'_>,
        contexts: &mut Contexts,
    ) -> rusqlite::Result<ReadRow> {
        let mut odd = Oddities::default();
        let id = |at: usize, odd: &mut Oddities| -> rusqlite::Result<i64> {
            Ok(Cell::from(row.get_ref(at)?).number(odd).unwrap_or(0))
        };
        let programs = [
            self.program(connection, id(4, &mut odd)?, &mut odd)?,
            self.program(connection, id(5, &mut odd)?, &mut odd)?,
            self.program(connection, id(6, &mut odd)?, &mut odd)?,
        ];
        let addresses = "SELECT addr FROM addresses WHERE id = ?1";
        let domains = "SELECT domain FROM domains WHERE id = ?1";
        let local = text(&mut self.addresses, connection, (addresses, id(12, &mut odd)?), &mut odd)?;
        let remote = text(&mut self.addresses, connection, (addresses, id(13, &mut odd)?), &mut odd)?;
        let domain = text(&mut self.domains, connection, (domains, id(14, &mut odd)?), &mut odd)?;
        let cell = |at: usize| -> rusqlite::Result<Cell<'_>> { Ok(row.get_ref(at)?.into()) };
        let fields = Fields {
            number: row.get(0)?,
            time: cell(1)?,
            programs,
            uid: cell(7)?,
            // Its events are socket events that were merged, not connections.
            connections: Cell::None,
            sent: cell(2)?,
            received: cell(3)?,
            local_port: cell(10)?,
            remote_port: cell(11)?,
            local_address: local.cell(),
            remote_address: remote.cell(),
            domain: domain.cell(),
            family: cell(8)?,
            protocol: cell(9)?,
            network_namespace: cell(15)?,
        };
        Ok(fields.read(odd, contexts))
    }

    fn program(
        &mut self,
        connection: &Connection,
        id: i64,
        odd: &mut Oddities,
    ) -> rusqlite::Result<Arc<Program>> {
        self.programs.get(id, odd, |odd| {
            let mut select = connection
                .prepare_cached("SELECT exe, name, cmdline, sha256 FROM executables WHERE id = ?1")?;
            let mut rows = select.query([id])?;
            let found = match rows.next()? {
                Some(row) => {
                    let cell = |at| -> rusqlite::Result<Cell<'_>> { Ok(row.get_ref(at)?.into()) };
                    program([cell(0)?, cell(1)?, cell(2)?, cell(3)?], odd)
                }
                None => {
                    add_missing(id, odd);
                    Program::default()
                }
            };
            let bytes = found.path.len() + found.name.len() + found.command_line.len();
            Ok((Arc::new(found), bytes))
        })
    }
}

/// The text of an id.
fn text(
    cache: &mut Cache<Text>,
    connection: &Connection,
    (sql, id): (&str, i64),
    odd: &mut Oddities,
) -> rusqlite::Result<Text> {
    cache.get(id, odd, |odd| {
        let found = connection.prepare_cached(sql)?.query_row([id], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Text::Bytes(bytes.into())),
                ValueRef::Integer(number) => Some(Text::Other(number)),
                ValueRef::Null | ValueRef::Real(_) => None,
            })
        });
        let found = found.optional()?.flatten();
        if found.is_none() {
            add_missing(id, odd);
        }
        let found = found.unwrap_or(Text::None);
        let bytes = if let Text::Bytes(bytes) = &found { bytes.len() } else { 0 };
        Ok((found, bytes))
    })
}
