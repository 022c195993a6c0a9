//! The filters of `view`, a stack: the last one is removed first, and its removal leads back to the view where it was
//! set.

use super::{period::Period, row_choice::RowChoice, tab::Tab};
use store::{Dimension, Filter, Value};

/// Filters on the stack: more are useless, and each makes the query longer.
pub const MAX_FILTERS: usize = 32;

/// The condition that a filter sets on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedFilter {
    /// This value of the dimension, or with `exclude` any other.
    Value { dimension: Dimension, value: Value, exclude: bool },
    /// A part of the period that is shown, from a row of the tab on time.
    Period(Period),
}

/// A filter, and where the user was when it was set.
#[derive(Clone, Debug)]
pub struct FilterLayer {
    pub filter: AppliedFilter,
    pub tab: Tab,
    /// Value of the row that was selected.
    pub selected: Value,
    /// Which rows were shown, and what they were compared with.
    pub choice: RowChoice,
    /// Position in the history, as in [`super::time_range::TimeRange`].
    pub at: Option<i64>,
}

/// The filters that are set.
#[derive(Clone, Debug, Default)]
pub struct FilterStack(Vec<FilterLayer>);

impl FilterStack {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_FILTERS
    }

    pub fn push(&mut self, layer: FilterLayer) {
        self.0.push(layer);
    }

    pub fn pop(&mut self) -> Option<FilterLayer> {
        self.0.pop()
    }

    /// The filters, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &AppliedFilter> + DoubleEndedIterator {
        self.0.iter().map(|layer| &layer.filter)
    }

    /// The period of the last filter on time.
    pub fn period(&self) -> Option<Period> {
        self.iter().rev().find_map(|filter| match filter {
            AppliedFilter::Period(period) => Some(*period),
            AppliedFilter::Value { .. } => None,
        })
    }

    /// Whether a filter chooses values of this dimension. More of them would be alternatives, not a narrower choice.
    pub fn chooses(&self, wanted: Dimension) -> bool {
        self.iter().any(|filter| {
            matches!(filter, AppliedFilter::Value { dimension, exclude: false, .. } if *dimension == wanted)
        })
    }

    /// The filters on values, for the log.
    pub fn for_log(&self) -> Vec<Filter> {
        let filters = self.iter().filter_map(|filter| match filter {
            AppliedFilter::Value { dimension, value, exclude } => {
                Some(Filter::equal(*dimension, value.clone(), *exclude))
            }
            AppliedFilter::Period(_) => None,
        });
        filters.collect()
    }
}
