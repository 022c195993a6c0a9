//! Digests of content, by which its ids are found.

use model::{Address, CgroupInfo, FlowTuple, GeoInfo, ProcessContext, Program};
use sha2::Digest;

use crate::address_bytes::address_to_bytes;

pub(super) type ContentDigest = [u8; 32];

/// What is stored as command lines of a context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandLines {
    Kept,
    /// "Many": new ones took too much room.
    Many,
}

pub(super) fn context_digest(context: &ProcessContext, lines: CommandLines) -> ContentDigest {
    let mut hasher = ContentHasher::default();
    for program in [&context.program, &context.parent, &context.grandparent] {
        hasher.program(program, lines);
    }
    hasher.number(context.uid.into()).number(context.network_namespace.into()).cgroup(&context.cgroup);
    hasher.finish()
}

pub(super) fn program_digest(program: &Program, lines: CommandLines) -> ContentDigest {
    let mut hasher = ContentHasher::default();
    hasher.program(program, lines);
    hasher.finish()
}

pub(super) fn endpoint_digest(tuple: &FlowTuple, geo: &GeoInfo) -> ContentDigest {
    let mut hasher = ContentHasher::default();
    hasher.number(tuple.family.into()).number(tuple.protocol.into());
    hasher.address(tuple.local_address).address(tuple.remote_address);
    hasher.bytes(&tuple.domain).number(tuple.domain_source as u64);
    hasher.bytes(geo.country.as_bytes()).number(geo.network_number.into());
    hasher.bytes(geo.network.as_bytes());
    hasher.finish()
}

/// The part of a digest that the tables index.
pub(super) fn content_hash(digest: &ContentDigest) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}

/// A digest over several fields. The length of each field precedes it, so that different fields never give the same bytes.
#[derive(Default)]
pub(super) struct ContentHasher(sha2::Sha256);

impl ContentHasher {
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.update(bytes);
        self
    }

    fn address(&mut self, address: Option<Address>) -> &mut Self {
        self.bytes(&address.map(address_to_bytes).unwrap_or_default())
    }

    fn cgroup(&mut self, cgroup: &CgroupInfo) -> &mut Self {
        self.bytes(&cgroup.path).bytes(&cgroup.unit).bytes(&cgroup.container).bytes(&cgroup.app)
    }

    fn program(&mut self, program: &Program, lines: CommandLines) -> &mut Self {
        self.bytes(&program.path).bytes(&program.name);
        match lines {
            CommandLines::Kept => self.bytes(&program.command_line),
            // No text of this length precedes the same bytes.
            CommandLines::Many => self.number(u64::MAX).number(program.command_line.is_empty().into()),
        };
        self.bytes(program.sha256.as_ref().map_or(&[], |digest| &digest.0))
    }

    pub fn finish(self) -> ContentDigest {
        self.0.finalize().into()
    }
}
