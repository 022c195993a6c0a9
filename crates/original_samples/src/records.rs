//! The known programs of a sample as record.json.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    rc::Rc,
};

use super::{Options, rows, rows::Program};

type Table = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

/// Writes record.json (or state.json, which has grandparents as well) with the programs of a sample. Bytes that are not UTF-8
/// are written as they are.
///
/// # Errors
/// The errors of the file system.
pub fn write_known_programs(path: &Path, options: &Options) -> io::Result<()> {
    let (mut executables, mut names, mut digests) = (Table::new(), Table::new(), Table::new());
    let mut seen: BTreeSet<*const Program> = BTreeSet::new();
    let mut kept = Vec::new();
    for row in rows(options) {
        for program in [&row.program, &row.parent, &row.grandparent] {
            if !seen.insert(Rc::as_ptr(program)) {
                continue;
            }
            kept.push(Rc::clone(program));
            let name = program.name.clone().into_bytes();
            executables.entry(program.exe.clone()).or_default().insert(name.clone());
            names.entry(name).or_default().insert(program.exe.clone());
            digests.entry(program.exe.clone()).or_default().insert(program.sha256.clone().into_bytes());
        }
    }
    let mut text = b"{".to_vec();
    let tables = [
        ("Executables", &executables),
        ("Grandparent Executables", &executables),
        ("Grandparent Names", &names),
        ("Names", &names),
        ("Parent Executables", &executables),
        ("Parent Names", &names),
    ];
    for (key, table) in tables {
        text.extend_from_slice(format!("\n  \"{key}\": {{").as_bytes());
        write_table(&mut text, table, ["[", "]"], "");
        text.extend_from_slice(b"},");
    }
    text.extend_from_slice(b"\n  \"SHA256\": {");
    write_table(&mut text, &digests, ["{", "}"], ": \"File not analyzed (no api key)\"");
    text.extend_from_slice(b"}\n}\n");
    fs::write(path, text)
}

fn write_table(text: &mut Vec<u8>, table: &Table, [open, close]: [&str; 2], after: &str) {
    for (at, (key, values)) in table.iter().enumerate() {
        let separator = if at == 0 { "\n    \"" } else { ",\n    \"" };
        text.extend_from_slice(separator.as_bytes());
        text.extend_from_slice(key);
        text.extend_from_slice(format!("\": {open}").as_bytes());
        for (at, value) in values.iter().enumerate() {
            text.extend_from_slice(if at == 0 { b"\"" } else { b", \"" });
            text.extend_from_slice(value);
            text.extend_from_slice(b"\"");
            text.extend_from_slice(after.as_bytes());
        }
        text.extend_from_slice(close.as_bytes());
    }
}
