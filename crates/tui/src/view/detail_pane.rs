//! The detail of the selected row.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{detail::Detail, range, state::State};
use crate::term::{
    text::{self, fit, width},
    theme::Theme,
    widgets::put,
};
use model::text::format::grouped;
use store::{Dimension, Value};

/// A column of the pane is at least so wide.
const COLUMN: u16 = 38;

/// A line: what stands at the left, and at the right.
#[derive(Default)]
struct Line {
    left: String,
    right: String,
    style: Style,
}

/// Draws the pane.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &State, theme: Theme) {
    if area.width < 4 || area.height < 2 {
        return;
    }
    let Some((row, value)) = state.row().zip(state.value()) else { return };
    let dimension = state.dimension();
    let rule = if theme.ascii { "-" } else { "─" };
    put(buffer, area, 0, 0, &rule.repeat(area.width.into()), theme.dim(), theme);
    let title = format!(" {} ", state.labels.text(dimension, value, &state.zone));
    put(buffer, Rect { width: area.width - 2, ..area }, 1, 0, &title, theme.strong(), theme);

    let mut blocks = vec![vec![
        fact("received", format!("{} B", grouped(row.counters.received))),
        fact("sent", format!("{} B", grouped(row.counters.sent))),
        fact("connections", grouped(row.counters.connections)),
    ]];
    match &state.detail {
        Some((subject, detail)) if subject.dimension == dimension && subject.value == *value => {
            blocks.extend(detail_blocks(detail, state, theme));
        }
        _ if dimension != Dimension::Time => {
            blocks.push(vec![Line { left: "...".to_owned(), style: theme.dim(), ..Line::default() }])
        }
        _ => {}
    }
    let body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let columns = (body.width / COLUMN).max(1);
    let wide = body.width / columns;
    let mut at = (0, 0);
    for block in &blocks {
        if at.1 > 0 && columns == 1 {
            at.1 += 1;
        }
        // A block is not torn apart where a new column has room for more of it.
        if at.1 > 0 && at.1 + block.len() as u16 > body.height && at.0 + 1 < columns {
            at = (at.0 + 1, 0);
        }
        for line in block {
            if at.1 >= body.height {
                if at.0 + 1 >= columns {
                    return;
                }
                at = (at.0 + 1, 0);
            }
            let place = Rect { x: body.x + at.0 * wide, width: wide.saturating_sub(2), ..body };
            draw_line(buffer, place, at.1, line, theme);
            at.1 += 1;
        }
    }
}

fn draw_line(buffer: &mut Buffer, area: Rect, y: u16, line: &Line, theme: Theme) {
    let right = width(&line.right).min(usize::from(area.width));
    let left = usize::from(area.width).saturating_sub(right + 1);
    put(
        buffer,
        area,
        1,
        y,
        &text::shorten(&line.left, left.saturating_sub(1), theme.ascii),
        line.style,
        theme,
    );
    let x = area.width - right as u16;
    put(buffer, area, x, y, &fit(&line.right, right, true, theme.ascii), Style::new(), theme);
}

fn fact(left: &str, right: String) -> Line {
    Line { left: left.to_owned(), right, style: Style::new() }
}

fn detail_blocks(detail: &Detail, state: &State, theme: Theme) -> Vec<Vec<Line>> {
    let mut blocks = Vec::new();
    let zone = &state.zone;
    let heading = |text: &str| Line { left: text.to_owned(), right: String::new(), style: theme.dim() };
    if let Some((first, last)) = detail.seen {
        blocks.push(vec![
            fact("first seen", range::point(first, zone)),
            fact("last seen", range::point(last, zone)),
        ]);
    }
    if !detail.contents.is_empty() {
        let mut block = vec![heading("SHA-256, since, VirusTotal")];
        for content in &detail.contents {
            let digest = match &content.digest {
                Value::Sha256(digest) => digest.to_hex()[..16].to_owned(),
                _ => "(not known)".to_owned(),
            };
            let since = content.seen.map(|(first, _)| range::point(first, zone)).unwrap_or_default();
            block.push(Line { left: digest, right: since, style: Style::new() });
            let bad = content.verdict.starts_with("suspicious");
            let verdict = match content.verdict.is_empty() {
                true => "not asked".to_owned(),
                false => text::safe(content.verdict.as_bytes(), theme.ascii),
            };
            let style = if bad { theme.wrong() } else { theme.dim() };
            block.push(Line { left: format!("  {verdict}"), right: String::new(), style });
        }
        if detail.more_contents > 0 {
            block.push(heading(&format!("and {} more", detail.more_contents)));
        }
        blocks.push(block);
    }
    if let Some(problem) = &detail.problem {
        let left = text::safe(problem.as_bytes(), theme.ascii);
        blocks.push(vec![Line { left, right: String::new(), style: theme.wrong() }]);
    }
    for list in &detail.lists {
        let mut block = vec![heading(list.title)];
        for row in &list.rows {
            let Some(value) = row.values.first() else { continue };
            let bytes = row.counters.sent.saturating_add(row.counters.received);
            let style = match (list.dimension, value) {
                (Dimension::Executable, Value::Bytes(path)) => theme.program(path),
                _ => Style::new(),
            };
            let right = state.unit.cell(bytes);
            let right = if theme.ascii { right.replace('·', ".") } else { right };
            block.push(Line { left: state.labels.text(list.dimension, value, zone), right, style });
        }
        blocks.push(block);
    }
    blocks
}
