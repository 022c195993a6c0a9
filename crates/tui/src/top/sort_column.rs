//! The column by which both lists of `top` are sorted.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortColumn {
    /// The rate of the last second.
    Second,
    /// The rate of the last ten seconds.
    TenSeconds,
    Total,
    /// Programs with the most connections first, or the newest connections first.
    Connections,
    Name,
}

impl SortColumn {
    /// All columns, in the order in which the sort key goes through them.
    pub const ALL: [Self; 5] = [Self::Second, Self::TenSeconds, Self::Total, Self::Connections, Self::Name];
}
