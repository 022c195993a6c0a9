//! The columns of a list: which of them fit, and where each is.

use crate::term::text::width;

/// Blank columns between two columns of a list.
const GAP: u16 = 2;
/// Narrowest and widest column for numbers of bytes.
const MIN_AMOUNT: usize = 9;
const MAX_AMOUNT: usize = 24;

/// The kind of the cells of a column. It decides how the heading is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, aligned to the left.
    Text,
    /// Numbers with units, aligned to the right.
    Number,
    /// Mirrored bars, with a heading over each half.
    Bar,
}

/// A column of a list.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub kind: ColumnKind,
    pub heading: &'static str,
    /// Whether the rows are sorted by this column.
    pub sorted: bool,
    /// 0: the column is left out.
    pub width: u16,
}

impl Column {
    pub fn text(heading: &'static str, sorted: bool, width: u16) -> Self {
        Self { kind: ColumnKind::Text, heading, sorted, width }
    }

    pub fn number(heading: &'static str, sorted: bool, width: u16) -> Self {
        Self { kind: ColumnKind::Number, heading, sorted, width }
    }

    pub fn bar(width: u16) -> Self {
        Self { kind: ColumnKind::Bar, heading: "", sorted: false, width }
    }

    pub fn is_bar(&self) -> bool {
        self.kind == ColumnKind::Bar
    }
}

/// Distributes the width of a list among its columns: the most important is taken first, the label gets the rest.
#[derive(Debug)]
pub struct ColumnFit {
    rest: u16,
}

impl ColumnFit {
    pub fn new(width: u16) -> Self {
        Self { rest: width }
    }

    /// The width that remains for the label.
    pub fn rest(&self) -> u16 {
        self.rest
    }

    /// Takes a column and its gap if `min_rest` columns remain then. Returns its width, or 0 if it does not fit.
    pub fn take(&mut self, width: u16, min_rest: u16) -> u16 {
        let rest = self.rest.checked_sub(width.saturating_add(GAP)).filter(|rest| *rest >= min_rest);
        let Some(rest) = rest else { return 0 };
        self.rest = rest;
        width
    }
}

/// Where each column begins, from the width of the label on. A column of width 0 takes no space.
pub fn positions<const N: usize>(label: u16, columns: &[Column; N]) -> [u16; N] {
    let mut x = label + GAP;
    columns.map(|column| {
        let at = x;
        if column.width > 0 {
            x += column.width + GAP;
        }
        at
    })
}

/// The width of a column for these numbers of bytes.
pub fn amount_width(texts: impl Iterator<Item = String>) -> u16 {
    texts.map(|text| width(&text)).max().unwrap_or(0).clamp(MIN_AMOUNT, MAX_AMOUNT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_are_left_out() {
        let mut fit = ColumnFit::new(30);
        let widths = [fit.take(9, 12), fit.take(9, 12), fit.take(4, 12), fit.take(4, 0)];
        assert_eq!((widths, fit.rest()), ([9, 0, 4, 4], 7));
        assert_eq!((fit.take(9, 0), fit.rest()), (0, 7), "it is wider than the rest");
        let [first, second, third] = [9, 0, 4].map(|width| Column::number("", false, width));
        assert_eq!(positions(7, &[first, second, third]), [9, 20, 20]);
    }

    #[test]
    fn columns_of_amounts_have_bounds() {
        assert_eq!(amount_width(std::iter::empty()), 9);
        assert_eq!(amount_width(["12,345,678 B".to_owned()].into_iter()), 12);
        assert_eq!(amount_width(["1".repeat(40)].into_iter()), 24);
    }
}
