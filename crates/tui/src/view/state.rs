//! The state of `view`, and how keys and responses of the log change it. No input or output happens here.

use calendar::point_text;
use jiff::tz::TimeZone;

use super::{
    detail::{Detail, DetailSubject},
    display_settings::DisplaySettings,
    filters::{AppliedFilter, FilterLayer, FilterStack, MAX_FILTERS},
    keys::Action,
    label::Labels,
    messages::{Response, error_sentence},
    period::Period,
    query::{ChartSeries, ScreenQuery},
    query_status::QueryStatus,
    row_list::RowList,
    tab::Tab,
    time_range::TimeRange,
};
use crate::term::{cycle::cycle, widgets::Help};
use store::{Dimension, Value};

/// The action that a change of the state requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Query the rows, and then the detail.
    Query,
    /// Query the detail of another row.
    QueryDetail,
    /// Copy the selected row to the clipboard.
    Copy,
    /// Go on to the next theme.
    Theme,
    Quit,
}

/// The pane with the detail of the selected row.
#[derive(Debug)]
pub struct DetailState {
    pub shown: bool,
    /// The last detail that arrived, and the row that it belongs to.
    pub loaded: Option<(DetailSubject, Detail)>,
}

/// Everything that the screen shows.
pub struct ViewState {
    pub tab: Tab,
    pub time: TimeRange,
    pub filters: FilterStack,
    pub list: RowList,
    pub chart: ChartSeries,
    pub detail: DetailState,
    pub queries: QueryStatus,
    pub display: DisplaySettings,
    pub help: Help,
    /// A message for the last line, until the next key.
    pub notice: Option<String>,
}

impl ViewState {
    pub fn new(zone: TimeZone, now: i64, labels: Labels) -> Self {
        Self {
            tab: Tab::Programs,
            time: TimeRange::new(zone, now),
            filters: FilterStack::default(),
            list: RowList::default(),
            chart: ChartSeries::default(),
            detail: DetailState { shown: true, loaded: None },
            queries: QueryStatus::default(),
            display: DisplaySettings::new(labels),
            help: Help::default(),
            notice: None,
        }
    }

    pub fn dimension(&self) -> Dimension {
        self.tab.dimension()
    }

    /// The period that is shown: that of the last filter on time, or that of the time range.
    pub fn period(&self) -> Period {
        self.filters.period().unwrap_or_else(|| self.time.period())
    }

    /// Whether new records can appear in the period.
    pub fn is_current(&self) -> bool {
        self.period().end.is_none_or(|end| end > self.time.now)
    }

    /// Since when nothing was recorded, if the period ends now; the longest text first.
    pub fn stale_texts(&self) -> Option<[String; 2]> {
        let answer = &self.list.answer;
        let (_, last) = answer.extent.filter(|_| self.is_current())?;
        let point = |time| point_text(time, &self.time.zone);
        match (answer.stopped.filter(|stopped| *stopped >= last), answer.silent_since) {
            (Some(stopped), _) => Some([
                format!("recording was stopped at {}", point(stopped)),
                "recording was stopped".to_owned(),
            ]),
            (None, Some(last)) => Some([
                format!("nothing was recorded since {}", point(last)),
                format!("nothing since {}", point(last)),
            ]),
            (None, None) => None,
        }
    }

    /// The query for the rows and a chart of this many columns.
    pub fn query(&self, chart_columns: usize) -> ScreenQuery {
        ScreenQuery {
            dimension: self.dimension(),
            period: self.period(),
            now: self.time.now,
            filters: self.filters.for_log(),
            sort: self.display.sort_of(self.dimension()),
            chart_columns,
            zone: self.time.zone.clone(),
        }
    }

    /// The row for the detail pane. The tab on time has none.
    pub fn detail_subject(&self) -> Option<DetailSubject> {
        let value = self.list.selected_value()?.clone();
        (self.dimension() != Dimension::Time).then(|| DetailSubject { dimension: self.dimension(), value })
    }

    /// A value of a dimension as safe text.
    pub fn label(&self, dimension: Dimension, value: &Value) -> String {
        self.display.labels.text(dimension, value, &self.time.zone)
    }

    /// The selected row as text: value, connections, bytes sent, bytes received, separated by tabs.
    pub fn row_text(&self) -> Option<String> {
        let row = self.list.selected()?;
        let label = self.label(self.dimension(), row.values.first()?);
        let counters = row.counters;
        Some(format!("{label}\t{}\t{}\t{}", counters.connections, counters.sent, counters.received))
    }

    /// Takes a response of the query thread.
    pub fn receive(&mut self, response: Response) -> Effect {
        let current = self.queries.number();
        match response {
            Response::Failed(number, error) if number == current || number == 0 => {
                self.queries.error = Some(error_sentence(&error));
                self.queries.waiting = false;
            }
            Response::Rows(number, rows) if number == current => {
                let selected = self.list.selected_value().cloned();
                self.list.answer = *rows;
                self.queries.error = None;
                self.refresh_list(selected.as_ref());
                return Effect::QueryDetail;
            }
            Response::Series(number, series, _) if number == current => {
                self.chart = series;
                self.queries.waiting = false;
            }
            Response::Detail(number, detail) if number == current => {
                self.detail.loaded = self.detail_subject().map(|subject| (subject, *detail));
            }
            // The log is open, or the response is to an older request.
            _ => {}
        }
        Effect::None
    }

    fn refresh_list(&mut self, selected: Option<&Value>) {
        let (dimension, labels, zone) = (self.dimension(), &self.display.labels, &self.time.zone);
        self.list.refresh(selected, |value| labels.text(dimension, value, zone));
    }

    /// Goes to the first row, because other rows are wanted.
    fn restart(&mut self) -> Effect {
        self.list.position.reset();
        self.detail.loaded = None;
        Effect::Query
    }

    pub fn go_to_tab(&mut self, tab: Tab) -> Effect {
        if tab == self.tab {
            return Effect::None;
        }
        self.tab = tab;
        self.list.clear();
        self.restart()
    }

    pub fn select(&mut self, row: usize) -> Effect {
        if self.list.select(row) { Effect::QueryDetail } else { Effect::None }
    }

    /// Adds a character to the text of the search.
    pub fn type_character(&mut self, character: char) -> Effect {
        self.list.find.push(character);
        self.search()
    }

    /// Removes the last character of the text of the search, or leaves an empty search.
    pub fn delete_character(&mut self) -> Effect {
        if !self.list.find.pop() {
            self.list.finding = false;
        }
        self.search()
    }

    /// Applies a changed text of the search.
    fn search(&mut self) -> Effect {
        let selected = self.list.selected_value().cloned();
        self.list.position.reset();
        self.refresh_list(selected.as_ref());
        Effect::QueryDetail
    }

    pub fn scroll_help(&mut self, lines: isize) -> Effect {
        self.help.scroll(lines);
        Effect::None
    }

    fn notify(&mut self, notice: impl Into<String>) -> Effect {
        self.notice = Some(notice.into());
        Effect::None
    }

    /// Sets a filter on the value of the selected row.
    fn push_filter(&mut self, exclude: bool) -> Effect {
        let Some(value) = self.list.selected_value().cloned() else { return Effect::None };
        if self.filters.is_full() {
            return self
                .notify(format!("no more than {MAX_FILTERS} filters; Backspace removes the last one"));
        }
        let dimension = self.dimension();
        let filter = match (dimension, &value) {
            (Dimension::Time, Value::Integer(start)) if !exclude => {
                let end = self.list.answer.edges.iter().find(|edge| *edge > start);
                let end = end.copied().unwrap_or(start + 1);
                AppliedFilter::Period(Period { start: Some(*start), end: Some(end) })
            }
            (Dimension::Time, _) => return self.notify("a piece of time cannot be excluded"),
            _ => AppliedFilter::Value { dimension, value: value.clone(), exclude },
        };
        self.filters.push(FilterLayer { filter, tab: self.tab, selected: value, at: self.time.at });
        if exclude { self.restart() } else { self.go_to_tab(self.tab.detail()) }
    }

    /// Removes the last filter and goes back to where it was set.
    fn pop_filter(&mut self) -> Effect {
        let Some(layer) = self.filters.pop() else { return Effect::None };
        self.go_to_tab(layer.tab);
        self.time.at = layer.at;
        self.restart();
        self.list.expect(layer.selected);
        Effect::Query
    }

    /// Steps through the history, between the beginning of the log and the present.
    fn step_time(&mut self, earlier: bool) -> Effect {
        if self.time.is_all() || self.filters.period().is_some() {
            return self.notify("this shows one piece of time only: choose another with t, or Backspace");
        }
        if earlier {
            let first = self.list.answer.extent.map(|(first, _)| first);
            if self.time.step_back(first).is_err() {
                return self.notify("the log does not go back further");
            }
        } else if !self.time.step_forward() {
            return Effect::None;
        }
        self.restart()
    }

    pub fn act(&mut self, action: Action) -> Effect {
        self.notice = None;
        let (selected, page) = (self.list.position.selected, self.list.position.page.max(1));
        match action {
            Action::Up => self.select(selected.saturating_sub(1)),
            Action::Down => self.select(selected + 1),
            Action::PageUp => self.select(selected.saturating_sub(page)),
            Action::PageDown => self.select(selected.saturating_add(page)),
            Action::First => self.select(0),
            Action::Last => self.select(usize::MAX),
            Action::NextTab | Action::PreviousTab => {
                self.go_to_tab(cycle(&Tab::ALL, self.tab, action == Action::NextTab))
            }
            Action::Filter => self.push_filter(false),
            Action::Exclude => self.push_filter(true),
            Action::Unfilter => self.pop_filter(),
            Action::Earlier => self.step_time(true),
            Action::Later => self.step_time(false),
            Action::Longer | Action::Shorter => {
                self.time.change_length(action == Action::Longer);
                self.restart()
            }
            Action::NextUnit | Action::PreviousUnit => {
                self.display.change_unit(action == Action::NextUnit);
                Effect::None
            }
            Action::NextSort | Action::PreviousSort => {
                self.display.change_sort(action == Action::NextSort);
                self.restart()
            }
            Action::Find => {
                self.list.finding = true;
                Effect::None
            }
            Action::Escape if self.list.end_search() => self.search(),
            Action::Escape => Effect::None,
            Action::Detail => {
                self.detail.shown = !self.detail.shown;
                Effect::QueryDetail
            }
            Action::Copy if self.list.selected().is_some() => Effect::Copy,
            Action::Copy => Effect::None,
            Action::Refresh => Effect::Query,
            Action::Theme => Effect::Theme,
            Action::Help => {
                self.help.show();
                Effect::None
            }
            Action::Quit => Effect::Quit,
        }
    }

    /// Whether the footer shows the key of an action, because it has an effect now.
    pub fn offers(&self, action: Action) -> bool {
        let has_row = self.list.selected().is_some();
        match action {
            Action::Filter | Action::Copy => has_row,
            Action::Exclude => has_row && self.dimension() != Dimension::Time,
            Action::Unfilter => !self.filters.is_empty(),
            Action::Later => self.time.at.is_some(),
            Action::Earlier => !self.time.is_all(),
            _ => true,
        }
    }
}
