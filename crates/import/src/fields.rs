//! A row of the original as a record, whatever its format.

use std::sync::Arc;

use model::{
    Address, Bytes, Counters, DomainSource, FlowTuple, PORT_EXECUTION, ProcessContext, Program, Sha256,
};
use sha2::Digest;

use crate::{
    cell::Cell,
    contexts::Contexts,
    oddity::{Oddities, Oddity},
};

/// Upper bounds of texts, in bytes: those of Linux for paths (`PATH_MAX`) and RFC 1035 for domains; more than the kernel has for
/// names.
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
const MAX_DOMAIN: usize = 255;
const MAX_COMMAND_LINE: usize = 64 * 1024;
const MAX_DIGEST_TEXT: usize = 4096;

/// Address families (socket(2)).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The time of a row as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowTime {
    /// Unix seconds UTC.
    Seconds(i64),
    /// Local time.
    Local(String),
    /// Not readable.
    None,
}

/// A row that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadRow {
    /// Its number in the source.
    pub number: i64,
    pub time: RowTime,
    pub context: Arc<ProcessContext>,
    pub tuple: FlowTuple,
    pub counters: Counters,
    pub odd: Oddities,
}

impl ReadRow {
    /// A digest of the content, the same in each format that the original may have rewritten it to in place.
    pub fn digest(&self) -> [u8; 16] {
        let mut hasher = sha2::Sha256::new();
        let mut add = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match &self.time {
            RowTime::Seconds(seconds) => add(&seconds.to_le_bytes()),
            RowTime::Local(text) => add(text.as_bytes()),
            RowTime::None => add(b""),
        }
        let Program { path, name, command_line, sha256 } = &self.context.program;
        [path, name, command_line, &self.tuple.domain].into_iter().for_each(|bytes| add(bytes));
        add(&sha256.map_or([0; 32], |digest| digest.0));
        add(&self.context.uid.to_le_bytes());
        add(self.tuple.remote_address.map_or(String::new(), |address| address.to_string()).as_bytes());
        add(&self.tuple.remote_port.to_le_bytes());
        add(&self.counters.sent.to_le_bytes());
        add(&self.counters.received.to_le_bytes());
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize()[..16]);
        digest
    }
}

/// The values of a row.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub number: i64,
    pub time: Cell<'a>,
    /// The program, its parent and the parent of that.
    pub programs: [Arc<Program>; 3],
    pub uid: Cell<'a>,
    /// How many connections the row stands for, if the format counts them.
    pub connections: Cell<'a>,
    pub sent: Cell<'a>,
    pub received: Cell<'a>,
    pub local_port: Cell<'a>,
    pub remote_port: Cell<'a>,
    pub local_address: Cell<'a>,
    pub remote_address: Cell<'a>,
    /// With its labels in reverse order.
    pub domain: Cell<'a>,
    pub family: Cell<'a>,
    pub protocol: Cell<'a>,
    pub network_namespace: Cell<'a>,
}

impl Fields<'_> {
    /// Reads the values. `odd` has what is known to be odd already.
    pub fn read(self, mut odd: Oddities, contexts: &mut Contexts) -> ReadRow {
        let odd = &mut odd;
        let (uid, network_namespace) = (self.uid.user(odd), self.network_namespace.small(odd));
        let context = contexts.context(self.programs, uid, network_namespace);
        let remote_port = self.remote_port.port(odd);
        let is_execution = remote_port == PORT_EXECUTION;
        let local_port = match self.local_port.port(odd) {
            // The original says so of both ports, or of none.
            PORT_EXECUTION if !is_execution => 0,
            _ if is_execution => PORT_EXECUTION,
            port => port,
        };
        let remote_address = self.remote_address.address(odd);
        let local_address = self.local_address.address(odd);
        let family = match self.family {
            Cell::None => remote_address.or(local_address).map_or(0, family),
            family => family.small(odd),
        };
        let domain = domain(&self.domain.text(MAX_DOMAIN, odd));
        let tuple = FlowTuple {
            family,
            protocol: self.protocol.small(odd),
            local_address,
            remote_address,
            local_port,
            remote_port,
            domain,
            domain_source: DomainSource::None,
        };
        // A program that was executed has no connection.
        let connections = match self.connections {
            _ if is_execution => 0,
            Cell::None => 1,
            connections => connections.count(odd),
        };
        let counters =
            Counters { connections, sent: self.sent.count(odd), received: self.received.count(odd) };
        let time = time(self.time);
        ReadRow { number: self.number, time, context, tuple, counters, odd: *odd }
    }
}

/// Reads path, name, command line and digest of a program.
pub(crate) fn program([path, name, command_line, digest]: [Cell<'_>; 4], odd: &mut Oddities) -> Program {
    let digest = digest.text(MAX_DIGEST_TEXT, odd);
    let sha256 = str::from_utf8(&digest).ok().and_then(|text| Sha256::from_hex(text.trim()));
    if sha256.is_none() && !digest.is_empty() {
        odd.add(Oddity::DigestText);
    }
    let mut command_line = command_line.text(MAX_COMMAND_LINE, odd);
    command_line.truncate(command_line.trim_ascii_end().len());
    Program { path: path.text(MAX_PATH, odd), name: name.text(MAX_NAME, odd), command_line, sha256 }
}

fn family(address: Address) -> u16 {
    match address {
        Address::Ip(address) if address.is_ipv4() => AF_INET,
        Address::Ip(_) => AF_INET6,
        Address::Vsock(_) | Address::Many => 0,
    }
}

/// A domain in its usual order and in lower case.
fn domain(reversed: &[u8]) -> Bytes {
    let labels: Vec<&[u8]> = reversed.rsplit(|byte| *byte == b'.').collect();
    labels.join(&b'.').to_ascii_lowercase()
}

fn time(cell: Cell<'_>) -> RowTime {
    match cell {
        Cell::Integer(seconds) => RowTime::Seconds(seconds),
        Cell::Real(seconds) => RowTime::Seconds(seconds as i64),
        Cell::Text(text) | Cell::Blob(text) => match str::from_utf8(text) {
            Ok(text) => match text.trim().parse() {
                Ok(seconds) => RowTime::Seconds(seconds),
                Err(_) => RowTime::Local(text.trim().to_owned()),
            },
            Err(_) => RowTime::None,
        },
        Cell::None | Cell::Null => RowTime::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_turned_round() {
        for (reversed, usual) in
            [("com.example.WWW", "www.example.com"), ("localhost", "localhost"), ("", ""), ("com.", ".com")]
        {
            assert_eq!(domain(reversed.as_bytes()), usual.as_bytes());
        }
    }

    #[test]
    fn an_executed_program_has_no_connection_and_port_minus_one_at_both_ends() {
        let fields = Fields {
            remote_port: Cell::Integer(-1),
            connections: Cell::Integer(7),
            uid: Cell::Integer(0),
            ..Fields::default()
        };
        let contexts = &mut Contexts::default();
        let row = fields.read(Oddities::default(), contexts);
        assert_eq!((row.tuple.local_port, row.tuple.remote_port), (PORT_EXECUTION, PORT_EXECUTION));
        assert_eq!(row.counters, Counters::default());
        let row = Fields { local_port: Cell::Integer(-1), ..Fields::default() };
        let row = row.read(Oddities::default(), contexts);
        assert_eq!((row.tuple.local_port, row.counters.connections), (0, 1));
    }

    #[test]
    fn what_is_no_digest_is_none() {
        let mut odd = Oddities::default();
        let hex = "AB".repeat(32);
        let read = |digest: &[u8], odd: &mut Oddities| {
            let text = Cell::Text(b"x ");
            program([text, text, text, Cell::Text(digest)], odd)
        };
        let known = read(hex.as_bytes(), &mut odd);
        assert_eq!((known.sha256, known.command_line.as_slice()), (Some(Sha256([0xab; 32])), &b"x"[..]));
        assert_eq!((read(b"", &mut odd).sha256, odd), (None, Oddities::default()));
        for text in [&b"FUSE: Permission denied"[..], b"\xff", &hex.as_bytes()[1..]] {
            let mut odd = Oddities::default();
            assert_eq!(read(text, &mut odd).sha256, None);
            assert_eq!(odd.iter().collect::<Vec<_>>(), [Oddity::DigestText]);
        }
    }
}
