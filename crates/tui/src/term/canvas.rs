//! A rectangle of the screen together with the theme: what every drawing function takes.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    widgets::{Clear, Widget},
};

use super::{text::shorten, theme::Theme};

/// A rectangle of the screen. Texts that are drawn into it must be safe for the terminal ([`super::text::safe`]).
#[derive(Debug)]
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    pub area: Rect,
    pub theme: Theme,
}

impl<'a> Canvas<'a> {
    /// A canvas for the whole screen.
    pub fn new(buffer: &'a mut Buffer, theme: Theme) -> Self {
        let area = buffer.area;
        Self { buffer, area, theme }
    }

    /// Another rectangle of the same screen; its coordinates are those of the screen.
    pub fn within(&mut self, area: Rect) -> Canvas<'_> {
        Canvas { buffer: self.buffer, area, theme: self.theme }
    }

    /// Writes a text at `x`, `y` of the rectangle and shortens it to the rest of the line. Returns how many columns it
    /// takes.
    pub fn put(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || y >= self.area.height {
            return 0;
        }
        let rest = usize::from(self.area.width - x);
        let text = shorten(text, rest, self.theme.ascii);
        let start = self.area.x + x;
        let (end, _) = self.buffer.set_stringn(start, self.area.y + y, &text, rest, style);
        end - start
    }

    /// Writes one drawing character at `x`, `y` of the screen.
    pub fn put_symbol(&mut self, x: u16, y: u16, symbol: &str, style: Style) {
        self.buffer.set_string(x, y, symbol, style);
    }

    /// Writes a text over what is drawn there, without its style.
    pub fn put_over(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        self.put(x, y, text, Style::reset().patch(style))
    }

    /// Draws a horizontal rule with a title in it.
    pub fn rule(&mut self, title: &str) {
        let line = if self.theme.ascii { "-" } else { "─" };
        self.put(0, 0, &line.repeat(self.area.width.into()), self.theme.dim());
        let inside = Rect { width: self.area.width.saturating_sub(2), ..self.area };
        let style = self.theme.strong();
        self.within(inside).put_over(1, 0, &format!(" {title} "), style);
    }

    /// Marks the first `columns` columns of the rectangle as selected. Texts keep their colours if the mark has colours of
    /// its own.
    pub fn select(&mut self, columns: u16) {
        let area = Rect { width: columns.min(self.area.width), ..self.area };
        let style = self.theme.selected();
        for position in area.positions() {
            let Some(cell) = self.buffer.cell_mut(position) else { continue };
            let colour = cell.fg;
            cell.bg = Color::Reset;
            cell.set_style(style);
            if self.theme.selected_keeps_colours() && colour != Color::Reset {
                cell.set_fg(colour);
            }
        }
    }

    /// Dims everything in the rectangle: it is not current any more.
    pub fn fade(&mut self) {
        let dim = self.theme.dim();
        for position in self.area.intersection(self.buffer.area).positions() {
            let Some(cell) = self.buffer.cell_mut(position) else { continue };
            cell.modifier.remove(Modifier::BOLD);
            cell.modifier.insert(dim.add_modifier);
            cell.set_fg(dim.fg.unwrap_or(Color::Reset));
        }
    }

    pub fn clear(&mut self) {
        Clear.render(self.area, self.buffer);
    }

    /// Replaces all characters outside ASCII by a question mark if the locale is not UTF-8. Texts are ASCII already by
    /// then; this catches drawing characters of libraries and anything overlooked.
    pub fn finish(&mut self) {
        if !self.theme.ascii {
            return;
        }
        for cell in &mut self.buffer.content {
            if !cell.symbol().is_ascii() {
                cell.set_symbol("?");
            }
        }
    }
}
