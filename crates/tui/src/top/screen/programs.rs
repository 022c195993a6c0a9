//! The list of programs, or their tree.

use std::ops::Range;

use ratatui::layout::Rect;

use crate::{
    term::{
        canvas::Canvas,
        theme::Theme,
        widgets::{
            Bar, Cell, Column, ColumnFit, ListLayout, ListSource, SelectionMark, amount_width, draw_list,
            draw_program,
        },
    },
    top::{
        alert::Highlight,
        program_rows::ProgramRow,
        rates::ByteCounts,
        sort_column::SortColumn,
        state::{Pane, TopState},
    },
};
use model::text::units::count_cell;

/// Width of a bar: an odd number has the axis in its middle.
const BAR_WIDTH: u16 = 31;
/// A badge is shown beside labels that are wider than this.
const MIN_LABEL_WITH_BADGE: u16 = 20;

/// Draws the list and returns the area of its rows.
pub fn draw(canvas: Canvas<'_>, state: &mut TopState) -> Rect {
    let mut position = state.programs.selection.position;
    let rows = &state.programs.rows;
    let largest = rows.iter().map(|row| row.second.sent.max(row.second.received)).max().unwrap_or(0);
    let programs = Programs { state, rows, theme: canvas.theme, largest };
    let mark = if state.focus == Pane::Programs { SelectionMark::Row } else { SelectionMark::Sign };
    let area = draw_list(canvas, &programs, &mut position, mark);
    state.programs.selection.position = position;
    area
}

/// The heading of the list: whether the selection follows the first program, and otherwise what the list is.
fn heading(state: &TopState, columns: u16) -> &'static str {
    let texts: &[&str] = match (state.programs.selection.is_following(), state.sort) {
        (true, SortColumn::Second | SortColumn::TenSeconds) => {
            &["Programs, following the busiest", "Following the busiest"]
        }
        (true, SortColumn::Total) => &["Programs, following the largest", "Following the largest"],
        (true, _) => &["Programs, following the first", "Following the first"],
        (false, _) if state.tree => &["Programs, below those who started them"],
        (false, _) => &[],
    };
    // One column is left of the heading, and one for the mark of the sorted column.
    let fits = |text: &&&str| text.len() + 2 <= columns.into();
    texts.iter().find(fits).copied().unwrap_or("Programs")
}

/// The programs of a state, for the list.
struct Programs<'a> {
    state: &'a TopState,
    rows: &'a [ProgramRow],
    theme: Theme,
    /// The rate that fills half a bar: one scale for all rows, also those that are not on the screen.
    largest: u64,
}

/// Columns from left to right.
const CONNECTIONS: usize = 0;
const SECOND: usize = 1;
const TEN_SECONDS: usize = 3;
const TOTAL: usize = 5;
const BAR: usize = 7;
const COLUMNS: usize = 8;

/// A pair of columns for bytes received and sent. If only the first one fits, it is for their sum.
fn pair_cells(state: &TopState, bytes: ByteCounts, sent_column: &Column) -> [Cell; 2] {
    let first = if sent_column.width > 0 { bytes.received } else { bytes.sum() };
    [first, bytes.sent].map(|bytes| Cell::Number(state.unit.cell(bytes)))
}

impl ListSource<COLUMNS> for Programs<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<COLUMNS> {
        let counts = self.rows[visible].iter().flat_map(|row| [row.total, row.ten_seconds, row.second]);
        let amount = amount_width(counts.map(|bytes| self.state.unit.write(bytes.sum())));
        let mut fit = ColumnFit::new(width);
        // The most important column first.
        let received = fit.take(amount, 12);
        let sent = fit.take(amount, 12);
        let connections = fit.take(6, 16);
        let total = fit.take(amount, 20);
        let ten_seconds = fit.take(amount, 20);
        let total_sent = fit.take(amount, 40);
        let ten_seconds_sent = if total_sent > 0 { fit.take(amount, 40) } else { 0 };
        let bar = fit.take(BAR_WIDTH, 36);
        let sort = self.state.sort;
        let number = |heading, column, width| Column::number(heading, sort == column, width);
        let title = heading(self.state, fit.rest());
        let first = |split: u16, received, sum| if split > 0 { received } else { sum };
        ListLayout {
            label: Column::text(title, sort == SortColumn::Name, fit.rest()),
            columns: [
                number("conns", SortColumn::Connections, connections),
                number("recv/s", SortColumn::Second, received),
                number("sent/s", SortColumn::Second, sent),
                number(first(ten_seconds_sent, "recv 10s", "10 s avg"), SortColumn::TenSeconds, ten_seconds),
                number("sent 10s", SortColumn::TenSeconds, ten_seconds_sent),
                number(first(total_sent, "received", "total"), SortColumn::Total, total),
                number("sent", SortColumn::Total, total_sent),
                Column::bar(bar),
            ],
        }
    }

    fn draw_label(&self, mut canvas: Canvas<'_>, row: usize) {
        let Some(row) = self.rows.get(row) else { return };
        let (area, theme) = (canvas.area, canvas.theme);
        let indent = if self.state.tree { (row.depth() * 2) as u16 } else { 0 };
        let x = (1 + indent).min(area.width);
        let badge = match row.highlight {
            Some(Highlight::New) => Some(("new", theme.novel())),
            Some(Highlight::Wrong) => Some(("changed", theme.wrong())),
            None => None,
        };
        let mut width = area.width - x;
        if let Some((text, style)) = badge
            && width > MIN_LABEL_WITH_BADGE
        {
            let taken = text.len() as u16;
            width -= taken + 1;
            canvas.put(area.width - taken, 0, text, style);
        }
        let inside = Rect { x: area.x + x, width, ..area };
        draw_program(canvas.within(inside), &row.label, theme.program(row.path()));
    }

    fn cells(&self, row: usize, columns: &[Column; COLUMNS]) -> [Cell; COLUMNS] {
        let mut cells = std::array::from_fn(|_| Cell::Empty);
        let Some(row) = self.rows.get(row) else { return cells };
        cells[CONNECTIONS] = Cell::Number(count_cell(row.open));
        for (first, bytes) in [(TEN_SECONDS, row.ten_seconds), (TOTAL, row.total)] {
            [cells[first], cells[first + 1]] = pair_cells(self.state, bytes, &columns[first + 1]);
        }
        let unit = self.state.unit;
        cells[SECOND] = Cell::Number(unit.cell(row.second.received));
        cells[SECOND + 1] = Cell::Number(unit.cell(row.second.sent));
        let bar = Bar { sent: row.second.sent, received: row.second.received, full: self.largest };
        cells[BAR] = Cell::Bar(bar, self.theme.program(row.path()));
        cells
    }

    fn empty_message(&self) -> String {
        let text = match self.state.programs.find.is_empty() {
            true => "nobody has a connection",
            false => {
                "no program has this text in its name, command line, parents, unit or container; Esc shows all"
            }
        };
        text.to_owned()
    }
}
