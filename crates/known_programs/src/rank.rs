//! The rank of a program: itself, parent or grandparent.

use super::table_id::TableId;

/// Whether a program moved the traffic itself, or started the program that did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// The program that moved the traffic.
    Program,
    /// The program that started it.
    Parent,
    /// The program that started the parent.
    Grandparent,
}

impl Rank {
    /// Every rank, in the order of the programs of `ProcessContext`.
    pub const ALL: [Self; 3] = [Self::Program, Self::Parent, Self::Grandparent];

    /// The table of names by path.
    pub(super) const fn executables(self) -> TableId {
        match self {
            Self::Program => TableId::Executables,
            Self::Parent => TableId::ParentExecutables,
            Self::Grandparent => TableId::GrandparentExecutables,
        }
    }

    /// The table of paths by name.
    pub(super) const fn names(self) -> TableId {
        match self {
            Self::Program => TableId::Names,
            Self::Parent => TableId::ParentNames,
            Self::Grandparent => TableId::GrandparentNames,
        }
    }
}
