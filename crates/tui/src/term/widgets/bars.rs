//! A bar that grows from an axis in the middle: bytes received to the left, bytes sent to the right.

use ratatui::style::{Modifier, Style};

use crate::term::canvas::Canvas;

/// Characters of which 0 to 8 eighths are filled, from the left.
const EIGHTHS: [&str; 9] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// The lengths of a bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub sent: u64,
    pub received: u64,
    /// The length that fills one half.
    pub full: u64,
}

impl Bar {
    /// The length as eighths of a column; anything above zero is visible.
    fn eighths(self, length: u64, half: u16) -> u16 {
        if length == 0 || self.full == 0 {
            return 0;
        }
        let full_eighths = u128::from(half) * 8;
        let eighths = u128::from(length.min(self.full)) * full_eighths / u128::from(self.full);
        eighths.max(1).min(full_eighths) as u16
    }
}

/// Draws the bar into the first line of the canvas.
pub fn draw_bar(mut canvas: Canvas<'_>, bar: Bar, style: Style) {
    if canvas.area.is_empty() {
        return;
    }
    let (area, theme) = (canvas.area, canvas.theme);
    let half = area.width.saturating_sub(1) / 2;
    let axis = if theme.ascii { "|" } else { "│" };
    canvas.put_symbol(area.x + half, area.y, axis, theme.dim());
    let (sent, received) = (bar.eighths(bar.sent, half), bar.eighths(bar.received, half));
    for column in 0..half {
        let filled = |length: u16| usize::from(length.saturating_sub(column * 8).min(8));
        let right = area.x + half + 1 + column;
        let left = area.x + half - 1 - column;
        if theme.ascii {
            for (x, level, sign) in [(left, filled(received), "="), (right, filled(sent), "-")] {
                if level > 0 {
                    canvas.put_symbol(x, area.y, sign, style);
                }
            }
            continue;
        }
        if filled(sent) > 0 {
            canvas.put_symbol(right, area.y, EIGHTHS[filled(sent)], style);
        }
        match filled(received) {
            0 => {}
            8 => canvas.put_symbol(left, area.y, EIGHTHS[8], style),
            // Unicode has no characters that are filled from the right: reverse the complement.
            level => {
                let reversed = style.add_modifier(Modifier::REVERSED);
                canvas.put_symbol(left, area.y, EIGHTHS[8 - level], reversed);
            }
        }
    }
}
