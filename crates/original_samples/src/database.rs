//! A sample as a database.

use std::{collections::HashMap, path::Path, rc::Rc};

use rusqlite::{
    Connection, ToSql, Transaction, params,
    types::{Null, ToSqlOutput, ValueRef},
};

use super::{Format, Options, Row, Sums, local_text, reversed, rows, rows::Program};

/// Text of the original: TEXT with any bytes in it, as Python's sqlite3 stores it with `surrogateescape`.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Writes a sample to a new file. Returns its sums.
///
/// # Errors
/// The errors of SQLite.
pub fn write_database(path: &Path, options: &Options) -> rusqlite::Result<Sums> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = DELETE")?;
    connection.set_prepared_statement_cache_capacity(32);
    let transaction = connection.transaction()?;
    transaction.execute_batch(&schema(options.format))?;
    let mut sums = Sums::default();
    let mut interned = Interned::default();
    for row in rows(options) {
        sums.add(&row, options.format);
        if options.format == Format::Version4 {
            interned.insert(&transaction, &row)?;
        } else {
            insert_flat(&transaction, options, &row)?;
        }
    }
    transaction.pragma_update(None, "user_version", options.format.user_version())?;
    transaction.commit()?;
    Ok(sums)
}

/// The tables of format 4.
const INTERNED_SCHEMA: &str = "CREATE TABLE executables (id INTEGER PRIMARY KEY, exe TEXT, name TEXT, cmdline TEXT, \
     sha256 TEXT, UNIQUE (exe, name, cmdline, sha256)); \
     CREATE TABLE domains (id INTEGER PRIMARY KEY, domain TEXT UNIQUE); \
     CREATE TABLE addresses (id INTEGER PRIMARY KEY, addr TEXT UNIQUE); \
     INSERT INTO executables VALUES (0, '', '', '', ''); INSERT INTO domains VALUES (0, ''); \
     INSERT INTO addresses VALUES (0, ''); \
     CREATE TABLE connections (contime INTEGER, send INTEGER, recv INTEGER, events INTEGER, exe_id INTEGER, \
     pexe_id INTEGER, gpexe_id INTEGER, uid INTEGER, family INTEGER, protocol INTEGER, lport INTEGER, \
     rport INTEGER, laddr_id INTEGER, raddr_id INTEGER, domain_id INTEGER, netns INTEGER)";

/// The columns of the flat table, as they are declared; of format 4 it has none.
const fn flat_columns(format: Format) -> &'static [&'static str] {
    match format {
        Format::Version0 => &[
            "exe text",
            "name text",
            "cmdline text",
            "sha256 text",
            "contime text",
            "domain text",
            "ip text",
            "port integer",
            "uid integer",
            "events integer",
        ],
        Format::Version1 => &[
            "exe text",
            "name text",
            "cmdline text",
            "sha256 text",
            "contime text",
            "domain text",
            "ip text",
            "port integer",
            "uid integer",
            "conns integer",
            "send integer DEFAULT 0",
            "recv integer DEFAULT 0",
        ],
        Format::Version2 => &[
            "exe text",
            "name text",
            "cmdline text",
            "sha256 text",
            "contime text",
            "domain text",
            "ip text",
            "port integer",
            "uid integer",
            "pexe text",
            "pname text",
            "pcmdline text",
            "psha256 text",
            "conns integer",
            "send integer",
            "recv integer",
        ],
        Format::Version3 => &[
            "contime text",
            "send integer",
            "recv integer",
            "exe text",
            "name text",
            "cmdline text",
            "sha256 text",
            "pexe text",
            "pname text",
            "pcmdline text",
            "psha256 text",
            "uid integer",
            "lport integer",
            "rport integer",
            "laddr text",
            "raddr text",
            "domain text",
        ],
        Format::Version4 => &[],
    }
}

fn schema(format: Format) -> String {
    match format {
        Format::Version4 => INTERNED_SCHEMA.to_owned(),
        _ => format!("CREATE TABLE connections ({})", flat_columns(format).join(", ")),
    }
}

fn insert_flat(transaction: &Transaction<'_>, options: &Options, row: &Row) -> rusqlite::Result<()> {
    let (program, parent) = (&row.program, &row.parent);
    let time = local_text(row.time, &options.zone);
    let domain = reversed(&row.domain);
    let texts = [&program.exe, &program.command_line, &parent.exe, &parent.command_line];
    let [exe, line, parent_exe, parent_line] = texts.map(|bytes| Text(bytes));
    let value = |column: &str| -> &dyn ToSql {
        match column {
            "exe" => &exe,
            "name" => &program.name,
            "cmdline" => &line,
            "sha256" => &program.sha256,
            "pexe" => &parent_exe,
            "pname" => &parent.name,
            "pcmdline" => &parent_line,
            "psha256" => &parent.sha256,
            "contime" => &time,
            "domain" => &domain,
            "ip" | "raddr" => &row.remote_address,
            "laddr" => &row.local_address,
            "port" | "rport" => &row.remote_port,
            "lport" => &row.local_port,
            "uid" => &row.uid,
            "events" | "conns" => &row.events,
            "send" => &row.sent,
            "recv" => &row.received,
            _ => &Null,
        }
    };
    let names = flat_columns(options.format).iter().map(|column| column.split(' ').next().unwrap_or(column));
    let values: Vec<&dyn ToSql> = names.map(value).collect();
    let places = vec!["?"; values.len()].join(", ");
    transaction
        .prepare_cached(&format!("INSERT INTO connections VALUES ({places})"))?
        .execute(values.as_slice())
        .map(drop)
}

/// The ids of interned values.
#[derive(Default)]
struct Interned {
    programs: HashMap<Rc<Program>, i64>,
    domains: HashMap<String, i64>,
    addresses: HashMap<String, i64>,
}

impl Interned {
    fn program(&mut self, transaction: &Transaction<'_>, program: &Rc<Program>) -> rusqlite::Result<i64> {
        if let Some(id) = self.programs.get(program) {
            return Ok(*id);
        }
        let id = transaction
            .prepare_cached("INSERT INTO executables (exe, name, cmdline, sha256) VALUES (?1, ?2, ?3, ?4)")?
            .insert(params![Text(&program.exe), program.name, Text(&program.command_line), program.sha256])?;
        self.programs.insert(Rc::clone(program), id);
        Ok(id)
    }

    fn insert(&mut self, transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
        let programs = [
            self.program(transaction, &row.program)?,
            self.program(transaction, &row.parent)?,
            self.program(transaction, &row.grandparent)?,
        ];
        let domain = intern(transaction, &mut self.domains, &reversed(&row.domain), "domains (domain)")?;
        let local = intern(transaction, &mut self.addresses, &row.local_address, "addresses (addr)")?;
        let remote = intern(transaction, &mut self.addresses, &row.remote_address, "addresses (addr)")?;
        let sql = "INSERT INTO connections VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        transaction.prepare_cached(sql)?.execute(params![
            row.time,
            row.sent,
            row.received,
            row.events,
            programs[0],
            programs[1],
            programs[2],
            row.uid,
            row.family,
            row.protocol,
            row.local_port,
            row.remote_port,
            local,
            remote,
            domain,
            4_026_531_840_i64
        ])?;
        Ok(())
    }
}

fn intern(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, i64>,
    value: &str,
    into: &str,
) -> rusqlite::Result<i64> {
    if value.is_empty() {
        return Ok(0);
    }
    if let Some(id) = known.get(value) {
        return Ok(*id);
    }
    let id = transaction.prepare_cached(&format!("INSERT INTO {into} VALUES (?1)"))?.insert([value])?;
    known.insert(value.to_owned(), id);
    Ok(id)
}
