//! The rows that records refer to, each read by its id and checked: against the hash of its content, or against an index.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use model::{
    Address, Bytes, CgroupInfo, DomainSource, FlowTuple, GeoInfo, MANY, ProcessContext, Program, Sha256,
};
use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};

use super::layout::Layout;
use crate::{
    address_bytes::address_from_bytes,
    intern::{MANY_DOMAINS, bytes_hash, is_program_hash},
    writer::ContextDetail,
};

/// Rows of one table that are kept in memory. A full cache is emptied.
const MAX_CACHED: usize = 20_000;
/// The user id that stands for an unknown user: no user can have it (setuid(2)).
pub(crate) const UNKNOWN_UID: u32 = u32::MAX;

/// A text column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StoredText {
    Bytes(Bytes),
    Many,
}

impl StoredText {
    /// The bytes that a record has: "many" where the writer makes it "many" again.
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Many => MANY.into(),
        }
    }
}

/// A row of table `program`; `None` stands for many programs.
type ProgramRow = Option<Program>;

/// A row of table `context`.
pub(crate) type ContextRow = (Arc<ProcessContext>, ContextDetail);

/// A row of table `endpoint`, and whether all of it is known.
pub(crate) type EndpointRow = (FlowTuple, GeoInfo, bool);

/// Reads the rows of a log that may be damaged. What is not readable is unknown.
pub(crate) struct Rows<'a> {
    connection: &'a Connection,
    layout: Layout,
    contexts: HashMap<i64, ContextRow>,
    endpoints: HashMap<i64, EndpointRow>,
    programs: HashMap<i64, Option<(ProgramRow, bool)>>,
}

impl<'a> Rows<'a> {
    pub fn new(connection: &'a Connection, layout: Layout) -> Self {
        Self {
            connection,
            layout,
            contexts: HashMap::new(),
            endpoints: HashMap::new(),
            programs: HashMap::new(),
        }
    }

    /// The context with an id; an unknown one if the row is not readable.
    pub fn context(&mut self, id: i64) -> ContextRow {
        if let Some(known) = self.contexts.get(&id) {
            return known.clone();
        }
        let row = self.read_context(id).unwrap_or_else(|| {
            let unknown = ProcessContext { uid: UNKNOWN_UID, ..ProcessContext::default() };
            (Arc::new(unknown), ContextDetail::Incomplete)
        });
        cache(&mut self.contexts, id, row.clone());
        row
    }

    fn read_context(&mut self, id: i64) -> Option<ContextRow> {
        let sql = format!(
            "SELECT program, parent, grandparent, uid, network_namespace, cgroup FROM {} WHERE id = ?1",
            self.layout.context_table()
        );
        let row: [i64; 6] = self.read(&sql, id, numbers)?;
        let index = format!(
            "SELECT id FROM {} WHERE program = ?1 AND parent = ?2 AND grandparent = ?3 AND uid = ?4 AND \
             network_namespace = ?5 AND cgroup = ?6",
            self.layout.context_table()
        );
        self.agrees(&index, row, id)?;
        let [program, parent, grandparent, uid, network_namespace, cgroup] = row;
        let (uid, network_namespace) = (uid.try_into().ok()?, network_namespace.try_into().ok()?);
        let mut detail = ContextDetail::Whole;
        let [program, parent, grandparent] =
            [program, parent, grandparent].map(|id| match self.program(id) {
                Some((Some(program), has_many)) => {
                    if has_many && detail == ContextDetail::Whole {
                        detail = ContextDetail::ManyCommandLines;
                    }
                    program
                }
                Some((None, _)) => {
                    detail = ContextDetail::ManyPrograms;
                    Program::default()
                }
                None => {
                    detail = ContextDetail::Incomplete;
                    Program::default()
                }
            });
        let cgroup = self.cgroup(cgroup).unwrap_or_else(|| {
            detail = ContextDetail::Incomplete;
            CgroupInfo::default()
        });
        let context = ProcessContext { program, parent, grandparent, uid, network_namespace, cgroup };
        Some((Arc::new(context), detail))
    }

    /// A program, and whether its command line is "many".
    fn program(&mut self, id: i64) -> Option<(ProgramRow, bool)> {
        if let Some(known) = self.programs.get(&id) {
            return known.clone();
        }
        let row = self.read_program(id);
        cache(&mut self.programs, id, row.clone());
        row
    }

    fn read_program(&self, id: i64) -> Option<(ProgramRow, bool)> {
        let sql = format!(
            "SELECT {}, path, name, command_line, sha256 FROM program WHERE id = ?1",
            self.layout.hash_column()
        );
        self.read(&sql, id, |row| {
            let (path, name, command_line) = (text(row, 1)?, text(row, 2)?, text(row, 3)?);
            let hash = number(row, 0)?;
            if path == StoredText::Many {
                return is_program_hash(hash, None).then_some((None, true));
            }
            let has_many = command_line == StoredText::Many;
            let program = Program {
                path: path.into_bytes(),
                name: name.into_bytes(),
                command_line: command_line.into_bytes(),
                sha256: digest(row, 4)?,
            };
            is_program_hash(hash, Some(&program)).then_some((Some(program), has_many))
        })
    }

    fn cgroup(&self, id: i64) -> Option<CgroupInfo> {
        let more = if self.layout.has_geo() { "container, app" } else { "'', ''" };
        let sql =
            format!("SELECT {}, path, unit, {more} FROM cgroup WHERE id = ?1", self.layout.hash_column());
        self.read(&sql, id, |row| {
            let bytes = |column| text(row, column).map(StoredText::into_bytes);
            let cgroup =
                CgroupInfo { path: bytes(1)?, unit: bytes(2)?, container: bytes(3)?, app: bytes(4)? };
            (number(row, 0)? == bytes_hash(&cgroup.path)).then_some(cgroup)
        })
    }

    /// The endpoint with an id, as far as it is readable.
    pub fn endpoint(&mut self, id: i64) -> EndpointRow {
        if let Some(known) = self.endpoints.get(&id) {
            return known.clone();
        }
        let row = self.read_endpoint(id).unwrap_or_default();
        cache(&mut self.endpoints, id, row.clone());
        row
    }

    fn read_endpoint(&self, id: i64) -> Option<EndpointRow> {
        let (geo, of_geo) = match self.layout.has_geo() {
            true => ("country, network", " AND country = ?7 AND network = ?8"),
            false => ("0, 0", " AND ?7 = 0 AND ?8 = 0"),
        };
        let sql = format!(
            "SELECT remote_address, local_address, domain, domain_source, family, protocol, {geo} FROM endpoint WHERE id = ?1"
        );
        let row: [i64; 8] = self.read(&sql, id, numbers)?;
        let index = format!(
            "SELECT id FROM endpoint WHERE remote_address = ?1 AND local_address = ?2 AND domain = ?3 AND \
             domain_source = ?4 AND family = ?5 AND protocol = ?6{of_geo}"
        );
        self.agrees(&index, row, id)?;
        let [remote, local, domain, source, family, protocol, country, network] = row;
        let mut tuple = FlowTuple {
            family: family.try_into().ok()?,
            protocol: protocol.try_into().ok()?,
            ..FlowTuple::default()
        };
        let mut whole = true;
        let mut known = |value: Option<Address>, id: i64| {
            whole &= value.is_some() || id == 0;
            value
        };
        tuple.remote_address = known(self.address(remote), remote);
        tuple.local_address = known(self.address(local), local);
        match (self.domain(domain), DomainSource::NAMES.iter().find(|(_, known)| *known as i64 == source)) {
            (Some(name), Some((_, source))) => {
                tuple.domain_source = *source;
                if *source != DomainSource::Many {
                    tuple.domain = name;
                }
            }
            _ => whole = false,
        }
        let mut geo = GeoInfo::default();
        if self.layout.has_geo() {
            match (self.country(country), self.network(network)) {
                (Some(country), Some((number, network))) => {
                    geo = GeoInfo { country, network_number: number, network };
                }
                _ => whole = false,
            }
        }
        Some((tuple, geo, whole))
    }

    fn address(&self, id: i64) -> Option<Address> {
        self.read("SELECT bytes, text FROM address WHERE id = ?1", id, |row| {
            let address = address_from_bytes(row.get_ref(0).ok()?.as_blob().ok()?)?;
            let text = row.get_ref(1).ok()?.as_str().ok()?;
            (text.parse() == Ok(address)).then_some(address)
        })
    }

    fn domain(&self, id: i64) -> Option<Bytes> {
        let sql = format!("SELECT {}, name FROM domain WHERE id = ?1", self.layout.hash_column());
        self.read(&sql, id, |row| {
            let (hash, name) = (number(row, 0)?, text(row, 1)?.into_bytes());
            (hash == bytes_hash(&name) || hash == bytes_hash(MANY_DOMAINS)).then_some(name)
        })
    }

    fn country(&self, id: i64) -> Option<Arc<str>> {
        let name = self.read("SELECT name FROM country WHERE id = ?1", id, |row| {
            Some(Arc::<str>::from(row.get_ref(0).ok()?.as_str().ok()?))
        })?;
        self.agrees("SELECT id FROM country WHERE name = ?1", [&*name], id)?;
        Some(name)
    }

    fn network(&self, id: i64) -> Option<(u32, Arc<str>)> {
        let (network, name) = self.read("SELECT number, name FROM network WHERE id = ?1", id, |row| {
            let name = Arc::<str>::from(row.get_ref(1).ok()?.as_str().ok()?);
            Some((u32::try_from(number(row, 0)?).ok()?, name))
        })?;
        let index = "SELECT id FROM network WHERE number = ?1 AND name = ?2";
        self.agrees(index, rusqlite::params![network, &*name], id)?;
        Some((network, name))
    }

    /// Reads one row by its id; `None` if it cannot be read.
    fn read<T>(&self, sql: &str, id: i64, value: impl FnOnce(&Row<'_>) -> Option<T>) -> Option<T> {
        let mut statement = self.connection.prepare_cached(sql).ok()?;
        statement.query_row([id], |row| Ok(value(row))).ok().flatten()
    }

    /// Whether the unique index leads from the values to the row. An index that is not readable itself says nothing.
    fn agrees(&self, sql: &str, values: impl rusqlite::Params, id: i64) -> Option<()> {
        let mut statement = self.connection.prepare_cached(sql).ok()?;
        match statement.query_row(values, |row| row.get::<_, i64>(0)).optional() {
            Ok(found) => (found == Some(id)).then_some(()),
            Err(_) => Some(()),
        }
    }
}

/// Adds to a cache.
fn cache<K: Eq + Hash, V>(cache: &mut HashMap<K, V>, key: K, value: V) {
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(key, value);
}

/// An integer; `None` for any other type.
pub(super) fn number(row: &Row<'_>, column: usize) -> Option<i64> {
    row.get_ref(column).ok()?.as_i64().ok()
}

/// The integers of a row; `None` if a column has another type.
pub(super) fn numbers<const N: usize>(row: &Row<'_>) -> Option<[i64; N]> {
    let mut values = [0; N];
    for (column, value) in values.iter_mut().enumerate() {
        *value = number(row, column)?;
    }
    Some(values)
}

fn text(row: &Row<'_>, column: usize) -> Option<StoredText> {
    match row.get_ref(column).ok()? {
        ValueRef::Blob(bytes) if bytes == MANY.as_bytes() => Some(StoredText::Many),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(StoredText::Bytes(bytes.to_vec())),
        _ => None,
    }
}

/// A digest or none; outer `None` for anything else.
#[expect(clippy::option_option, reason = "an unknown digest is a value")]
fn digest(row: &Row<'_>, column: usize) -> Option<Option<Sha256>> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(None),
        ValueRef::Blob(bytes) => Some(Some(Sha256(bytes.try_into().ok()?))),
        _ => None,
    }
}
