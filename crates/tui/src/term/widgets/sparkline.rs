//! Counters over time: received above the axis, sent below it.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use crate::term::theme::Theme;

/// Eighths of a line, filled from below.
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// The same in ASCII, in three steps.
const STEPS: [&str; 4] = [" ", ".", ":", "#"];

/// A column of the chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Things lost meanwhile: marked.
    pub lost: bool,
    /// Not over yet: dimmed.
    pub open: bool,
}

/// Draws the samples, one a column, with one scale for both directions. Half of the lines are above the axis.
pub fn sparkline(buffer: &mut Buffer, area: Rect, samples: &[Sample], style: Style, theme: Theme) {
    if area.is_empty() {
        return;
    }
    let above = area.height.div_ceil(2);
    let below = area.height - above;
    let most = samples
        .iter()
        .map(|sample| if below > 0 { sample.received.max(sample.sent) } else { sample.received });
    let most = most.max().unwrap_or(0);
    for (x, sample) in (area.x..area.right()).zip(samples) {
        let style = match sample {
            Sample { lost: true, .. } => theme.wrong(),
            Sample { open: true, .. } => theme.dim(),
            _ => style,
        };
        for (value, lines, up) in [(sample.received, above, true), (sample.sent, below, false)] {
            let levels = u64::from(lines) * 8;
            let height = match (value, most) {
                (0, _) | (_, 0) => 0,
                (value, most) => {
                    ((u128::from(value) * u128::from(levels)).div_ceil(u128::from(most)) as u64).min(levels)
                }
            };
            for line in 0..lines {
                let level = height.saturating_sub(u64::from(line) * 8).min(8) as usize;
                let y = if up { area.y + above - 1 - line } else { area.y + above + line };
                let (symbol, style) = if theme.ascii {
                    (STEPS[level.div_ceil(3)], style)
                } else if up || level == 0 || level == 8 {
                    (EIGHTHS[level], style)
                } else {
                    // Nothing is filled from above: the reverse of what is not.
                    (EIGHTHS[8 - level], style.add_modifier(Modifier::REVERSED))
                };
                buffer.set_string(x, y, symbol, style);
            }
        }
        if sample.lost && sample.received == 0 {
            buffer.set_string(x, area.y + above - 1, "!", theme.wrong());
        }
    }
}
