//! The list: value, connections, sent, received, when it was seen, how it changed, bars.

use std::ops::Range;

use ratatui::{layout::Rect, style::Style};

use super::events;
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
    view::{label::Labels, list_row::ListRow, row_choice::Only, state::ViewState},
};
use model::text::units::count_cell;
use store::{Dimension, Sort, Value};

/// Widths of the list from which it has each column.
const MIN_WIDTH_CONNECTIONS: u16 = 56;
const MIN_WIDTH_SENT: u16 = 44;
const MIN_WIDTH_RECEIVED: u16 = 28;
const MIN_WIDTH_LAST_SEEN: u16 = 72;
/// The narrowest label beside the first sight and the change.
const MIN_WIDTH_LABEL: u16 = 12;
/// Widths of the columns.
const CONNECTIONS_WIDTH: u16 = 8;
const SEEN_WIDTH: u16 = 16;
const DIGESTS_WIDTH: u16 = 7;
const CHANGE_WIDTH: u16 = 8;
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
    if state.dimension().is_none() {
        return events::draw(canvas, state);
    }
    let mut position = state.list.position;
    let rows = Rows { state, theme: canvas.theme, largest: state.list.largest() };
    let area = draw_list(canvas, &rows, &mut position, SelectionMark::Row);
    state.list.position = position;
    area
}

impl Rows<'_> {
    /// The colour of a row: that of its program, or a neutral one.
    fn colour(&self, row: &ListRow) -> Style {
        self.program_path(row).map_or(self.theme.plain_bar(), |path| self.theme.program(path))
    }

    /// The path of the program of a row, if its value is one.
    fn program_path<'a>(&self, row: &'a ListRow) -> Option<&'a [u8]> {
        match (self.state.dimension(), &row.value) {
            (
                Some(Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable),
                Value::Bytes(path),
            ) if !path.is_empty() => Some(path),
            _ => None,
        }
    }
}

/// The number of columns besides the label.
const COLUMNS: usize = 8;

impl Rows<'_> {
    /// Whether the rows say when their values were seen.
    fn are_seen(&self) -> bool {
        self.state.only() != Only::All || self.state.sort().is_by_seen()
    }

    fn columns(&self, width: u16, amount: u16) -> (ColumnFit, [Column; COLUMNS]) {
        let (sort, are_seen) = (self.state.sort(), self.are_seen());
        let has_digests = are_seen && self.state.dimension() == Some(Dimension::Executable);
        let mut fit = ColumnFit::new(width);
        let take = |fit: &mut ColumnFit, wanted: bool, columns: u16| {
            if wanted { fit.take(columns, MIN_WIDTH_LABEL) } else { 0 }
        };
        // The most important first: what was asked for.
        let change = take(&mut fit, self.state.before().is_some(), CHANGE_WIDTH);
        let by_digests = sort == Sort::Digests || self.state.only() == Only::Changed;
        let digests = take(&mut fit, has_digests && (by_digests || width >= 120), DIGESTS_WIDTH);
        let first = take(&mut fit, are_seen && sort != Sort::LastSeen, SEEN_WIDTH);
        let last = take(&mut fit, are_seen && (first == 0 || width >= MIN_WIDTH_LAST_SEEN), SEEN_WIDTH);
        let rest = |wanted: u16| wanted + if are_seen { 25 } else { 0 };
        let connections = take(&mut fit, width >= rest(MIN_WIDTH_CONNECTIONS), CONNECTIONS_WIDTH);
        let sent = take(&mut fit, width >= rest(MIN_WIDTH_SENT), amount);
        let received = take(&mut fit, width >= MIN_WIDTH_RECEIVED, amount);
        let left = fit.rest();
        // An odd width has the axis in its middle.
        let bar = if left >= MIN_WIDTH_BAR { fit.take((left / 5 * 2).min(MAX_BAR_WIDTH) | 1, 0) } else { 0 };
        let total = sort == Sort::Total;
        let columns = [
            Column::number("conns", sort == Sort::Connections, connections),
            Column::number("received", total || sort == Sort::Received, received),
            Column::number("sent", total || sort == Sort::Sent, sent),
            Column::number("change", false, change),
            Column::text("first seen", sort == Sort::FirstSeen, first),
            Column::text("last seen", sort == Sort::LastSeen, last),
            Column::number("hashes", sort == Sort::Digests, digests),
            Column::bar(bar),
        ];
        (fit, columns)
    }
}

impl ListSource<COLUMNS> for Rows<'_> {
    fn len(&self) -> usize {
        self.state.list.len()
    }

    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<COLUMNS> {
        let unit = self.state.display.unit;
        let counters =
            self.state.list.iter(visible).flat_map(|row| [row.counters.sent, row.counters.received]);
        let amount = amount_width(counters.map(|bytes| unit.write(bytes)));
        let (fit, columns) = self.columns(width, amount);
        let by_value = matches!(self.state.sort(), Sort::Dimension(_));
        ListLayout { label: Column::text(self.state.tab.title(), by_value, fit.rest()), columns }
    }

    fn draw_label(&self, mut canvas: Canvas<'_>, row: usize) {
        let Some(row) = self.state.list.get(row) else { return };
        let Some(dimension) = self.state.dimension() else { return };
        let label = self.state.label(dimension, &row.value);
        let area = canvas.area;
        let width = area.width.saturating_sub(1);
        if self.program_path(row).is_some() {
            let inside = Rect { x: area.x + 1, width, ..area };
            draw_program(canvas.within(inside), &label, self.colour(row));
        } else {
            canvas.put(1, 0, &shorten(&label, width.into(), self.theme.ascii), Style::new());
        }
    }

    fn cells(&self, row: usize, _columns: &[Column; COLUMNS]) -> [Cell; COLUMNS] {
        let Some(row) = self.state.list.get(row) else { return std::array::from_fn(|_| Cell::Empty) };
        let (counters, unit, zone) = (row.counters, self.state.display.unit, &self.state.time.zone);
        let bar = Bar { sent: counters.sent, received: counters.received, full: self.largest };
        let seen = |cell: fn(&store::Seen) -> i64| {
            row.seen.as_ref().map_or(Cell::Empty, |seen| Cell::Text(Labels::seen(cell(seen), zone)))
        };
        let change = row.compared.as_ref().map_or(Cell::Empty, |compared| {
            let text = compared.change_text();
            Cell::Number(if self.theme.ascii { text.replace('\u{d7}', "x") } else { text })
        });
        [
            Cell::Number(count_cell(counters.connections)),
            Cell::Number(unit.cell(counters.received)),
            Cell::Number(unit.cell(counters.sent)),
            change,
            seen(|seen| seen.first),
            seen(|seen| seen.last),
            row.seen.map_or(Cell::Empty, |seen| Cell::Number(count_cell(seen.digests))),
            Cell::Bar(bar, self.colour(row)),
        ]
    }

    fn empty_message(&self) -> String {
        empty_message(self.state)
    }
}

/// Explains why there are no rows.
pub fn empty_message(state: &ViewState) -> String {
    let period = || state.time.describe(state.period());
    if state.queries.error.is_some() {
        String::new()
    } else if state.queries.waiting {
        match &state.server {
            Some(server) => format!("asking {server} ..."),
            None => "asking the log ...".to_owned(),
        }
    } else if !state.list.find.is_empty() {
        "no row has this text in it; Esc shows all".to_owned()
    } else if state.only() == Only::New {
        format!("nothing is new: {}; n shows all", period())
    } else if state.only() == Only::Changed {
        format!("no program changed: {}; N shows all", period())
    } else if state.dimension().is_none() {
        format!("no events: {}; t and h look elsewhere", period())
    } else {
        format!("nothing recorded: {}; t and h look elsewhere", period())
    }
}
