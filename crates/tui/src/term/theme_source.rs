//! Where the theme comes from: the command line, the environment, the answer of the terminal, and what is remembered.

use std::{
    env,
    ffi::OsString,
    io,
    time::{Duration, Instant},
};

use super::{
    background::Background,
    cycle::cycle,
    events::{Event, Events},
    terminal::Screen,
    theme::{Depth, Theme},
    theme_choice::{ChoiceFile, ThemeChoice},
};

/// How long the first frame waits for the answer of the terminal. A later answer is taken, too.
const FIRST_FRAME_DELAY: Duration = Duration::from_millis(150);

/// What the environment says about the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Environment {
    depth: Depth,
    /// `PICOSNITCH_BACKGROUND`.
    background: Background,
    /// `COLORFGBG`, which some terminals set; a terminal that is started in another one may inherit a wrong value.
    terminal: Background,
    ascii: bool,
}

impl Environment {
    fn new(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name| get(name).map(|value| value.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (terminal, deep) = (text("TERM"), text("COLORTERM"));
        let depth = if get("NO_COLOR").is_some() || ["", "dumb", "vt100", "vt220"].contains(&&*terminal) {
            Depth::None
        } else if deep.contains("truecolor") || deep.contains("24bit") || terminal.contains("direct") {
            Depth::True
        } else {
            Depth::Sixteen
        };
        let background = match &*text("PICOSNITCH_BACKGROUND") {
            "light" => Background::Light,
            "dark" => Background::Dark,
            _ => Background::Unknown,
        };
        // COLORFGBG is "foreground;background" in the 16 colours; 7 and 15 are white.
        let terminal = match text("COLORFGBG").rsplit(';').next().and_then(|number| number.parse::<u8>().ok())
        {
            Some(7 | 15) => Background::Light,
            Some(_) => Background::Dark,
            None => Background::Unknown,
        };
        // The first variable that is set decides, as in setlocale(3).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(text).find(|value| !value.is_empty());
        let ascii = !locale.is_some_and(|locale| locale.contains("utf-8") || locale.contains("utf8"));
        Self { depth, background, terminal, ascii }
    }
}

/// Everything that decides the theme. Strongest first: `NO_COLOR`; the choice of the user in this screen or on its command
/// line; `PICOSNITCH_BACKGROUND`; the choice that is remembered; the answer of the terminal; `COLORFGBG`.
#[derive(Debug)]
pub struct ThemeSource {
    environment: Environment,
    choice: ThemeChoice,
    /// Whether the choice was made for this screen, not remembered.
    is_for_this_screen: bool,
    /// The answer of the terminal.
    answer: Background,
    file: Option<ChoiceFile>,
}

impl ThemeSource {
    /// Reads the environment and the remembered choice, and remembers the one of the command line.
    pub fn new(option: Option<ThemeChoice>) -> Self {
        let environment = Environment::new(|name| env::var_os(name).filter(|value| !value.is_empty()));
        let file = ChoiceFile::of_user();
        if let (Some(file), Some(choice)) = (&file, option) {
            file.write(choice);
        }
        let remembered = || file.as_ref().map(ChoiceFile::read).unwrap_or_default();
        Self {
            environment,
            choice: option.unwrap_or_else(remembered),
            is_for_this_screen: option.is_some(),
            answer: Background::Unknown,
            file,
        }
    }

    /// The theme, as far as it is known now.
    pub fn theme(&self) -> Theme {
        let Environment { depth, ascii, .. } = self.environment;
        let depth = if self.choice == ThemeChoice::None { Depth::None } else { depth };
        Theme { depth, background: self.background(), ascii }
    }

    fn background(&self) -> Background {
        first_known([self.said(), self.answer, self.environment.terminal])
    }

    /// What the user has said about the background.
    fn said(&self) -> Background {
        let chosen = match self.choice {
            ThemeChoice::Dark => Background::Dark,
            ThemeChoice::Light => Background::Light,
            ThemeChoice::Auto | ThemeChoice::None => Background::Unknown,
        };
        let variable = self.environment.background;
        if self.is_for_this_screen {
            first_known([chosen, variable])
        } else {
            first_known([variable, chosen])
        }
    }

    /// Whether the terminal has to be asked for its background.
    pub fn needs_answer(&self) -> bool {
        self.theme().depth != Depth::None
            && self.answer == Background::Unknown
            && self.said() == Background::Unknown
    }

    /// Asks the terminal for its background if that has to be known, and waits a moment for the answer, so that the first
    /// frame has the right colours. Returns the other events that have come meanwhile.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn ask<M: Send + 'static>(
        &mut self,
        screen: &mut Screen,
        events: &Events<M>,
    ) -> io::Result<Vec<Event<M>>> {
        let mut others = Vec::new();
        if self.needs_answer() {
            screen.ask_background()?;
            let until = Instant::now() + FIRST_FRAME_DELAY;
            while self.answer == Background::Unknown
                && let Some(event) = events.next(until.saturating_duration_since(Instant::now()))
            {
                match event {
                    Event::Background(background) => self.take_answer(background),
                    event => others.push(event),
                }
            }
        }
        Ok(others)
    }

    /// Takes the answer of the terminal.
    pub fn take_answer(&mut self, background: Background) {
        self.answer = background;
    }

    /// Goes on to the next choice, and remembers it. Returns a notice for the user.
    pub fn choose_next(&mut self) -> String {
        self.choice = cycle(&ThemeChoice::ALL, self.choice, true);
        self.is_for_this_screen = true;
        if let Some(file) = &self.file {
            file.write(self.choice);
        }
        let effect = match (self.choice, self.environment.depth, self.background()) {
            (ThemeChoice::None, ..) => "no colours",
            (_, Depth::None, _) => "no colours, because the terminal has none or NO_COLOR is set",
            (_, _, Background::Dark) => "for a dark background",
            (_, _, Background::Light) => "for a light background",
            (_, _, Background::Unknown) => "for a background that is not known",
        };
        format!("theme {}: {effect}", self.choice)
    }
}

fn first_known<const N: usize>(backgrounds: [Background; N]) -> Background {
    backgrounds.into_iter().find(|background| *background != Background::Unknown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(choice: ThemeChoice, is_for_this_screen: bool, variables: &[(&str, &str)]) -> ThemeSource {
        let environment = Environment::new(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        });
        ThemeSource { environment, choice, is_for_this_screen, answer: Background::Unknown, file: None }
    }

    #[test]
    fn the_environment_decides_the_theme() {
        let theme = |variables: &[(&str, &str)]| source(ThemeChoice::Auto, false, variables).theme();
        let tmux = theme(&[("TERM", "tmux-256color"), ("LANG", "C.UTF-8")]);
        assert_eq!(tmux, Theme { depth: Depth::Sixteen, background: Background::Unknown, ascii: false });
        let deep =
            theme(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("COLORFGBG", "0;15"), ("LANG", "de_DE")]);
        assert_eq!(deep, Theme { depth: Depth::True, background: Background::Light, ascii: true });
        let plain = theme(&[("TERM", "xterm"), ("NO_COLOR", "1"), ("LC_ALL", "C"), ("LANG", "C.UTF-8")]);
        assert_eq!(plain, Theme { depth: Depth::None, background: Background::Unknown, ascii: true });
        assert_eq!(theme(&[("LC_CTYPE", "de_DE.utf8")]).depth, Depth::None);
        assert_eq!(theme(&[("TERM", "xterm"), ("COLORFGBG", "15;0")]).background, Background::Dark);
        assert_eq!(theme(&[("TERM", "xterm"), ("COLORFGBG", "0;default")]).background, Background::Unknown);
    }

    #[test]
    fn the_stronger_word_counts() {
        let terminal = [("TERM", "xterm"), ("COLORFGBG", "15;0")];
        let mut auto = source(ThemeChoice::Auto, false, &terminal);
        assert!(auto.needs_answer());
        assert_eq!(auto.theme().background, Background::Dark);
        auto.take_answer(Background::Light);
        assert!(!auto.needs_answer());
        assert_eq!(auto.theme().background, Background::Light, "COLORFGBG may be inherited");

        let variable = [("TERM", "xterm"), ("PICOSNITCH_BACKGROUND", "Dark")];
        for (choice, is_for_this_screen, expected) in [
            (ThemeChoice::Auto, true, Background::Dark),
            (ThemeChoice::Light, false, Background::Dark),
            (ThemeChoice::Light, true, Background::Light),
        ] {
            let mut source = source(choice, is_for_this_screen, &variable);
            source.take_answer(Background::Light);
            assert!(!source.needs_answer());
            assert_eq!(source.theme().background, expected, "{choice} {is_for_this_screen}");
        }
        let none = source(ThemeChoice::None, true, &variable);
        assert_eq!(none.theme().depth, Depth::None);
        let no_color = source(ThemeChoice::Light, true, &[("TERM", "xterm"), ("NO_COLOR", "1")]);
        assert!(!no_color.needs_answer());
        assert_eq!(no_color.theme().depth, Depth::None);
    }

    #[test]
    fn a_key_goes_through_all_choices() {
        let mut source = source(ThemeChoice::Auto, false, &[("TERM", "xterm")]);
        let notices: Vec<_> = ThemeChoice::ALL.iter().map(|_| source.choose_next()).collect();
        assert_eq!(
            notices,
            [
                "theme dark: for a dark background",
                "theme light: for a light background",
                "theme none: no colours",
                "theme auto: for a background that is not known"
            ]
        );
        assert!(source.needs_answer());
    }
}
