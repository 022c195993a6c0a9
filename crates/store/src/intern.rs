//! Interning: ids for content that repeats, such as programs, contexts and endpoints.
//!
//! A cache has the ids of recent content by its digest, so that it holds no long text. A digest of 256 bits identifies its
//! content. The 64 bits of it in the column `content_hash` do not (an attacker can make collisions), so a look-up in a
//! table compares the content as well.

use std::collections::HashMap;

use model::{Address, CgroupInfo, FlowTuple, GeoInfo, ProcessContext, Program};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use sha2::Digest;

use crate::{address_bytes::address_to_bytes, text_or_blob::TextOrBlob};

/// Entries of one cache, of about 56 bytes each. A full cache is emptied.
const MAX_CACHE_ENTRIES: usize = 8192;

type ContentDigest = [u8; 32];

#[derive(Default)]
struct IdCache {
    ids: HashMap<ContentDigest, i64>,
    /// Entries that were added in the open transaction.
    pending: Vec<ContentDigest>,
}

impl IdCache {
    fn get(&self, digest: &ContentDigest) -> Option<i64> {
        self.ids.get(digest).copied()
    }

    fn put(&mut self, digest: ContentDigest, id: i64) {
        if self.ids.len() >= MAX_CACHE_ENTRIES {
            self.ids.clear();
            self.pending.clear();
        }
        self.ids.insert(digest, id);
        self.pending.push(digest);
    }

    fn commit(&mut self) {
        self.pending.clear();
    }

    fn roll_back(&mut self) {
        for digest in self.pending.drain(..) {
            self.ids.remove(&digest);
        }
    }
}

/// Finds or inserts the rows that records refer to.
#[derive(Default)]
pub(crate) struct Interner {
    programs: IdCache,
    contexts: IdCache,
    endpoints: IdCache,
}

impl Interner {
    /// Keeps the ids of the transaction, which is committed.
    pub fn commit(&mut self) {
        self.for_each_cache(IdCache::commit);
    }

    /// Forgets the ids of the transaction, which is rolled back: their rows do not exist.
    pub fn roll_back(&mut self) {
        self.for_each_cache(IdCache::roll_back);
    }

    /// Forgets the ids of all rows.
    pub fn clear(&mut self) {
        self.for_each_cache(|cache| *cache = IdCache::default());
    }

    fn for_each_cache(&mut self, act: impl Fn(&mut IdCache)) {
        act(&mut self.programs);
        act(&mut self.contexts);
        act(&mut self.endpoints);
    }

    /// The id of a context in table `context`.
    pub fn context(&mut self, connection: &Connection, context: &ProcessContext) -> rusqlite::Result<i64> {
        let mut hasher = ContentHasher::default();
        for program in [&context.program, &context.parent, &context.grandparent] {
            hasher.program(program);
        }
        hasher.number(context.uid.into()).number(context.network_namespace.into()).cgroup(&context.cgroup);
        let digest = hasher.finish();
        if let Some(id) = self.contexts.get(&digest) {
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
        self.contexts.put(digest, id);
        Ok(id)
    }

    fn program(&mut self, connection: &Connection, program: &Program) -> rusqlite::Result<i64> {
        let mut hasher = ContentHasher::default();
        hasher.program(program);
        let digest = hasher.finish();
        if let Some(id) = self.programs.get(&digest) {
            return Ok(id);
        }
        let id = find_or_insert(
            connection,
            "SELECT id FROM program WHERE content_hash = ?1 AND path = ?2 AND name = ?3 AND command_line = ?4 AND \
             sha256 IS ?5",
            "INSERT INTO program (content_hash, path, name, command_line, sha256) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                content_hash(&digest),
                TextOrBlob(&program.path),
                TextOrBlob(&program.name),
                TextOrBlob(&program.command_line),
                program.sha256.as_ref().map(|digest| &digest.0[..]),
            ],
        )?;
        self.programs.put(digest, id);
        Ok(id)
    }

    /// The id in table `endpoint` of a tuple without its ports.
    pub fn endpoint(
        &mut self,
        connection: &Connection,
        tuple: &FlowTuple,
        geo: &GeoInfo,
    ) -> rusqlite::Result<i64> {
        let mut hasher = ContentHasher::default();
        hasher.number(tuple.family.into()).number(tuple.protocol.into());
        hasher.address(tuple.local_address).address(tuple.remote_address);
        hasher.bytes(&tuple.domain).number(tuple.domain_source as u64);
        hasher.bytes(geo.country.as_bytes()).number(geo.network_number.into());
        hasher.bytes(geo.network.as_bytes());
        let digest = hasher.finish();
        if let Some(id) = self.endpoints.get(&digest) {
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
        self.endpoints.put(digest, id);
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
            TextOrBlob(&cgroup.path),
            TextOrBlob(&cgroup.unit),
            TextOrBlob(&cgroup.container),
            TextOrBlob(&cgroup.app),
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
        params![content_hash(&sha2::Sha256::digest(name).into()), TextOrBlob(name)],
    )
}

/// The id of an address in table `address`; 0 if there is none.
fn address(connection: &Connection, address: Option<Address>) -> rusqlite::Result<i64> {
    let Some(address) = address else { return Ok(0) };
    let bytes = address_to_bytes(address);
    let find = "SELECT id FROM address WHERE bytes = ?1";
    let known = connection.prepare_cached(find)?.query_row([&bytes], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let mut insert = connection.prepare_cached("INSERT INTO address (bytes, text) VALUES (?1, ?2)")?;
    insert.insert(params![bytes, address.to_string()])
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

/// The part of a digest that the tables index.
fn content_hash(digest: &ContentDigest) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}

/// A digest over several fields. The length of each field precedes it, so that different fields never give the same bytes.
#[derive(Default)]
struct ContentHasher(sha2::Sha256);

impl ContentHasher {
    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.update(bytes);
        self
    }

    fn address(&mut self, address: Option<Address>) -> &mut Self {
        self.bytes(&address.map(address_to_bytes).unwrap_or_default())
    }

    fn cgroup(&mut self, cgroup: &CgroupInfo) -> &mut Self {
        self.bytes(&cgroup.path).bytes(&cgroup.unit).bytes(&cgroup.container).bytes(&cgroup.app)
    }

    fn program(&mut self, program: &Program) -> &mut Self {
        self.bytes(&program.path).bytes(&program.name).bytes(&program.command_line);
        self.bytes(program.sha256.as_ref().map_or(&[], |digest| &digest.0))
    }

    fn finish(self) -> ContentDigest {
        self.0.finalize().into()
    }
}
