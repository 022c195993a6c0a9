//! Dividing a screen into parts from its top to its bottom.

use ratatui::layout::Rect;

/// Takes this number of rows from the top of `rest`, or as many as it has.
pub fn take_rows(rest: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(rest.height);
    let taken = Rect { height: rows, ..*rest };
    (rest.y, rest.height) = (rest.y + rows, rest.height - rows);
    taken
}
