//! A strip of tabs; when not all fit, those around the selected one.

use ratatui::{buffer::Buffer, layout::Rect};

use super::put;
use crate::term::{text::width, theme::Theme};

/// Where the tabs are, for the mouse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TabStrip(Vec<(usize, Rect)>);

impl TabStrip {
    /// The tab at a place of the screen.
    pub fn at(&self, column: u16, row: u16) -> Option<usize> {
        self.0.iter().find(|(_, area)| area.contains((column, row).into())).map(|(index, _)| *index)
    }
}

/// Draws the strip into one line.
pub fn tab_strip(
    buffer: &mut Buffer,
    area: Rect,
    titles: &[&str],
    selected: usize,
    theme: Theme,
) -> TabStrip {
    let mut strip = TabStrip::default();
    if area.is_empty() || titles.is_empty() {
        return strip;
    }
    let selected = selected.min(titles.len() - 1);
    let widths: Vec<u16> = titles.iter().map(|title| width(title) as u16 + 2).collect();
    // One column at each end says that there are more.
    let room = area.width.saturating_sub(2);
    let (mut first, mut end, mut used) = (selected, selected + 1, widths[selected]);
    loop {
        let before = used;
        if end < titles.len() && used + widths[end] <= room {
            used += widths[end];
            end += 1;
        }
        if first > 0 && used + widths[first - 1] <= room {
            first -= 1;
            used += widths[first];
        }
        if used == before {
            break;
        }
    }
    if first > 0 {
        put(buffer, area, 0, 0, "<", theme.dim(), theme);
    }
    let mut x = 1;
    for (index, title) in titles.iter().enumerate().take(end).skip(first) {
        let style = if index == selected { theme.selected() } else { theme.dim() };
        let taken = put(buffer, area, x, 0, &format!(" {title} "), style, theme);
        strip.0.push((index, Rect { x: area.x + x, width: taken, height: 1, ..area }));
        x += taken;
    }
    if end < titles.len() {
        put(buffer, area, area.width - 1, 0, ">", theme.dim(), theme);
    }
    strip
}
