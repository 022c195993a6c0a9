//! The rank of a program: itself, parent or grandparent.

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

    /// The keys in record.json: that of the executables, and that of the names.
    pub(super) const fn keys(self) -> [&'static str; 2] {
        match self {
            Self::Program => ["Executables", "Names"],
            Self::Parent => ["Parent Executables", "Parent Names"],
            Self::Grandparent => ["Grandparent Executables", "Grandparent Names"],
        }
    }
}
