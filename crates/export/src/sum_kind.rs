//! The sums that are kept beside the records, so that questions about long times are quick.

/// A kind of sums. Each is by one thing that records refer to, since records of one time seldom agree in two of them: of
/// 10,000,000 records of a desktop, nine in ten have a context, an endpoint and a port that no other of their hour has. Each has
/// the shortest length with which there are few sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumKind {
    /// All records of an hour.
    Total,
    /// Those of a context in a day.
    Context,
    /// Those of an endpoint in a week.
    Endpoint,
    /// Those of a remote port in a day.
    Port,
}

impl SumKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Total, Self::Context, Self::Endpoint, Self::Port];

    /// The column `kind` of `picosnitch_sum` and `picosnitch_sum_claim`.
    pub fn number(self) -> i64 {
        match self {
            Self::Total => 0,
            Self::Context => 1,
            Self::Endpoint => 2,
            Self::Port => 3,
        }
    }

    /// The time of a sum, seconds: its start is a multiple.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Total => 3600,
            Self::Context | Self::Port => 86_400,
            Self::Endpoint => 604_800,
        }
    }

    /// The column of a record that the sums are by; `None` if they are those of all records.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Self::Total => None,
            Self::Context => Some("context"),
            Self::Endpoint => Some("endpoint"),
            Self::Port => Some("remote_port"),
        }
    }
}
