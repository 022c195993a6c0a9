//! The list of events, and the detail of one.

use std::ops::Range;

use calendar::Offsets;
use ratatui::{layout::Rect, style::Style};

use super::list::empty_message;
use crate::{
    term::{
        canvas::Canvas,
        text::{shorten, shorten_end, shorten_path, width},
        theme::Theme,
        widgets::{Cell, Column, ColumnFit, ListLayout, ListSource, SelectionMark, draw_list, wrap},
    },
    view::{event_rows, state::ViewState},
};
use model::{
    Event, EventKind,
    text::{sanitize, units::grouped},
};
use store::HostEvent;

/// Columns of a time with seconds and perhaps its offset, and of the longest kind.
const TIME_WIDTH: u16 = 19;
const OFFSET_WIDTH: u16 = 6;
const KIND_WIDTH: u16 = 13;
const HOST_WIDTH: u16 = 16;
const MIN_TEXT_WIDTH: u16 = 20;
/// Width of the list from which it has a column for the program.
const MIN_WIDTH_PROGRAM: u16 = 76;
const MAX_PROGRAM_WIDTH: u16 = 40;

/// The events of a state, for the list.
struct Rows<'a> {
    state: &'a ViewState,
    theme: Theme,
}

/// Draws the list and returns the area of its rows.
pub fn draw(canvas: Canvas<'_>, state: &mut ViewState) -> Rect {
    let mut position = state.list.position;
    let rows = Rows { state, theme: canvas.theme };
    let area = draw_list(canvas, &rows, &mut position, SelectionMark::Row);
    state.list.position = position;
    area
}

/// The style of the kind of an event: that of its consequence, if it is a loss.
fn style(theme: Theme, event: &Event) -> Style {
    match (event_rows::consequence(event), event.kind) {
        (Some(consequence), _) => theme.loss(consequence),
        (None, EventKind::Alert) => theme.novel(),
        (None, EventKind::Error) => theme.wrong(),
        _ => Style::new(),
    }
}

impl Rows<'_> {
    fn found(&self, row: usize) -> Option<&HostEvent> {
        self.state.list.get(row)?.event.as_deref()
    }

    fn event(&self, row: usize) -> Option<&Event> {
        self.found(row).map(|found| &found.event)
    }

    fn time_text(&self, event: &Event) -> String {
        self.state.list.event_times.text(event.time)
    }
}

impl ListSource<4> for Rows<'_> {
    fn len(&self) -> usize {
        self.state.list.len()
    }

    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<4> {
        let has_offsets = visible.start < visible.end
            && self
                .event(visible.start)
                .is_some_and(|event| crate::term::text::width(&self.time_text(event)) > TIME_WIDTH.into());
        let time = 1 + TIME_WIDTH + if has_offsets { OFFSET_WIDTH } else { 0 };
        let mut fit = ColumnFit::new(width.saturating_sub(time));
        let host = match self.state.is_of_server() {
            true => fit.take(HOST_WIDTH, MIN_TEXT_WIDTH),
            false => 0,
        };
        let kind = fit.take(KIND_WIDTH, 0);
        let program = match width >= MIN_WIDTH_PROGRAM {
            true => fit.take((fit.rest() / 3).min(MAX_PROGRAM_WIDTH), MIN_TEXT_WIDTH),
            false => 0,
        };
        let text = fit.take(fit.rest().saturating_sub(2), 0);
        ListLayout {
            label: Column::text("Time", true, time.min(width)),
            columns: [
                Column::text("host", false, host),
                Column::text("kind", false, kind),
                Column::text("program", false, program),
                Column::text("what happened", false, text),
            ],
        }
    }

    fn draw_label(&self, mut canvas: Canvas<'_>, row: usize) {
        let Some(event) = self.event(row) else { return };
        let columns = usize::from(canvas.area.width.saturating_sub(1));
        canvas.put(1, 0, &shorten(&self.time_text(event), columns, self.theme.ascii), Style::new());
    }

    fn cells(&self, row: usize, columns: &[Column; 4]) -> [Cell; 4] {
        let Some(HostEvent { host, event }) = self.found(row) else {
            return std::array::from_fn(|_| Cell::Empty);
        };
        let labels = &self.state.display.labels;
        let (program, text) = (labels.sentence(&event.program_text()), labels.sentence(&event.sentence()));
        let ascii = self.theme.ascii;
        let end = |text: String, columns: u16| match width(&text) > columns.into() {
            true => shorten_end(&text, columns.into(), ascii),
            false => text,
        };
        [
            Cell::Text(end(labels.sentence(&sanitize::terminal(host)), columns[0].width)),
            Cell::Styled(event.kind.name().replace('_', " "), style(self.theme, event)),
            Cell::Text(shorten_path(&program, columns[2].width.into(), ascii)),
            Cell::Styled(end(text, columns[3].width), Style::new()),
        ]
    }

    fn empty_message(&self) -> String {
        empty_message(self.state)
    }
}

/// Draws everything about the selected event; its sentence is broken into lines.
pub fn draw_detail(mut canvas: Canvas<'_>, state: &ViewState) {
    let Some(found) = state.list.selected().and_then(|row| row.event.as_deref()) else { return };
    let event = &found.event;
    let (area, theme) = (canvas.area, canvas.theme);
    let text = |seconds: i64| Offsets::new([seconds], &state.time.zone).text(seconds);
    canvas.rule(&format!("{}, {}", event.kind.name().replace('_', " "), text(event.time)));
    let columns = usize::from(area.width.saturating_sub(2));
    let safe = |text: &str| state.display.labels.sentence(text);
    let mut lines: Vec<(String, Style)> = Vec::new();
    let mut add = |text: &str, style: Style| {
        lines.extend(wrap(&safe(text), columns).into_iter().map(|line| (line, style)));
    };
    add(&event.sentence(), Style::new());
    if let Some(consequence) = event_rows::consequence(event) {
        add(&format!("{}.", consequence.clause()), style(theme, event));
    }
    let mut add_fact = |name: &str, fact: String| {
        if !fact.is_empty() {
            add(&format!("{name}: {fact}"), theme.dim());
        }
    };
    add_fact("host", sanitize::terminal(&found.host));
    add_fact("since", event.begin.map(text).unwrap_or_default());
    add_fact("program", event.program_text());
    let user = |uid: Option<u32>| {
        let uid = uid.map(|uid| store::Value::Integer(uid.into()));
        uid.map(|uid| state.label(store::Dimension::Uid, &uid)).unwrap_or_default()
    };
    add_fact("user", user(event.uid));
    add_fact("SHA-256", event.sha256.map(model::Sha256::to_hex).unwrap_or_default());
    add_fact("count", if event.count == 1 { String::new() } else { grouped(event.count) });
    let writer = event.writer.as_ref().map(|writer| {
        let path = model::text::sanitize::terminal(&writer.path);
        format!("{path}, process {}, user {}", writer.pid, user(writer.uid))
    });
    add_fact("written by", writer.unwrap_or_default());
    for (y, (line, style)) in (1..area.height).zip(&lines) {
        canvas.put(1, y, line, *style);
    }
}
