//! The last line: searches, notice or trouble, and the daemon.

use crate::{
    term::{
        canvas::Canvas,
        text::{plural, safe},
        widgets::StatusLine,
    },
    top::{
        live_state::LiveState,
        state::{Pane, TopState},
    },
};

/// Draws the line. A notice replaces everything after the searches.
pub fn draw(canvas: Canvas<'_>, state: &TopState, live: &LiveState) {
    let (theme, only_line) = (canvas.theme, canvas.area.y == 0);
    let mut line = StatusLine::new(canvas);
    for (pane, name, find) in [
        (Pane::Programs, "find", &state.programs.find),
        (Pane::Connections, "find peer", &state.connections.find),
    ] {
        let typing = state.finding && state.focus == pane;
        if typing || !find.is_empty() {
            let cursor = if typing { "_" } else { "" };
            let text = safe(find.as_str().as_bytes(), theme.ascii);
            line.put(&format!("{name}: {text}{cursor}"), theme.strong());
        }
    }
    if let Some(notice) = &state.notice {
        return line.put(notice, theme.novel());
    }
    let losses = live.losses();
    if let Some(worst) = losses.worst() {
        let clause = worst.clause();
        let all = format!("in the last minute {}", safe(losses.summary().as_bytes(), theme.ascii));
        line.put_longest(&[&all, &format!("in the last minute {clause}"), clause], theme.loss(worst));
    }
    let omitted = live.omitted + live.omitted_here;
    if omitted > 0 {
        let text = format!("{omitted} {} not shown: too many", plural(omitted, "connection"));
        line.put(&text, theme.wrong());
    }
    if live.unreadable > 0 {
        let text = format!("{} {} not understood", live.unreadable, plural(live.unreadable, "line"));
        line.put(&text, theme.wrong());
    }
    if !only_line {
        line.put_whole(&live.daemon, theme.dim());
    }
}
