//! The list of programs.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    model::Mark,
    rates::Bytes,
    rows::{Row, Sort},
    state::{Pane, State},
};
use crate::term::{
    text::width,
    theme::Theme,
    widgets::{self, Bar, Cell, mirrored_bar, put},
};
use model::text::format;

/// Columns: 0 wide where there is no room.
struct Columns {
    label: Cell,
    connections: Cell,
    sent: Cell,
    received: Cell,
    /// Of ten seconds: both together, or sent and received.
    ten_seconds: [Cell; 2],
    total: [Cell; 2],
    bar: Cell,
}

impl Columns {
    fn new(area: u16, amount: u16) -> Self {
        let mut rest = area;
        let mut width = |columns: u16, least: u16| {
            let fits = rest >= columns + 2 + least;
            if fits {
                rest -= columns + 2;
            }
            if fits { columns } else { 0 }
        };
        // What matters most first; what is left is for the name.
        let received = width(amount, 12);
        let sent = width(amount, 12);
        let connections = width(6, 16);
        let total = width(amount, 20);
        let ten_seconds = width(amount, 20);
        let more_total = width(amount, 40);
        let more_ten_seconds = if more_total > 0 { width(amount, 40) } else { 0 };
        let bar = width(31, 36);
        let label = rest;
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
            ten_seconds: [place(more_ten_seconds), place(ten_seconds)],
            total: [place(more_total), place(total)],
            bar: place(bar),
        }
    }
}

/// Draws heading and rows, and returns where the rows are.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &mut State, theme: Theme) -> Rect {
    let headed = area.height >= 3;
    let lines = area.height - u16::from(headed);
    let rows = Rect { y: area.bottom() - lines, height: lines, ..area };
    state.programs.scroll(lines.into(), state.rows.len());
    let state = &*state;
    let visible = || state.rows.iter().enumerate().skip(state.programs.top).take(lines.into());
    let counters = visible().flat_map(|(_, row)| [row.total, row.ten_seconds, row.second]);
    let amount = counters.map(|bytes| width(&state.unit.write(bytes.sum()))).max().unwrap_or(0);
    let columns = Columns::new(area.width, amount.clamp(9, 24) as u16);
    if headed {
        heading(buffer, area, &columns, state, theme);
    }
    if state.rows.is_empty() {
        let text = match state.find[Pane::Programs as usize].is_empty() {
            true => "nobody has a connection",
            false => {
                "no program has this text in its name, command line, parents, unit or container; Esc shows all"
            }
        };
        put(buffer, rows, 1, u16::from(lines > 2), text, theme.dim(), theme);
        return rows;
    }
    let most = state.rows.iter().map(|row| row.second.sent.max(row.second.received)).max().unwrap_or(0);
    for (y, (number, row)) in (0..lines).zip(visible()) {
        let place = Rect { y: rows.y + y, height: 1, ..rows };
        draw_row(buffer, place, &columns, row, most, state, theme);
        if number == state.programs.selected {
            mark(buffer, place, &columns.bar, state.focus == Pane::Programs, theme);
        }
    }
    rows
}

/// Marks the selected row: where the keys move in the whole line, elsewhere its beginning.
pub fn mark(buffer: &mut Buffer, place: Rect, bar: &Cell, focus: bool, theme: Theme) {
    if focus {
        // Not the bar: parts of it are reversed already.
        let marked = if bar.1 > 0 { bar.0.saturating_sub(1) } else { place.width };
        buffer.set_style(Rect { width: marked.min(place.width), ..place }, theme.selected());
    } else {
        put(buffer, place, 0, 0, ">", theme.strong(), theme);
    }
}

fn heading(buffer: &mut Buffer, area: Rect, columns: &Columns, state: &State, theme: Theme) {
    let mut head = |cell: Cell, text: &str, sort: Sort, right: bool| {
        widgets::heading(buffer, area, cell, text, (state.sort == sort, right), theme);
    };
    let title = if state.tree { "Programs, below those who started them" } else { "Programs" };
    head((1, columns.label.1.saturating_sub(1)), title, Sort::Name, false);
    head(columns.connections, "conns", Sort::Connections, true);
    head(columns.sent, "sent/s", Sort::Second, true);
    head(columns.received, "recv/s", Sort::Second, true);
    for (cells, sort, both, [sent, received]) in [
        (&columns.ten_seconds, Sort::TenSeconds, "10 s avg", ["sent 10s", "recv 10s"]),
        (&columns.total, Sort::Total, "total", ["sent", "received"]),
    ] {
        head(cells[0], sent, sort, true);
        head(cells[1], if cells[0].1 > 0 { received } else { both }, sort, true);
    }
    let half = columns.bar.1 / 2;
    widgets::heading(buffer, area, (columns.bar.0, half), "sent", (false, true), theme);
    widgets::heading(buffer, area, (columns.bar.0 + half + 1, half), "received", (false, false), theme);
}

fn draw_row(
    buffer: &mut Buffer,
    area: Rect,
    columns: &Columns,
    row: &Row,
    most: u64,
    state: &State,
    theme: Theme,
) {
    let indent = if state.tree { (row.depth() * 2) as u16 } else { 0 };
    let x = (1 + indent).min(columns.label.1);
    let colour = theme.program(row.path());
    let badge = match row.mark {
        Some(Mark::New) => Some(("new", theme.new_thing())),
        Some(Mark::Wrong) => Some(("changed", theme.wrong())),
        None => None,
    };
    let mut room = columns.label.1.saturating_sub(x);
    if let Some((text, style)) = badge
        && room > 20
    {
        let taken = text.len() as u16;
        room -= taken + 1;
        put(buffer, area, columns.label.1 - taken, 0, text, style, theme);
    }
    widgets::program(buffer, area, (x, room), &row.label, colour, theme);
    let mut amount = |cell: Cell, bytes: u64| {
        widgets::number(buffer, area, cell, &state.unit.cell(bytes), theme);
    };
    amount(columns.sent, row.second.sent);
    amount(columns.received, row.second.received);
    for (cells, bytes) in [(&columns.ten_seconds, row.ten_seconds), (&columns.total, row.total)] {
        let Bytes { sent, received } = bytes;
        amount(cells[0], sent);
        amount(cells[1], if cells[0].1 > 0 { received } else { bytes.sum() });
    }
    widgets::number(buffer, area, columns.connections, &format::count_cell(row.open), theme);
    if columns.bar.1 > 0 {
        let place = Rect { x: area.x + columns.bar.0, width: columns.bar.1, ..area };
        let bar = Bar { sent: row.second.sent, received: row.second.received, most };
        mirrored_bar(buffer, place.intersection(area), bar, colour, theme);
    }
}
