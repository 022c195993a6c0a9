//! The rows of the list: the answer of the log, the search in it, the selection.

use std::ops::Range;

use super::query::ScreenRows;
use crate::term::{find_text::FindText, widgets::ListState};
use store::{Row, Value};

/// The rows, those of them that are shown, and the selected one.
#[derive(Debug, Default)]
pub struct RowList {
    pub answer: ScreenRows,
    /// Indices of the rows that contain the text of the search.
    shown: Vec<usize>,
    pub position: ListState,
    pub find: FindText,
    /// Whether the user is typing the text of the search.
    pub finding: bool,
}

impl RowList {
    /// Number of rows that are shown.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// A row by its index among those that are shown.
    pub fn get(&self, index: usize) -> Option<&Row> {
        self.answer.rows.get(*self.shown.get(index)?)
    }

    pub fn iter(&self, range: Range<usize>) -> impl Iterator<Item = &Row> {
        range.filter_map(|index| self.get(index))
    }

    pub fn selected(&self) -> Option<&Row> {
        self.get(self.position.selected)
    }

    /// The value of the selected row.
    pub fn selected_value(&self) -> Option<&Value> {
        self.selected()?.values.first()
    }

    /// The largest number of bytes sent or received in one row, also among those that are not shown.
    pub fn largest(&self) -> u64 {
        self.answer.rows.iter().map(|row| row.counters.sent.max(row.counters.received)).max().unwrap_or(0)
    }

    /// Selects a row. Returns whether the selection has changed.
    pub fn select(&mut self, row: usize) -> bool {
        self.position.select(row, self.shown.len())
    }

    /// Shows the rows whose value, as `text` writes it, contains the text of the search, and selects the row with the value
    /// `selected` if there is one.
    pub fn refresh(&mut self, selected: Option<&Value>, text: impl Fn(&Value) -> String) {
        let wanted = self.find.to_lowercase();
        let matches = |row: &Row| {
            wanted.is_empty()
                || row.values.first().is_some_and(|value| text(value).to_lowercase().contains(&wanted))
        };
        let rows = &self.answer.rows;
        self.shown = (0..rows.len()).filter(|index| matches(&rows[*index])).collect();
        let found = selected
            .and_then(|value| self.shown.iter().position(|index| rows[*index].values.first() == Some(value)));
        self.select(found.unwrap_or(self.position.selected));
    }

    /// Shows nothing, until other rows arrive.
    pub fn clear(&mut self) {
        self.answer.rows.clear();
        self.shown.clear();
        self.end_search();
    }

    /// Shows only a row with this value, until other rows arrive: it is selected again if they have it.
    pub fn expect(&mut self, value: Value) {
        self.answer.rows = vec![Row { values: vec![value], ..Row::default() }];
        self.shown = vec![0];
    }

    /// Ends the search. The caller has to refresh the list. Returns false if there was none.
    pub fn end_search(&mut self) -> bool {
        let searching = self.finding || !self.find.is_empty();
        self.finding = false;
        self.find.clear();
        searching
    }
}
