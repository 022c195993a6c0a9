//! Text tables: columns as wide as their contents, numbers to the right.

use std::fmt::Write;

use model::text::sanitize::shorten;

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// Whether cells stand at the right, as numbers do.
    pub right: bool,
}

/// Lays out `rows` below their headings. Cells hold text that is safe for a terminal; those wider than
/// `widest` are shortened in the middle, but for those of a last column of text, behind which nothing stands.
pub fn render(columns: &[Column], rows: &[Vec<String>], widest: usize) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|column| length(&column.name)).collect();
    let whole = columns.last().is_some_and(|last| !last.right).then(|| columns.len() - 1);
    for row in rows {
        for (index, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
            let widest = if whole == Some(index) { usize::MAX } else { widest };
            *width = length(cell).min(widest).max(*width);
        }
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((column, width), cell) in columns.iter().zip(&widths).zip(cells) {
            let cell = shorten(cell, *width);
            let _ = match column.right {
                true => write!(text, "{cell:>width$}  "),
                false => write!(text, "{cell:<width$}  "),
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut columns.iter().map(|column| column.name.as_str()));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let column = |name: &str, right| Column { name: name.to_owned(), right };
        let columns = [column("exe", false), column("sent", true)];
        let row = |exe: &str, sent: &str| vec![exe.to_owned(), sent.to_owned()];
        let rows = [row("/bin/a", "1 B"), row("/usr/lib/firefox/firefox", "12.4 MB")];
        let text = render(&columns, &rows, 12);
        assert_eq!(text, "exe              sent\n/bin/a            1 B\n/usr/…irefox  12.4 MB\n");
        let columns = [column("sent", true), column("exe", false)];
        let text = render(&columns, &[vec!["1 B".to_owned(), "/usr/lib/firefox/firefox".to_owned()]], 12);
        assert_eq!(text, "sent  exe\n 1 B  /usr/lib/firefox/firefox\n");
    }
}
