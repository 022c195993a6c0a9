//! The last line: search, notice or losses, the grain of old times, and the extent of the log.

use calendar::point_text;

use crate::{
    term::{canvas::Canvas, widgets::StatusLine},
    view::state::ViewState,
};

/// Draws the line. A notice replaces everything after the search.
pub fn draw(canvas: Canvas<'_>, state: &ViewState) {
    let theme = canvas.theme;
    let mut line = StatusLine::new(canvas);
    let list = &state.list;
    if list.finding || !list.find.is_empty() {
        let cursor = if list.finding { "_" } else { "" };
        let text = state.display.labels.safe(list.find.as_str());
        line.put(&format!("find: {text}{cursor}"), theme.strong());
    }
    if let Some(notice) = &state.notice {
        return line.put(notice, theme.novel());
    }
    if let Some([text, short]) = state.stale_texts() {
        line.put_longest(&[&text, &short], theme.novel());
    }
    if let Some(worst) = list.answer.losses.worst() {
        let is_incomplete = list.answer.losses.is_anything_missing();
        let label = if is_incomplete { "incomplete: " } else { "" };
        let clause = worst.clause();
        let all = state.display.labels.sentence(&format!("{label}{}", list.answer.losses.summary()));
        let shortest = if is_incomplete { "incomplete" } else { "" };
        line.put_longest(&[&all, &format!("{label}{clause}"), clause, shortest], theme.loss(worst));
    }
    if let Some(since) = list.answer.sums_before {
        let since = point_text(since, &state.time.zone);
        line.put(&format!("before {since} in quarters of an hour only"), theme.novel());
    }
    match list.answer.extent {
        Some((first, last)) => {
            let (first, last) = (point_text(first, &state.time.zone), point_text(last, &state.time.zone));
            let what = if state.is_of_server() { "copies" } else { "log" };
            line.put_whole(&format!("{what} from {first} to {last}"), theme.dim());
        }
        None if !state.queries.waiting && state.is_of_server() => {
            line.put("the server has no records yet", theme.dim());
        }
        None if !state.queries.waiting => line.put("the log is empty", theme.dim()),
        None => {}
    }
}
