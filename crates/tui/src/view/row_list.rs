//! The rows of the list: the answer of the log, the search in it, the selection.

use std::ops::Range;

use calendar::Offsets;
use jiff::tz::TimeZone;
use model::Counters;

use super::{list_row::ListRow, query::ScreenRows};
use crate::term::{find_text::FindText, widgets::ListState};
use store::Value;

/// The rows and the selected one.
#[derive(Debug)]
pub struct RowList {
    pub answer: ScreenRows,
    /// How the times of all events among the rows are written.
    pub event_times: Offsets,
    pub position: ListState,
    /// The text of the search, which the log carries out.
    pub find: FindText,
    /// Whether the user is typing the text of the search.
    pub finding: bool,
}

impl RowList {
    /// No rows.
    pub fn new(zone: &TimeZone) -> Self {
        Self {
            answer: ScreenRows::default(),
            event_times: Offsets::new([], zone),
            position: ListState::default(),
            find: FindText::default(),
            finding: false,
        }
    }

    pub fn len(&self) -> usize {
        self.answer.rows.len()
    }

    pub fn get(&self, index: usize) -> Option<&ListRow> {
        self.answer.rows.get(index)
    }

    pub fn iter(&self, range: Range<usize>) -> impl Iterator<Item = &ListRow> {
        range.filter_map(|index| self.get(index))
    }

    pub fn selected(&self) -> Option<&ListRow> {
        self.get(self.position.selected)
    }

    /// The value of the selected row.
    pub fn selected_value(&self) -> Option<&Value> {
        Some(&self.selected()?.value)
    }

    /// The largest number of bytes sent or received in one row.
    pub fn largest(&self) -> u64 {
        self.answer.rows.iter().map(|row| row.counters.sent.max(row.counters.received)).max().unwrap_or(0)
    }

    /// Selects a row. Returns whether the selection has changed.
    pub fn select(&mut self, row: usize) -> bool {
        self.position.select(row, self.answer.rows.len())
    }

    /// Takes other rows. The row with the value that was selected stays selected, if it is among them.
    pub fn replace(&mut self, answer: ScreenRows, zone: &TimeZone) {
        let selected = self.selected_value().cloned();
        self.answer = answer;
        let events = self.answer.rows.iter().filter_map(|row| row.event.as_ref());
        self.event_times = Offsets::new(events.map(|found| found.event.time), zone);
        let found = selected.and_then(|value| self.answer.rows.iter().position(|row| row.value == value));
        let other = if self.find.is_empty() { self.position.selected } else { 0 };
        self.select(found.unwrap_or(other));
    }

    /// Shows nothing, until other rows arrive.
    pub fn clear(&mut self) {
        self.answer.rows.clear();
        self.end_search();
    }

    /// Shows only a row with this value, until other rows arrive: it is selected again if they have it.
    pub fn expect(&mut self, value: Value) {
        self.answer.rows = vec![ListRow::new(value, Counters::default())];
    }

    /// Ends the search. The caller has to query the rows again. Returns false if there was none.
    pub fn end_search(&mut self) -> bool {
        let searching = self.finding || !self.find.is_empty();
        self.finding = false;
        self.find.clear();
        searching
    }
}
