//! Colours and styles for what the terminal can show.

use std::{env, ffi::OsString};

use model::Consequence;
use ratatui::style::{Color, Modifier, Style};

/// Number of colours of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// No colours: `NO_COLOR` (<https://no-color.org>) is set, or the terminal has none.
    None,
    /// The 16 colours of every terminal, as its user has set them.
    Sixteen,
    True,
}

/// The abilities of the terminal: its colours and characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    pub depth: Depth,
    /// Whether the background is light.
    pub light: bool,
    /// Whether only ASCII may be written, because the locale is not UTF-8.
    pub ascii: bool,
}

/// Colours of programs on a dark background: safe for the colour-blind (after Okabe-Ito and Paul Tol), with a contrast of
/// at least 4.5 to 1, and without amber and red, which have a meaning.
const DARK: [(u8, u8, u8); 8] = [
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
const LIGHT: [(u8, u8, u8); 8] = [
    (0x00, 0x6a, 0xa8),
    (0x00, 0x75, 0x56),
    (0xa0, 0x3c, 0x7c),
    (0x5a, 0x4f, 0xc0),
    (0x00, 0x72, 0x80),
    (0x5c, 0x6b, 0x00),
    (0x7d, 0x4a, 0xa0),
    (0x2f, 0x55, 0xc4),
];
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
    /// Reads from the environment what the terminal of this process can show.
    pub fn detect() -> Self {
        Self::from_environment(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_environment(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name| get(name).map(|value| value.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (terminal, deep) = (text("TERM"), text("COLORTERM"));
        let depth = if get("NO_COLOR").is_some() || ["", "dumb", "vt100", "vt220"].contains(&&*terminal) {
            Depth::None
        } else if deep.contains("truecolor") || deep.contains("24bit") || terminal.contains("direct") {
            Depth::True
        } else {
            Depth::Sixteen
        };
        // COLORFGBG is "foreground;background" in the 16 colours; 7 and 15 are white.
        let background = text("COLORFGBG").rsplit(';').next().and_then(|number| number.parse::<u8>().ok());
        let light = match &*text("PICOSNITCH_BACKGROUND") {
            "light" => true,
            "dark" => false,
            _ => matches!(background, Some(7 | 15)),
        };
        // The first variable that is set decides, as in setlocale(3).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(text).find(|value| !value.is_empty());
        let ascii = !locale.is_some_and(|locale| locale.contains("utf-8") || locale.contains("utf8"));
        Self { depth, light, ascii }
    }

    fn pick(self, sixteen: Color, dark: (u8, u8, u8), light: (u8, u8, u8)) -> Style {
        match self.depth {
            Depth::None => Style::new(),
            Depth::Sixteen => Style::new().fg(sixteen),
            Depth::True => Style::new().fg(rgb(if self.light { light } else { dark })),
        }
    }

    /// Secondary text: units, directories, axes.
    pub fn dim(self) -> Style {
        match self.depth {
            Depth::None => Style::new(),
            // Bright black is invisible in some dark colour schemes but readable on light ones; DIM is readable on dark.
            Depth::Sixteen if self.light => Style::new().fg(Color::DarkGray),
            Depth::Sixteen => Style::new().add_modifier(Modifier::DIM),
            Depth::True => self.pick(Color::Reset, (0x8c, 0x92, 0x9c), (0x66, 0x6b, 0x73)),
        }
    }

    /// Primary text: headings, titles, names.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row or tab.
    pub fn selected(self) -> Style {
        match self.depth {
            Depth::None | Depth::Sixteen => Style::new().add_modifier(Modifier::REVERSED),
            Depth::True if self.light => {
                Style::new().bg(rgb((0xdd, 0xe4, 0xee))).add_modifier(Modifier::BOLD)
            }
            Depth::True => Style::new().bg(rgb((0x2c, 0x34, 0x40))).add_modifier(Modifier::BOLD),
        }
    }

    /// Amber, reserved for what is new or not known.
    pub fn novel(self) -> Style {
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

    /// Bars of rows that are not programs.
    pub fn plain_bar(self) -> Style {
        self.pick(Color::Reset, (0x9a, 0xa4, 0xb2), (0x5c, 0x66, 0x74))
    }

    /// The colour of a program. It depends on the path only, so it is the same on every screen and day.
    pub fn program(self, path: &[u8]) -> Style {
        let index = (stable_hash(path) % DARK.len() as u64) as usize;
        let sixteen = if self.light { SIXTEEN[index % 4] } else { SIXTEEN[index] };
        self.pick(sixteen, DARK[index], LIGHT[index])
    }
}

fn rgb((red, green, blue): (u8, u8, u8)) -> Color {
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

    fn theme(variables: &[(&str, &str)]) -> Theme {
        Theme::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_decides_the_theme() {
        let tmux = theme(&[("TERM", "tmux-256color"), ("LANG", "C.UTF-8")]);
        assert_eq!(tmux, Theme { depth: Depth::Sixteen, light: false, ascii: false });
        let deep =
            theme(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("COLORFGBG", "0;15"), ("LANG", "de_DE")]);
        assert_eq!(deep, Theme { depth: Depth::True, light: true, ascii: true });
        let plain = theme(&[("TERM", "xterm"), ("NO_COLOR", "1"), ("LC_ALL", "C"), ("LANG", "C.UTF-8")]);
        assert_eq!(plain, Theme { depth: Depth::None, light: false, ascii: true });
        assert_eq!(theme(&[("LC_CTYPE", "de_DE.utf8")]).depth, Depth::None);
    }

    #[test]
    fn colours_are_readable() {
        // Relative luminance and contrast as in the Web Content Accessibility Guidelines.
        let luminance = |(red, green, blue): (u8, u8, u8)| {
            let part = |value: u8| {
                let value = f64::from(value) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
        };
        for colour in DARK {
            assert!(
                (luminance(colour) + 0.05) / (luminance((0x1e, 0x1e, 0x1e)) + 0.05) >= 4.5,
                "{colour:x?}"
            );
        }
        for colour in LIGHT {
            assert!(
                (luminance((0xff, 0xff, 0xff)) + 0.05) / (luminance(colour) + 0.05) >= 4.5,
                "{colour:x?}"
            );
        }
    }

    #[test]
    fn a_program_keeps_its_colour() {
        // Published test vectors of FNV-1a.
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        let theme = theme(&[("TERM", "xterm")]);
        assert_eq!(theme.program(b"/usr/bin/curl"), theme.program(b"/usr/bin/curl"));
        let colours: std::collections::HashSet<_> =
            (0..100).map(|n| format!("{:?}", theme.program(format!("/usr/bin/{n}").as_bytes()))).collect();
        assert_eq!(colours.len(), 8);
    }
}
