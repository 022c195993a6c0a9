//! A bar that grows from an axis in the middle: sent to the left, received to the right.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use crate::term::theme::Theme;

/// Eighths of a column, filled from the left.
const EIGHTHS: [&str; 9] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// What a bar shows.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Length to the left.
    pub sent: u64,
    /// Length to the right.
    pub received: u64,
    /// The length that fills one half.
    pub most: u64,
}

/// Draws the bar into one line.
pub fn mirrored_bar(buffer: &mut Buffer, area: Rect, bar: Bar, style: Style, theme: Theme) {
    if area.is_empty() {
        return;
    }
    let half = area.width.saturating_sub(1) / 2;
    let axis = if theme.ascii { "|" } else { "│" };
    buffer.set_string(area.x + half, area.y, axis, theme.dim());
    let eighths = |value: u64| match (value, bar.most) {
        (0, _) | (_, 0) => 0,
        // What is there is seen.
        (value, most) => {
            let most_eighths = u128::from(half) * 8;
            (u128::from(value.min(most)) * most_eighths / u128::from(most)).max(1).min(most_eighths) as u16
        }
    };
    let (sent, received) = (eighths(bar.sent), eighths(bar.received));
    for column in 0..half {
        let filled = |length: u16| usize::from(length.saturating_sub(column * 8).min(8));
        let right = area.x + half + 1 + column;
        let left = area.x + half - 1 - column;
        if theme.ascii {
            for (x, level, sign) in [(right, filled(received), "="), (left, filled(sent), "-")] {
                if level > 0 {
                    buffer.set_string(x, area.y, sign, style);
                }
            }
            continue;
        }
        if filled(received) > 0 {
            buffer.set_string(right, area.y, EIGHTHS[filled(received)], style);
        }
        match filled(sent) {
            0 => {}
            8 => buffer.set_string(left, area.y, EIGHTHS[8], style),
            // There are no characters that are filled from the right: the reverse of those that are not.
            level => {
                let reversed = style.add_modifier(Modifier::REVERSED);
                buffer.set_string(left, area.y, EIGHTHS[8 - level], reversed);
            }
        }
    }
}
