//! A new first page for a log whose own is destroyed. It says where each table begins. In a log, whose file has pointer maps
//! (`auto_vacuum`), SQLite places the roots of tables by the order in which they are made and removed only: so the first
//! page of an empty log leads to the tables of any log of its version.
//! The format: <https://www.sqlite.org/fileformat2.html>.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use rusqlite::Connection;

use super::files::remove;
use crate::{
    error::{StoreError, sql_error},
    migrations::MIGRATIONS,
    schema,
};

/// The size of all pages of a log.
pub(super) const PAGE: usize = 4096;
/// The page with the bytes that SQLite locks; it has no content.
const LOCK_PAGE: u32 = 0x4000_0000 / PAGE as u32 + 1;
/// Offset of the b-tree's header in the first page, behind that of the file.
const TREE: usize = 100;
/// Type of an interior page of a table.
const INTERIOR: u8 = 5;
/// Offset of the number of pages in the file's header.
const PAGES: usize = 28;

/// The pages of a schema.
pub(super) struct FirstPage {
    /// The pages of an empty log.
    template: Vec<u8>,
}

/// Makes the pages of an empty log of a version, or those after a `VACUUM`; `scratch` is a path for a file beside it.
pub(super) fn of_version(scratch: &Path, version: usize, is_vacuumed: bool) -> Result<FirstPage, StoreError> {
    let mut path = scratch.as_os_str().to_owned();
    path.push("-empty");
    let path = Path::new(&path);
    let fail = |source| StoreError::File { path: path.to_owned(), source };
    remove(path).map_err(fail)?;
    let made = make(path, version, is_vacuumed);
    let template = fs::read(path);
    remove(path).map_err(fail)?;
    made?;
    Ok(FirstPage { template: template.map_err(fail)? })
}

fn make(path: &Path, version: usize, is_vacuumed: bool) -> Result<(), StoreError> {
    let sql_fail = sql_error(path, "cannot make an empty log");
    let mut connection = Connection::open(path).map_err(&sql_fail)?;
    let settings = format!("PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL");
    connection.execute_batch(&settings).map_err(&sql_fail)?;
    schema::migrate(&mut connection, path, 0, &MIGRATIONS[..version])?;
    match is_vacuumed {
        true => connection.execute_batch("VACUUM").map_err(sql_fail),
        false => Ok(()),
    }
}

impl FirstPage {
    /// Replaces the first page of the file. The other pages of the schema are appended.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        let pages = u32::try_from(file.metadata()?.len().div_ceil(PAGE as u64)).map_err(io::Error::other)?;
        let mut first = self.template.get(..PAGE).ok_or(io::ErrorKind::InvalidData)?.to_vec();
        let children = children(&first);
        let mut next = pages + 1;
        if (next..=next + children.len() as u32).contains(&LOCK_PAGE) {
            next = LOCK_PAGE + 1;
        }
        for offset in children {
            let start = (read(&first, offset) as usize).saturating_sub(1) * PAGE;
            let page = self.template.get(start..start + PAGE).ok_or(io::ErrorKind::InvalidData)?;
            file.write_all_at(page, u64::from(next - 1) * PAGE as u64)?;
            first[offset..offset + 4].copy_from_slice(&next.to_be_bytes());
            next += 1;
        }
        first[PAGES..PAGES + 4].copy_from_slice(&(next - 1).to_be_bytes());
        file.write_all_at(&first, 0)?;
        file.set_len(u64::from(next - 1) * PAGE as u64)
    }
}

/// The offsets of the numbers of the pages below the first one.
fn children(first: &[u8]) -> Vec<usize> {
    if first[TREE] != INTERIOR {
        return Vec::new();
    }
    let short = |offset: usize| usize::from(u16::from_be_bytes([first[offset], first[offset + 1]]));
    let cells = (0..short(TREE + 3)).map(|index| short(TREE + 12 + 2 * index));
    cells.chain([TREE + 8]).filter(|offset| offset + 4 <= PAGE).collect()
}

fn read(page: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes([page[offset], page[offset + 1], page[offset + 2], page[offset + 3]])
}
