//! Lines of text: status line, errors.

use ratatui::{layout::Rect, style::Style};

use crate::term::{canvas::Canvas, text::width};

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

    /// Puts the first of the texts that fits, or the last. They say the same, the longest first.
    pub fn put_longest(&mut self, texts: &[&str], style: Style) {
        let rest = usize::from(self.canvas.area.width.saturating_sub(self.x));
        let fitting = texts.iter().find(|text| width(text) <= rest).or(texts.last());
        if let Some(text) = fitting {
            self.put(text, style);
        }
    }

    /// Puts a text that is worth nothing if only a part of it fits.
    pub fn put_whole(&mut self, text: &str, style: Style) {
        if self.x == 0 || usize::from(self.x) + width(text) <= self.canvas.area.width.into() {
            self.put(text, style);
        }
    }
}

/// Draws an error over the last line of the canvas, or, if it needs more lines, over those above the line of the `keys`,
/// which stays. `text` is safe text.
pub fn draw_error(mut canvas: Canvas<'_>, keys: Rect, text: &str) {
    let (area, theme) = (canvas.area, canvas.theme);
    let lines = wrap(text, area.width.saturating_sub(2).into());
    let bottom = if lines.len() > 1 && keys.y > area.y && !keys.is_empty() { keys.y } else { area.bottom() };
    let height = (lines.len() as u16).min(bottom - area.y);
    let mut canvas = canvas.within(Rect { y: bottom - height, height, ..area });
    canvas.clear();
    for (y, line) in (0..height).zip(&lines) {
        canvas.put(1, y, line, theme.wrong());
    }
}

/// Breaks a text at its spaces. A word longer than a line is shortened when it is drawn.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
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
