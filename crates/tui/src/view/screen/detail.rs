//! The detail of the selected row: blocks of lines, in as many columns as fit.

use ratatui::{layout::Rect, style::Style};

use super::events;
use crate::{
    term::{
        canvas::Canvas,
        text::{fit, safe, shorten, width},
        theme::Theme,
    },
    view::{
        detail::{Detail, DetailList, ProgramHash},
        state::ViewState,
    },
};
use calendar::point_text;
use model::text::units::grouped;
use store::{Dimension, Value};

/// Width of a column of the pane, at least.
const MIN_COLUMN_WIDTH: u16 = 38;

/// A line of a block.
#[derive(Default)]
struct Line {
    left: String,
    right: String,
    /// The style of `left`; `right` is plain.
    style: Style,
}

impl Line {
    fn new(left: impl Into<String>, right: String) -> Self {
        Self { left: left.into(), right, style: Style::new() }
    }

    fn styled(left: impl Into<String>, style: Style) -> Self {
        Self { left: left.into(), right: String::new(), style }
    }
}

/// Lines that are kept together where possible.
type Block = Vec<Line>;

/// Draws the pane: the row itself, and its detail as soon as that is loaded.
pub fn draw(mut canvas: Canvas<'_>, state: &ViewState) {
    let area = canvas.area;
    if area.width < 4 || area.height < 2 {
        return;
    }
    let Some(dimension) = state.dimension() else { return events::draw_detail(canvas, state) };
    let Some(row) = state.list.selected() else { return };
    let value = &row.value;
    canvas.rule(&state.label(dimension, value));
    let mut blocks = vec![vec![
        Line::new("received", format!("{} B", grouped(row.counters.received))),
        Line::new("sent", format!("{} B", grouped(row.counters.sent))),
        Line::new("connections", grouped(row.counters.connections)),
    ]];
    if let Some(compared) = &row.compared {
        let before = compared.before.unwrap_or_default();
        blocks.push(vec![
            Line::new("received before", format!("{} B", grouped(before.received))),
            Line::new("sent before", format!("{} B", grouped(before.sent))),
            Line::new("connections before", grouped(before.connections)),
        ]);
    }
    match &state.detail.loaded {
        Some((subject, detail)) if subject.dimension == dimension && subject.value == *value => {
            blocks.extend(detail_blocks(detail, state, canvas.theme));
        }
        _ if dimension != Dimension::Time => blocks.push(vec![Line::styled("...", canvas.theme.dim())]),
        _ => {}
    }
    let body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    draw_blocks(canvas.within(body), &blocks);
}

/// Draws the blocks below each other, in as many columns as fit.
fn draw_blocks(mut canvas: Canvas<'_>, blocks: &[Block]) {
    let area = canvas.area;
    let columns = (area.width / MIN_COLUMN_WIDTH).max(1);
    let column_width = area.width / columns;
    let (mut column, mut y) = (0, 0);
    for block in blocks {
        if y > 0 && columns == 1 {
            y += 1;
        }
        // A block that does not fit begins a new column, if there is one.
        if y > 0 && y + block.len() as u16 > area.height && column + 1 < columns {
            (column, y) = (column + 1, 0);
        }
        for line in block {
            if y >= area.height {
                if column + 1 >= columns {
                    return;
                }
                (column, y) = (column + 1, 0);
            }
            let line_area = Rect {
                x: area.x + column * column_width,
                y: area.y + y,
                width: column_width.saturating_sub(2),
                height: 1,
            };
            draw_line(canvas.within(line_area), line);
            y += 1;
        }
    }
}

fn draw_line(mut canvas: Canvas<'_>, line: &Line) {
    let (columns, theme) = (canvas.area.width, canvas.theme);
    let right = width(&line.right).min(usize::from(columns));
    let left = usize::from(columns).saturating_sub(right + 1);
    canvas.put(1, 0, &shorten(&line.left, left.saturating_sub(1), theme.ascii), line.style);
    canvas.put(columns - right as u16, 0, &fit(&line.right, right, true, theme.ascii), Style::new());
}

fn detail_blocks(detail: &Detail, state: &ViewState, theme: Theme) -> Vec<Block> {
    let mut blocks = Vec::new();
    let zone = &state.time.zone;
    if let Some((first, last)) = detail.seen {
        blocks.push(vec![
            Line::new("first seen", point_text(first, zone)),
            Line::new("last seen", point_text(last, zone)),
        ]);
    }
    if !detail.hashes.is_empty() {
        let heading = match detail.has_verdicts {
            true => "SHA-256, since, VirusTotal",
            false => "SHA-256, since (verdicts are on the machine)",
        };
        let mut block = vec![Line::styled(heading, theme.dim())];
        let lines = if detail.has_verdicts { 2 } else { 1 };
        block.extend(
            detail.hashes.iter().flat_map(|hash| hash_lines(hash, state, theme).into_iter().take(lines)),
        );
        if detail.more_hashes > 0 {
            block.push(Line::styled(format!("and {} more", detail.more_hashes), theme.dim()));
        }
        blocks.push(block);
    }
    if let Some(problem) = &detail.problem {
        blocks.push(vec![Line::styled(safe(problem.as_bytes(), theme.ascii), theme.wrong())]);
    }
    blocks.extend(detail.lists.iter().map(|list| list_block(list, state, theme)));
    blocks
}

/// The hash with the time when it was first seen, and the verdict.
fn hash_lines(hash: &ProgramHash, state: &ViewState, theme: Theme) -> [Line; 2] {
    let digits = match &hash.sha256 {
        Value::Sha256(sha256) => sha256.to_hex()[..16].to_owned(),
        _ => "(not known)".to_owned(),
    };
    let since = hash.seen.map(|(first, _)| point_text(first, &state.time.zone)).unwrap_or_default();
    let verdict = match hash.verdict.is_empty() {
        true => "not asked".to_owned(),
        false => safe(hash.verdict.as_bytes(), theme.ascii),
    };
    let suspicious = hash.verdict.starts_with("suspicious");
    let style = if suspicious { theme.wrong() } else { theme.dim() };
    [Line::new(digits, since), Line::styled(format!("  {verdict}"), style)]
}

fn list_block(list: &DetailList, state: &ViewState, theme: Theme) -> Block {
    let mut block = vec![Line::styled(list.title, theme.dim())];
    for row in &list.rows {
        let Some(value) = row.values.first() else { continue };
        let bytes = row.counters.sent.saturating_add(row.counters.received);
        let style = match (list.dimension, value) {
            (Dimension::Executable, Value::Bytes(path)) => theme.program(path),
            _ => Style::new(),
        };
        let right = state.display.unit.cell(bytes);
        let right = if theme.ascii { right.replace('·', ".") } else { right };
        block.push(Line { left: state.label(list.dimension, value), right, style });
    }
    block
}
