//! Bytes over time: received above an axis, sent below it.

use ratatui::style::{Modifier, Style};

use crate::term::canvas::Canvas;
use model::Consequence;

/// Characters of which 0 to 8 eighths are filled, from below.
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// The same in ASCII, in three steps.
const STEPS: [&str; 4] = [" ", ".", ":", "#"];

/// One column of the chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub received: u64,
    pub sent: u64,
    /// What the losses of this time mean; drawn in their colour.
    pub lost: Option<Consequence>,
    /// Whether this time is not over yet; drawn dimmed.
    pub open: bool,
}

/// One direction of a sample, as it is drawn.
struct Column {
    x: u16,
    /// The line next to the axis.
    base: u16,
    lines: u16,
    upwards: bool,
    /// Filled eighths of a line.
    height: u64,
}

/// Draws one sample a column, with one scale for both directions. The upper half of the lines is above the axis.
pub fn draw_sparkline(mut canvas: Canvas<'_>, samples: &[Sample], style: Style) {
    let (area, theme) = (canvas.area, canvas.theme);
    if area.is_empty() {
        return;
    }
    let above = area.height.div_ceil(2);
    let below = area.height - above;
    let largest = samples
        .iter()
        .map(|sample| if below > 0 { sample.received.max(sample.sent) } else { sample.received })
        .max()
        .unwrap_or(0);
    for (x, sample) in (area.x..area.right()).zip(samples) {
        let lost = sample.lost.filter(|lost| *lost != Consequence::NothingMissing);
        let style = match (lost, sample.open) {
            (Some(lost), _) => theme.loss_bar(lost),
            (None, true) => theme.dim(),
            (None, false) => style,
        };
        let up = Column {
            x,
            base: area.y + above - 1,
            lines: above,
            upwards: true,
            height: eighths(sample.received, above, largest),
        };
        let down = Column {
            x,
            base: area.y + above,
            lines: below,
            upwards: false,
            height: eighths(sample.sent, below, largest),
        };
        draw_column(&mut canvas, &up, style);
        draw_column(&mut canvas, &down, style);
        if let Some(lost) = lost
            && sample.received == 0
        {
            canvas.put_symbol(x, area.y + above - 1, "!", theme.loss_bar(lost));
        }
    }
}

/// A value as eighths of a line if `largest` fills all `lines`; anything above zero is visible.
fn eighths(value: u64, lines: u16, largest: u64) -> u64 {
    if value == 0 || largest == 0 {
        return 0;
    }
    let full = u64::from(lines) * 8;
    ((u128::from(value) * u128::from(full)).div_ceil(u128::from(largest)) as u64).min(full)
}

fn draw_column(canvas: &mut Canvas<'_>, column: &Column, style: Style) {
    for line in 0..column.lines {
        let level = column.height.saturating_sub(u64::from(line) * 8).min(8) as usize;
        let y = if column.upwards { column.base - line } else { column.base + line };
        let (symbol, style) = if canvas.theme.ascii {
            (STEPS[level.div_ceil(3)], style)
        } else if column.upwards || level == 0 || level == 8 {
            (EIGHTHS[level], style)
        } else {
            // Unicode has no characters that are filled from above: reverse the complement.
            (EIGHTHS[8 - level], style.add_modifier(Modifier::REVERSED))
        };
        canvas.put_symbol(column.x, y, symbol, style);
    }
}
