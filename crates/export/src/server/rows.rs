//! Rows of tables, independent of the database system.

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// 64 bits, signed.
    Integer(i64),
    /// Text as a column has it ([`model::text::lossless::to_column`]).
    Text(String),
    /// Bytes, of a digest for example.
    Bytes(Vec<u8>),
    /// No value.
    Null,
}

impl Cell {
    /// The bytes that the value takes in a message to the server, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Integer(_) | Self::Null => 8,
            Self::Text(text) => text.len() + 4,
            Self::Bytes(bytes) => bytes.len() + 4,
        }
    }

    /// The number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            _ => String::new(),
        }
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Cell {
    /// The log has no larger ones than SQLite's, which are signed.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Cell {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// The values of a row, in the order of the columns of its table.
pub type Row = Vec<Cell>;

/// Divides rows into parts of at most `max_rows` rows and about `max_bytes` bytes. Each has at least one row.
pub(crate) fn parts(rows: &[Row], max_rows: usize, max_bytes: usize) -> Vec<&[Row]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        let size: usize = row.iter().map(Cell::size).sum();
        if at > start && (at - start >= max_rows || bytes + size > max_bytes) {
            parts.push(&rows[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < rows.len() {
        parts.push(&rows[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_and_leave_nothing_out() {
        let rows: Vec<Row> = (0..10).map(|number| vec![Cell::Text("x".repeat(number))]).collect();
        for (max_rows, max_bytes) in [(1, 1000), (3, 1000), (100, 20), (100, 1), (100, 1000)] {
            let parts = parts(&rows, max_rows, max_bytes);
            assert_eq!(parts.concat(), rows);
            for part in parts {
                let bytes: usize = part.iter().flatten().map(Cell::size).sum();
                assert!(part.len() <= max_rows && (part.len() == 1 || bytes <= max_bytes), "{part:?}");
            }
        }
        assert!(parts(&[], 1, 1).is_empty());
    }
}
