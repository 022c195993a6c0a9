//! Cells of a list: headings, numbers, programs.

use ratatui::style::Style;

use super::columns::{Column, ColumnKind};
use crate::term::{
    canvas::Canvas,
    text::{fit, shorten_path},
};

/// Draws the heading of a column; the column by which the rows are sorted is marked.
pub fn draw_heading(canvas: &mut Canvas<'_>, x: u16, column: Column) {
    if column.is_bar() {
        let half = column.width / 2;
        draw_heading(canvas, x, Column::number("received", false, half));
        draw_heading(canvas, x + half + 1, Column::text("sent", false, half));
        return;
    }
    if column.width == 0 {
        return;
    }
    let theme = canvas.theme;
    let mark = if theme.ascii { "v" } else { "▾" };
    let text = if column.sorted { format!("{}{mark}", column.heading) } else { column.heading.to_owned() };
    let style = if column.sorted { theme.strong() } else { theme.dim() };
    let right = column.kind == ColumnKind::Number;
    canvas.put(x, 0, &fit(&text, column.width.into(), right, theme.ascii), style);
}

/// Draws a number at the right end of the canvas; its unit is dimmed.
pub fn draw_number(mut canvas: Canvas<'_>, text: &str) {
    let theme = canvas.theme;
    let columns = canvas.area.width;
    let text = if theme.ascii { text.replace('·', ".") } else { text.to_owned() };
    let text = fit(&text, columns.into(), true, theme.ascii);
    let (digits, unit) = match text.rsplit_once(' ') {
        Some((digits, unit)) if !digits.trim().is_empty() => (digits, unit),
        _ => (&*text, ""),
    };
    let x = canvas.put(0, 0, digits, Style::new()) + 1;
    canvas.put(x, 0, unit, theme.dim());
}

/// Draws a program: a square in its colour, the directory dimmed, the file name bold. `path` is safe text.
pub fn draw_program(mut canvas: Canvas<'_>, path: &str, colour: Style) {
    let (theme, columns) = (canvas.theme, canvas.area.width);
    let square = if theme.ascii { "*" } else { "■" };
    let mut x = canvas.put(0, 0, square, colour) + 1;
    let path = shorten_path(path, usize::from(columns.saturating_sub(2)), theme.ascii);
    let (directory, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    x += canvas.put(x, 0, directory, theme.dim());
    canvas.put(x, 0, name, theme.strong());
}
