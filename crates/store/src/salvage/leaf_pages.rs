//! Records in pages to which no way leads, because a page above them is damaged: found by their form.
//! The format: <https://www.sqlite.org/fileformat2.html>.

use std::{collections::HashSet, fs::File, io, os::unix::fs::FileExt, path::Path};

use super::{
    first_page::PAGE,
    record::{RecordRow, record_of},
    scan::Key,
};

/// Types of the pages of a table without row ids.
const LEAF: u8 = 10;
const INTERIOR: u8 = 2;
/// The beginning of an SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Offset of the first page of the list of free pages in the file's header.
const FREE: usize = 32;
/// Columns of a record, and those of a record that was written before version 6.
const COLUMNS: usize = 10;
const COLUMNS_BEFORE_6: usize = 9;
/// No record is earlier (2001). The rows of an index have small ids there.
const MIN_TIME: i64 = 1_000_000_000;

/// The pages of a file that hold records, by their keys.
pub(super) struct LeafPages {
    file: File,
    /// First and last key, and number.
    pages: Vec<(Key, Key, u64)>,
}

impl LeafPages {
    /// Finds the pages in the file. Free pages, which hold records that were deleted, do not count.
    ///
    /// # Errors
    /// The errors of opening the file; `InvalidData` if its header is destroyed, so that it is not known which pages are free:
    /// records could come back that were deleted. A page that cannot be read is left out.
    pub fn find(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let count = file.metadata()?.len() / PAGE as u64;
        if !read(&file, 1)?.starts_with(MAGIC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let free = free_pages(&file, count);
        let mut pages = Vec::new();
        for number in (1..=count).filter(|number| !free.contains(number)) {
            let rows = read(&file, number).map(|page| records(&page)).unwrap_or_default();
            if let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) {
                pages.push((*first, *last, number));
            }
        }
        pages.sort_unstable();
        Ok(Self { file, pages })
    }

    /// The records with keys between two keys, in ascending order.
    pub fn between(&self, after: Key, before: Key) -> impl Iterator<Item = (Key, RecordRow)> {
        let mut latest = after;
        self.pages
            .iter()
            .filter(move |(first, last, _)| *last > after && *first < before)
            .flat_map(|(.., number)| read(&self.file, *number).map(|page| records(&page)).unwrap_or_default())
            // A page may hold an older copy of rows that are in others, too.
            .filter(move |(key, _)| {
                let is_next = *key > latest && *key < before;
                latest = if is_next { *key } else { latest };
                is_next
            })
    }
}

fn read(file: &File, number: u64) -> io::Result<Vec<u8>> {
    let mut page = vec![0; PAGE];
    file.read_exact_at(&mut page, (number - 1) * PAGE as u64)?;
    Ok(page)
}

/// The pages in the list of free pages, as far as it is readable.
fn free_pages(file: &File, count: u64) -> HashSet<u64> {
    let mut free = HashSet::new();
    let mut trunk = read(file, 1).ok().and_then(|page| number_at(&page, FREE)).unwrap_or(0);
    while trunk != 0 && trunk <= count && free.insert(trunk) {
        let Ok(page) = read(file, trunk) else { break };
        let leaves = number_at(&page, 4).unwrap_or(0).min(PAGE as u64 / 4 - 2) as usize;
        free.extend((0..leaves).filter_map(|index| number_at(&page, 8 + 4 * index)));
        trunk = number_at(&page, 0).unwrap_or(0);
    }
    free
}

fn number_at(page: &[u8], offset: usize) -> Option<u64> {
    let bytes = page.get(offset..offset + 4)?;
    Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
}

/// The records of a page in ascending order; none if any of its cells is something else, or damaged.
fn records(page: &[u8]) -> Vec<(Key, RecordRow)> {
    all_records(page).unwrap_or_default()
}

fn all_records(page: &[u8]) -> Option<Vec<(Key, RecordRow)>> {
    let (pointers, child) = match *page.first()? {
        LEAF => (8, 0),
        INTERIOR => (12, 4),
        _ => return None,
    };
    let short =
        |offset: usize| Some(usize::from(u16::from_be_bytes(page.get(offset..offset + 2)?.try_into().ok()?)));
    let count = short(3)?;
    let mut rows: Vec<(Key, RecordRow)> = Vec::with_capacity(count.min(PAGE));
    for index in 0..count {
        let row = record(page.get(short(pointers + 2 * index)? + child..)?)?;
        if rows.last().is_some_and(|(key, _)| *key >= row.0) {
            return None;
        }
        rows.push(row);
    }
    Some(rows)
}

/// Reads the cell of a record.
fn record(mut cell: &[u8]) -> Option<(Key, RecordRow)> {
    let length = varint(&mut cell)?;
    let mut payload = cell.get(..usize::try_from(length).ok()?)?;
    let whole = payload;
    let header_length = usize::try_from(varint(&mut payload)?).ok()?;
    let mut types = whole.get(whole.len() - payload.len()..header_length)?;
    let mut values = whole.get(header_length..)?;
    let mut numbers = [0; COLUMNS];
    let mut columns = 0;
    while !types.is_empty() {
        let kind = varint(&mut types)?;
        let bytes = match kind {
            1..=4 => kind as usize,
            5 => 6,
            6 => 8,
            8 | 9 => 0,
            _ => return None,
        };
        let value = values.split_off(..bytes)?;
        // Sign extension, from the largest byte on.
        let first = if value.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
        let read = value.iter().fold(first, |number: i64, byte| number << 8 | i64::from(*byte));
        *numbers.get_mut(columns)? = if kind == 9 { 1 } else { read };
        columns += 1;
    }
    let is_whole = values.is_empty() && (columns == COLUMNS || columns == COLUMNS_BEFORE_6);
    record_of(numbers).filter(|((time, _), _)| is_whole && *time >= MIN_TIME)
}

/// Reads a number of up to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for index in 0..9 {
        let byte = *bytes.split_off_first()?;
        if index == 8 {
            return Some(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}
