//! Many sums in one value: as rows of a table a year of them would take several times the room, and longer to read than
//! a person waits. The layout is in docs/schema.md.

use model::{Counters, Port};

/// What the records of one bucket have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub context: i64,
    pub endpoint: i64,
    pub port: Port,
    pub local_port: Port,
    /// Which quarter of an hour of the bucket.
    pub quarter: u8,
}

/// Which parts of a cell are kept besides context and endpoint; the others are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub port: bool,
    pub local_port: bool,
    pub quarter: bool,
}

/// The first byte of what is packed, with a bit for each part that is kept: another layout gets other ones.
const LAYOUT: u8 = 0x10;

impl Kept {
    fn layout(self) -> u8 {
        LAYOUT | u8::from(self.port) | u8::from(self.local_port) << 1 | u8::from(self.quarter) << 2
    }

    /// Of what [`pack`] made. `None` when it is damaged.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let first = bytes.first()?;
        let bit = |bit: u8| first & bit != 0;
        let kept = Self { port: bit(1), local_port: bit(2), quarter: bit(4) };
        (kept.layout() == *first).then_some(kept)
    }

    /// The ports that need no bytes.
    fn short_ports(self) -> [Port; 3] {
        if self.port { [443, 53, 80] } else { [0; 3] }
    }
}

// A row has two bytes that tell the length of its body: so it is read, or passed over, without a decision that depends
// on each number. They stand before the bodies of all rows: so nothing waits for the row before. Both is what takes time.
/// Bytes of an amount, by three bits.
const AMOUNT_BYTES: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
const SENT_SHIFT: u32 = 0;
const RECEIVED_SHIFT: u32 = 3;
/// Bytes of the difference to the endpoint before, 0 to 3.
const ENDPOINT_SHIFT: u32 = 6;
/// Which of the short ports; `PORT_FOLLOWS`: it is in two bytes.
const PORT_SHIFT: u32 = 8;
const PORT_FOLLOWS: u16 = 3;
/// Connections; `WIDE`: something is too large for its place, so all but the bytes follow in full.
const CONNECTIONS_SHIFT: u32 = 10;
const WIDE: u64 = 63;
/// Bytes of such a row: difference to the endpoint before 8, ports 4 and 4, connections 8, quarter 1.
const WIDE_BYTES: usize = 25;

/// Packs rows, which must be sorted by their key, and each key there once.
pub(super) fn pack(rows: &[(Cell, Counters)], kept: Kept) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 12);
    out.push(kept.layout());
    let groups = || rows.chunk_by(|(a, _), (b, _)| a.context == b.context);
    put(&mut out, groups().count() as u64);
    let mut context = 0;
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for rows in groups() {
        heads.clear();
        bodies.clear();
        let mut endpoint = 0;
        for (cell, counters) in rows {
            let head = put_row(&mut bodies, endpoint, (cell, counters), kept);
            heads.extend_from_slice(&head.to_le_bytes());
            endpoint = cell.endpoint;
        }
        let own = rows[0].0.context;
        put(&mut out, own.wrapping_sub(context) as u64);
        put(&mut out, rows.len() as u64);
        put(&mut out, bodies.len() as u64);
        out.extend_from_slice(&heads);
        out.extend_from_slice(&bodies);
        context = own;
    }
    out
}

/// A port of which 32 bits were stored: the last 256 of them are the negative ones, which are no ports ([`Port`]).
fn port_of(stored: u32) -> Port {
    if stored > u32::MAX - 256 { Port::from(stored as i32) } else { Port::from(stored) }
}

/// Puts the body of a row; its head is what it returns.
fn put_row(out: &mut Vec<u8>, endpoint: i64, (cell, counters): (&Cell, &Counters), kept: Kept) -> u16 {
    let difference = cell.endpoint.wrapping_sub(endpoint) as u64;
    let fits = difference < 1 << 24
        && u16::try_from(cell.port).is_ok()
        && u16::try_from(cell.local_port).is_ok()
        && counters.connections < WIDE;
    let amount = |amount: u64| {
        let bytes = (64 - amount.leading_zeros()).div_ceil(8);
        bytes.min(7) as u16
    };
    let (sent, received) = (amount(counters.sent), amount(counters.received));
    let mut head = sent << SENT_SHIFT | received << RECEIVED_SHIFT;
    if !fits {
        head |= (WIDE as u16) << CONNECTIONS_SHIFT;
        out.extend_from_slice(&difference.to_le_bytes());
        out.extend_from_slice(&(cell.port as u32).to_le_bytes());
        out.extend_from_slice(&(cell.local_port as u32).to_le_bytes());
        out.extend_from_slice(&counters.connections.to_le_bytes());
        out.push(cell.quarter);
    } else {
        let bytes = (64 - difference.leading_zeros()).div_ceil(8) as u16;
        let port = kept.short_ports().iter().position(|port| *port == cell.port);
        let port = port.map_or(PORT_FOLLOWS, |port| port as u16);
        head |=
            bytes << ENDPOINT_SHIFT | port << PORT_SHIFT | (counters.connections as u16) << CONNECTIONS_SHIFT;
        out.extend_from_slice(&difference.to_le_bytes()[..bytes.into()]);
        if port == PORT_FOLLOWS {
            out.extend_from_slice(&(cell.port as u16).to_le_bytes());
        }
        if kept.local_port {
            out.extend_from_slice(&(cell.local_port as u16).to_le_bytes());
        }
        if kept.quarter {
            out.push(cell.quarter);
        }
    }
    out.extend_from_slice(&counters.sent.to_le_bytes()[..AMOUNT_BYTES[usize::from(sent)].into()]);
    out.extend_from_slice(&counters.received.to_le_bytes()[..AMOUNT_BYTES[usize::from(received)].into()]);
    head
}

/// Bytes of the body of a row that is not wide, by the bits of its head for lengths; what each such row has comes on top.
const LENGTHS: [u8; 1 << CONNECTIONS_SHIFT] = {
    let mut lengths = [0; 1 << CONNECTIONS_SHIFT];
    let mut head = 0;
    while head < lengths.len() {
        let port = if head >> PORT_SHIFT == PORT_FOLLOWS as usize { 2 } else { 0 };
        lengths[head] = AMOUNT_BYTES[head >> SENT_SHIFT & 7]
            + AMOUNT_BYTES[head >> RECEIVED_SHIFT & 7]
            + (head >> ENDPOINT_SHIFT & 3) as u8
            + port;
        head += 1;
    }
    lengths
};

/// Reads what [`pack`] made: the rows of those contexts and endpoints that are wanted. `None` when it is damaged.
pub(super) fn unpack(
    bytes: &[u8],
    wanted_context: impl Fn(i64) -> bool,
    wanted_endpoint: impl Fn(i64) -> bool,
    mut row: impl FnMut(Cell, Counters),
) -> Option<()> {
    let kept = Kept::of(bytes)?;
    let mut rest = &bytes[1..];
    let mut context = 0_i64;
    for _ in 0..take(&mut rest)? {
        context = context.wrapping_add(take(&mut rest)? as i64);
        let rows = usize::try_from(take(&mut rest)?).ok()?;
        let length = usize::try_from(take(&mut rest)?).ok()?;
        let (heads, after) = rest.split_at_checked(rows.checked_mul(2)?)?;
        rest = after.get(length..)?;
        if wanted_context(context) {
            // What is behind the group may be read, and is masked out.
            unpack_group(heads, (after, length), (context, kept), &wanted_endpoint, &mut row)?;
        }
    }
    rest.is_empty().then_some(())
}

#[inline]
fn unpack_group(
    heads: &[u8],
    (bytes, end): (&[u8], usize),
    (context, kept): (i64, Kept),
    wanted_endpoint: &impl Fn(i64) -> bool,
    row: &mut impl FnMut(Cell, Counters),
) -> Option<()> {
    let short_ports = kept.short_ports();
    let local_bytes = if kept.local_port { 2 } else { 0 };
    let quarter_bytes = usize::from(kept.quarter);
    let mut endpoint = 0_i64;
    let mut next = 0;
    for head in heads.as_chunks().0 {
        let head = u16::from_le_bytes(*head);
        let at = next;
        let wide = head >> CONNECTIONS_SHIFT == WIDE as u16;
        let mut numbers = word(bytes, at);
        if wide {
            endpoint = endpoint.wrapping_add(numbers as i64);
            next = at + WIDE_BYTES + amount_bytes(head, SENT_SHIFT) + amount_bytes(head, RECEIVED_SHIFT);
        } else {
            let length = usize::from(head >> ENDPOINT_SHIFT & 3);
            endpoint = endpoint.wrapping_add((numbers & mask(length)) as i64);
            numbers >>= 8 * length;
            next = at + usize::from(LENGTHS[usize::from(head) % LENGTHS.len()]) + local_bytes + quarter_bytes;
        }
        if next > end {
            return None;
        }
        if !wanted_endpoint(endpoint) {
            continue;
        }
        let mut cell = Cell { context, endpoint, ..Cell::default() };
        let connections = if wide {
            cell.port = port_of(word(bytes, at + 8) as u32);
            cell.local_port = port_of(word(bytes, at + 12) as u32);
            cell.quarter = word(bytes, at + 24) as u8;
            word(bytes, at + 16)
        } else {
            // All in the eight bytes: at most 3 of the difference, 2 and 2 of ports, 1 of the quarter.
            let short = head >> PORT_SHIFT & 3;
            if short == PORT_FOLLOWS {
                cell.port = (numbers as u16).into();
                numbers >>= 16;
            } else {
                cell.port = short_ports[usize::from(short)];
            }
            cell.local_port = (numbers & mask(local_bytes)) as Port;
            cell.quarter = (numbers >> (8 * local_bytes) & mask(quarter_bytes)) as u8;
            (head >> CONNECTIONS_SHIFT).into()
        };
        let (sent, received) = (amount_bytes(head, SENT_SHIFT), amount_bytes(head, RECEIVED_SHIFT));
        let at = next - sent - received;
        let sent = word(bytes, at) & mask(sent);
        let received = word(bytes, next - received) & mask(received);
        row(cell, Counters { connections, sent, received });
    }
    (next == end).then_some(())
}

/// Bytes of an amount.
#[inline]
fn amount_bytes(head: u16, shift: u32) -> usize {
    AMOUNT_BYTES[usize::from(head >> shift & 7)].into()
}

/// The lowest so many bytes.
#[inline]
fn mask(bytes: usize) -> u64 {
    const MASKS: [u64; 9] = [
        0,
        0xff,
        0xffff,
        0xff_ffff,
        0xffff_ffff,
        0xff_ffff_ffff,
        0xffff_ffff_ffff,
        0xff_ffff_ffff_ffff,
        u64::MAX,
    ];
    MASKS[bytes]
}

/// Eight bytes from a place on; behind the end there are zeros.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, at),
    }
}

#[cold]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    let rest = bytes.get(at..).unwrap_or_default();
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Kept = Kept { port: true, local_port: true, quarter: true };

    fn cell(context: i64, endpoint: i64, port: Port, local_port: Port, quarter: u8) -> Cell {
        Cell { context, endpoint, port, local_port, quarter }
    }

    #[test]
    fn what_is_packed_comes_back_and_damage_is_noticed() {
        let counters = |connections, sent, received| Counters { connections, sent, received };
        let rows = vec![
            (cell(1, 7, -1, -1, 3), counters(0, 0, 0)),
            (cell(1, 9, 443, 65_535, 0), counters(1, u64::MAX, 3)),
            (cell(1, 9, 65_535, 0, 95), counters(62, 127, 128)),
            (cell(1, 9, 65_536, 0, 255), counters(62, 127, 128)),
            (cell(1, 1 << 30, 53, 1, 0), counters(63, 1 << 48, (1 << 48) - 1)),
            (cell(3, 0, 0, 0, 1), counters(1, 0, 0)),
            (cell(3, 0xff_ffff, 1000, 9, 1), counters(u64::MAX, 1, 16_384)),
            (cell(3, i64::MAX, 80, 9, 0), counters(u64::MAX, 1, 16_384)),
            (cell(i64::MAX, 2, 0, 40_000, 7), counters(1 << 52, 1 << 40, 16_384)),
        ];
        let packed = pack(&rows, ALL);
        assert_eq!(Kept::of(&packed), Some(ALL));
        let mut read = Vec::new();
        unpack(&packed, |_| true, |_| true, |cell, counters| read.push((cell, counters))).unwrap();
        assert_eq!(read, rows);
        read.clear();
        unpack(
            &packed,
            |context| context == 3,
            |endpoint| endpoint != 0xff_ffff,
            |cell, counters| read.push((cell, counters)),
        )
        .unwrap();
        assert_eq!(read, [rows[5], rows[7]]);
        let whole = |bytes: &[u8]| unpack(bytes, |_| true, |_| true, |_, _| ());
        for length in 0..packed.len() {
            assert_eq!(whole(&packed[..length]), None, "{length} of {} bytes", packed.len());
        }
        assert_eq!(whole(&[&packed[..], &[0]].concat()), None);
        assert_eq!(whole(&[1, 0]), None);
        assert_eq!(whole(&[[LAYOUT].as_slice(), &[0xff; 40]].concat()), None);
        assert_eq!(unpack(&pack(&[], ALL), |_| true, |_| true, |_, _| panic!()), Some(()));
    }

    #[test]
    fn what_is_not_kept_takes_no_room() {
        let row = |port, local_port, quarter| (cell(1, 2, port, local_port, quarter), Counters::default());
        let mut lengths = Vec::new();
        for (kept, row) in [
            (Kept::default(), row(0, 0, 0)),
            (Kept { quarter: true, ..Kept::default() }, row(0, 0, 9)),
            (Kept { local_port: true, ..Kept::default() }, row(0, 40_000, 0)),
            (Kept { port: true, quarter: true, ..Kept::default() }, row(22, 0, 9)),
            (ALL, row(22, 40_000, 9)),
        ] {
            let packed = pack(&[row], kept);
            let mut read = Vec::new();
            unpack(&packed, |_| true, |_| true, |cell, counters| read.push((cell, counters))).unwrap();
            assert_eq!((read, Kept::of(&packed)), (vec![row], Some(kept)));
            lengths.push(packed.len());
        }
        assert!(lengths.is_sorted_by(|a, b| a < b), "{lengths:?}");
    }
}
