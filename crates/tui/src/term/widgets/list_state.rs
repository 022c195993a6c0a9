//! Where the user is in a list: the selected row, and the rows that are on the screen.

use ratatui::layout::Rect;

/// Selection and scroll position of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListState {
    /// Index of the selected row.
    pub selected: usize,
    /// Index of the first row on the screen.
    pub top: usize,
    /// Rows that fit on the screen, at the last frame.
    pub page: usize,
}

impl Default for ListState {
    fn default() -> Self {
        Self { selected: 0, top: 0, page: 10 }
    }
}

impl ListState {
    /// Goes back to the first row.
    pub fn reset(&mut self) {
        (self.selected, self.top) = (0, 0);
    }

    /// Selects a row, or the last of `rows` if there are fewer. Returns whether the selection has changed.
    pub fn select(&mut self, row: usize, rows: usize) -> bool {
        let before = self.selected;
        self.selected = row.min(rows.saturating_sub(1));
        self.selected != before
    }

    /// Scrolls as little as possible so that the selected one of `rows` is among the `page` rows on the screen.
    pub fn scroll(&mut self, page: usize, rows: usize) {
        self.page = page;
        self.top = self.top.min(rows.saturating_sub(page)).min(self.selected);
        if page > 0 && self.selected >= self.top + page {
            self.top = self.selected + 1 - page;
        }
    }

    /// The row of `rows` that is drawn at this line of the screen, if the lines of the list are `area`.
    pub fn row_at(&self, line: u16, area: Rect, rows: usize) -> Option<usize> {
        let row = self.top + usize::from(line.saturating_sub(area.y));
        Some(row).filter(|row| *row < rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_keeps_the_selected_row_on_the_screen() {
        let mut state = ListState::default();
        for (selected, top) in [(0, 0), (4, 0), (5, 1), (9, 5), (6, 5), (4, 4), (0, 0)] {
            state.select(selected, 10);
            state.scroll(5, 10);
            assert_eq!((state.selected, state.top), (selected, top));
        }
        assert!(state.select(usize::MAX, 10));
        state.scroll(20, 10);
        assert_eq!((state.selected, state.top), (9, 0), "all rows fit");
        state.scroll(0, 10);
        assert!(!state.select(usize::MAX, 10));
        assert_eq!(state.row_at(7, Rect::new(0, 5, 10, 3), 10), Some(state.top + 2));
        assert_eq!(state.row_at(9, Rect::new(0, 5, 10, 5), 3), None);
    }
}
