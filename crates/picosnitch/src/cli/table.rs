//! Text tables: columns as wide as their contents, numbers to the right, and no wider than the terminal.

use std::{io::IsTerminal, os::fd::AsFd};

use tui::text::{fit, shorten, shorten_path, width};

/// Columns of a terminal that does not say how wide it is.
const DEFAULT_WIDTH: usize = 80;
/// Blanks between two columns.
const GAP: usize = 2;
/// A column of text is not made narrower than this, as long as others can be.
const MIN_TEXT_WIDTH: usize = 8;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, whose middle is left out where it is too long.
    Text,
    /// Paths, of which directories are left out first: the name of the file stays.
    Path,
    /// Digests, whose first digits are enough: the end is left out.
    Digest,
    /// Numbers and times, which are never shortened.
    Number,
    /// Short words and times, which are never shortened and stand at the left.
    Word,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// A column with a heading.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// The width of a table on standard output: that of the terminal; `None` for a file, a pipe, or if `full` is wanted.
pub fn output_width(full: bool) -> Option<usize> {
    let stdout = std::io::stdout();
    if full || !stdout.is_terminal() {
        return None;
    }
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is as the ioctl wants it (ioctl_tty(2)), and valid for the call.
    let result = unsafe {
        nix::libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&stdout.as_fd()),
            nix::libc::TIOCGWINSZ,
            &raw mut size,
        )
    };
    let columns = if result == 0 { usize::from(size.ws_col) } else { 0 };
    Some(if columns > 0 { columns } else { DEFAULT_WIDTH })
}

/// Lays out `rows` below their headings, and `foot` below both. Cells hold text that is safe for a terminal. With
/// `max_width` no line is wider: columns of text are shortened, the widest first.
pub fn render(
    columns: &[Column],
    rows: &[Vec<String>],
    foot: Option<&[String]>,
    max_width: Option<usize>,
) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|column| width(&column.name)).collect();
    for row in rows.iter().map(Vec::as_slice).chain(foot) {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    if let Some(max_width) = max_width {
        narrow(columns, rows, &mut widths, max_width);
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (index, ((column, columns), cell)) in columns.iter().zip(&widths).zip(cells).enumerate() {
            if index > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            let cell = match column.kind {
                Kind::Path => shorten_path(cell, *columns, false),
                Kind::Digest => cell.chars().take(*columns).collect(),
                _ => shorten(cell, *columns, false),
            };
            text.push_str(&fit(&cell, *columns, column.kind == Kind::Number, false));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut columns.iter().map(|column| column.name.as_str()));
    for row in rows.iter().map(Vec::as_slice).chain(foot) {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// Breaks a text into lines of at most `max_width` columns, each behind `indent` and ended by a line feed. A longer word is
/// shortened in its middle.
pub fn wrap(text: &str, max_width: usize, indent: &str) -> String {
    let room = max_width.saturating_sub(indent.len()).max(1);
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && width(&line) + 1 + width(word) > room {
            out += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &shorten_path(word, room, false);
    }
    if !line.is_empty() {
        out += &format!("{indent}{line}\n");
    }
    out
}

/// Makes columns of text narrower until a line has at most `max_width` columns: always the widest of those that may become
/// narrower. Directories go first, and texts down to a minimum; names of files only if that is not enough.
fn narrow(columns: &[Column], rows: &[Vec<String>], widths: &mut [usize], max_width: usize) {
    let gaps = GAP * columns.len().saturating_sub(1);
    let name_width = |index: usize| {
        let names = rows.iter().filter_map(|row| row.get(index)?.rsplit('/').next()).map(width);
        // The name stands behind an ellipsis and a slash.
        names.max().unwrap_or(0) + 2
    };
    let minimum = |(index, column): (usize, &Column)| match column.kind {
        Kind::Text | Kind::Digest => MIN_TEXT_WIDTH,
        Kind::Path => name_width(index).max(MIN_TEXT_WIDTH),
        Kind::Number | Kind::Word => usize::MAX,
    };
    let kept: Vec<usize> = columns.iter().enumerate().map(minimum).collect();
    let least: Vec<usize> =
        kept.iter().map(|kept| if *kept == usize::MAX { usize::MAX } else { 1 }).collect();
    for minimum in [kept, least] {
        while widths.iter().sum::<usize>() + gaps > max_width {
            let can_shrink = |index: &usize| widths[*index] > minimum[*index];
            match (0..columns.len()).filter(can_shrink).max_by_key(|index| widths[*index]) {
                Some(index) => widths[index] -= 1,
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> [Column; 2] {
        [Column::new("exe", Kind::Path), Column::new("sent", Kind::Number)]
    }

    fn row(exe: &str, sent: &str) -> Vec<String> {
        vec![exe.to_owned(), sent.to_owned()]
    }

    #[test]
    fn columns_line_up() {
        let rows = [row("/bin/a", "1 B"), row("/usr/lib/firefox/firefox", "12.4 MB")];
        let text = render(&columns(), &rows, None, None);
        let expected = "exe                          sent\n\
                        /bin/a                        1 B\n\
                        /usr/lib/firefox/firefox  12.4 MB\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_table_keeps_the_names_of_files() {
        let rows =
            [row("/usr/lib/a/very/long/directory/firefox", "12.4 MB"), row("/\u{6f22}\u{5b57}", "1 B")];
        for width in 18..60 {
            let text = render(&columns(), &rows, Some(&row("total", "12.4 MB")), Some(width));
            for line in text.lines() {
                assert!(tui::text::width(line) <= width, "{width}: {line}");
            }
            assert!(text.contains("firefox"), "{width}: {text}");
            // Wide characters take two columns, so that the numbers still line up.
            let ends: Vec<usize> = text.lines().map(tui::text::width).collect();
            assert!(ends.iter().all(|end| *end == ends[0]), "{text}");
        }
    }
}
