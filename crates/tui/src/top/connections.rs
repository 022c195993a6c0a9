//! The connections of the selected program, and where it listens.

use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    draw::{clock, rule},
    model::{Connection, Model},
    programs::mark,
    rows::Sort,
    state::{Pane, State},
};
use crate::term::{
    text::{shorten, width},
    theme::Theme,
    widgets::{self, Cell, put},
};
use model::text::format::grouped;

/// Columns that a name has in the title at least.
const LEAST_NAME: usize = 16;

/// Columns: 0 wide where there is no room.
struct Columns {
    label: Cell,
    local: Cell,
    process: Cell,
    age: Cell,
    sent_rate: Cell,
    received_rate: Cell,
    sent: Cell,
    received: Cell,
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
        let received_rate = width(amount, 12);
        let sent_rate = width(amount, 12);
        let age = width(6, 24);
        let received = width(amount, 24);
        let sent = width(amount, 24);
        let process = width(8, 44);
        let local = width(24, 44);
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
            local: place(local),
            process: place(process),
            age: place(age),
            sent_rate: place(sent_rate),
            received_rate: place(received_rate),
            sent: place(sent),
            received: place(received),
        }
    }
}

/// Draws title, heading and rows, and returns where the rows are.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &mut State,
    model: &Model,
    (theme, zone): (Theme, &TimeZone),
) -> Rect {
    if area.height < 3 || area.width < 4 {
        return Rect::default();
    }
    title(buffer, area, state, model, (theme, zone));
    let mut body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    if !state.of_it.listening.is_empty() && body.height >= 4 {
        let listening: Vec<&str> = state.of_it.listening.iter().map(String::as_str).collect();
        let x = put(buffer, body, 1, 0, "listens on ", theme.dim(), theme) + 1;
        put(buffer, body, x, 0, &listening.join(", "), Style::new(), theme);
        body = Rect { y: body.y + 1, height: body.height - 1, ..body };
    }
    let rows = Rect { y: body.y + 1, height: body.height - 1, ..body };
    state.connections.scroll(rows.height.into(), state.of_it.ids.len());
    let state = &*state;
    let ids = || state.of_it.ids.iter().enumerate().skip(state.connections.top).take(rows.height.into());
    let visible = || ids().filter_map(|(number, id)| Some((number, model.connections.get(id)?)));
    let counters = visible().flat_map(|(_, known)| [known.total.sent, known.total.received]);
    let amount = counters.map(|bytes| width(&state.unit.write(bytes))).max().unwrap_or(0);
    let columns = Columns::new(area.width, amount.clamp(9, 24) as u16);
    heading(buffer, body, &columns, state, theme);
    if state.of_it.ids.is_empty() {
        let text = match (state.row(), state.find[Pane::Connections as usize].is_empty()) {
            (None, _) => "",
            (_, true) => "no connections",
            (_, false) => "no peer has this text in it; Esc shows all",
        };
        put(buffer, rows, 1, 0, text, theme.dim(), theme);
    }
    for (y, (number, connection)) in (0..rows.height).zip(visible()) {
        let place = Rect { y: rows.y + y, height: 1, ..rows };
        draw_row(buffer, place, &columns, connection, (state, model), theme);
        if number == state.connections.selected && state.focus == Pane::Connections {
            mark(buffer, place, &(0, 0), true, theme);
        }
    }
    rows
}

/// The program, or the connection that is selected, with exact bytes.
fn title(buffer: &mut Buffer, area: Rect, state: &State, model: &Model, (theme, zone): (Theme, &TimeZone)) {
    let (name, total, more) = match state.connection().and_then(|id| model.connections.get(&id)) {
        Some(connection) => {
            let mut more = vec![format!("process {}", connection.process)];
            if !connection.source.is_empty() {
                more.push(format!("name from {}", connection.source));
            }
            more.extend(connection.began.map(|began| format!("since {}", clock(began as i64, zone))));
            (connection.peer.as_str(), connection.total, more)
        }
        None => match state.row() {
            Some(row) => (row.label.as_str(), row.total, Vec::new()),
            None => return rule(buffer, area, "Connections", theme.strong(), theme),
        },
    };
    let mut facts = format!("{} B received, {} B sent", grouped(total.received), grouped(total.sent));
    // Bytes are never cut, the name before them; the rest is said if there is room for all of it.
    for fact in more {
        if width(name) + width(&facts) + width(&fact) + 2 + 8 <= area.width.into() {
            facts += &format!(", {fact}");
        }
    }
    let room = usize::from(area.width).saturating_sub(width(&facts) + 8).max(LEAST_NAME);
    let name = shorten(name, room, theme.ascii);
    rule(buffer, area, &name, theme.strong(), theme);
    let x = width(&name) as u16 + 5;
    let inside = Rect { width: area.width - 1, ..area };
    put(buffer, inside, x, 0, &format!(" {facts} "), Style::new(), theme);
}

fn heading(buffer: &mut Buffer, area: Rect, columns: &Columns, state: &State, theme: Theme) {
    let mut head = |cell: Cell, text: &str, sorted: bool, right: bool| {
        widgets::heading(buffer, area, cell, text, (sorted, right), theme);
    };
    let by_rate = matches!(state.sort, Sort::Second | Sort::TenSeconds);
    head((1, columns.label.1.saturating_sub(1)), "Connections", state.sort == Sort::Name, false);
    head(columns.local, "from", false, false);
    head(columns.process, "process", false, true);
    head(columns.age, "age", state.sort == Sort::Connections, true);
    head(columns.sent_rate, "sent/s", by_rate, true);
    head(columns.received_rate, "recv/s", by_rate, true);
    head(columns.sent, "sent", state.sort == Sort::Total, true);
    head(columns.received, "received", state.sort == Sort::Total, true);
}

fn draw_row(
    buffer: &mut Buffer,
    area: Rect,
    columns: &Columns,
    connection: &Connection,
    (state, model): (&State, &Model),
    theme: Theme,
) {
    let style = if connection.ended.is_some() { theme.dim() } else { Style::new() };
    let arrow = match (connection.opened, theme.ascii) {
        (true, false) => "→",
        (false, false) => "←",
        (true, true) => ">",
        (false, true) => "<",
    };
    let mut x = 1 + put(buffer, area, 1, 0, arrow, theme.dim(), theme) + 1;
    let room = usize::from(columns.label.1.saturating_sub(x));
    let peer = shorten(&connection.peer, room, theme.ascii);
    x += put(buffer, area, x, 0, &peer, style, theme) + 1;
    let to = format!("{} to {}", connection.protocol, connection.local_port);
    // Of an accepted connection it says more to which port it came.
    let whole = if connection.opened { &connection.protocol } else { &to };
    for text in [whole, &connection.protocol] {
        if usize::from(x) + text.len() <= columns.label.1.into() {
            put(buffer, area, x, 0, text, theme.dim(), theme);
            break;
        }
    }
    let mut cell = |cell: Cell, text: &str| widgets::number(buffer, area, cell, text, theme);
    cell(columns.process, &connection.process.to_string());
    let age = match (connection.ended, connection.began) {
        (Some(_), _) => "ended".to_owned(),
        (None, Some(began)) => age(model.time - began),
        (None, None) => String::new(),
    };
    cell(columns.age, &age);
    let rate = connection.rate.second(&model.clock);
    cell(columns.sent_rate, &state.unit.cell(rate.sent));
    cell(columns.received_rate, &state.unit.cell(rate.received));
    cell(columns.sent, &state.unit.cell(connection.total.sent));
    cell(columns.received, &state.unit.cell(connection.total.received));
    if columns.local.1 > 0 {
        let local = shorten(&connection.local, columns.local.1.into(), theme.ascii);
        put(buffer, area, columns.local.0, 0, &local, theme.dim(), theme);
    }
}

/// How long it has been there.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
