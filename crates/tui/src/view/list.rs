//! The rows: value, connections, sent, received, bars.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{draw::window_text, state::State, tabs::TABS};
use crate::term::{
    text::{shorten, width},
    theme::Theme,
    widgets::{self, Bar, Cell, mirrored_bar, put},
};
use model::text::format;
use store::{Dimension, Row, Sort, Value};

/// Columns of a list: where each begins, and its width; 0: there is no room for it.
struct Columns {
    label: Cell,
    connections: Cell,
    sent: Cell,
    received: Cell,
    bar: Cell,
}

impl Columns {
    fn new(area: u16, amount: u16) -> Self {
        let connections = if area >= 56 { 8 } else { 0 };
        let sent = if area >= 44 { amount } else { 0 };
        let received = if area >= 28 { amount } else { 0 };
        let mut rest = area;
        for column in [connections, sent, received] {
            if column > 0 {
                rest = rest.saturating_sub(column + 2);
            }
        }
        // An odd number: the axis is in the middle.
        let bar = if rest >= 44 { (rest / 5 * 2).min(81) | 1 } else { 0 };
        let label = rest.saturating_sub(if bar > 0 { bar + 2 } else { 0 });
        let mut x = label + 2;
        let mut place = |columns: u16| {
            let at = (x, columns);
            if columns > 0 {
                x += columns + 2;
            }
            at
        };
        Self {
            label: (0, label),
            connections: place(connections),
            sent: place(sent),
            received: place(received),
            bar: place(bar),
        }
    }
}

/// Draws heading and rows, and returns where the rows are.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &mut State, theme: Theme) -> Rect {
    let headed = area.height >= 3;
    let lines = area.height - u16::from(headed);
    let rows = Rect { y: area.bottom() - lines, height: lines, ..area };
    state.page = usize::from(lines);
    // The selected row is on the screen, with as little movement as can be.
    let most_top = state.shown.len().saturating_sub(state.page);
    state.top = state.top.min(most_top).min(state.selected);
    if state.page > 0 && state.selected >= state.top + state.page {
        state.top = state.selected + 1 - state.page;
    }
    let state = &*state;
    let visible: Vec<&Row> = state
        .shown
        .iter()
        .skip(state.top)
        .take(state.page)
        .filter_map(|index| state.rows.rows.get(*index))
        .collect();
    let cells = visible.iter().flat_map(|row| [row.counters.sent, row.counters.received]);
    let amount = cells.map(|amount| width(&state.unit.write(amount))).max().unwrap_or(0).clamp(9, 24) as u16;
    let columns = Columns::new(area.width, amount);
    if headed {
        heading(buffer, area, &columns, state, theme);
    }
    if visible.is_empty() {
        put(buffer, rows, 1, u16::from(lines > 2), &nothing(state), theme.dim(), theme);
        return rows;
    }
    // One scale for all rows, also those that are not on the screen.
    let most =
        state.rows.rows.iter().map(|row| row.counters.sent.max(row.counters.received)).max().unwrap_or(0);
    for (line, row) in visible.iter().enumerate() {
        let place = Rect { y: rows.y + line as u16, height: 1, ..rows };
        draw_row(buffer, place, &columns, (row, most), state, theme);
        if state.top + line == state.selected {
            // Not the bar: parts of it are reversed already.
            let marked = if columns.bar.1 > 0 { columns.bar.0.saturating_sub(1) } else { place.width };
            buffer.set_style(Rect { width: marked.min(place.width), ..place }, theme.selected());
        }
    }
    rows
}

/// Why there are no rows.
fn nothing(state: &State) -> String {
    if state.error.is_some() {
        String::new()
    } else if state.waiting {
        "asking the log ...".to_owned()
    } else if !state.find.is_empty() {
        "no row has this text in it; Esc shows all".to_owned()
    } else {
        format!("nothing recorded: {}; t and h look elsewhere", window_text(state, state.window()))
    }
}

fn heading(buffer: &mut Buffer, area: Rect, columns: &Columns, state: &State, theme: Theme) {
    let mut head = |cell: Cell, text: &str, sorted: bool, right: bool| {
        widgets::heading(buffer, area, cell, text, (sorted, right), theme);
    };
    let by_value = matches!(state.sort, Sort::Dimension(_));
    head((1, columns.label.1.saturating_sub(1)), TABS[state.tab].title, by_value, false);
    head(columns.connections, "conns", state.sort == Sort::Connections, true);
    let both = state.sort == Sort::Total;
    head(columns.sent, "sent", both || state.sort == Sort::Sent, true);
    head(columns.received, "received", both || state.sort == Sort::Received, true);
    let half = columns.bar.1 / 2;
    head((columns.bar.0, half), "sent", false, true);
    head((columns.bar.0 + half + 1, half), "received", false, false);
}

/// The bytes of a program's path, where the row is one: it has a colour then.
fn program(dimension: Dimension, row: &Row) -> Option<&[u8]> {
    match (dimension, row.values.first()) {
        (
            Dimension::Executable | Dimension::ParentExecutable | Dimension::GrandparentExecutable,
            Some(Value::Bytes(path)),
        ) if !path.is_empty() => Some(path),
        _ => None,
    }
}

fn draw_row(
    buffer: &mut Buffer,
    area: Rect,
    columns: &Columns,
    (row, most): (&Row, u64),
    state: &State,
    theme: Theme,
) {
    let dimension = state.dimension();
    let program = program(dimension, row);
    let colour = program.map_or(theme.plain_bar(), |path| theme.program(path));
    let label =
        row.values.first().map(|value| state.labels.text(dimension, value, &state.zone)).unwrap_or_default();
    let room = columns.label.1.saturating_sub(1);
    if program.is_some() {
        widgets::program(buffer, area, (1, room), &label, colour, theme);
    } else {
        let label = shorten(&label, room.into(), theme.ascii);
        put(buffer, area, 1, 0, &label, Style::new(), theme);
    }
    let number =
        |buffer: &mut Buffer, cell: Cell, text: String| widgets::number(buffer, area, cell, &text, theme);
    let counters = row.counters;
    number(buffer, columns.connections, format::count_cell(counters.connections));
    number(buffer, columns.sent, state.unit.cell(counters.sent));
    number(buffer, columns.received, state.unit.cell(counters.received));
    if columns.bar.1 > 0 {
        let place = Rect { x: area.x + columns.bar.0, width: columns.bar.1, ..area };
        let bar = Bar { sent: counters.sent, received: counters.received, most };
        mirrored_bar(buffer, place.intersection(area), bar, colour, theme);
    }
}
