//! Interning: ids for content that repeats, such as programs, contexts and endpoints.
//!
//! A cache has the ids of recent content by its digest, so that it holds no long text. A digest of 256 bits identifies its
//! content. The 64 bits of it in the column `content_hash` do not (an attacker can make collisions), so a look-up in a
//! table compares the content as well.

mod cache;
mod content_digest;
mod rows;

use model::{CgroupInfo, FlowTuple, GeoInfo, ProcessContext, Program};
use rusqlite::{Connection, params};
use sha2::Digest;

pub(crate) use self::content_digest::CommandLines;
use self::{
    cache::{MAX_CACHE_ENTRIES_OF_IMPORT, RowCache},
    content_digest::{ContentHasher, content_hash, context_digest, endpoint_digest, program_digest},
    rows::{
        EndpointRow, FIND_COUNTRY, FIND_NETWORK, address, cgroup, country, domain, find, find_address,
        find_cgroup, find_context, find_domain, find_program, insert_context, insert_program, network,
    },
};
use crate::growth_budget::{GrowthBytes, cgroup_bytes, context_row_bytes, endpoint_bytes, program_bytes};

/// What the hash of the row for many programs, and of that for many domains, is made of.
const MANY_PROGRAMS: &[u8] = b"many programs";
pub(crate) const MANY_DOMAINS: &[u8] = b"many domains";

/// Whether the hash of a row of table `program` is that of its content; `None` stands for many programs.
pub(crate) fn is_program_hash(hash: i64, program: Option<&Program>) -> bool {
    match program {
        Some(program) => [CommandLines::Kept, CommandLines::Many]
            .iter()
            .any(|lines| hash == content_hash(&program_digest(program, *lines))),
        None => hash == bytes_hash(MANY_PROGRAMS),
    }
}

/// The hash of a row of table `program`; with `has_many_lines` its command line is "many".
pub(crate) fn program_hash(program: &Program, has_many_lines: bool) -> i64 {
    let lines = if has_many_lines { CommandLines::Many } else { CommandLines::Kept };
    content_hash(&program_digest(program, lines))
}

/// The hash of a row of table `cgroup` by its path, or of table `domain` by its name.
pub(crate) fn bytes_hash(bytes: &[u8]) -> i64 {
    content_hash(&sha2::Sha256::digest(bytes).into())
}

/// Finds or inserts the rows that records refer to.
#[derive(Default)]
pub(crate) struct Interner {
    programs: RowCache<i64>,
    contexts: RowCache<i64>,
    endpoints: RowCache<i64>,
    /// About the bytes of the rows that were inserted.
    grown: GrowthBytes,
    /// The time at which new rows are seen, unix seconds.
    time: i64,
}

/// A context in the table.
pub(crate) enum KnownContext {
    There,
    /// It is not there, and would take so many bytes.
    Missing(GrowthBytes),
}

impl Interner {
    /// Keeps the ids of the transaction, which is committed.
    pub fn commit(&mut self) {
        self.programs.commit();
        self.contexts.commit();
        self.endpoints.commit();
    }

    /// Forgets the ids of the transaction, which is rolled back: their rows do not exist.
    pub fn roll_back(&mut self) {
        self.programs.roll_back();
        self.contexts.roll_back();
        self.endpoints.roll_back();
    }

    /// Forgets the ids of all rows.
    pub fn clear(&mut self) {
        self.programs.clear();
        self.contexts.clear();
        self.endpoints.clear();
    }

    /// Forgets the ids of all rows, and frees their memory. Returns whether there were any.
    pub fn shrink(&mut self) -> bool {
        let had_any = !self.contexts.is_empty();
        self.clear();
        self.programs.shrink();
        self.contexts.shrink();
        self.endpoints.shrink();
        had_any
    }

    /// Makes the caches large enough for a log that is imported at once.
    pub fn enlarge_caches(&mut self) {
        self.programs.max_entries = MAX_CACHE_ENTRIES_OF_IMPORT;
        self.contexts.max_entries = MAX_CACHE_ENTRIES_OF_IMPORT;
        self.endpoints.max_entries = MAX_CACHE_ENTRIES_OF_IMPORT;
    }

    /// Sets the time at which new rows are seen, unix seconds.
    pub fn set_time(&mut self, time: i64) {
        self.time = time;
    }

    /// About the bytes that rows inserted since the last call take.
    pub fn take_grown(&mut self) -> GrowthBytes {
        std::mem::take(&mut self.grown)
    }

    /// The id of a context in table `context`, which gets it if it is new.
    pub fn context(
        &mut self,
        connection: &Connection,
        context: &ProcessContext,
        lines: CommandLines,
    ) -> rusqlite::Result<i64> {
        let digest = context_digest(context, lines);
        if let Some(id) = self.contexts.get(&digest) {
            return Ok(id);
        }
        let mut program = |program| self.program(connection, program, lines);
        let programs =
            [program(&context.program)?, program(&context.parent)?, program(&context.grandparent)?];
        let cgroup = match find_cgroup(connection, &context.cgroup)? {
            Some(id) => id,
            None => {
                self.grown += cgroup_bytes(&context.cgroup);
                cgroup(connection, &context.cgroup)?
            }
        };
        let id = match find_context(connection, context, programs, cgroup)? {
            Some(id) => id,
            None => {
                self.grown += context_row_bytes(context);
                insert_context(connection, context, programs, cgroup, self.time)?
            }
        };
        self.contexts.put(digest, id);
        Ok(id)
    }

    /// Whether the table has a context, otherwise about the bytes that it would take.
    pub fn known_context(
        &mut self,
        connection: &Connection,
        context: &ProcessContext,
        lines: CommandLines,
    ) -> rusqlite::Result<KnownContext> {
        let digest = context_digest(context, lines);
        if self.contexts.get(&digest).is_some() {
            return Ok(KnownContext::There);
        }
        let mut missing = GrowthBytes::default();
        let mut programs = [0; 3];
        for (id, program) in
            programs.iter_mut().zip([&context.program, &context.parent, &context.grandparent])
        {
            match find_program(connection, program, lines)? {
                Some(found) => *id = found,
                None => missing += program_bytes(program, lines == CommandLines::Kept),
            }
        }
        let cgroup = find_cgroup(connection, &context.cgroup)?;
        if cgroup.is_none() {
            missing += cgroup_bytes(&context.cgroup);
        }
        let found = match cgroup.filter(|_| missing == GrowthBytes::default()) {
            Some(cgroup) => find_context(connection, context, programs, cgroup)?,
            None => None,
        };
        let Some(id) = found else {
            missing += context_row_bytes(context);
            return Ok(KnownContext::Missing(missing));
        };
        self.contexts.put(digest, id);
        Ok(KnownContext::There)
    }

    /// The id of the context that stands for many programs of a user.
    pub fn many_programs(&mut self, connection: &Connection, uid: u32) -> rusqlite::Result<i64> {
        let mut hasher = ContentHasher::default();
        hasher.bytes(b"many programs").number(uid.into());
        let digest = hasher.finish();
        if let Some(id) = self.contexts.get(&digest) {
            return Ok(id);
        }
        let program = rows::many_programs(connection)?;
        let cgroup = cgroup(connection, &CgroupInfo::default())?;
        let context = ProcessContext { uid, ..ProcessContext::default() };
        let programs = [program; 3];
        let id = match find_context(connection, &context, programs, cgroup)? {
            Some(id) => id,
            None => insert_context(connection, &context, programs, cgroup, self.time)?,
        };
        self.contexts.put(digest, id);
        Ok(id)
    }

    fn program(
        &mut self,
        connection: &Connection,
        program: &Program,
        lines: CommandLines,
    ) -> rusqlite::Result<i64> {
        let digest = program_digest(program, lines);
        if let Some(id) = self.programs.get(&digest) {
            return Ok(id);
        }
        let id = match find_program(connection, program, lines)? {
            Some(id) => id,
            None => {
                self.grown += program_bytes(program, lines == CommandLines::Kept);
                insert_program(connection, program, lines)?
            }
        };
        self.programs.put(digest, id);
        Ok(id)
    }

    /// The id in table `endpoint` of a tuple without its ports; the table gets it if it is new.
    pub fn endpoint(
        &mut self,
        connection: &Connection,
        tuple: &FlowTuple,
        geo: &GeoInfo,
    ) -> rusqlite::Result<i64> {
        let digest = endpoint_digest(tuple, geo);
        if let Some(id) = self.endpoints.get(&digest) {
            return Ok(id);
        }
        let endpoint = EndpointRow {
            remote: address(connection, tuple.remote_address)?,
            local: address(connection, tuple.local_address)?,
            domain: domain(connection, tuple)?,
            country: country(connection, geo)?,
            network: network(connection, geo)?,
        };
        let id = match endpoint.find(connection, tuple)? {
            Some(id) => id,
            None => {
                self.grown.detail += endpoint_bytes(tuple, geo);
                endpoint.insert(connection, tuple, self.time)?
            }
        };
        self.endpoints.put(digest, id);
        Ok(id)
    }

    /// Whether table `endpoint` has the tuple.
    pub fn is_endpoint_known(
        &mut self,
        connection: &Connection,
        tuple: &FlowTuple,
        geo: &GeoInfo,
    ) -> rusqlite::Result<bool> {
        let digest = endpoint_digest(tuple, geo);
        if self.endpoints.get(&digest).is_some() {
            return Ok(true);
        }
        let (Some(remote), Some(local), Some(domain), Some(country), Some(network)) = (
            find_address(connection, tuple.remote_address)?,
            find_address(connection, tuple.local_address)?,
            find_domain(connection, tuple)?,
            find(connection, FIND_COUNTRY, params![&*geo.country])?,
            find(connection, FIND_NETWORK, params![geo.network_number, &*geo.network])?,
        ) else {
            return Ok(false);
        };
        let found = EndpointRow { remote, local, domain, country, network }.find(connection, tuple)?;
        if let Some(row) = found {
            self.endpoints.put(digest, row);
        }
        Ok(found.is_some())
    }
}
