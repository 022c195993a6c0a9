//! The packed form of a rollup: sorted keys as differences, all numbers in LEB128.
//!
//! A year of records is some million rows in its rollups. As rows of SQLite they would take four times the room, and
//! longer to read than a person waits.

use crate::model::Amounts;

/// What the records of one bucket have in common in `traffic`: everything but the window and the local port, which
/// would make every record a row of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub talker: i64,
    pub endpoint: i64,
    pub port: i32,
}

/// The first byte of what is packed: another layout gets another one.
const LAYOUT: u8 = 1;

/// Bits of the byte with which each row begins: what is the same as in the row before is left out.
const SAME_TALKER: u8 = 1;
const SAME_ENDPOINT: u8 = 2;
const SAME_PORT: u8 = 4;
/// The rest of that byte is the number of connections, or this for "it follows".
const CONNECTIONS_SHIFT: u32 = 3;
const CONNECTIONS_FOLLOW: u8 = 31;

/// Packs rows, which must be sorted by their key, and each key there once.
pub(super) fn pack(rows: &[(Cell, Amounts)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 10);
    out.push(LAYOUT);
    put(&mut out, rows.len() as u64);
    let mut before = Cell::default();
    for (cell, amounts) in rows {
        let short = u8::try_from(amounts.connections).unwrap_or(u8::MAX).min(CONNECTIONS_FOLLOW);
        let same = |same: bool, bit: u8| if same { bit } else { 0 };
        let head = same(cell.talker == before.talker, SAME_TALKER)
            | same(cell.endpoint == before.endpoint, SAME_ENDPOINT)
            | same(cell.port == before.port, SAME_PORT);
        out.push(head | short << CONNECTIONS_SHIFT);
        if cell.talker != before.talker {
            put_signed(&mut out, cell.talker.wrapping_sub(before.talker));
        }
        if cell.endpoint != before.endpoint {
            put_signed(&mut out, cell.endpoint.wrapping_sub(before.endpoint));
        }
        if cell.port != before.port {
            put_signed(&mut out, i64::from(cell.port) - i64::from(before.port));
        }
        if short == CONNECTIONS_FOLLOW {
            put(&mut out, amounts.connections);
        }
        put(&mut out, amounts.sent);
        put(&mut out, amounts.received);
        before = *cell;
    }
    out
}

/// Reads what [`pack`] made, row by row. `None` when it is damaged.
pub(super) fn unpack(bytes: &[u8], mut row: impl FnMut(Cell, Amounts)) -> Option<()> {
    let (layout, mut rest) = bytes.split_first()?;
    if *layout != LAYOUT {
        return None;
    }
    let rows = take(&mut rest)?;
    let mut cell = Cell::default();
    for _ in 0..rows {
        let (head, after) = rest.split_first()?;
        rest = after;
        if head & SAME_TALKER == 0 {
            cell.talker = cell.talker.wrapping_add(take_signed(&mut rest)?);
        }
        if head & SAME_ENDPOINT == 0 {
            cell.endpoint = cell.endpoint.wrapping_add(take_signed(&mut rest)?);
        }
        if head & SAME_PORT == 0 {
            let port = i64::from(cell.port).checked_add(take_signed(&mut rest)?)?;
            cell.port = i32::try_from(port).ok()?;
        }
        let connections = match head >> CONNECTIONS_SHIFT {
            CONNECTIONS_FOLLOW => take(&mut rest)?,
            connections => u64::from(connections),
        };
        let amounts = Amounts { connections, sent: take(&mut rest)?, received: take(&mut rest)? };
        row(cell, amounts);
    }
    rest.is_empty().then_some(())
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign stay short.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

#[inline]
fn take(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first < 0x80 {
        return Some(u64::from(*first));
    }
    let mut number = u64::from(first & 0x7f);
    let mut shift = 7;
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        if shift > 63 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[inline]
fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let number = take(rest)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_damage_is_noticed() {
        let amounts = |connections, sent, received| Amounts { connections, sent, received };
        let cell = |talker, endpoint, port| Cell { talker, endpoint, port };
        let rows = vec![
            (cell(1, 7, -1), amounts(0, 0, 0)),
            (cell(1, 9, 443), amounts(1, u64::MAX, 3)),
            (cell(1, 9, 65_535), amounts(2, 127, 128)),
            (cell(i64::MAX, 2, 0), amounts(1 << 52, 1, 16_384)),
        ];
        let packed = pack(&rows);
        let mut read = Vec::new();
        unpack(&packed, |cell, amounts| read.push((cell, amounts))).unwrap();
        assert_eq!(read, rows);
        for length in 0..packed.len() {
            assert_eq!(unpack(&packed[..length], |_, _| ()), None, "{length} of {} bytes", packed.len());
        }
        assert_eq!(unpack(&[&packed[..], &[0]].concat(), |_, _| ()), None);
        assert_eq!(unpack(&[9, 0], |_, _| ()), None);
        assert_eq!(unpack(&[[LAYOUT].as_slice(), &[0xff; 40]].concat(), |_, _| ()), None);
        assert_eq!(unpack(&pack(&[]), |_, _| panic!()), Some(()));
    }
}
