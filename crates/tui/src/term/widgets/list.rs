//! The list of `view`, and both lists of `top`: a label, columns of numbers and bars, a selected row.
//!
//! ratatui's `Table` cannot draw them. Its cells are `Text`, so a mirrored bar, which reverses single cells, is not
//! possible in one, nor is a label that is composed of parts and shortened in its middle. Its constraints shrink columns
//! that do not fit; here the least important column disappears and numbers are never cut. It highlights whole rows; here
//! the bar has to be left out, because its reversed parts would be reversed again. And it wants all rows built before it
//! scrolls; here only the visible ones of up to 10,000 are.

use std::ops::Range;

use ratatui::{layout::Rect, style::Style};

use super::{
    bars::{Bar, draw_bar},
    cells::{draw_heading, draw_number},
    columns::{Column, positions},
    list_state::ListState,
};
use crate::term::{canvas::Canvas, text::shorten};

/// The columns of a list for one frame.
#[derive(Debug)]
pub struct ListLayout<const N: usize> {
    /// Its width is that of the whole column; heading and labels begin one column further right.
    pub label: Column,
    /// The other columns, from left to right.
    pub columns: [Column; N],
}

/// A cell of a row.
#[derive(Debug)]
pub enum Cell {
    Empty,
    /// A number with its unit.
    Number(String),
    /// Safe text, which is drawn dimmed.
    Text(String),
    /// Safe text in a style of its own.
    Styled(String, Style),
    Bar(Bar, Style),
}

/// How the selected row is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionMark {
    /// The whole row: the keys move in this list.
    Row,
    /// A sign before the label: the keys move elsewhere.
    Sign,
    /// The selected row is not marked.
    None,
}

/// The contents of a list with `N` columns besides the label.
pub trait ListSource<const N: usize> {
    /// Height from which the list has a heading.
    const MIN_HEADED_HEIGHT: u16 = 3;
    /// Line of the message of an empty list, if more than two lines are left for it.
    const MESSAGE_LINE: u16 = 1;

    fn len(&self) -> usize;

    /// Chooses the columns for a list of this width with these rows on the screen.
    fn layout(&self, width: u16, visible: Range<usize>) -> ListLayout<N>;

    /// Draws the label of a row. The canvas begins at the left edge of the list, whose first column is for the selection.
    fn draw_label(&self, canvas: Canvas<'_>, row: usize);

    /// The cells of a row, from left to right, for the columns that [`ListSource::layout`] has chosen.
    fn cells(&self, row: usize, columns: &[Column; N]) -> [Cell; N];

    /// Explains why the list is empty.
    fn empty_message(&self) -> String;
}

/// Draws heading and rows and scrolls to the selected row. Returns the area of the rows.
pub fn draw_list<const N: usize, S: ListSource<N>>(
    mut canvas: Canvas<'_>,
    source: &S,
    state: &mut ListState,
    mark: SelectionMark,
) -> Rect {
    let area = canvas.area;
    let headed = area.height >= S::MIN_HEADED_HEIGHT;
    let height = area.height - u16::from(headed);
    let rows = Rect { y: area.bottom() - height, height, ..area };
    state.scroll(height.into(), source.len());
    let visible = state.top..source.len().min(state.top + state.page);
    let layout = source.layout(area.width, visible.clone());
    let positions = positions(layout.label.width, &layout.columns);
    if headed {
        let label = Column { width: layout.label.width.saturating_sub(1), ..layout.label };
        draw_heading(&mut canvas, 1, label);
        for (column, x) in layout.columns.iter().zip(positions) {
            draw_heading(&mut canvas, x, *column);
        }
    }
    if source.len() == 0 {
        let line = if height > 2 { S::MESSAGE_LINE } else { 0 };
        let style = canvas.theme.dim();
        canvas.within(rows).put(1, line, &source.empty_message(), style);
        return rows;
    }
    for (y, row) in (rows.y..rows.bottom()).zip(visible) {
        let line = Rect { y, height: 1, ..rows };
        let label = Rect { width: layout.label.width.min(line.width), ..line };
        source.draw_label(canvas.within(label), row);
        let cells = source.cells(row, &layout.columns);
        for ((cell, column), x) in cells.into_iter().zip(layout.columns).zip(positions) {
            let cell_area = Rect { x: line.x.saturating_add(x), width: column.width, ..line };
            draw_cell(canvas.within(cell_area.intersection(line)), cell);
        }
        if row == state.selected {
            draw_mark(canvas.within(line), mark, bar_position(&layout, &positions));
        }
    }
    rows
}

fn draw_cell(mut canvas: Canvas<'_>, cell: Cell) {
    if canvas.area.is_empty() {
        return;
    }
    match cell {
        Cell::Empty => {}
        Cell::Number(text) => draw_number(canvas, &text),
        Cell::Text(text) => {
            let (theme, columns) = (canvas.theme, canvas.area.width);
            canvas.put(0, 0, &shorten(&text, columns.into(), theme.ascii), theme.dim());
        }
        Cell::Styled(text, style) => {
            canvas.put(0, 0, &text, style);
        }
        Cell::Bar(bar, style) => draw_bar(canvas, bar, style),
    }
}

/// Where the bar begins, if there is one.
fn bar_position<const N: usize>(layout: &ListLayout<N>, positions: &[u16; N]) -> Option<u16> {
    let mut columns = layout.columns.iter().zip(positions);
    columns.find(|(column, _)| column.is_bar() && column.width > 0).map(|(_, x)| *x)
}

fn draw_mark(mut canvas: Canvas<'_>, mark: SelectionMark, bar: Option<u16>) {
    let theme = canvas.theme;
    match mark {
        SelectionMark::Row => {
            // Parts of the bar are reversed: reversed again they would be wrong.
            let columns = bar.map_or(canvas.area.width, |bar| bar.saturating_sub(1));
            canvas.select(columns);
        }
        SelectionMark::Sign => {
            canvas.put(0, 0, ">", theme.strong());
        }
        SelectionMark::None => {}
    }
}
