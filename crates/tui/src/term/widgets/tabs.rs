//! A strip of tabs. If not all of them fit, those around the selected one are shown.

use ratatui::layout::Rect;

use crate::term::{canvas::Canvas, text::width};

/// Where the tabs are on the screen, for the mouse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TabStrip(Vec<(usize, Rect)>);

impl TabStrip {
    /// The index of the tab at a position of the screen.
    pub fn at(&self, column: u16, row: u16) -> Option<usize> {
        self.0.iter().find(|(_, area)| area.contains((column, row).into())).map(|(index, _)| *index)
    }
}

/// Draws the strip into one line.
pub fn draw_tab_strip(mut canvas: Canvas<'_>, titles: &[&str], selected: usize) -> TabStrip {
    let (area, theme) = (canvas.area, canvas.theme);
    let mut strip = TabStrip::default();
    if area.is_empty() || titles.is_empty() {
        return strip;
    }
    let selected = selected.min(titles.len() - 1);
    let widths: Vec<u16> = titles.iter().map(|title| width(title) as u16 + 2).collect();
    // One column at each end shows whether there are more tabs.
    let available = area.width.saturating_sub(2);
    let (mut first, mut end, mut used) = (selected, selected + 1, widths[selected]);
    loop {
        let before = used;
        if end < titles.len() && used + widths[end] <= available {
            used += widths[end];
            end += 1;
        }
        if first > 0 && used + widths[first - 1] <= available {
            first -= 1;
            used += widths[first];
        }
        if used == before {
            break;
        }
    }
    if first > 0 {
        canvas.put(0, 0, "<", theme.dim());
    }
    let mut x = 1;
    for (index, title) in titles.iter().enumerate().take(end).skip(first) {
        let style = if index == selected { theme.selected() } else { theme.dim() };
        let taken = canvas.put(x, 0, &format!(" {title} "), style);
        strip.0.push((index, Rect { x: area.x + x, width: taken, height: 1, ..area }));
        x += taken;
    }
    if end < titles.len() {
        canvas.put(area.width - 1, 0, ">", theme.dim());
    }
    strip
}
