//! The settings for the rows of `view`: order, unit of bytes, labels.

use super::label::Labels;
use crate::term::cycle::cycle;
use model::text::units::ByteUnit;
use store::{Dimension, Sort};

/// The columns, in the order of the key that goes through them. The dimension stands for that of the tab.
const SORTS: [Sort; 5] =
    [Sort::Total, Sort::Received, Sort::Sent, Sort::Connections, Sort::Dimension(Dimension::Executable)];

/// The settings that the user has chosen, and the labels of values.
#[derive(Debug)]
pub struct DisplaySettings {
    /// The sorted column: one of [`SORTS`].
    pub sort: Sort,
    pub unit: ByteUnit,
    pub labels: Labels,
}

impl DisplaySettings {
    pub fn new(labels: Labels) -> Self {
        Self { sort: Sort::Total, unit: ByteUnit::Decimal, labels }
    }

    /// The order of the rows of a tab, by its dimension.
    pub fn sort_of(&self, dimension: Dimension) -> Sort {
        match self.sort {
            Sort::Dimension(_) => Sort::Dimension(dimension),
            sort => sort,
        }
    }

    pub fn change_sort(&mut self, forward: bool) {
        self.sort = cycle(&SORTS, self.sort, forward);
    }

    pub fn change_unit(&mut self, forward: bool) {
        self.unit = cycle(&ByteUnit::ALL, self.unit, forward);
    }
}
