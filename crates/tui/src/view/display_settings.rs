//! The settings for the rows of `view`: order, unit of bytes, labels.

use super::label::Labels;
use crate::term::cycle::cycle;
use model::text::units::ByteUnit;
use store::{Dimension, Sort};

/// The columns, in the order of the key that goes through them. The dimension stands for that of the tab.
const SORTS: [Sort; 8] = [
    Sort::Total,
    Sort::Received,
    Sort::Sent,
    Sort::Connections,
    Sort::FirstSeen,
    Sort::LastSeen,
    Sort::Digests,
    BY_VALUE,
];
const BY_VALUE: Sort = Sort::Dimension(Dimension::Executable);

/// The settings that the user has chosen, and the labels of values.
#[derive(Debug)]
pub struct DisplaySettings {
    /// The sorted column: one of [`SORTS`].
    sort: Sort,
    /// That of the tabs on time and the calendar, which are read in the order of time.
    time_sort: Sort,
    pub unit: ByteUnit,
    pub labels: Labels,
}

/// Whether the rows of a dimension are parts of time.
pub fn is_time(dimension: Dimension) -> bool {
    dimension == Dimension::Time || dimension.is_calendar()
}

/// Whether the rows of a tab can be sorted so. Rows that are compared do not say when they were seen.
fn applies(sort: Sort, dimension: Dimension, compares: bool) -> bool {
    match sort {
        Sort::FirstSeen | Sort::LastSeen => dimension.is_seen() && !compares,
        Sort::Digests => dimension == Dimension::Executable && !compares,
        _ => true,
    }
}

impl DisplaySettings {
    pub fn new(labels: Labels) -> Self {
        Self { sort: Sort::Total, time_sort: BY_VALUE, unit: ByteUnit::Decimal, labels }
    }

    fn chosen(&mut self, dimension: Dimension) -> &mut Sort {
        if is_time(dimension) { &mut self.time_sort } else { &mut self.sort }
    }

    /// The order of the rows of a tab, by its dimension.
    pub fn sort_of(&self, dimension: Dimension, compares: bool) -> Sort {
        match if is_time(dimension) { self.time_sort } else { self.sort } {
            Sort::Dimension(_) => Sort::Dimension(dimension),
            sort if applies(sort, dimension, compares) => sort,
            _ => Sort::Total,
        }
    }

    pub fn change_sort(&mut self, forward: bool, dimension: Dimension, compares: bool) {
        let mut sort = match self.sort_of(dimension, compares) {
            Sort::Dimension(_) => BY_VALUE,
            sort => sort,
        };
        for _ in SORTS {
            sort = cycle(&SORTS, sort, forward);
            if applies(sort, dimension, compares) {
                break;
            }
        }
        *self.chosen(dimension) = sort;
    }

    pub fn change_unit(&mut self, forward: bool) {
        self.unit = cycle(&ByteUnit::ALL, self.unit, forward);
    }
}
