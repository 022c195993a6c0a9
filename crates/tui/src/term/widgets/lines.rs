//! Lines of text: the footer, the help.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    widgets::{Clear, Widget},
};

use crate::term::{
    keys::Binding,
    text::{shorten, width},
    theme::Theme,
};

/// Writes a text at a place of `area`, shortened to what is left of the line; returns the columns it took.
pub fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style, theme: Theme) -> u16 {
    if x >= area.width || y >= area.height {
        return 0;
    }
    let text = shorten(text, usize::from(area.width - x), theme.ascii);
    let (end, _) = buffer.set_stringn(area.x + x, area.y + y, &text, usize::from(area.width - x), style);
    end - area.x - x
}

/// One line with the keys that work here, as many as fit.
pub fn footer<A>(
    buffer: &mut Buffer,
    area: Rect,
    bindings: &[Binding<A>],
    shown: impl Fn(&A) -> bool,
    theme: Theme,
) {
    let mut x = 0;
    for binding in bindings.iter().filter(|binding| !binding.short.is_empty() && shown(&binding.action)) {
        let name = binding.name.split(' ').next().unwrap_or_default();
        let needed = (width(name) + 1 + width(binding.short)) as u16;
        if x + needed > area.width {
            break;
        }
        x += put(buffer, area, x, 0, name, theme.strong(), theme) + 1;
        x += put(buffer, area, x, 0, binding.short, theme.dim(), theme) + 2;
    }
}

/// All keys, over the rest of the screen; in as many columns as fit.
pub fn help<A>(buffer: &mut Buffer, area: Rect, bindings: &[Binding<A>], theme: Theme) {
    Clear.render(area, buffer);
    put(buffer, area, 1, 0, "Keys", theme.strong(), theme);
    put(buffer, area, 7, 0, "any key closes this", theme.dim(), theme);
    let names = bindings.iter().map(|binding| width(binding.name)).max().unwrap_or(0) as u16;
    let widest = bindings.iter().map(|binding| width(binding.help)).max().unwrap_or(0) as u16 + names + 5;
    let rows = area.height.saturating_sub(2).max(1);
    let columns = (area.width / widest.max(1)).max(1);
    for (index, binding) in bindings.iter().enumerate() {
        let (column, row) = (index as u16 / rows, index as u16 % rows);
        if column >= columns {
            // A tiny screen shows the first ones; the page on keys has all.
            break;
        }
        let x = column * widest + 1;
        put(buffer, area, x, row + 2, binding.name, theme.strong(), theme);
        put(buffer, area, x + names + 2, row + 2, binding.help, Style::new(), theme);
    }
}

/// What went wrong, in as many lines at the end of the screen as it needs; safe text.
pub fn error(buffer: &mut Buffer, area: Rect, text: &str, theme: Theme) {
    let lines = wrap(text, area.width.saturating_sub(2).into());
    let height = (lines.len() as u16).min(area.height);
    let area = Rect { y: area.bottom() - height, height, ..area };
    Clear.render(area, buffer);
    for (y, line) in (0..height).zip(&lines) {
        put(buffer, area, 1, y, line, theme.wrong(), theme);
    }
}

/// Breaks a sentence at its spaces; a longer word is shortened when it is drawn.
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
