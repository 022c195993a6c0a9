//! What is odd about a row. A row is imported all the same, with what can be read of it.

use serde::Serialize;

/// Something about a row that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// A text stands in the place of the digest of an executable.
    DigestText,
    /// The local time is one that a clock change repeats.
    RepeatedTime,
    /// The local time is one that a clock change skips.
    SkippedTime,
    /// A value is missing (NULL).
    MissingValue,
    /// A value has another type, or is no number.
    WrongType,
    /// An address cannot be read.
    BadAddress,
    /// A port is none.
    BadPort,
    /// A user id is none.
    BadUser,
    /// A text has a NUL in it.
    Nul,
    /// A text is longer than picosnitch stores.
    Shortened,
    /// The row refers to a program, an address or a domain that is not there.
    MissingReference,
}

impl Oddity {
    /// Every oddity.
    pub const ALL: [Self; 11] = [
        Self::DigestText,
        Self::RepeatedTime,
        Self::SkippedTime,
        Self::MissingValue,
        Self::WrongType,
        Self::BadAddress,
        Self::BadPort,
        Self::BadUser,
        Self::Nul,
        Self::Shortened,
        Self::MissingReference,
    ];

    /// What `picosnitch import` does with such rows, as the end of a sentence that begins with their number.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::DigestText => "have an error text instead of a digest: their digest is unknown",
            Self::RepeatedTime => {
                "are of an hour that a change of the clock repeats: they are placed by the order of the rows"
            }
            Self::SkippedTime => {
                "are of an hour that a change of the clock skips: they are placed at the change (is --zone right?)"
            }
            Self::MissingValue => "lack a value: it is empty or 0",
            Self::WrongType => "have a value of a wrong type: it is empty or 0 if it cannot be read",
            Self::BadAddress => "have an address that cannot be read: they have none",
            Self::BadPort => "have a port that is none: they have port 0",
            Self::BadUser => "have a user id that is none: it is 4294967295",
            Self::Nul => "have a NUL in a text: it is kept",
            Self::Shortened => "have a text that is longer than picosnitch stores: it is shortened",
            Self::MissingReference => {
                "refer to a program, address or domain that is not there: it is unknown"
            }
        }
    }
}

/// The oddities of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities(u16);

impl Oddities {
    pub fn add(&mut self, oddity: Oddity) {
        self.0 |= 1 << oddity as u16;
    }

    pub fn iter(self) -> impl Iterator<Item = Oddity> {
        Oddity::ALL.into_iter().filter(move |oddity| self.0 & (1 << *oddity as u16) != 0)
    }

    /// Adds those of another.
    pub fn union(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
