//! The result of reading a handshake, shared by the protocols.

use model::{Bytes, DomainSource};

/// The name of the server in the captured part of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerName {
    Found(Bytes, DomainSource),
    /// The bytes that would hold the name have not been captured yet.
    Incomplete,
    /// The handshake names no server, or these bytes are no handshake.
    Absent,
}
