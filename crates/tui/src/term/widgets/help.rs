//! The keys of a screen: the most important ones in a footer, all of them in the help.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{layout::Rect, style::Style};

use super::lines::wrap;
use crate::term::{canvas::Canvas, keys::Binding, text::width};

/// Blank columns after a key, and after a column of the help.
const KEY_GAP: u16 = 2;
const COLUMN_GAP: u16 = 3;
const MAX_COLUMNS: usize = 4;
/// Narrowest text of the help; it is cut only if not even this fits.
const MIN_TEXT: u16 = 8;

/// Whether the help is shown, and how far it is scrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Help {
    pub shown: bool,
    /// The first line on the screen.
    top: usize,
    /// The largest `top`, and the lines that fit on the screen, at the last frame.
    max_top: usize,
    page: usize,
}

impl Help {
    /// Shows the help from its first line on.
    pub fn show(&mut self) {
        *self = Self { shown: true, ..Self::default() };
    }

    /// Takes a key while the help is shown: it scrolls, or closes the help.
    pub fn on_key(&mut self, key: KeyEvent) {
        let page = self.page.max(1) as isize;
        match key.code {
            _ if self.max_top == 0 => self.shown = false,
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(page),
            KeyCode::Home => self.top = 0,
            KeyCode::End => self.top = self.max_top,
            _ => self.shown = false,
        }
    }

    /// Scrolls by a number of lines.
    pub fn scroll(&mut self, lines: isize) {
        self.top = self.top.saturating_add_signed(lines).min(self.max_top);
    }
}

/// Draws one line with keys. The `last` actions, which help and quit, are at its right end and always there; of the others
/// whose action is `offered`, as many as fit, in their order.
pub fn draw_footer<A: PartialEq>(
    mut canvas: Canvas<'_>,
    bindings: &[Binding<A>],
    last: &[A],
    offered: impl Fn(&A) -> bool,
) {
    let theme = canvas.theme;
    let key = |binding: &Binding<A>| binding.name.split(' ').next().unwrap_or_default();
    let length = |binding: &Binding<A>| (width(key(binding)) + 1 + width(binding.short)) as u16;
    let is_last = |binding: &&Binding<A>| last.contains(&binding.action);
    let ends: Vec<_> = bindings.iter().filter(is_last).collect();
    let needed: u16 = ends.iter().map(|binding| length(binding) + KEY_GAP).sum();
    // On a screen that is narrower than that, they come first.
    let mut end = canvas.area.width.saturating_sub(needed.saturating_sub(KEY_GAP));
    let mut draw = |x: u16, binding: &Binding<A>| {
        let name = canvas.put(x, 0, key(binding), theme.strong());
        canvas.put(x + name + 1, 0, binding.short, theme.dim());
    };
    let mut x = 0;
    let others = bindings.iter().filter(|binding| !is_last(binding));
    for binding in others.filter(|binding| !binding.short.is_empty() && offered(&binding.action)) {
        let length = length(binding);
        if u32::from(x) + u32::from(length + KEY_GAP) <= end.into() {
            draw(x, binding);
            x += length + KEY_GAP;
        }
    }
    for binding in ends {
        draw(end, binding);
        end = end.saturating_add(length(binding) + KEY_GAP);
    }
}

/// One line of the help: a key and a text, of which either may be empty.
type Line = (&'static str, String);

/// The help in columns.
struct Columns {
    /// The lines of each column.
    lines: Vec<Vec<Line>>,
    /// The width of keys and of texts of each column.
    widths: Vec<(u16, u16)>,
}

impl Columns {
    /// Divides the keys into so many columns; `None` if they are too wide.
    fn new<A>(bindings: &[&Binding<A>], count: usize, max_width: u16) -> Option<Self> {
        let rows = bindings.len().div_ceil(count).max(1);
        let line = |binding: &&Binding<A>| (binding.name, binding.help.to_owned());
        let lines: Vec<Vec<Line>> =
            bindings.chunks(rows).map(|chunk| chunk.iter().map(line).collect()).collect();
        let widest =
            |lines: &[Line], part: fn(&Line) -> usize| lines.iter().map(part).max().unwrap_or(0) as u16;
        let widths: Vec<(u16, u16)> = lines
            .iter()
            .map(|lines| (widest(lines, |line| width(line.0)), widest(lines, |line| width(&line.1))))
            .collect();
        let sum: u16 = widths.iter().map(|(key, text)| key + KEY_GAP + text + COLUMN_GAP).sum();
        (sum.saturating_sub(COLUMN_GAP) <= max_width).then_some(Self { lines, widths })
    }

    /// One column whose texts are broken where they are too wide.
    fn wrapped<A>(bindings: &[&Binding<A>], max_width: u16) -> Self {
        let keys = bindings.iter().map(|binding| width(binding.name)).max().unwrap_or(0) as u16;
        let keys = keys.min(max_width.saturating_sub(KEY_GAP + MIN_TEXT));
        let text = max_width.saturating_sub(keys + KEY_GAP).max(1);
        let lines = bindings.iter().flat_map(|binding| {
            let texts = wrap(binding.help, text.into()).into_iter().enumerate();
            texts.map(|(number, text)| (if number == 0 { binding.name } else { "" }, text))
        });
        Self { lines: vec![lines.collect()], widths: vec![(keys, text)] }
    }

    /// The fewest columns that fit into the height, or the most that fit into the width.
    fn fit<A>(bindings: &[&Binding<A>], max_width: u16, max_height: usize) -> Self {
        let mut columns = None;
        for count in 1..=MAX_COLUMNS {
            let Some(wider) = Self::new(bindings, count, max_width) else { continue };
            let fits = wider.height() <= max_height;
            columns = Some(wider);
            if fits {
                break;
            }
        }
        columns.unwrap_or_else(|| Self::wrapped(bindings, max_width))
    }

    fn height(&self) -> usize {
        self.lines.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Draws the list of all keys over the canvas, in columns; what does not fit can be scrolled to.
pub fn draw_help<A>(mut canvas: Canvas<'_>, bindings: &[Binding<A>], help: &mut Help) {
    let (area, theme) = (canvas.area, canvas.theme);
    canvas.clear();
    let head: u16 = if area.height >= 6 { 2 } else { 1 };
    let shown: Vec<&Binding<A>> = bindings.iter().filter(|binding| !binding.help.is_empty()).collect();
    let page = usize::from(area.height.saturating_sub(head));
    let columns = Columns::fit(&shown, area.width.saturating_sub(2), page);
    help.page = page;
    help.max_top = columns.height().saturating_sub(page);
    help.top = help.top.min(help.max_top);
    let hint = match help.max_top {
        0 => "any key closes this".to_owned(),
        _ => {
            let last = (help.top + page).min(columns.height());
            format!("{}-{last} of {}, arrows scroll", help.top + 1, columns.height())
        }
    };
    canvas.put(1, 0, "Keys", theme.strong());
    canvas.put(7, 0, &hint, theme.dim());
    let mut x = 1;
    for (lines, (keys, text)) in columns.lines.iter().zip(columns.widths) {
        for (y, (key, line)) in (head..area.height).zip(lines.iter().skip(help.top)) {
            let place = Rect { x: area.x + x, y: area.y + y, width: keys, height: 1 };
            canvas.within(place.intersection(area)).put(0, 0, key, theme.strong());
            canvas.put(x + keys + KEY_GAP, y, line, Style::new());
        }
        x += keys + KEY_GAP + text + COLUMN_GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::{
        background::Background,
        testing::text,
        theme::{Depth, Theme},
    };
    use ratatui::buffer::Buffer;

    fn bindings() -> Vec<Binding<u8>> {
        let binding = |action, name, short, help| Binding { keys: &[], action, name, short, help };
        vec![
            binding(0, "a", "first", "the first of all things that this does"),
            binding(1, "Backspace", "a long one", "the second"),
            binding(2, "c", "", ""),
            binding(3, "d", "fourth", "the fourth"),
            binding(8, "? F1", "help", "all keys"),
            binding(9, "q", "quit", "quit"),
        ]
    }

    fn draw(columns: u16, lines: u16, draw: impl FnOnce(Canvas<'_>)) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
        let theme = Theme { depth: Depth::None, background: Background::Dark, ascii: false };
        draw(Canvas::new(&mut buffer, theme));
        text(&buffer)
    }

    #[test]
    fn help_and_quit_are_always_in_the_footer() {
        for columns in 14..100 {
            let text = draw(columns, 1, |canvas| draw_footer(canvas, &bindings(), &[8, 9], |_| true));
            assert!(text.ends_with("? help  q quit\n"), "{text}");
        }
        let footer = |columns| draw(columns, 1, |canvas| draw_footer(canvas, &bindings(), &[8, 9], |_| true));
        assert_eq!(footer(56), "a first  Backspace a long one  d fourth   ? help  q quit\n");
        assert_eq!(
            footer(44),
            "a first  d fourth             ? help  q quit\n",
            "what is too wide is left out"
        );
        let offered = draw(40, 1, |canvas| draw_footer(canvas, &bindings(), &[8, 9], |action| *action == 3));
        assert_eq!(offered, "d fourth                  ? help  q quit\n");
    }

    #[test]
    fn every_line_of_the_help_can_be_seen_on_every_screen() {
        for (columns, lines) in [(80, 24), (60, 5), (40, 4), (25, 6), (20, 3), (14, 2)] {
            let mut help = Help::default();
            help.show();
            let (mut seen, mut frames) = (String::new(), 0);
            while help.shown && frames < 100 {
                let before = help.top;
                seen += &draw(columns, lines, |canvas| draw_help(canvas, &bindings(), &mut help));
                help.on_key(KeyCode::Down.into());
                frames += 1;
                if help.shown && help.top == before && before > 0 {
                    break;
                }
            }
            for word in ["first", "things", "second", "fourth", "Backspace", "all", "keys", "quit"] {
                let word = if columns < 25 && word == "Backspace" { "q" } else { word };
                assert!(seen.contains(word), "{columns}x{lines}: no {word} in\n{seen}");
            }
        }
    }

    #[test]
    fn keys_scroll_or_close_the_help() {
        let mut help = Help::default();
        let press = |help: &mut Help, code: KeyCode| {
            draw(40, 4, |canvas| draw_help(canvas, &bindings(), help));
            help.on_key(code.into());
            (help.shown, help.top)
        };
        help.show();
        assert_eq!(press(&mut help, KeyCode::Down), (true, 1));
        assert_eq!(press(&mut help, KeyCode::End), (true, help.max_top));
        assert_eq!(press(&mut help, KeyCode::PageDown), (true, help.max_top));
        assert_eq!(press(&mut help, KeyCode::Home), (true, 0));
        assert_eq!(press(&mut help, KeyCode::Up), (true, 0));
        assert_eq!(press(&mut help, KeyCode::Esc), (false, 0));
    }
}
