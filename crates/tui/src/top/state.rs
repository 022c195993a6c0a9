//! What the user looks at, and what each key changes in it. No input or output happens here.

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

use super::{
    keys::{Action, BINDINGS},
    model::Model,
    rates::Bytes,
    rows::{self, Connections, Row, Sort},
};
use crate::term::keys as tui_keys;
use model::text::format::ByteUnit;

/// Characters of a text to find.
const MAX_FIND: usize = 200;
/// Rows that the wheel moves.
const WHEEL: isize = 3;

/// Which list the keys move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Programs,
    Connections,
}

/// What has to be done after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    Nothing,
    /// Other rows are wanted.
    Refresh,
    /// The screen is held still, or goes on.
    Pause,
    /// The alerts are read.
    Dismiss,
    Copy,
    Quit,
}

/// Where one is in a list.
#[derive(Clone, Debug)]
pub struct Place<K> {
    /// The row where the user has gone; `None`: whichever is the first.
    key: Option<K>,
    pub selected: usize,
    pub top: usize,
    /// Rows that the list has on the screen.
    pub page: usize,
}

impl<K> Default for Place<K> {
    fn default() -> Self {
        Self { key: None, selected: 0, top: 0, page: 10 }
    }
}

impl<K: Clone + PartialEq> Place<K> {
    fn go(&mut self, to: usize, keys: &[K]) {
        self.selected = to.min(keys.len().saturating_sub(1));
        self.key = keys.get(self.selected).filter(|_| self.selected > 0).cloned();
    }

    /// Goes after its row.
    fn follow(&mut self, keys: &[K]) {
        let Some(key) = &self.key else {
            self.selected = 0;
            return;
        };
        let found = keys.iter().position(|found| found == key);
        self.selected = found.unwrap_or(self.selected).min(keys.len().saturating_sub(1));
    }

    /// Scrolls so that the selected row is among the `page` that there is room for, with as little movement as can be.
    pub fn scroll(&mut self, page: usize, rows: usize) {
        self.page = page;
        self.top = self.top.min(rows.saturating_sub(page)).min(self.selected);
        if page > 0 && self.selected >= self.top + page {
            self.top = self.selected + 1 - page;
        }
    }
}

/// Where things are on the screen, for the mouse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    pub programs: Rect,
    pub connections: Rect,
}

/// Everything that the screen shows, besides the model.
pub struct State {
    pub focus: Pane,
    pub sort: Sort,
    pub tree: bool,
    pub unit: ByteUnit,
    /// What is looked for, among programs and among connections.
    pub find: [String; 2],
    pub finding: bool,
    pub help: bool,
    pub paused: bool,
    pub notice: Option<String>,
    pub rows: Vec<Row>,
    pub programs: Place<Vec<Vec<u8>>>,
    pub of_it: Connections,
    pub connections: Place<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            focus: Pane::Programs,
            sort: Sort::Second,
            tree: false,
            unit: ByteUnit::Decimal,
            find: Default::default(),
            finding: false,
            help: false,
            paused: false,
            notice: None,
            rows: Vec::new(),
            programs: Place::default(),
            of_it: Connections::default(),
            connections: Place::default(),
        }
    }
}

impl State {
    /// Makes the rows anew.
    pub fn refresh(&mut self, model: &Model) {
        let [programs, connections] = self.find.each_ref().map(|find| find.to_lowercase());
        self.rows = rows::programs(model, self.sort, self.tree, &programs);
        self.programs.follow(&self.keys());
        self.of_it = match self.rows.get(self.programs.selected) {
            Some(row) => rows::connections(model, row, self.sort, &connections),
            None => Connections::default(),
        };
        self.connections.follow(&self.of_it.ids);
    }

    fn keys(&self) -> Vec<Vec<Vec<u8>>> {
        self.rows.iter().map(|row| row.key.clone()).collect()
    }

    /// The program whose connections are shown.
    pub fn row(&self) -> Option<&Row> {
        self.rows.get(self.programs.selected)
    }

    /// The connection that is selected, if the keys move there.
    pub fn connection(&self) -> Option<u64> {
        (self.focus == Pane::Connections)
            .then(|| self.of_it.ids.get(self.connections.selected).copied())
            .flatten()
    }

    fn go(&mut self, pane: Pane, to: usize) -> Todo {
        match pane {
            Pane::Programs => {
                let keys = self.keys();
                let before = self.programs.selected;
                self.programs.go(to, &keys);
                if self.programs.selected != before {
                    self.connections = Place { page: self.connections.page, ..Place::default() };
                }
            }
            Pane::Connections => self.connections.go(to, &self.of_it.ids),
        }
        Todo::Refresh
    }

    fn step(&mut self, pane: Pane, rows: isize) -> Todo {
        let selected = match pane {
            Pane::Programs => self.programs.selected,
            Pane::Connections => self.connections.selected,
        };
        self.go(pane, selected.saturating_add_signed(rows))
    }

    fn find(&mut self) -> &mut String {
        &mut self.find[self.focus as usize]
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Todo {
        if self.help {
            self.help = false;
            return Todo::Nothing;
        }
        if self.finding {
            match key.code {
                KeyCode::Char(character) => {
                    let find = self.find();
                    if find.chars().count() < MAX_FIND {
                        find.push(character);
                    }
                    return Todo::Refresh;
                }
                KeyCode::Backspace => {
                    if self.find().pop().is_none() {
                        self.finding = false;
                    }
                    return Todo::Refresh;
                }
                KeyCode::Enter => {
                    self.finding = false;
                    return Todo::Nothing;
                }
                _ => {}
            }
        }
        tui_keys::action(&BINDINGS, key).map_or(Todo::Nothing, |action| self.act(action))
    }

    pub fn act(&mut self, action: Action) -> Todo {
        self.notice = None;
        let page = match self.focus {
            Pane::Programs => self.programs.page,
            Pane::Connections => self.connections.page,
        };
        let page = page.max(1) as isize;
        match action {
            Action::Up => self.step(self.focus, -1),
            Action::Down => self.step(self.focus, 1),
            Action::PageUp => self.step(self.focus, -page),
            Action::PageDown => self.step(self.focus, page),
            Action::First => self.go(self.focus, 0),
            Action::Last => self.go(self.focus, usize::MAX),
            Action::OtherPane => {
                self.focus = match self.focus {
                    Pane::Programs => Pane::Connections,
                    Pane::Connections => Pane::Programs,
                };
                self.finding = false;
                Todo::Nothing
            }
            Action::Pause => {
                self.paused = !self.paused;
                Todo::Pause
            }
            Action::NextSort | Action::PreviousSort => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[cycle(at, Sort::ALL.len(), action == Action::NextSort)];
                Todo::Refresh
            }
            Action::Tree => {
                self.tree = !self.tree;
                // Rows have other keys now.
                self.go(Pane::Programs, 0)
            }
            Action::Find => {
                self.finding = true;
                Todo::Nothing
            }
            Action::Escape => {
                self.finding = false;
                self.find().clear();
                Todo::Refresh
            }
            Action::NextUnit | Action::PreviousUnit => {
                let units = ByteUnit::ALL;
                let at = units.iter().position(|unit| *unit == self.unit).unwrap_or(0);
                self.unit = units[cycle(at, units.len(), action == Action::NextUnit)];
                Todo::Nothing
            }
            Action::Dismiss => Todo::Dismiss,
            Action::Copy => Todo::Copy,
            Action::Help => {
                self.help = true;
                Todo::Nothing
            }
            Action::Quit => Todo::Quit,
        }
    }

    /// What the mouse does.
    pub fn mouse(&mut self, mouse: MouseEvent, places: &Places) -> Todo {
        let at = (mouse.column, mouse.row).into();
        let pane = if places.connections.contains(at) { Pane::Connections } else { Pane::Programs };
        match mouse.kind {
            MouseEventKind::ScrollUp => self.step(pane, -WHEEL),
            MouseEventKind::ScrollDown => self.step(pane, WHEEL),
            MouseEventKind::Down(MouseButton::Left) if self.help => {
                self.help = false;
                Todo::Nothing
            }
            MouseEventKind::Down(MouseButton::Left) => {
                let (area, top, rows) = match pane {
                    Pane::Programs => (places.programs, self.programs.top, self.rows.len()),
                    Pane::Connections => (places.connections, self.connections.top, self.of_it.ids.len()),
                };
                let row = top + usize::from(mouse.row.saturating_sub(area.y));
                if !area.contains(at) || row >= rows {
                    return Todo::Nothing;
                }
                self.focus = pane;
                self.go(pane, row)
            }
            _ => Todo::Nothing,
        }
    }

    /// Whether a key of the footer does something here.
    pub fn offers(&self, action: Action, model: &Model) -> bool {
        match action {
            Action::Copy => self.row().is_some(),
            Action::Dismiss => !model.alerts.is_empty(),
            _ => true,
        }
    }

    /// The row as text for other programs, with tabs between: programs with connections open, rates and totals sent and
    /// received; connections with the process id, bytes sent and received.
    pub fn row_text(&self, model: &Model) -> Option<String> {
        if let Some(connection) = self.connection().and_then(|id| model.connections.get(&id)) {
            let Bytes { sent, received } = connection.total;
            let (protocol, process) = (&connection.protocol, connection.process);
            return Some(format!("{}\t{protocol}\t{process}\t{sent}\t{received}", connection.peer));
        }
        let row = self.row()?;
        let (rate, total) = (row.second, row.total);
        Some(format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            row.label, row.open, rate.sent, rate.received, total.sent, total.received
        ))
    }
}

fn cycle(index: usize, count: usize, forward: bool) -> usize {
    (index + if forward { 1 } else { count - 1 }) % count
}
