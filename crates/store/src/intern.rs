//! Ids for what repeats: programs, contexts, endpoints.
//!
//! A cache keeps the ids of what was seen lately, keyed by a digest of the content, so that it holds no
//! heavy text. A digest of 256 bits stands for its content; the 64 bits of it that the tables index do not
//! (collisions can be made), so look-ups compare the content as well.

use std::{collections::HashMap, net::IpAddr};

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::ToSqlOutput, types::ValueRef};
use sha2::Digest;

use model::{Address, CgroupInfo, FlowTuple, GeoInfo, ProcessContext, Program};

/// Entries in one cache; at about 56 bytes each. A cache that is full starts anew.
const CACHE_LIMIT: usize = 8192;

type Key = [u8; 32];

/// Bytes as SQLite keeps them: TEXT where they are UTF-8 without NUL, otherwise a BLOB, so that nothing is
/// lost and the usual case can be read with any tool.
pub(super) struct Stored<'a>(pub &'a [u8]);

impl ToSql for Stored<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let is_text = !self.0.contains(&0) && std::str::from_utf8(self.0).is_ok();
        let value = if is_text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

#[derive(Default)]
struct Cache {
    ids: HashMap<Key, i64>,
    /// Keys that were added in the transaction that is open.
    pending: Vec<Key>,
}

impl Cache {
    fn get(&self, key: &Key) -> Option<i64> {
        self.ids.get(key).copied()
    }

    fn put(&mut self, key: Key, id: i64) {
        if self.ids.len() >= CACHE_LIMIT {
            self.ids.clear();
            self.pending.clear();
        }
        self.ids.insert(key, id);
        self.pending.push(key);
    }

    fn committed(&mut self) {
        self.pending.clear();
    }

    fn rolled_back(&mut self) {
        for key in self.pending.drain(..) {
            self.ids.remove(&key);
        }
    }
}

/// Finds or makes the rows of the side tables.
#[derive(Default)]
pub(super) struct Interner {
    programs: Cache,
    contexts: Cache,
    endpoints: Cache,
}

impl Interner {
    /// The ids handed out since the last call stand for rows that are there to stay.
    pub fn committed(&mut self) {
        self.each(Cache::committed);
    }

    /// The rows behind the ids handed out since the last call do not exist any more.
    pub fn rolled_back(&mut self) {
        self.each(Cache::rolled_back);
    }

    /// Forgets all ids.
    pub fn clear(&mut self) {
        self.each(|cache| *cache = Cache::default());
    }

    fn each(&mut self, act: impl Fn(&mut Cache)) {
        act(&mut self.programs);
        act(&mut self.contexts);
        act(&mut self.endpoints);
    }

    /// The id of a context.
    pub fn context(&mut self, connection: &Connection, context: &ProcessContext) -> rusqlite::Result<i64> {
        let mut digest = Digester::default();
        for program in [&context.program, &context.parent, &context.grandparent] {
            digest.program(program);
        }
        digest.number(context.uid.into()).number(context.network_namespace.into()).cgroup(&context.cgroup);
        let key = digest.finish();
        if let Some(id) = self.contexts.get(&key) {
            return Ok(id);
        }
        let program = self.program(connection, &context.program)?;
        let parent = self.program(connection, &context.parent)?;
        let grandparent = self.program(connection, &context.grandparent)?;
        let cgroup = cgroup(connection, &context.cgroup)?;
        let row = params![program, parent, grandparent, context.uid, context.network_namespace, cgroup];
        let id = find_or_insert(
            connection,
            "SELECT id FROM context WHERE program = ?1 AND parent = ?2 AND grandparent = ?3 AND uid = ?4 AND \
             network_namespace = ?5 AND cgroup = ?6",
            "INSERT INTO context (program, parent, grandparent, uid, network_namespace, cgroup) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            row,
        )?;
        self.contexts.put(key, id);
        Ok(id)
    }

    fn program(&mut self, connection: &Connection, program: &Program) -> rusqlite::Result<i64> {
        let mut digest = Digester::default();
        digest.program(program);
        let key = digest.finish();
        if let Some(id) = self.programs.get(&key) {
            return Ok(id);
        }
        let id = find_or_insert(
            connection,
            "SELECT id FROM program WHERE content_hash = ?1 AND path = ?2 AND name = ?3 AND command_line = ?4 AND \
             sha256 IS ?5",
            "INSERT INTO program (content_hash, path, name, command_line, sha256) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                content_hash(&key),
                Stored(&program.path),
                Stored(&program.name),
                Stored(&program.command_line),
                program.sha256.as_ref().map(|digest| &digest.0[..]),
            ],
        )?;
        self.programs.put(key, id);
        Ok(id)
    }

    /// The id of a peer without its ports.
    pub fn endpoint(
        &mut self,
        connection: &Connection,
        tuple: &FlowTuple,
        geo: &GeoInfo,
    ) -> rusqlite::Result<i64> {
        let mut digest = Digester::default();
        digest.number(tuple.family.into()).number(tuple.protocol.into());
        digest.address(tuple.local_address).address(tuple.remote_address);
        digest.bytes(&tuple.domain).number(tuple.domain_source as u64);
        digest.bytes(geo.country.as_bytes()).number(geo.network_number.into());
        digest.bytes(geo.network.as_bytes());
        let key = digest.finish();
        if let Some(id) = self.endpoints.get(&key) {
            return Ok(id);
        }
        let remote = address(connection, tuple.remote_address)?;
        let local = address(connection, tuple.local_address)?;
        let domain = domain(connection, &tuple.domain)?;
        let source = tuple.domain_source as u8;
        let country = country(connection, geo)?;
        let network = network(connection, geo)?;
        let id = find_or_insert(
            connection,
            "SELECT id FROM endpoint WHERE remote_address = ?1 AND local_address = ?2 AND domain = ?3 AND \
             domain_source = ?4 AND family = ?5 AND protocol = ?6 AND country = ?7 AND network = ?8",
            "INSERT INTO endpoint (remote_address, local_address, domain, domain_source, family, protocol, country, \
             network) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![remote, local, domain, source, tuple.family, tuple.protocol, country, network],
        )?;
        self.endpoints.put(key, id);
        Ok(id)
    }
}

fn cgroup(connection: &Connection, cgroup: &CgroupInfo) -> rusqlite::Result<i64> {
    find_or_insert(
        connection,
        "SELECT id FROM cgroup WHERE content_hash = ?1 AND path = ?2 AND unit = ?3 AND container = ?4 AND app = ?5",
        "INSERT INTO cgroup (content_hash, path, unit, container, app) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            content_hash(&sha2::Sha256::digest(&cgroup.path).into()),
            Stored(&cgroup.path),
            Stored(&cgroup.unit),
            Stored(&cgroup.container),
            Stored(&cgroup.app),
        ],
    )
}

fn country(connection: &Connection, geo: &GeoInfo) -> rusqlite::Result<i64> {
    find_or_insert(
        connection,
        "SELECT id FROM country WHERE name = ?1",
        "INSERT INTO country (name) VALUES (?1)",
        params![&*geo.country],
    )
}

fn network(connection: &Connection, geo: &GeoInfo) -> rusqlite::Result<i64> {
    find_or_insert(
        connection,
        "SELECT id FROM network WHERE number = ?1 AND name = ?2",
        "INSERT INTO network (number, name) VALUES (?1, ?2)",
        params![geo.network_number, &*geo.network],
    )
}

fn domain(connection: &Connection, name: &[u8]) -> rusqlite::Result<i64> {
    find_or_insert(
        connection,
        "SELECT id FROM domain WHERE content_hash = ?1 AND name = ?2",
        "INSERT INTO domain (content_hash, name) VALUES (?1, ?2)",
        params![content_hash(&sha2::Sha256::digest(name).into()), Stored(name)],
    )
}

/// The id of an address; 0 without one.
fn address(connection: &Connection, address: Option<Address>) -> rusqlite::Result<i64> {
    let Some(address) = address else { return Ok(0) };
    let octets = octets(address);
    let find = "SELECT id FROM address WHERE bytes = ?1";
    let known = connection.prepare_cached(find)?.query_row([&octets], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let mut insert = connection.prepare_cached("INSERT INTO address (bytes, text) VALUES (?1, ?2)")?;
    insert.insert(params![octets, address.to_string()])
}

fn find_or_insert(
    connection: &Connection,
    find: &str,
    insert: &str,
    row: &[&dyn ToSql],
) -> rusqlite::Result<i64> {
    match connection.prepare_cached(find)?.query_row(row, |found| found.get(0)).optional()? {
        Some(id) => Ok(id),
        None => connection.prepare_cached(insert)?.insert(row),
    }
}

const AF_VSOCK: u8 = 40;

/// An address as the log stores it: the 4 or 16 bytes of an IP address in network order; for vsock `AF_VSOCK`
/// (`<linux/socket.h>`) and the context id in network order, 5 bytes.
pub(super) fn octets(address: Address) -> Vec<u8> {
    match address {
        Address::Ip(IpAddr::V4(address)) => address.octets().to_vec(),
        Address::Ip(IpAddr::V6(address)) => address.octets().to_vec(),
        Address::Vsock(context_id) => [&[AF_VSOCK][..], &context_id.to_be_bytes()].concat(),
    }
}

/// The address that [`octets`] stored; `None` for anything else.
pub(super) fn address_of(octets: &[u8]) -> Option<Address> {
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        IpAddr::from(octets)
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        IpAddr::from(octets)
    } else {
        let [AF_VSOCK, context_id @ ..] = octets else { return None };
        return Some(Address::Vsock(u32::from_be_bytes(context_id.try_into().ok()?)));
    };
    Some(Address::Ip(ip))
}

/// The part of a digest that a table indexes.
fn content_hash(key: &Key) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&key[..8]);
    i64::from_le_bytes(first)
}

/// A digest over parts that cannot run into each other: each is preceded by its length.
#[derive(Default)]
struct Digester(sha2::Sha256);

impl Digester {
    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.update(bytes);
        self
    }

    fn address(&mut self, address: Option<Address>) -> &mut Self {
        self.bytes(&address.map(octets).unwrap_or_default())
    }

    fn cgroup(&mut self, cgroup: &CgroupInfo) -> &mut Self {
        self.bytes(&cgroup.path).bytes(&cgroup.unit).bytes(&cgroup.container).bytes(&cgroup.app)
    }

    fn program(&mut self, program: &Program) -> &mut Self {
        self.bytes(&program.path).bytes(&program.name).bytes(&program.command_line);
        self.bytes(program.sha256.as_ref().map_or(&[], |digest| &digest.0))
    }

    fn finish(self) -> Key {
        self.0.finalize().into()
    }
}
