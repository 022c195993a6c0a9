//! The contents of a screen as text, for snapshot tests.

use ratatui::{buffer::Buffer, style::Color};
use unicode_width::UnicodeWidthStr;

/// The characters, without blanks at the ends of lines.
pub fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += symbol.width().max(1) as u16;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The characters, and in braces each change of style.
pub fn styled(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut before = String::new();
        let mut line = String::new();
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let style = match (cell.fg, cell.bg, cell.modifier) {
                (Color::Reset, Color::Reset, modifier) if modifier.is_empty() => String::new(),
                (fg, bg, modifier) => format!("{fg:?}/{bg:?}/{modifier:?}").replace("Reset", ""),
            };
            if style != before {
                line.push_str(&format!("{{{style}}}"));
                before = style;
            }
            line.push_str(cell.symbol());
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
