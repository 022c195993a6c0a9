//! Values of dimensions.

use model::{Address, Bytes, Sha256};

/// A value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Unknown or absent: no address, no digest.
    None,
    /// Several texts: of a folded record ([`model::Record::folded`]). Several addresses are [`Address::Many`], several
    /// ports [`model::PORT_MANY`].
    Many,
    /// Bytes that another program chose: a path, a name, a domain.
    Bytes(Bytes),
    /// A number such as a port, an id or a time.
    Integer(i64),
    /// An IP or vsock address.
    Address(Address),
    /// The SHA-256 digest of an executable.
    Sha256(Sha256),
}
