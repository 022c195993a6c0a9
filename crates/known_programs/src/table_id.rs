//! The tables of record.json.

/// A table, in the order of the keys of record.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableId {
    Executables,
    GrandparentExecutables,
    GrandparentNames,
    Names,
    ParentExecutables,
    ParentNames,
    Digests,
}

impl TableId {
    pub(super) const ALL: [Self; 7] = [
        Self::Executables,
        Self::GrandparentExecutables,
        Self::GrandparentNames,
        Self::Names,
        Self::ParentExecutables,
        Self::ParentNames,
        Self::Digests,
    ];

    /// The key in record.json.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Executables => "Executables",
            Self::GrandparentExecutables => "Grandparent Executables",
            Self::GrandparentNames => "Grandparent Names",
            Self::Names => "Names",
            Self::ParentExecutables => "Parent Executables",
            Self::ParentNames => "Parent Names",
            Self::Digests => "SHA256",
        }
    }

    pub(super) fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.key() == key)
    }

    /// The plurals for the sentences about a full table and about a full entry of it.
    pub(super) const fn plurals(self) -> [&'static str; 2] {
        match self {
            Self::Executables | Self::GrandparentExecutables | Self::ParentExecutables => {
                ["programs", "names of one program"]
            }
            Self::Names | Self::GrandparentNames | Self::ParentNames => ["names", "programs of one name"],
            Self::Digests => ["programs with digests", "digests of one program"],
        }
    }
}
