//! The state of `top` besides what the daemon reports, and how keys change it. No input or output happens here.

use super::{
    connection_rows::{self, ConnectionRows},
    keys::Action,
    live_state::LiveState,
    program_rows::{self, ProgramRow, RowKey},
    rates::ByteCounts,
    sort_column::SortColumn,
    sticky_selection::StickySelection,
};
use crate::term::{cycle::cycle, find_text::FindText, widgets::Help};
use model::text::units::ByteUnit;

/// One of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Programs,
    Connections,
}

/// The action that a change of the state requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Build the rows of both lists again.
    Refresh,
    /// Hold the screen still, or release it.
    Pause,
    /// Remove the alerts from the screen.
    Dismiss,
    /// Copy the selected row to the clipboard.
    Copy,
    /// Go on to the next theme.
    Theme,
    Quit,
}

/// The rows of a list, the selected one, and the text that rows must contain.
#[derive(Clone, Debug)]
pub struct PaneState<R, K> {
    pub rows: R,
    pub selection: StickySelection<K>,
    pub find: FindText,
}

impl<R: Default, K> Default for PaneState<R, K> {
    fn default() -> Self {
        Self { rows: R::default(), selection: StickySelection::default(), find: FindText::default() }
    }
}

/// Everything that the screen shows besides [`LiveState`].
pub struct TopState {
    pub programs: PaneState<Vec<ProgramRow>, RowKey>,
    /// The connections of the selected program.
    pub connections: PaneState<ConnectionRows, u64>,
    /// The list in which the keys move.
    pub focus: Pane,
    pub sort: SortColumn,
    /// Whether programs are shown below those that started them.
    pub tree: bool,
    pub unit: ByteUnit,
    /// Whether the user is typing the text of a search.
    pub finding: bool,
    pub help: Help,
    pub paused: bool,
    /// The path of the program to select when the rows are built next: they have other keys in the tree.
    sought: Option<Vec<u8>>,
    /// A message for the last line, until the next key.
    pub notice: Option<String>,
}

impl Default for TopState {
    fn default() -> Self {
        Self {
            programs: PaneState::default(),
            connections: PaneState::default(),
            focus: Pane::Programs,
            sort: SortColumn::Second,
            tree: false,
            unit: ByteUnit::Decimal,
            finding: false,
            help: Help::default(),
            paused: false,
            sought: None,
            notice: None,
        }
    }
}

impl TopState {
    /// Builds the rows of both lists.
    pub fn refresh(&mut self, live: &LiveState) {
        let find = self.programs.find.to_lowercase();
        self.programs.rows = program_rows::programs(live, self.sort, self.tree, &find);
        let keys = self.programs.rows.iter().map(|row| &row.key);
        self.programs.selection.follow(keys.clone());
        let sought = self.sought.take();
        if let Some(row) = self.programs.rows.iter().position(|row| sought.as_deref() == Some(row.path())) {
            self.programs.selection.select(row, keys);
        }
        let find = self.connections.find.to_lowercase();
        self.connections.rows = match self.program() {
            Some(program) => connection_rows::connections(live, program, self.sort, &find),
            None => ConnectionRows::default(),
        };
        self.connections.selection.follow(self.connections.rows.ids.iter());
    }

    pub fn program(&self) -> Option<&ProgramRow> {
        self.programs.rows.get(self.programs.selection.index())
    }

    /// Id of the selected connection, if the keys move in the connections.
    pub fn connection(&self) -> Option<u64> {
        let ids = &self.connections.rows.ids;
        let index = self.connections.selection.index();
        ids.get(index).copied().filter(|_| self.focus == Pane::Connections)
    }

    /// Number of rows of a list.
    pub fn rows(&self, pane: Pane) -> usize {
        match pane {
            Pane::Programs => self.programs.rows.len(),
            Pane::Connections => self.connections.rows.ids.len(),
        }
    }

    /// Selects a row. Another program has other connections, of which the first is selected.
    pub fn select(&mut self, pane: Pane, row: usize) -> Effect {
        match pane {
            Pane::Programs => {
                let keys = self.programs.rows.iter().map(|row| &row.key);
                if self.programs.selection.select(row, keys) {
                    self.connections.selection.reset();
                }
            }
            Pane::Connections => {
                // Otherwise another program could become the first, with other connections.
                self.pin_program();
                self.connections.selection.select(row, self.connections.rows.ids.iter());
            }
        }
        Effect::Refresh
    }

    /// Stays with the selected program.
    fn pin_program(&mut self) {
        let keys = self.programs.rows.iter().map(|row| &row.key);
        self.programs.selection.select(self.programs.selection.index(), keys);
    }

    /// Shows the programs below those that started them, or no more. A program that was selected by the user stays it.
    fn toggle_tree(&mut self) -> Effect {
        let selection = &self.programs.selection;
        self.sought = self.program().filter(|_| !selection.is_following()).map(|row| row.path().to_vec());
        self.tree = !self.tree;
        self.programs.selection.reset();
        Effect::Refresh
    }

    /// Moves the selection by a number of rows.
    pub fn step(&mut self, pane: Pane, rows: isize) -> Effect {
        let selected = match pane {
            Pane::Programs => self.programs.selection.index(),
            Pane::Connections => self.connections.selection.index(),
        };
        self.select(pane, selected.saturating_add_signed(rows))
    }

    /// The text of the search in the list in which the keys move.
    pub fn find(&mut self) -> &mut FindText {
        match self.focus {
            Pane::Programs => &mut self.programs.find,
            Pane::Connections => &mut self.connections.find,
        }
    }

    /// Adds a character to the text of the search.
    pub fn type_character(&mut self, character: char) -> Effect {
        self.find().push(character);
        Effect::Refresh
    }

    /// Removes the last character of the text of the search, or leaves an empty search.
    pub fn delete_character(&mut self) -> Effect {
        if !self.find().pop() {
            self.finding = false;
        }
        Effect::Refresh
    }

    pub fn scroll_help(&mut self, lines: isize) -> Effect {
        self.help.scroll(lines);
        Effect::None
    }

    pub fn act(&mut self, action: Action) -> Effect {
        self.notice = None;
        let page = match self.focus {
            Pane::Programs => self.programs.selection.position.page,
            Pane::Connections => self.connections.selection.position.page,
        };
        let page = page.max(1) as isize;
        match action {
            Action::Up => self.step(self.focus, -1),
            Action::Down => self.step(self.focus, 1),
            Action::PageUp => self.step(self.focus, -page),
            Action::PageDown => self.step(self.focus, page),
            Action::First => self.select(self.focus, 0),
            Action::Last => self.select(self.focus, usize::MAX),
            Action::OtherPane => {
                self.focus = match self.focus {
                    Pane::Programs => Pane::Connections,
                    Pane::Connections => Pane::Programs,
                };
                self.finding = false;
                self.pin_program();
                Effect::None
            }
            Action::Follow => {
                self.programs.selection.reset();
                self.connections.selection.reset();
                self.focus = Pane::Programs;
                Effect::Refresh
            }
            Action::Pause => {
                self.paused = !self.paused;
                Effect::Pause
            }
            Action::NextSort | Action::PreviousSort => {
                self.sort = cycle(&SortColumn::ALL, self.sort, action == Action::NextSort);
                Effect::Refresh
            }
            Action::Tree => self.toggle_tree(),
            Action::Find => {
                self.finding = true;
                Effect::None
            }
            Action::Escape => {
                self.finding = false;
                self.find().clear();
                Effect::Refresh
            }
            Action::NextUnit | Action::PreviousUnit => {
                self.unit = cycle(&ByteUnit::ALL, self.unit, action == Action::NextUnit);
                Effect::None
            }
            Action::Dismiss => Effect::Dismiss,
            Action::Copy => Effect::Copy,
            Action::Theme => Effect::Theme,
            Action::Help => {
                self.help.show();
                Effect::None
            }
            Action::Quit => Effect::Quit,
        }
    }

    /// Whether the footer shows the key of an action, because it has an effect now.
    pub fn offers(&self, action: Action, live: &LiveState) -> bool {
        match action {
            Action::Copy => self.program().is_some(),
            Action::Follow => !self.programs.selection.is_following(),
            Action::Dismiss => !live.alerts.is_empty(),
            _ => true,
        }
    }

    /// The selected row as text, with tabs between its fields. A program: path, open connections, rates sent and received,
    /// totals sent and received. A connection: peer, protocol, process id, bytes sent and received.
    pub fn row_text(&self, live: &LiveState) -> Option<String> {
        if let Some(connection) = self.connection().and_then(|id| live.connections.get(&id)) {
            let ByteCounts { sent, received } = connection.total;
            let (protocol, process) = (&connection.protocol, connection.process);
            return Some(format!("{}\t{protocol}\t{process}\t{sent}\t{received}", connection.peer));
        }
        let program = self.program()?;
        let (rate, total) = (program.second, program.total);
        Some(format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            program.label, program.open, rate.sent, rate.received, total.sent, total.received
        ))
    }
}
