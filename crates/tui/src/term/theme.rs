//! Colours and styles for what the terminal can show.

use ratatui::style::{Color, Modifier, Style};

use super::background::Background;
use model::Consequence;

/// Red, green and blue.
type Rgb = (u8, u8, u8);

/// Number of colours of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// No colours: `NO_COLOR` (<https://no-color.org>) is set, or the terminal has none.
    None,
    /// The 16 colours of every terminal, as its user has set them.
    Sixteen,
    True,
}

/// What can be drawn: the colours and characters of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    pub depth: Depth,
    pub background: Background,
    /// Whether only ASCII may be written, because the locale is not UTF-8.
    pub ascii: bool,
}

/// Colours of programs on a dark background: safe for the colour-blind (after Okabe-Ito and Paul Tol), with a contrast of
/// at least 4.5 to 1, and without amber and red, which have a meaning.
const DARK: [Rgb; 8] = [
    (0x56, 0xb4, 0xe9),
    (0x2f, 0xc4, 0x94),
    (0xe0, 0x8f, 0xc0),
    (0xa9, 0xa1, 0xf2),
    (0x88, 0xd8, 0xe0),
    (0xb4, 0xc8, 0x60),
    (0xc9, 0xb2, 0xe0),
    (0x7f, 0x9c, 0xf0),
];
/// The same for a light background.
const LIGHT: [Rgb; 8] = [
    (0x00, 0x6a, 0xa8),
    (0x00, 0x75, 0x56),
    (0xa0, 0x3c, 0x7c),
    (0x5a, 0x4f, 0xc0),
    (0x00, 0x72, 0x80),
    (0x5c, 0x6b, 0x00),
    (0x7d, 0x4a, 0xa0),
    (0x2f, 0x55, 0xc4),
];
/// Secondary text.
const DIM_ON_DARK: Rgb = (0xa2, 0xa9, 0xb4);
const DIM_ON_LIGHT: Rgb = (0x55, 0x5a, 0x62);
/// Colours of programs out of the 16. Only the first four are readable on a light background.
const SIXTEEN: [Color; 8] = [
    Color::Cyan,
    Color::Green,
    Color::Magenta,
    Color::Blue,
    Color::LightCyan,
    Color::LightGreen,
    Color::LightMagenta,
    Color::LightBlue,
];

impl Theme {
    /// The colours that can be used. Those of [`Depth::True`] are made for one background, so that a terminal of an
    /// unknown one gets the 16 colours, which its user has chosen to fit.
    fn usable_depth(self) -> Depth {
        match (self.depth, self.background) {
            (Depth::True, Background::Unknown) => Depth::Sixteen,
            (depth, _) => depth,
        }
    }

    fn is_light(self) -> bool {
        self.background == Background::Light
    }

    fn pick(self, sixteen: Color, dark: Rgb, light: Rgb) -> Style {
        match self.usable_depth() {
            Depth::None => Style::new(),
            Depth::Sixteen => Style::new().fg(sixteen),
            Depth::True => Style::new().fg(rgb(if self.is_light() { light } else { dark })),
        }
    }

    /// Secondary text: units, directories, axes.
    pub fn dim(self) -> Style {
        match self.usable_depth() {
            Depth::None => Style::new(),
            // Bright black is invisible in some dark colour schemes but readable on light ones; DIM is readable on dark.
            Depth::Sixteen if self.is_light() => Style::new().fg(Color::DarkGray),
            Depth::Sixteen => Style::new().add_modifier(Modifier::DIM),
            Depth::True => self.pick(Color::Reset, DIM_ON_DARK, DIM_ON_LIGHT),
        }
    }

    /// Primary text: headings, titles, names.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row or tab: over the styles of its texts, which keep their colours if they have their own background.
    pub fn selected(self) -> Style {
        match self.usable_depth() {
            // Reversed alone: reversed colours of single texts would be a patchwork.
            Depth::None | Depth::Sixteen => {
                Style::new().fg(Color::Reset).remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED)
            }
            Depth::True => {
                let (text, background) = self.selected_colours();
                Style::new().fg(rgb(text)).bg(rgb(background)).add_modifier(Modifier::BOLD)
            }
        }
    }

    /// Text and background of the selected row.
    fn selected_colours(self) -> (Rgb, Rgb) {
        if self.is_light() {
            ((0x10, 0x14, 0x1a), (0xd6, 0xe2, 0xf4))
        } else {
            ((0xf4, 0xf6, 0xf9), (0x2c, 0x38, 0x4a))
        }
    }

    /// Whether texts in the selected row keep their colours.
    pub fn selected_keeps_colours(self) -> bool {
        self.usable_depth() == Depth::True
    }

    /// Amber, reserved for what is new or not known.
    pub fn novel(self) -> Style {
        match self.usable_depth() {
            // Yellow is hardly readable on white, but black is readable on every yellow.
            Depth::Sixteen if self.background != Background::Dark => {
                Style::new().fg(Color::Black).bg(Color::Yellow)
            }
            _ => self.amber(),
        }
    }

    /// Amber as a text or a drawing on the terminal's own background.
    fn amber(self) -> Style {
        self.pick(Color::Yellow, (0xe6, 0xa0, 0x1e), (0x8f, 0x5b, 0x00)).add_modifier(Modifier::BOLD)
    }

    /// Red, reserved for what is wrong, suspicious or lost.
    pub fn wrong(self) -> Style {
        self.pick(Color::Red, (0xff, 0x6b, 0x5e), (0xb8, 0x1f, 0x12)).add_modifier(Modifier::BOLD)
    }

    /// A loss: red if traffic is missing, amber if programs or domains are. The text says it, too.
    pub fn loss(self, consequence: Consequence) -> Style {
        match consequence {
            Consequence::TrafficMissing => self.wrong(),
            Consequence::ProgramUnknown | Consequence::DomainUnknown => self.novel(),
            Consequence::NothingMissing => self.dim(),
        }
    }

    /// The same for a bar of a chart.
    pub fn loss_bar(self, consequence: Consequence) -> Style {
        match consequence {
            Consequence::ProgramUnknown | Consequence::DomainUnknown => self.amber(),
            _ => self.loss(consequence),
        }
    }

    /// Bars of rows that are not programs.
    pub fn plain_bar(self) -> Style {
        self.pick(Color::Reset, (0x9a, 0xa4, 0xb2), (0x5c, 0x66, 0x74))
    }

    /// The colour of a program. It depends on the path only, so it is the same on every screen and day.
    pub fn program(self, path: &[u8]) -> Style {
        let index = (stable_hash(path) % DARK.len() as u64) as usize;
        let sixteen = if self.background == Background::Dark { SIXTEEN[index] } else { SIXTEEN[index % 4] };
        self.pick(sixteen, DARK[index], LIGHT[index])
    }
}

fn rgb((red, green, blue): Rgb) -> Color {
    Color::Rgb(red, green, blue)
}

/// 64-bit FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): unlike the standard library's hash, it never changes.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEEP: Theme = Theme { depth: Depth::True, background: Background::Dark, ascii: false };

    fn contrast(one: Rgb, other: Rgb) -> f64 {
        let luminance = |(red, green, blue): Rgb| {
            let [red, green, blue] = [red, green, blue].map(|part| f64::from(part) / 255.0);
            crate::term::background::luminance(red, green, blue) + 0.05
        };
        let (one, other) = (luminance(one), luminance(other));
        one.max(other) / one.min(other)
    }

    fn colour(style: Style) -> Rgb {
        let Some(Color::Rgb(red, green, blue)) = style.fg else { panic!("{style:?}") };
        (red, green, blue)
    }

    #[test]
    fn colours_are_readable_also_in_the_selected_row() {
        for (background, screen) in
            [(Background::Dark, (0x1e, 0x1e, 0x1e)), (Background::Light, (0xff, 0xff, 0xff))]
        {
            let theme = Theme { background, ..DEEP };
            let (text, selected) = theme.selected_colours();
            assert!(contrast(text, selected) >= 7.0, "{background:?}");
            // The row must stand out, too.
            assert!(contrast(screen, selected) >= 1.25, "{}", contrast(screen, selected));
            let programs = (0..100).map(|n| theme.program(format!("/usr/bin/{n}").as_bytes()));
            for style in
                [theme.dim(), theme.novel(), theme.wrong(), theme.plain_bar()].into_iter().chain(programs)
            {
                for (place, least) in [(screen, 4.5), (selected, 3.0)] {
                    let contrast = contrast(colour(style), place);
                    assert!(contrast >= least, "{style:?} on {place:x?}: {contrast}");
                }
            }
            assert!(contrast(colour(theme.dim()), selected) >= 4.5, "{background:?}");
        }
    }

    #[test]
    fn nothing_needs_a_background_that_is_not_known() {
        let unknown = Theme { background: Background::Unknown, ..DEEP };
        for style in [
            unknown.dim(),
            unknown.novel(),
            unknown.wrong(),
            unknown.plain_bar(),
            unknown.selected(),
            unknown.program(b"/usr/bin/curl"),
        ] {
            assert!(!format!("{style:?}").contains("Rgb"), "{style:?}");
        }
        assert!(unknown.selected().add_modifier.contains(Modifier::REVERSED));
        // Bright colours are for dark backgrounds only.
        for number in 0..100 {
            let style = unknown.program(format!("/usr/bin/{number}").as_bytes());
            assert!(!format!("{style:?}").contains("Light"), "{style:?}");
        }
    }

    #[test]
    fn a_program_keeps_its_colour() {
        // Published test vectors of FNV-1a.
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        let theme = Theme { depth: Depth::Sixteen, ..DEEP };
        assert_eq!(theme.program(b"/usr/bin/curl"), theme.program(b"/usr/bin/curl"));
        let colours: std::collections::HashSet<_> =
            (0..100).map(|n| format!("{:?}", theme.program(format!("/usr/bin/{n}").as_bytes()))).collect();
        assert_eq!(colours.len(), 8);
    }
}
