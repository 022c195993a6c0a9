//! The chart of the last minute, and its axis.

use ratatui::layout::Rect;

use crate::{
    term::{
        canvas::Canvas,
        text::width,
        widgets::{Sample, draw_sparkline},
    },
    top::{
        live_state::LiveState,
        rates::{ByteCounts, MINUTE_SLOTS},
    },
};
use model::{Losses, text::units::ByteUnit};

/// Width from which there is a chart.
const MIN_WIDTH: u16 = 4;

pub fn draw_chart(mut canvas: Canvas<'_>, live: &LiveState) {
    let area = canvas.area;
    if area.width < MIN_WIDTH {
        return;
    }
    let style = canvas.theme.plain_bar();
    let inside = Rect { x: area.x + 1, width: area.width - 2, ..area };
    draw_sparkline(canvas.within(inside), &samples(live, inside.width.into()), style);
}

/// Draws the ends of the minute, and between them the largest rates.
pub fn draw_axis(mut canvas: Canvas<'_>, unit: ByteUnit, live: &LiveState) {
    let (columns, style) = (canvas.area.width, canvas.theme.dim());
    if columns < MIN_WIDTH {
        return;
    }
    canvas.put(1, 0, "1 min ago", style);
    canvas.put(columns - 4, 0, "now", style);
    let largest =
        |count: fn(&ByteCounts) -> u64| live.minute.iter().map(|slot| count(&slot.rate)).max().unwrap_or(0);
    let peak = format!(
        "peak {}/s received, {}/s sent",
        unit.write(largest(|rate| rate.received)),
        unit.write(largest(|rate| rate.sent))
    );
    let available = usize::from(columns).saturating_sub(20);
    if available >= width(&peak) {
        canvas.put(12 + ((available - width(&peak)) / 2) as u16, 0, &peak, style);
    }
}

/// Slots that are shown in one sample.
struct Group {
    number: usize,
    sum: Sample,
    slots: u64,
}

/// The samples of the chart: one column for several slots, or several columns for each slot.
fn samples(live: &LiveState, columns: usize) -> Vec<Sample> {
    let group_slots = MINUTE_SLOTS.div_ceil(columns.max(1));
    let repeat = (columns / MINUTE_SLOTS).max(1);
    // Slots are numbered from the start, so that a group has the same slots in each frame.
    let first = live.clock.slots.saturating_sub(live.minute.len());
    let mut groups: Vec<Group> = Vec::new();
    for (index, slot) in live.minute.iter().enumerate() {
        let number = (first + index) / group_slots;
        if groups.last().is_none_or(|group| group.number != number) {
            groups.push(Group { number, sum: Sample::default(), slots: 0 });
        }
        if let Some(group) = groups.last_mut() {
            group.sum.received = group.sum.received.saturating_add(slot.rate.received);
            group.sum.sent = group.sum.sent.saturating_add(slot.rate.sent);
            let lost = Losses::from_names(slot.lost.iter().map(|(kind, count)| (kind.as_str(), *count)));
            group.sum.lost = group.sum.lost.into_iter().chain(lost.worst()).min();
            group.slots += 1;
        }
    }
    let means = groups.into_iter().map(|group| Sample {
        received: group.sum.received / group.slots.max(1),
        sent: group.sum.sent / group.slots.max(1),
        open: group.slots < group_slots as u64,
        lost: group.sum.lost,
    });
    let drawn: Vec<Sample> = means.flat_map(|sample| std::iter::repeat_n(sample, repeat)).collect();
    let skipped = drawn.len().saturating_sub(columns);
    let blank = columns.saturating_sub(drawn.len());
    std::iter::repeat_n(Sample::default(), blank).chain(drawn.into_iter().skip(skipped)).collect()
}
