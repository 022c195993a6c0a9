//! The first line: sums of all programs.

use std::collections::HashSet;

use crate::{
    term::{
        canvas::Canvas,
        text::{plural, width},
    },
    top::{live_state::LiveState, rates::ByteCounts, sort_column::SortColumn, state::TopState},
};

pub fn draw(mut canvas: Canvas<'_>, state: &TopState, live: &LiveState) {
    let theme = canvas.theme;
    let mut sum = ByteCounts::default();
    live.lineages.iter().for_each(|lineage| sum.add(lineage.rates.second(&live.clock)));
    let open: u64 = live.lineages.iter().map(|lineage| lineage.open).sum();
    // The number of rows would be too large: the tree also has rows of programs that have only started others.
    let programs: HashSet<&[u8]> = state
        .programs
        .rows
        .iter()
        .flat_map(|row| &row.lineages)
        .filter_map(|lineage| Some(live.lineages.get(*lineage)?.chain[2].as_slice()))
        .collect();
    let programs = programs.len() as u64;
    let parts = [
        (state.unit.write(sum.received) + "/s", "received".to_owned()),
        (state.unit.write(sum.sent) + "/s", "sent".to_owned()),
        (programs.to_string(), plural(programs, "program")),
        (open.to_string(), plural(open, "connection")),
    ];
    let mut x = 1;
    if state.paused {
        x += canvas.put(x, 0, " paused ", theme.selected()) + 2;
    }
    for (number, noun) in &parts {
        if usize::from(x) + width(number) + 1 + width(noun) > canvas.area.width.into() {
            break;
        }
        x += canvas.put(x, 0, number, theme.strong()) + 1;
        x += canvas.put(x, 0, noun, theme.dim()) + 2;
    }
    let sorted = match state.sort {
        SortColumn::Second => "by the last second",
        SortColumn::TenSeconds => "by the last 10 s",
        SortColumn::Total => "by total",
        SortColumn::Connections => "by connections",
        SortColumn::Name => "by name",
    };
    if usize::from(x) + width(sorted) <= canvas.area.width.into() {
        canvas.put(x, 0, sorted, theme.dim());
    }
}
