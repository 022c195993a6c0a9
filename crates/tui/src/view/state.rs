//! What the user looks at, and what each key changes in it. No input or output happens here.

use jiff::tz::TimeZone;

use super::{
    ask::{Answer, Question, Rows, Series, sentence},
    detail::{Detail, Subject},
    keys::Action,
    label::Labels,
    range::{self, LENGTHS, Window},
    tabs::{self, TABS},
};
use model::text::format::ByteUnit;
use store::{Dimension, Filter, Row, Sort, Value};

/// Filters on top of each other: nobody needs more, and each makes the question longer.
const MAX_FILTERS: usize = 32;
/// Characters of a text to find.
const MAX_FIND: usize = 200;

/// What a filter asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A value, or with `exclude` all others.
    Value { dimension: Dimension, value: Value, exclude: bool },
    /// A piece of time, from a row of the tab on time.
    Time(Window),
}

/// A filter, and where the user was when it was set: there its removal leads.
#[derive(Clone, Debug)]
pub struct Layer {
    pub applied: Applied,
    tab: usize,
    selected: Option<Value>,
    at: Option<i64>,
}

/// What has to be done after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    Nothing,
    /// Other rows are wanted.
    Ask,
    /// Only another row is looked at.
    AskDetail,
    /// This row is to be copied.
    Copy,
    Quit,
}

/// Everything that the screen shows.
pub struct State {
    pub tab: usize,
    pub length: usize,
    /// Start of the window in the history; `None`: the window that ends now.
    pub at: Option<i64>,
    pub layers: Vec<Layer>,
    pub sort: Sort,
    pub unit: ByteUnit,
    pub find: String,
    pub finding: bool,
    pub help: bool,
    pub detail_shown: bool,
    /// Rows that the list has on the screen.
    pub page: usize,
    pub zone: TimeZone,
    pub now: i64,
    pub labels: Labels,

    pub rows: Rows,
    /// Which of `rows` are shown, and the selected one of these.
    pub shown: Vec<usize>,
    pub selected: usize,
    pub top: usize,
    pub series: Series,
    pub detail: Option<(Subject, Detail)>,
    pub error: Option<String>,
    pub notice: Option<String>,
    /// No answer yet to what is asked.
    pub waiting: bool,
    /// What the rows are an answer to.
    pub answered: Option<(usize, Window)>,
    number: u64,
}

impl State {
    pub fn new(zone: TimeZone, now: i64, labels: Labels) -> Self {
        Self {
            tab: 0,
            length: range::FIRST,
            at: None,
            layers: Vec::new(),
            sort: Sort::Total,
            unit: ByteUnit::Decimal,
            find: String::new(),
            finding: false,
            help: false,
            detail_shown: true,
            page: 10,
            zone,
            now,
            labels,
            rows: Rows::default(),
            shown: Vec::new(),
            selected: 0,
            top: 0,
            series: Series::default(),
            detail: None,
            error: None,
            notice: None,
            waiting: true,
            answered: None,
            number: 0,
        }
    }

    pub fn dimension(&self) -> Dimension {
        TABS[self.tab].dimension
    }

    /// The window that is looked at: that of the last filter on time, or that of the range.
    pub fn window(&self) -> Window {
        let zoomed = self.layers.iter().rev().find_map(|layer| match layer.applied {
            Applied::Time(window) => Some(window),
            Applied::Value { .. } => None,
        });
        zoomed.unwrap_or_else(|| match self.at {
            Some(at) => range::around(self.length, at, &self.zone),
            None => range::last(self.length, self.now),
        })
    }

    /// Whether the window moves with the time.
    pub fn follows(&self) -> bool {
        self.window().end.is_none_or(|end| end > self.now)
    }

    pub fn question(&self, columns: usize) -> Question {
        let filters = self.layers.iter().filter_map(|layer| match &layer.applied {
            Applied::Value { dimension, value, exclude } => {
                Some(Filter::equal(*dimension, value.clone(), *exclude))
            }
            Applied::Time(_) => None,
        });
        let sort = match self.sort {
            Sort::Dimension(_) => Sort::Dimension(self.dimension()),
            sort => sort,
        };
        Question {
            dimension: self.dimension(),
            window: self.window(),
            now: self.now,
            filters: filters.collect(),
            sort,
            columns,
            zone: self.zone.clone(),
        }
    }

    /// The number of the next request; answers to older ones are of no interest.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.waiting = true;
        self.number
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn row(&self) -> Option<&Row> {
        self.rows.rows.get(*self.shown.get(self.selected)?)
    }

    pub fn value(&self) -> Option<&Value> {
        self.row()?.values.first()
    }

    pub fn subject(&self) -> Option<Subject> {
        let value = self.value()?.clone();
        (self.dimension() != Dimension::Time).then(|| Subject { dimension: self.dimension(), value })
    }

    /// Takes an answer; whether the detail of another row is wanted now.
    pub fn take(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Opened => {}
            Answer::Failed(number, error) => {
                if number == self.number || number == 0 {
                    self.error = Some(sentence(&error));
                    self.waiting = false;
                }
            }
            Answer::Rows(number, rows) if number == self.number => {
                let kept = self.value().cloned();
                self.rows = *rows;
                self.error = None;
                self.answered = Some((self.tab, self.window()));
                self.show(kept.as_ref());
                return true;
            }
            Answer::Series(number, series, _) if number == self.number => {
                self.series = series;
                self.waiting = false;
            }
            Answer::Detail(number, detail) if number == self.number => {
                self.detail = self.subject().map(|subject| (subject, *detail));
            }
            Answer::Rows(..) | Answer::Series(..) | Answer::Detail(..) => {}
        }
        false
    }

    /// Finds out which rows are shown, and goes to the row with this value.
    pub fn show(&mut self, value: Option<&Value>) {
        let wanted = self.find.to_lowercase();
        let dimension = self.dimension();
        let matches = |row: &Row| {
            wanted.is_empty()
                || row.values.first().is_some_and(|value| {
                    self.labels.text(dimension, value, &self.zone).to_lowercase().contains(&wanted)
                })
        };
        self.shown = (0..self.rows.rows.len()).filter(|index| matches(&self.rows.rows[*index])).collect();
        let found = value.and_then(|value| {
            self.shown.iter().position(|index| self.rows.rows[*index].values.first() == Some(value))
        });
        self.selected = found.unwrap_or(self.selected).min(self.shown.len().saturating_sub(1));
    }

    /// Other rows are wanted, from the beginning.
    fn restart(&mut self) -> Todo {
        self.selected = 0;
        self.top = 0;
        self.detail = None;
        Todo::Ask
    }

    pub fn go_to_tab(&mut self, tab: usize) -> Todo {
        if tab == self.tab {
            return Todo::Nothing;
        }
        self.tab = tab.min(TABS.len() - 1);
        self.rows.rows.clear();
        self.shown.clear();
        self.find.clear();
        self.finding = false;
        self.restart()
    }

    pub fn select(&mut self, row: usize) -> Todo {
        let row = row.min(self.shown.len().saturating_sub(1));
        if row == self.selected {
            return Todo::Nothing;
        }
        self.selected = row;
        Todo::AskDetail
    }

    /// A character while a text to find is typed.
    pub fn find_character(&mut self, character: char) -> Todo {
        if self.find.chars().count() < MAX_FIND {
            self.find.push(character);
        }
        self.found()
    }

    pub fn find_backspace(&mut self) -> Todo {
        if self.find.pop().is_none() {
            self.finding = false;
        }
        self.found()
    }

    fn found(&mut self) -> Todo {
        let kept = self.value().cloned();
        self.selected = 0;
        self.top = 0;
        self.show(kept.as_ref());
        Todo::AskDetail
    }

    fn push(&mut self, exclude: bool) -> Todo {
        let Some(value) = self.value().cloned() else { return Todo::Nothing };
        if self.layers.len() >= MAX_FILTERS {
            self.notice = Some(format!("no more than {MAX_FILTERS} filters; Backspace removes the last one"));
            return Todo::Nothing;
        }
        let dimension = self.dimension();
        let applied = match (dimension, &value) {
            (Dimension::Time, Value::Integer(start)) if !exclude => {
                let end = self.series_end(*start);
                Applied::Time(Window { start: Some(*start), end: Some(end) })
            }
            (Dimension::Time, _) => {
                self.notice = Some("a piece of time cannot be excluded".to_owned());
                return Todo::Nothing;
            }
            _ => Applied::Value { dimension, value: value.clone(), exclude },
        };
        self.layers.push(Layer { applied, tab: self.tab, selected: Some(value), at: self.at });
        if exclude { self.restart() } else { self.go_to_tab(tabs::index(TABS[self.tab].next)) }
    }

    /// The end of the piece that begins at `start`.
    fn series_end(&self, start: i64) -> i64 {
        let edges = &self.rows.edges;
        let next = edges.iter().find(|edge| **edge > start);
        next.copied().unwrap_or(start + 1)
    }

    fn pop(&mut self) -> Todo {
        let Some(layer) = self.layers.pop() else { return Todo::Nothing };
        if self.tab != layer.tab {
            self.go_to_tab(layer.tab);
        }
        self.at = layer.at;
        self.restart();
        // Where the rows will be when they come: `take` finds the value again.
        self.rows.rows =
            layer.selected.map(|value| Row { values: vec![value], ..Row::default() }).into_iter().collect();
        self.shown = (0..self.rows.rows.len()).collect();
        Todo::Ask
    }

    /// Steps in the history. Between the first window of the log and now.
    fn step(&mut self, earlier: bool) -> Todo {
        if LENGTHS[self.length].seconds == 0
            || self.layers.iter().any(|layer| matches!(layer.applied, Applied::Time(_)))
        {
            self.notice =
                Some("this shows one piece of time only: choose another with t, or Backspace".to_owned());
            return Todo::Nothing;
        }
        let window = self.window();
        let at = match (earlier, self.at, window) {
            (true, None, _) => Some(self.now),
            (true, Some(_), Window { start: Some(start), .. }) => {
                if self.rows.extent.is_none_or(|(first, _)| start <= first) {
                    self.notice = Some("the log does not go back further".to_owned());
                    return Todo::Nothing;
                }
                Some(start - 1)
            }
            (false, Some(_), Window { end: Some(end), .. }) => (end <= self.now).then_some(end),
            _ => return Todo::Nothing,
        };
        self.at = at.map(|at| range::around(self.length, at, &self.zone).start.unwrap_or(at));
        self.restart()
    }

    pub fn act(&mut self, action: Action) -> Todo {
        self.notice = None;
        let page = self.page.max(1);
        match action {
            Action::Up => self.select(self.selected.saturating_sub(1)),
            Action::Down => self.select(self.selected + 1),
            Action::PageUp => self.select(self.selected.saturating_sub(page)),
            Action::PageDown => self.select(self.selected.saturating_add(page)),
            Action::First => self.select(0),
            Action::Last => self.select(usize::MAX),
            Action::NextTab => self.go_to_tab((self.tab + 1) % TABS.len()),
            Action::PreviousTab => self.go_to_tab((self.tab + TABS.len() - 1) % TABS.len()),
            Action::Filter => self.push(false),
            Action::Exclude => self.push(true),
            Action::Unfilter => self.pop(),
            Action::Earlier => self.step(true),
            Action::Later => self.step(false),
            Action::Longer | Action::Shorter => {
                self.length = cycle(self.length, LENGTHS.len(), action == Action::Longer);
                // The same time in the history: its window of the new length.
                self.at = self.at.map(|at| range::around(self.length, at, &self.zone).start.unwrap_or(at));
                self.restart()
            }
            Action::NextUnit | Action::PreviousUnit => {
                let units = ByteUnit::ALL;
                let index = units.iter().position(|unit| *unit == self.unit).unwrap_or(0);
                self.unit = units[cycle(index, units.len(), action == Action::NextUnit)];
                Todo::Nothing
            }
            Action::NextSort | Action::PreviousSort => {
                let index = SORTS.iter().position(|sort| same(*sort, self.sort)).unwrap_or(0);
                self.sort = SORTS[cycle(index, SORTS.len(), action == Action::NextSort)];
                self.restart()
            }
            Action::Find => {
                self.finding = true;
                Todo::Nothing
            }
            Action::Escape => {
                if self.find.is_empty() && !self.finding {
                    return Todo::Nothing;
                }
                self.finding = false;
                self.find.clear();
                self.found()
            }
            Action::Detail => {
                self.detail_shown = !self.detail_shown;
                Todo::AskDetail
            }
            Action::Copy if self.row().is_some() => Todo::Copy,
            Action::Copy => Todo::Nothing,
            Action::Refresh => Todo::Ask,
            Action::Help => {
                self.help = true;
                Todo::Nothing
            }
            Action::Quit => Todo::Quit,
        }
    }

    /// Whether a key of the footer does something here.
    pub fn offers(&self, action: Action) -> bool {
        match action {
            Action::Filter | Action::Copy => self.row().is_some(),
            Action::Exclude => self.row().is_some() && self.dimension() != Dimension::Time,
            Action::Unfilter => !self.layers.is_empty(),
            Action::Later => self.at.is_some(),
            Action::Earlier => LENGTHS[self.length].seconds > 0,
            _ => true,
        }
    }
}

/// The columns, in the order in which a key goes through them. The dimension is that of the tab.
const SORTS: [Sort; 5] =
    [Sort::Total, Sort::Received, Sort::Sent, Sort::Connections, Sort::Dimension(Dimension::Executable)];

fn same(one: Sort, other: Sort) -> bool {
    one == other || matches!((one, other), (Sort::Dimension(_), Sort::Dimension(_)))
}

fn cycle(index: usize, count: usize, forward: bool) -> usize {
    (index + if forward { 1 } else { count - 1 }) % count
}
