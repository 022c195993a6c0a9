//! Cells of a table: where each is, is a column and a width; 0: there is no room for it.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::put;
use crate::term::{
    text::{fit, shorten},
    theme::Theme,
};

/// Where a cell begins in its line, and how wide it is.
pub type Cell = (u16, u16);

/// A heading; the column by which the rows are sorted is marked.
pub fn heading(
    buffer: &mut Buffer,
    area: Rect,
    (x, columns): Cell,
    text: &str,
    (sorted, right): (bool, bool),
    theme: Theme,
) {
    if columns == 0 {
        return;
    }
    let mark = if theme.ascii { "v" } else { "▾" };
    let text = if sorted { format!("{text}{mark}") } else { text.to_owned() };
    let style = if sorted { theme.strong() } else { theme.dim() };
    put(buffer, area, x, 0, &fit(&text, columns.into(), right, theme.ascii), style, theme);
}

/// A number with its unit, which is dimmed.
pub fn number(buffer: &mut Buffer, area: Rect, (x, columns): Cell, text: &str, theme: Theme) {
    if columns == 0 {
        return;
    }
    let text = if theme.ascii { text.replace('·', ".") } else { text.to_owned() };
    let text = fit(&text, columns.into(), true, theme.ascii);
    let (digits, unit) = match text.rsplit_once(' ') {
        Some((digits, unit)) if !digits.trim().is_empty() => (digits, unit),
        _ => (&*text, ""),
    };
    let x = x + put(buffer, area, x, 0, digits, Style::new(), theme) + 1;
    put(buffer, area, x, 0, unit, theme.dim(), theme);
}

/// A program: the square in its colour, the directory dimmed, the name in weight. `label` is its path as safe text.
pub fn program(
    buffer: &mut Buffer,
    area: Rect,
    (x, columns): Cell,
    label: &str,
    colour: Style,
    theme: Theme,
) {
    let square = if theme.ascii { "*" } else { "■" };
    let mut x = x + put(buffer, area, x, 0, square, colour, theme) + 1;
    let label = shorten(label, usize::from(columns.saturating_sub(2)), theme.ascii);
    // The name says more than where it is.
    let (directory, name) = label.split_at(label.rfind('/').map_or(0, |slash| slash + 1));
    x += put(buffer, area, x, 0, directory, theme.dim(), theme);
    put(buffer, area, x, 0, name, theme.strong(), theme);
}
