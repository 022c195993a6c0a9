//! The list: value, connections, sent, received, bars.

use std::ops::Range;

use ratatui::{layout::Rect, style::Style};

use crate::{
    term::{
        canvas::Canvas,
        text::shorten,
        theme::Theme,
        widgets::{
            Bar, Cell, Column, ColumnFit, ListLayout, ListSource, SelectionMark, amount_width, draw_list,
            draw_program,
        },
    },
    view::state::ViewState,
};
use model::text::units::count_cell;
use store::{Dimension, Row, Sort, Value};

/// Widths of the list from which it has each column.
const MIN_WIDTH_CONNECTIONS: u16 = 56;
const MIN_WIDTH_SENT: u16 = 44;
const MIN_WIDTH_RECEIVED: u16 = 28;
/// Width of label and bar together from which there is a bar.
const MIN_WIDTH_BAR: u16 = 44;
const MAX_BAR_WIDTH: u16 = 81;

/// The rows of a state, for the list.
struct Rows<'a> {
    state: &'a ViewState,
    theme: Theme,
    /// The number of bytes that fills half a bar: one scale for all rows, also those that are not on the screen.
    largest: u64,
}

/// Draws the list and returns the area of its rows.
pub fn draw(canvas: Canvas<'_>, state: &mut ViewState) -> Rect {
    let mut position = state.list.position;
    let rows = Rows { state, theme: canvas.theme, largest: state.list.largest() };
    let area = draw_list(canvas, &rows, &mut position, SelectionMark::Row);
    state.list.position = position;
    area
}

impl Rows<'_> {
    /// The colour of a row: that of its program, or a neutral one.
    fn colour(&self, row: &Row) -> Style {
        self.program_path(row).map_or(self.theme.plain_bar(), |path| self.theme.program(path))
    }

    /// The path of the program of a row, if its value is one.
    fn program_path<'a>(&self, row: &'a Row) -> Option<&'a [u8]> {
        match (self.state.dimension(), row.values.first()) {
            (
                Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable,
                Some(Value::Bytes(path)),
            ) if !path.is_empty() => Some(path),
            _ => None,
        }
    }
}

impl ListSource<4> for Rows<'_> {
    fn len(&self) -> usize {
        self.state.list.len()
    }

    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<4> {
        let unit = self.state.display.unit;
        let counters =
            self.state.list.iter(visible).flat_map(|row| [row.counters.sent, row.counters.received]);
        let amount = amount_width(counters.map(|bytes| unit.write(bytes)));
        let mut fit = ColumnFit::new(width);
        let mut take = |min_width: u16, columns: u16| {
            if width >= min_width { fit.take(columns, 0) } else { 0 }
        };
        let connections = take(MIN_WIDTH_CONNECTIONS, 8);
        let sent = take(MIN_WIDTH_SENT, amount);
        let received = take(MIN_WIDTH_RECEIVED, amount);
        let rest = fit.rest();
        // An odd width has the axis in its middle.
        let bar = if rest >= MIN_WIDTH_BAR { fit.take((rest / 5 * 2).min(MAX_BAR_WIDTH) | 1, 0) } else { 0 };
        let sort = self.state.display.sort;
        let total = sort == Sort::Total;
        let title = self.state.tab.title();
        ListLayout {
            label: Column::text(title, matches!(sort, Sort::Dimension(_)), fit.rest()),
            columns: [
                Column::number("conns", sort == Sort::Connections, connections),
                Column::number("sent", total || sort == Sort::Sent, sent),
                Column::number("received", total || sort == Sort::Received, received),
                Column::bar(bar),
            ],
        }
    }

    fn draw_label(&self, mut canvas: Canvas<'_>, row: usize) {
        let Some(row) = self.state.list.get(row) else { return };
        let label = row
            .values
            .first()
            .map(|value| self.state.label(self.state.dimension(), value))
            .unwrap_or_default();
        let area = canvas.area;
        let width = area.width.saturating_sub(1);
        if self.program_path(row).is_some() {
            let inside = Rect { x: area.x + 1, width, ..area };
            draw_program(canvas.within(inside), &label, self.colour(row));
        } else {
            canvas.put(1, 0, &shorten(&label, width.into(), self.theme.ascii), Style::new());
        }
    }

    fn cells(&self, row: usize, _columns: &[Column; 4]) -> [Cell; 4] {
        let Some(row) = self.state.list.get(row) else { return std::array::from_fn(|_| Cell::Empty) };
        let (counters, unit) = (row.counters, self.state.display.unit);
        let bar = Bar { sent: counters.sent, received: counters.received, full: self.largest };
        [
            Cell::Number(count_cell(counters.connections)),
            Cell::Number(unit.cell(counters.sent)),
            Cell::Number(unit.cell(counters.received)),
            Cell::Bar(bar, self.colour(row)),
        ]
    }

    fn empty_message(&self) -> String {
        let state = self.state;
        if state.queries.error.is_some() {
            String::new()
        } else if state.queries.waiting {
            "asking the log ...".to_owned()
        } else if !state.list.find.is_empty() {
            "no row has this text in it; Esc shows all".to_owned()
        } else {
            format!("nothing recorded: {}; t and h look elsewhere", state.time.describe(state.period()))
        }
    }
}
