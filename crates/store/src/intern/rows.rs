//! The rows of the tables to which records refer: found by their content, or inserted.

use model::{Address, CgroupInfo, DomainSource, FlowTuple, GeoInfo, ProcessContext, Program};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{
    MANY_DOMAINS, MANY_PROGRAMS, bytes_hash,
    content_digest::{CommandLines, content_hash, program_digest},
};
use crate::{
    address_bytes::address_to_bytes,
    text_or_blob::{ManyText, TextOrBlob},
};

pub(super) fn find_context(
    connection: &Connection,
    context: &ProcessContext,
    [program, parent, grandparent]: [i64; 3],
    cgroup: i64,
) -> rusqlite::Result<Option<i64>> {
    find(
        connection,
        "SELECT id FROM context WHERE program = ?1 AND parent = ?2 AND grandparent = ?3 AND uid = ?4 AND \
         network_namespace = ?5 AND cgroup = ?6",
        params![program, parent, grandparent, context.uid, context.network_namespace, cgroup],
    )
}

pub(super) fn insert_context(
    connection: &Connection,
    context: &ProcessContext,
    [program, parent, grandparent]: [i64; 3],
    cgroup: i64,
    time: i64,
) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO context (program, parent, grandparent, uid, network_namespace, cgroup, first, last) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)";
    let row = params![program, parent, grandparent, context.uid, context.network_namespace, cgroup, time];
    connection.prepare_cached(sql)?.insert(row)
}

pub(super) fn find_program(
    connection: &Connection,
    program: &Program,
    lines: CommandLines,
) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id FROM program WHERE content_hash = ?1 AND path = ?2 AND name = ?3 AND command_line = ?4 \
               AND sha256 IS ?5";
    with_program_row(program, lines, |row| find(connection, sql, row))
}

pub(super) fn insert_program(
    connection: &Connection,
    program: &Program,
    lines: CommandLines,
) -> rusqlite::Result<i64> {
    let sql =
        "INSERT INTO program (content_hash, path, name, command_line, sha256) VALUES (?1, ?2, ?3, ?4, ?5)";
    with_program_row(program, lines, |row| connection.prepare_cached(sql)?.insert(row))
}

/// Calls `act` with the columns of a program: hash, path, name, command line, digest.
pub(super) fn with_program_row<T>(
    program: &Program,
    lines: CommandLines,
    act: impl FnOnce(&[&dyn ToSql]) -> T,
) -> T {
    let hash = content_hash(&program_digest(program, lines));
    let command_line = TextOrBlob(&program.command_line);
    let command_line: &dyn ToSql = match lines {
        CommandLines::Many if !program.command_line.is_empty() => &ManyText,
        _ => &command_line,
    };
    let digest = program.sha256.as_ref().map(|digest| &digest.0[..]);
    act(params![hash, TextOrBlob(&program.path), TextOrBlob(&program.name), command_line, digest])
}

/// The references of a row in table `endpoint`.
pub(super) struct EndpointRow {
    pub remote: i64,
    pub local: i64,
    pub domain: i64,
    pub country: i64,
    pub network: i64,
}

impl EndpointRow {
    pub fn find(&self, connection: &Connection, tuple: &FlowTuple) -> rusqlite::Result<Option<i64>> {
        let Self { remote, local, domain, country, network } = self;
        let source = tuple.domain_source as u8;
        find(
            connection,
            "SELECT id FROM endpoint WHERE remote_address = ?1 AND local_address = ?2 AND domain = ?3 AND \
             domain_source = ?4 AND family = ?5 AND protocol = ?6 AND country = ?7 AND network = ?8",
            params![remote, local, domain, source, tuple.family, tuple.protocol, country, network],
        )
    }

    pub fn insert(&self, connection: &Connection, tuple: &FlowTuple, time: i64) -> rusqlite::Result<i64> {
        let Self { remote, local, domain, country, network } = self;
        let source = tuple.domain_source as u8;
        let sql = "INSERT INTO endpoint (remote_address, local_address, domain, domain_source, family, protocol, \
                   country, network, first, last) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)";
        let row =
            params![remote, local, domain, source, tuple.family, tuple.protocol, country, network, time];
        connection.prepare_cached(sql)?.insert(row)
    }
}

pub(super) const FIND_CGROUP: &str = "SELECT id FROM cgroup WHERE content_hash = ?1 AND path = ?2 AND unit = ?3 AND container = ?4 AND app = ?5";
pub(super) const FIND_COUNTRY: &str = "SELECT id FROM country WHERE name = ?1";
pub(super) const FIND_NETWORK: &str = "SELECT id FROM network WHERE number = ?1 AND name = ?2";
pub(super) const FIND_DOMAIN: &str = "SELECT id FROM domain WHERE content_hash = ?1 AND name = ?2";

/// Calls `act` with the columns of a cgroup.
pub(super) fn with_cgroup_row<T>(cgroup: &CgroupInfo, act: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
    act(params![
        bytes_hash(&cgroup.path),
        TextOrBlob(&cgroup.path),
        TextOrBlob(&cgroup.unit),
        TextOrBlob(&cgroup.container),
        TextOrBlob(&cgroup.app),
    ])
}

pub(super) fn find_cgroup(connection: &Connection, cgroup: &CgroupInfo) -> rusqlite::Result<Option<i64>> {
    with_cgroup_row(cgroup, |row| find(connection, FIND_CGROUP, row))
}

pub(super) fn cgroup(connection: &Connection, cgroup: &CgroupInfo) -> rusqlite::Result<i64> {
    let insert = "INSERT INTO cgroup (content_hash, path, unit, container, app) VALUES (?1, ?2, ?3, ?4, ?5)";
    with_cgroup_row(cgroup, |row| find_or_insert(connection, FIND_CGROUP, insert, row))
}

pub(super) fn country(connection: &Connection, geo: &GeoInfo) -> rusqlite::Result<i64> {
    let insert = "INSERT INTO country (name) VALUES (?1)";
    find_or_insert(connection, FIND_COUNTRY, insert, params![&*geo.country])
}

pub(super) fn network(connection: &Connection, geo: &GeoInfo) -> rusqlite::Result<i64> {
    let insert = "INSERT INTO network (number, name) VALUES (?1, ?2)";
    find_or_insert(connection, FIND_NETWORK, insert, params![geo.network_number, &*geo.network])
}

/// Calls `act` with the columns of the domain of a tuple.
pub(super) fn with_domain_row<T>(tuple: &FlowTuple, act: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
    if tuple.domain_source == DomainSource::Many {
        return act(params![bytes_hash(MANY_DOMAINS), ManyText]);
    }
    let name = &tuple.domain;
    act(params![bytes_hash(name), TextOrBlob(name)])
}

pub(super) fn find_domain(connection: &Connection, tuple: &FlowTuple) -> rusqlite::Result<Option<i64>> {
    with_domain_row(tuple, |row| find(connection, FIND_DOMAIN, row))
}

pub(super) fn domain(connection: &Connection, tuple: &FlowTuple) -> rusqlite::Result<i64> {
    let insert = "INSERT INTO domain (content_hash, name) VALUES (?1, ?2)";
    with_domain_row(tuple, |row| find_or_insert(connection, FIND_DOMAIN, insert, row))
}

/// The id of an address that table `address` has; 0 for none.
pub(super) fn find_address(
    connection: &Connection,
    address: Option<Address>,
) -> rusqlite::Result<Option<i64>> {
    let Some(address) = address else { return Ok(Some(0)) };
    find(connection, "SELECT id FROM address WHERE bytes = ?1", params![address_to_bytes(address)])
}

/// The id of an address in table `address`; 0 if there is none.
pub(super) fn address(connection: &Connection, address: Option<Address>) -> rusqlite::Result<i64> {
    if let Some(id) = find_address(connection, address)? {
        return Ok(id);
    }
    let Some(address) = address else { return Ok(0) };
    let mut insert = connection.prepare_cached("INSERT INTO address (bytes, text) VALUES (?1, ?2)")?;
    insert.insert(params![address_to_bytes(address), address.to_string()])
}

pub(super) fn find(connection: &Connection, sql: &str, row: &[&dyn ToSql]) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(sql)?.query_row(row, |found| found.get(0)).optional()
}

pub(super) fn find_or_insert(
    connection: &Connection,
    select: &str,
    insert: &str,
    row: &[&dyn ToSql],
) -> rusqlite::Result<i64> {
    match find(connection, select, row)? {
        Some(id) => Ok(id),
        None => connection.prepare_cached(insert)?.insert(row),
    }
}

/// The id of the program that stands for many.
pub(super) fn many_programs(connection: &Connection) -> rusqlite::Result<i64> {
    find_or_insert(
        connection,
        "SELECT id FROM program WHERE content_hash = ?1 AND path = ?2 AND name = ?2 AND command_line = ?2 AND \
         sha256 IS NULL",
        "INSERT INTO program (content_hash, path, name, command_line) VALUES (?1, ?2, ?2, ?2)",
        params![bytes_hash(MANY_PROGRAMS), ManyText],
    )
}
