//! Lines of text: status line, footer, help, errors.

use ratatui::{layout::Rect, style::Style};

use crate::term::{canvas::Canvas, keys::Binding, text::width};

/// The last line of a screen: one message after the other, as far as they fit.
#[derive(Debug)]
pub struct StatusLine<'a> {
    canvas: Canvas<'a>,
    x: u16,
}

impl<'a> StatusLine<'a> {
    pub fn new(canvas: Canvas<'a>) -> Self {
        Self { canvas, x: 0 }
    }

    pub fn put(&mut self, text: &str, style: Style) {
        self.x += self.canvas.put(self.x, 0, text, style);
        self.x += self.canvas.put(self.x, 0, "  ", Style::new());
    }
}

/// Draws one line with the keys whose action is `offered`, as many as fit.
pub fn draw_footer<A>(mut canvas: Canvas<'_>, bindings: &[Binding<A>], offered: impl Fn(&A) -> bool) {
    let theme = canvas.theme;
    let mut x = 0;
    for binding in bindings.iter().filter(|binding| !binding.short.is_empty() && offered(&binding.action)) {
        let name = binding.name.split(' ').next().unwrap_or_default();
        let needed = (width(name) + 1 + width(binding.short)) as u16;
        if x + needed > canvas.area.width {
            break;
        }
        x += canvas.put(x, 0, name, theme.strong()) + 1;
        x += canvas.put(x, 0, binding.short, theme.dim()) + 2;
    }
}

/// Draws the list of all keys over the canvas, in as many columns as fit.
pub fn draw_help<A>(mut canvas: Canvas<'_>, bindings: &[Binding<A>]) {
    let (area, theme) = (canvas.area, canvas.theme);
    canvas.clear();
    canvas.put(1, 0, "Keys", theme.strong());
    canvas.put(7, 0, "any key closes this", theme.dim());
    let names = bindings.iter().map(|binding| width(binding.name)).max().unwrap_or(0) as u16;
    let widest = bindings.iter().map(|binding| width(binding.help)).max().unwrap_or(0) as u16 + names + 5;
    let rows = area.height.saturating_sub(2).max(1);
    let columns = (area.width / widest.max(1)).max(1);
    for (index, binding) in bindings.iter().enumerate() {
        let (column, row) = (index as u16 / rows, index as u16 % rows);
        if column >= columns {
            // A small screen shows the first ones only.
            break;
        }
        let x = column * widest + 1;
        canvas.put(x, row + 2, binding.name, theme.strong());
        canvas.put(x + names + 2, row + 2, binding.help, Style::new());
    }
}

/// Draws an error over the last lines of the canvas, as many as it needs. `text` is safe text.
pub fn draw_error(mut canvas: Canvas<'_>, text: &str) {
    let (area, theme) = (canvas.area, canvas.theme);
    let lines = wrap(text, area.width.saturating_sub(2).into());
    let height = (lines.len() as u16).min(area.height);
    let mut canvas = canvas.within(Rect { y: area.bottom() - height, height, ..area });
    canvas.clear();
    for (y, line) in (0..height).zip(&lines) {
        canvas.put(1, y, line, theme.wrong());
    }
}

/// Breaks a text at its spaces. A word longer than a line is shortened when it is drawn.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
