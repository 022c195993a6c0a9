//! Sums of a bucket, packed into one value: a row of a table for each sum would take several times the space and read too
//! slowly for an interactive query. `docs/schema.md` describes the format.

use model::{Counters, PORT_EXECUTION, PORT_MANY, Port};

/// The key of one row: fields that are not stored are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedKey {
    /// The id in table `context`.
    pub context: i64,
    /// The id in table `endpoint`.
    pub endpoint: i64,
    pub remote_port: Port,
    pub local_port: Port,
    /// Index of the quarter of an hour in the bucket.
    pub quarter: u8,
}

/// The fields that are stored besides context and endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedFields {
    pub remote_port: bool,
    pub local_port: bool,
    pub quarter: bool,
}

/// The first byte of packed rows, plus a bit for each stored field. Another format must have another value.
const FORMAT: u8 = 0x10;

impl PackedFields {
    fn format(self) -> u8 {
        FORMAT | u8::from(self.remote_port) | u8::from(self.local_port) << 1 | u8::from(self.quarter) << 2
    }

    /// The fields that packed rows have; `None` if they have another format.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let first = bytes.first()?;
        let bit = |bit: u8| first & bit != 0;
        let fields = Self { remote_port: bit(1), local_port: bit(2), quarter: bit(4) };
        (fields.format() == *first).then_some(fields)
    }

    /// The remote ports that take no bytes in a body.
    fn short_ports(self) -> [Port; 3] {
        if self.remote_port { [443, 53, 80] } else { [0; 3] }
    }
}

// Each row has a head of two bytes, from which the length of its body follows without a branch per field. The heads of a
// context come first, so that rows can be skipped without decoding: a branch per row dominated the scan.
/// Bytes of a counter, by the three bits for it in the head.
const COUNTER_BYTES: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
const SENT_SHIFT: u32 = 0;
const RECEIVED_SHIFT: u32 = 3;
/// Bytes of the difference to the endpoint of the row before, 0 to 3.
const ENDPOINT_SHIFT: u32 = 6;
/// Index into the short ports, or [`PORT_IN_BODY`].
const PORT_SHIFT: u32 = 8;
const PORT_IN_BODY: u16 = 3;
/// Number of connections, or [`WIDE`].
const CONNECTIONS_SHIFT: u32 = 10;
/// Marks a wide row: some field does not fit, so all but the counters of bytes have their full length in the body.
const WIDE: u64 = 63;
/// Set in the difference of endpoints of a wide row if its remote port is [`PORT_MANY`]. No table has as many endpoints.
const MANY_REMOTE_PORTS: u64 = 1 << 63;
/// The same for the local port.
const MANY_LOCAL_PORTS: u64 = 1 << 62;
/// Bytes of these fields in a wide row: difference of endpoints 8, ports 4 and 4, connections 8, quarter 1.
const WIDE_BYTES: usize = 25;

/// Packs rows, which must be sorted by their keys, without two of the same key.
pub(super) fn pack(rows: &[(PackedKey, Counters)], fields: PackedFields) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 12);
    out.push(fields.format());
    let groups = || rows.chunk_by(|(a, _), (b, _)| a.context == b.context);
    write_varint(&mut out, groups().count() as u64);
    let mut previous_context = 0;
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for rows in groups() {
        heads.clear();
        bodies.clear();
        let mut previous_endpoint = 0;
        for row in rows {
            let head = write_body(&mut bodies, previous_endpoint, row, fields);
            heads.extend_from_slice(&head.to_le_bytes());
            previous_endpoint = row.0.endpoint;
        }
        let context = rows[0].0.context;
        write_varint(&mut out, context.wrapping_sub(previous_context) as u64);
        write_varint(&mut out, rows.len() as u64);
        write_varint(&mut out, bodies.len() as u64);
        out.extend_from_slice(&heads);
        out.extend_from_slice(&bodies);
        previous_context = context;
    }
    out
}

/// The port with these 32 bits, the lower half of a [`Port`]. The writer stores no port `u32::MAX`.
fn port_from_bits(bits: u32, is_many: bool) -> Port {
    match Port::from(bits as i32) {
        _ if is_many => PORT_MANY,
        PORT_EXECUTION => PORT_EXECUTION,
        _ => bits.into(),
    }
}

/// Appends the body of a row and returns its head.
fn write_body(
    out: &mut Vec<u8>,
    previous_endpoint: i64,
    (key, counters): &(PackedKey, Counters),
    fields: PackedFields,
) -> u16 {
    let difference = key.endpoint.wrapping_sub(previous_endpoint) as u64;
    let fits = difference < 1 << 24
        && u16::try_from(key.remote_port).is_ok()
        && u16::try_from(key.local_port).is_ok()
        && counters.connections < WIDE;
    let counter_bits = |counter: u64| {
        let bytes = (64 - counter.leading_zeros()).div_ceil(8);
        bytes.min(7) as u16
    };
    let (sent, received) = (counter_bits(counters.sent), counter_bits(counters.received));
    let mut head = sent << SENT_SHIFT | received << RECEIVED_SHIFT;
    if !fits {
        head |= (WIDE as u16) << CONNECTIONS_SHIFT;
        let flag = |port, flag| if port == PORT_MANY { flag } else { 0 };
        let difference =
            difference | flag(key.remote_port, MANY_REMOTE_PORTS) | flag(key.local_port, MANY_LOCAL_PORTS);
        out.extend_from_slice(&difference.to_le_bytes());
        out.extend_from_slice(&(key.remote_port as u32).to_le_bytes());
        out.extend_from_slice(&(key.local_port as u32).to_le_bytes());
        out.extend_from_slice(&counters.connections.to_le_bytes());
        out.push(key.quarter);
    } else {
        let bytes = (64 - difference.leading_zeros()).div_ceil(8) as u16;
        let port = fields.short_ports().iter().position(|port| *port == key.remote_port);
        let port = port.map_or(PORT_IN_BODY, |port| port as u16);
        head |=
            bytes << ENDPOINT_SHIFT | port << PORT_SHIFT | (counters.connections as u16) << CONNECTIONS_SHIFT;
        out.extend_from_slice(&difference.to_le_bytes()[..bytes.into()]);
        if port == PORT_IN_BODY {
            out.extend_from_slice(&(key.remote_port as u16).to_le_bytes());
        }
        if fields.local_port {
            out.extend_from_slice(&(key.local_port as u16).to_le_bytes());
        }
        if fields.quarter {
            out.push(key.quarter);
        }
    }
    out.extend_from_slice(&counters.sent.to_le_bytes()[..COUNTER_BYTES[usize::from(sent)].into()]);
    out.extend_from_slice(&counters.received.to_le_bytes()[..COUNTER_BYTES[usize::from(received)].into()]);
    head
}

/// Bytes of the body of a row that is not wide, by the lower bits of its head, without local port and quarter.
const BODY_BYTES: [u8; 1 << CONNECTIONS_SHIFT] = {
    let mut lengths = [0; 1 << CONNECTIONS_SHIFT];
    let mut head = 0;
    while head < lengths.len() {
        let port = if head >> PORT_SHIFT == PORT_IN_BODY as usize { 2 } else { 0 };
        lengths[head] = COUNTER_BYTES[head >> SENT_SHIFT & 7]
            + COUNTER_BYTES[head >> RECEIVED_SHIFT & 7]
            + (head >> ENDPOINT_SHIFT & 3) as u8
            + port;
        head += 1;
    }
    lengths
};

/// Calls `row` for each packed row whose context and endpoint are accepted. `None` if the bytes are not what [`pack`]
/// makes; `row` may have been called for some rows before that is found.
pub(super) fn unpack(
    bytes: &[u8],
    accepts_context: impl Fn(i64) -> bool,
    accepts_endpoint: impl Fn(i64) -> bool,
    mut row: impl FnMut(PackedKey, Counters),
) -> Option<()> {
    let fields = PackedFields::of(bytes)?;
    let mut rest = &bytes[1..];
    let mut context = 0_i64;
    for _ in 0..read_varint(&mut rest)? {
        context = context.wrapping_add(read_varint(&mut rest)? as i64);
        let rows = usize::try_from(read_varint(&mut rest)?).ok()?;
        let length = usize::try_from(read_varint(&mut rest)?).ok()?;
        let (heads, bodies) = rest.split_at_checked(rows.checked_mul(2)?)?;
        rest = bodies.get(length..)?;
        if accepts_context(context) {
            let group = PackedGroup { context, fields, heads, bodies, length };
            group.unpack(&accepts_endpoint, &mut row)?;
        }
    }
    rest.is_empty().then_some(())
}

/// The packed rows of one context.
struct PackedGroup<'a> {
    context: i64,
    fields: PackedFields,
    heads: &'a [u8],
    /// The bodies and all bytes after them: [`word`] reads beyond the end of a field and masks the excess.
    bodies: &'a [u8],
    /// Bytes of the bodies.
    length: usize,
}

impl PackedGroup<'_> {
    #[inline]
    fn unpack(
        self,
        accepts_endpoint: &impl Fn(i64) -> bool,
        row: &mut impl FnMut(PackedKey, Counters),
    ) -> Option<()> {
        let Self { context, fields, heads, bodies, length } = self;
        let short_ports = fields.short_ports();
        let local_port_bytes = if fields.local_port { 2 } else { 0 };
        let quarter_bytes = usize::from(fields.quarter);
        let mut endpoint = 0_i64;
        let mut next = 0;
        for head in heads.as_chunks().0 {
            let head = u16::from_le_bytes(*head);
            let at = next;
            let is_wide = head >> CONNECTIONS_SHIFT == WIDE as u16;
            let mut numbers = word(bodies, at);
            if is_wide {
                endpoint = endpoint.wrapping_add((numbers & !(MANY_REMOTE_PORTS | MANY_LOCAL_PORTS)) as i64);
                next =
                    at + WIDE_BYTES + counter_bytes(head, SENT_SHIFT) + counter_bytes(head, RECEIVED_SHIFT);
            } else {
                let difference_bytes = usize::from(head >> ENDPOINT_SHIFT & 3);
                endpoint = endpoint.wrapping_add((numbers & mask(difference_bytes)) as i64);
                numbers >>= 8 * difference_bytes;
                next = at
                    + usize::from(BODY_BYTES[usize::from(head) % BODY_BYTES.len()])
                    + local_port_bytes
                    + quarter_bytes;
            }
            if next > length {
                return None;
            }
            if !accepts_endpoint(endpoint) {
                continue;
            }
            let mut key = PackedKey { context, endpoint, ..PackedKey::default() };
            let connections = if is_wide {
                let is_many = |flag| numbers & flag != 0;
                key.remote_port = port_from_bits(word(bodies, at + 8) as u32, is_many(MANY_REMOTE_PORTS));
                key.local_port = port_from_bits(word(bodies, at + 12) as u32, is_many(MANY_LOCAL_PORTS));
                key.quarter = word(bodies, at + 24) as u8;
                word(bodies, at + 16)
            } else {
                // The word holds all fields: at most 3 bytes of the difference, 2 and 2 of ports, 1 of the quarter.
                let short_port = head >> PORT_SHIFT & 3;
                if short_port == PORT_IN_BODY {
                    key.remote_port = (numbers as u16).into();
                    numbers >>= 16;
                } else {
                    key.remote_port = short_ports[usize::from(short_port)];
                }
                key.local_port = (numbers & mask(local_port_bytes)) as Port;
                key.quarter = (numbers >> (8 * local_port_bytes) & mask(quarter_bytes)) as u8;
                (head >> CONNECTIONS_SHIFT).into()
            };
            let (sent, received) = (counter_bytes(head, SENT_SHIFT), counter_bytes(head, RECEIVED_SHIFT));
            let at = next - sent - received;
            let sent = word(bodies, at) & mask(sent);
            let received = word(bodies, next - received) & mask(received);
            row(key, Counters { connections, sent, received });
        }
        (next == length).then_some(())
    }
}

/// Bytes of a counter in the body.
#[inline]
fn counter_bytes(head: u16, shift: u32) -> usize {
    COUNTER_BYTES[usize::from(head >> shift & 7)].into()
}

/// A mask of the lowest `bytes` bytes of a word.
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

/// The eight bytes from index `at` on, little-endian; bytes beyond the end are 0.
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

/// Appends a number in LEB128.
fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number in LEB128 from the front; `None` if it is cut off or too long.
#[inline]
fn read_varint(rest: &mut &[u8]) -> Option<u64> {
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

    const ALL: PackedFields = PackedFields { remote_port: true, local_port: true, quarter: true };

    fn key(context: i64, endpoint: i64, remote_port: Port, local_port: Port, quarter: u8) -> PackedKey {
        PackedKey { context, endpoint, remote_port, local_port, quarter }
    }

    #[test]
    fn packed_rows_are_read_back_and_damage_is_noticed() {
        let counters = |connections, sent, received| Counters { connections, sent, received };
        let rows = vec![
            (key(1, 7, -1, -1, 3), counters(0, 0, 0)),
            (key(1, 9, 443, 65_535, 0), counters(1, u64::MAX, 3)),
            (key(1, 9, 65_535, 0, 95), counters(62, 127, 128)),
            (key(1, 9, 65_536, 0, 255), counters(62, 127, 128)),
            (key(1, 1 << 30, 53, 1, 0), counters(63, 1 << 48, (1 << 48) - 1)),
            (key(3, 0, 0, 0, 1), counters(1, 0, 0)),
            (key(3, 0xff_ffff, 1000, 9, 1), counters(u64::MAX, 1, 16_384)),
            (key(3, i64::MAX >> 1, 80, 9, 0), counters(u64::MAX, 1, 16_384)),
            (key(i64::MAX, 2, 0, 40_000, 7), counters(1 << 52, 1 << 40, 16_384)),
        ];
        let packed = pack(&rows, ALL);
        assert_eq!(PackedFields::of(&packed), Some(ALL));
        let mut read = Vec::new();
        unpack(&packed, |_| true, |_| true, |key, counters| read.push((key, counters))).unwrap();
        assert_eq!(read, rows);
        read.clear();
        unpack(
            &packed,
            |context| context == 3,
            |endpoint| endpoint != 0xff_ffff,
            |key, counters| read.push((key, counters)),
        )
        .unwrap();
        assert_eq!(read, [rows[5], rows[7]]);
        let whole = |bytes: &[u8]| unpack(bytes, |_| true, |_| true, |_, _| ());
        for length in 0..packed.len() {
            assert_eq!(whole(&packed[..length]), None, "{length} of {} bytes", packed.len());
        }
        assert_eq!(whole(&[&packed[..], &[0]].concat()), None);
        assert_eq!(whole(&[1, 0]), None);
        assert_eq!(whole(&[[FORMAT].as_slice(), &[0xff; 40]].concat()), None);
        assert_eq!(unpack(&pack(&[], ALL), |_| true, |_| true, |_, _| panic!()), Some(()));
    }

    #[test]
    fn ports_of_32_bits_and_the_port_of_executions_are_read_back() {
        let max = Port::from(u32::MAX);
        let small = [PORT_EXECUTION, PORT_MANY, 0, 1, 65_535];
        let ports = [&small[..], &[65_536, 1 << 31, 4_000_000_000, max - 256, max - 255, max - 1]].concat();
        let counters = Counters { connections: 1, sent: 2, received: 3 };
        for fields in [ALL, PackedFields { local_port: false, ..ALL }, PackedFields { quarter: false, ..ALL }]
        {
            let rows = ports.iter().flat_map(|remote| ports.iter().map(move |local| (*remote, *local)));
            let rows = rows.filter(|(_, local)| fields.local_port || *local == 0);
            let rows: Vec<_> = rows.map(|(remote, local)| (key(1, 1, remote, local, 0), counters)).collect();
            let mut read = Vec::new();
            unpack(&pack(&rows, fields), |_| true, |_| true, |key, counters| read.push((key, counters)))
                .unwrap();
            assert_eq!(read, rows);
        }
    }

    #[test]
    fn fields_that_are_not_stored_take_no_bytes() {
        let row = |port, local_port, quarter| (key(1, 2, port, local_port, quarter), Counters::default());
        let mut lengths = Vec::new();
        let none = PackedFields::default();
        for (fields, row) in [
            (none, row(0, 0, 0)),
            (PackedFields { quarter: true, ..none }, row(0, 0, 9)),
            (PackedFields { local_port: true, ..none }, row(0, 40_000, 0)),
            (PackedFields { remote_port: true, quarter: true, ..none }, row(22, 0, 9)),
            (ALL, row(22, 40_000, 9)),
        ] {
            let packed = pack(&[row], fields);
            let mut read = Vec::new();
            unpack(&packed, |_| true, |_| true, |key, counters| read.push((key, counters))).unwrap();
            assert_eq!((read, PackedFields::of(&packed)), (vec![row], Some(fields)));
            lengths.push(packed.len());
        }
        assert!(lengths.is_sorted_by(|a, b| a < b), "{lengths:?}");
    }
}
