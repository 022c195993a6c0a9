//! Writes record.json: JSON with sorted keys and indent 2.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::{programs::KnownPrograms, table::Entry, table_id::TableId};

/// Bytes after which the tables are unlocked, so that the thread that changes them waits for a moment only.
const CHUNK_BYTES: usize = 32 * 1024;

/// The value of a key of the file.
enum Content {
    Table(TableId),
    /// The JSON text of a key that picosnitch does not use, indented.
    Other(String),
}

/// Writes all known programs. Other threads may change them meanwhile: each entry is written as it is at some moment of the
/// call.
///
/// # Errors
/// The errors of `out`.
pub(super) fn write_json(known: &Mutex<KnownPrograms>, out: &mut impl Write) -> io::Result<()> {
    let mut separator = "{";
    for (key, content) in contents(known) {
        write!(out, "{separator}\n  ")?;
        serde_json::to_writer(&mut *out, &key)?;
        out.write_all(b": ")?;
        match content {
            Content::Table(table) => write_table(known, table, out)?,
            Content::Other(text) => out.write_all(text.as_bytes())?,
        }
        separator = ",";
    }
    out.write_all(b"\n}\n")
}

/// The keys of the file, sorted.
fn contents(known: &Mutex<KnownPrograms>) -> BTreeMap<String, Content> {
    let tables = TableId::ALL.map(|table| (table.key().to_owned(), Content::Table(table)));
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let others = known.other_keys.iter().map(|(key, value)| {
        // Line breaks inside strings are escaped.
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        (key.clone(), Content::Other(text.replace('\n', "\n  ")))
    });
    others.chain(tables).collect()
}

fn write_table(known: &Mutex<KnownPrograms>, table: TableId, out: &mut impl Write) -> io::Result<()> {
    let mut last: Option<Arc<str>> = None;
    let mut chunk = Vec::with_capacity(2 * CHUNK_BYTES);
    out.write_all(b"{")?;
    loop {
        chunk.clear();
        let is_first = last.is_none();
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        for (key, entry) in known.tables.after(table, last.as_deref()) {
            chunk.extend_from_slice(if is_first && next.is_none() { b"\n    " } else { b",\n    " });
            write_entry(table, key, entry, &mut chunk)?;
            next = Some(Arc::clone(key));
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
        }
        drop(known);
        let Some(next) = next else {
            return out.write_all(if is_first { b"}" } else { b"\n  }" });
        };
        out.write_all(&chunk)?;
        last = Some(next);
    }
}

fn write_entry(table: TableId, key: &str, entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let [open, close] = if table == TableId::Digests { [b'{', b'}'] } else { [b'[', b']'] };
    serde_json::to_writer(&mut *out, key)?;
    out.extend_from_slice(&[b':', b' ', open]);
    for (at, value) in entry.values.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\n      " } else { b",\n      " });
        serde_json::to_writer(&mut *out, &*value.text)?;
        if table == TableId::Digests {
            out.extend_from_slice(b": ");
            serde_json::to_writer(&mut *out, &*value.verdict)?;
        }
    }
    if !entry.values.is_empty() {
        out.extend_from_slice(b"\n    ");
    }
    out.push(close);
    Ok(())
}
