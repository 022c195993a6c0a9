//! The connections of the selected program, and where it listens.

use std::{array, ops::Range};

use jiff::tz::TimeZone;
use ratatui::{layout::Rect, style::Style};

use super::time_of_day::time_of_day;
use crate::{
    term::{
        canvas::Canvas,
        text::{shorten, width},
        widgets::{Cell, Column, ColumnFit, ListLayout, ListSource, SelectionMark, amount_width, draw_list},
    },
    top::{
        connection::Connection,
        live_state::LiveState,
        sort_column::SortColumn,
        state::{Pane, TopState},
    },
};
use model::text::units::grouped;

/// Columns of the name in the title, at least.
const MIN_NAME_WIDTH: usize = 16;
/// Between a program and the peer of its connection.
const SEPARATOR: &str = " with ";
const PROCESS_WIDTH: u16 = 8;
const AGE_WIDTH: u16 = 6;
const LOCAL_WIDTH: u16 = 24;

/// Draws title, listening sockets and the list. Returns the area of the rows.
pub fn draw(mut canvas: Canvas<'_>, state: &mut TopState, live: &LiveState, zone: &TimeZone) -> Rect {
    let area = canvas.area;
    if area.height < 3 || area.width < 4 {
        return Rect::default();
    }
    draw_title(&mut canvas, state, live, zone);
    let mut body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let listening = &state.connections.rows.listening;
    if !listening.is_empty() && body.height >= 4 {
        let listening: Vec<&str> = listening.iter().map(String::as_str).collect();
        let mut line = canvas.within(body);
        let x = line.put(1, 0, "listens on ", line.theme.dim()) + 1;
        line.put(x, 0, &listening.join(", "), Style::new());
        body = Rect { y: body.y + 1, height: body.height - 1, ..body };
    }
    let mut position = state.connections.selection.position;
    let mark = if state.focus == Pane::Connections { SelectionMark::Row } else { SelectionMark::None };
    let connections = Connections { state, live };
    let rows = draw_list(canvas.within(body), &connections, &mut position, mark);
    state.connections.selection.position = position;
    rows
}

/// Draws a rule with the program, the selected connection if there is one, and their exact bytes.
fn draw_title(canvas: &mut Canvas<'_>, state: &TopState, live: &LiveState, zone: &TimeZone) {
    let Some(program) = state.program() else { return canvas.rule("Connections") };
    let (peer, total, details) = match state.connection().and_then(|id| live.connections.get(&id)) {
        Some(connection) => {
            let mut details = vec![format!("process {}", connection.process)];
            if !connection.domain_source.is_empty() {
                details.push(format!("name from {}", connection.domain_source));
            }
            details
                .extend(connection.began.map(|began| format!("since {}", time_of_day(began as i64, zone))));
            (Some(connection.peer.as_str()), connection.total, details)
        }
        None => (None, program.total, Vec::new()),
    };
    let columns = usize::from(canvas.area.width);
    let mut facts = format!("{} B received, {} B sent", grouped(total.received), grouped(total.sent));
    if width(&facts) + MIN_NAME_WIDTH + 8 > columns {
        facts =
            format!("{} received, {} sent", state.unit.write(total.received), state.unit.write(total.sent));
    }
    // Details are added as far as they fit beside the whole name; the name is shortened before the bytes are.
    let whole = width(&program.label) + peer.map_or(0, |peer| width(peer) + SEPARATOR.len());
    for detail in details {
        if whole + width(&facts) + width(&detail) + 2 + 8 <= columns {
            facts += &format!(", {detail}");
        }
    }
    let available = columns.saturating_sub(width(&facts) + 8).max(MIN_NAME_WIDTH);
    let name = title(&program.label, peer, available, canvas.theme.ascii);
    canvas.rule(&name);
    let inside = Rect { width: canvas.area.width - 1, ..canvas.area };
    canvas.within(inside).put_over(width(&name) as u16 + 5, 0, &format!(" {facts} "), Style::new());
}

/// The name of a program, and the peer of its selected connection.
fn title(program: &str, peer: Option<&str>, columns: usize, ascii: bool) -> String {
    let Some(peer) = peer else { return shorten(program, columns, ascii) };
    let columns = columns.saturating_sub(SEPARATOR.len());
    // The file name says more than the directories; the peer may take what the program leaves.
    let file = program.rsplit('/').next().unwrap_or(program);
    let program = if width(program) + width(peer) <= columns { program } else { file };
    let program = shorten(program, columns.saturating_sub(width(peer)).max(columns / 2), ascii);
    let rest = columns.saturating_sub(width(&program));
    format!("{program}{SEPARATOR}{}", shorten(peer, rest, ascii))
}

/// The connections of a state, for the list.
struct Connections<'a> {
    state: &'a TopState,
    live: &'a LiveState,
}

impl Connections<'_> {
    /// The connection of a row. It may be gone since the rows were built.
    fn get(&self, row: usize) -> Option<&Connection> {
        self.live.connections.get(self.state.connections.rows.ids.get(row)?)
    }
}

impl ListSource<7> for Connections<'_> {
    const MIN_HEADED_HEIGHT: u16 = 1;
    const MESSAGE_LINE: u16 = 0;

    fn len(&self) -> usize {
        self.state.connections.rows.ids.len()
    }

    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<7> {
        let totals = visible.filter_map(|row| self.get(row)).flat_map(|connection| {
            let total = connection.total;
            [total.sent, total.received]
        });
        let amount = amount_width(totals.map(|bytes| self.state.unit.write(bytes)));
        let mut fit = ColumnFit::new(width);
        // The most important column first.
        let received_rate = fit.take(amount, 12);
        let sent_rate = fit.take(amount, 12);
        let age = fit.take(AGE_WIDTH, 24);
        let received = fit.take(amount, 24);
        let sent = fit.take(amount, 24);
        let process = fit.take(PROCESS_WIDTH, 44);
        let local = fit.take(LOCAL_WIDTH, 44);
        let sort = self.state.sort;
        let by_rate = matches!(sort, SortColumn::Second | SortColumn::TenSeconds);
        let by_total = sort == SortColumn::Total;
        ListLayout {
            label: Column::text("Connections", sort == SortColumn::Name, fit.rest()),
            columns: [
                Column::text("from", false, local),
                Column::number("process", false, process),
                Column::number("age", sort == SortColumn::Connections, age),
                Column::number("recv/s", by_rate, received_rate),
                Column::number("sent/s", by_rate, sent_rate),
                Column::number("received", by_total, received),
                Column::number("sent", by_total, sent),
            ],
        }
    }

    fn draw_label(&self, mut canvas: Canvas<'_>, row: usize) {
        let Some(connection) = self.get(row) else { return };
        let (columns, theme) = (canvas.area.width, canvas.theme);
        let style = if connection.ended.is_some() { theme.dim() } else { Style::new() };
        let arrow = match (connection.is_outgoing, theme.ascii) {
            (true, false) => "→",
            (false, false) => "←",
            (true, true) => ">",
            (false, true) => "<",
        };
        let mut x = 1 + canvas.put(1, 0, arrow, theme.dim()) + 1;
        let peer = shorten(&connection.peer, usize::from(columns.saturating_sub(x)), theme.ascii);
        x += canvas.put(x, 0, &peer, style) + 1;
        // For an accepted connection the local port says more than that of the peer.
        let with_port = format!("{} to {}", connection.protocol, connection.local_port);
        let preferred = if connection.is_outgoing { &connection.protocol } else { &with_port };
        for text in [preferred, &connection.protocol] {
            if usize::from(x) + text.len() <= columns.into() {
                canvas.put(x, 0, text, theme.dim());
                break;
            }
        }
    }

    fn cells(&self, row: usize, _columns: &[Column; 7]) -> [Cell; 7] {
        let Some(connection) = self.get(row) else { return array::from_fn(|_| Cell::Empty) };
        let age = match (connection.ended, connection.began) {
            (Some(_), _) => "ended".to_owned(),
            (None, Some(began)) => age_text(self.live.time - began),
            (None, None) => String::new(),
        };
        let (rate, unit) = (connection.rate.second(&self.live.clock), self.state.unit);
        [
            Cell::Text(connection.local.clone()),
            Cell::Number(connection.process.to_string()),
            Cell::Number(age),
            Cell::Number(unit.cell(rate.received)),
            Cell::Number(unit.cell(rate.sent)),
            Cell::Number(unit.cell(connection.total.received)),
            Cell::Number(unit.cell(connection.total.sent)),
        ]
    }

    fn empty_message(&self) -> String {
        let text = match (self.state.program(), self.state.connections.find.is_empty()) {
            (None, _) => "",
            (_, true) => "no connections",
            (_, false) => "no peer has this text in it; Esc shows all",
        };
        text.to_owned()
    }
}

/// The age of a connection in its largest unit.
fn age_text(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
