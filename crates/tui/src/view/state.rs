//! The state of `view`, and how keys and responses of the log change it. No input or output happens here.

use calendar::point_text;
use jiff::tz::TimeZone;

use super::{
    detail::{Detail, DetailSubject},
    display_settings::{DisplaySettings, is_time},
    event_rows,
    filters::{AppliedFilter, FilterLayer, FilterStack, MAX_FILTERS},
    keys::Action,
    label::Labels,
    list_row::ListRow,
    messages::{Response, error_sentence},
    period::Period,
    query::{ChartSeries, ScreenQuery},
    query_status::QueryStatus,
    row_choice::{Only, RowChoice},
    row_list::RowList,
    tab::Tab,
    time_range::TimeRange,
};
use crate::term::{cycle::cycle, widgets::Help};
use store::{Dimension, Filter, Sort, Value};

/// The action that a change of the state requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Query the rows, and then the detail.
    Query,
    /// The same as soon as the user stops typing.
    QuerySoon,
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
    pub choice: RowChoice,
    pub list: RowList,
    pub chart: ChartSeries,
    pub detail: DetailState,
    pub queries: QueryStatus,
    pub display: DisplaySettings,
    /// The server that is asked, in words; `None`: a log.
    pub server: Option<String>,
    pub help: Help,
    /// A message for the last line, until the next key.
    pub notice: Option<String>,
}

impl ViewState {
    pub fn new(zone: TimeZone, now: i64, labels: Labels) -> Self {
        let list = RowList::new(&zone);
        Self {
            tab: Tab::Programs,
            time: TimeRange::new(zone, now),
            filters: FilterStack::default(),
            choice: RowChoice::default(),
            list,
            chart: ChartSeries::default(),
            detail: DetailState { shown: true, loaded: None },
            queries: QueryStatus::default(),
            display: DisplaySettings::new(labels),
            server: None,
            help: Help::default(),
            notice: None,
        }
    }

    /// Whether the history is that of several machines.
    pub fn is_of_server(&self) -> bool {
        self.server.is_some()
    }

    /// The dimension whose values are the rows; `None`: the rows are events.
    pub fn dimension(&self) -> Option<Dimension> {
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
            (None, Some(last)) if self.is_of_server() => Some([
                format!("no host has sent anything since {}", point(last)),
                format!("nothing since {}", point(last)),
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
        let (dimension, find) = (self.dimension(), self.list.find.as_str());
        let mut filters = self.filters.for_log();
        if let Some(scope) = self.choice.scope {
            filters.push(Filter::equal(Dimension::Scope, Value::Bytes(scope.name().into()), false));
        }
        ScreenQuery {
            dimension,
            period: self.period(),
            now: self.time.now,
            filters,
            find: dimension
                .filter(|_| !find.is_empty())
                .map(|dimension| self.display.labels.find(dimension, find)),
            event_text: find.to_owned(),
            only: self.only(),
            before: self.before(),
            sort: self.sort(),
            chart_columns,
            zone: self.time.zone.clone(),
        }
    }

    /// The order of the rows.
    pub fn sort(&self) -> Sort {
        let compares = self.before().is_some();
        self.dimension().map_or(Sort::Total, |dimension| self.display.sort_of(dimension, compares))
    }

    /// Which values of this tab are shown, by when they were seen: not of all tabs that is known.
    pub fn only(&self) -> Only {
        match self.choice.only {
            Only::New if self.dimension().is_some_and(Dimension::is_seen) => Only::New,
            Only::Changed if self.tab == Tab::Programs => Only::Changed,
            _ => Only::All,
        }
    }

    /// The period that the rows are compared with.
    pub fn before(&self) -> Option<Period> {
        self.comparable_period().filter(|_| self.choice.compares)
    }

    /// The period that the rows can be compared with.
    fn comparable_period(&self) -> Option<Period> {
        self.can_compare().then(|| self.time.before(self.period())).flatten()
    }

    /// Whether the rows of this tab can be in two periods.
    fn can_compare(&self) -> bool {
        self.dimension().is_some_and(|dimension| !dimension.is_time())
    }

    /// Whether the rows of this tab can be searched for a text.
    fn can_find(&self) -> bool {
        self.dimension().is_none_or(|dimension| !is_time(dimension))
    }

    /// Whether filters are set that do not hold for the rows of this tab.
    pub fn ignores_filters(&self) -> bool {
        self.dimension().is_none()
            && self.filters.for_log().iter().any(|filter| !event_rows::has_dimension(filter.dimension()))
    }

    /// The row for the detail pane. Events and parts of the chart have none.
    pub fn detail_subject(&self) -> Option<DetailSubject> {
        let value = self.list.selected_value()?.clone();
        let dimension = self.dimension().filter(|dimension| *dimension != Dimension::Time)?;
        Some(DetailSubject { dimension, value })
    }

    /// A value of a dimension as safe text.
    pub fn label(&self, dimension: Dimension, value: &Value) -> String {
        self.display.labels.text(dimension, value, &self.time.zone)
    }

    /// The selected row as text, separated by tabs: value, connections, bytes received, bytes sent; or of an event time, kind,
    /// program, sentence.
    pub fn row_text(&self) -> Option<String> {
        let row = self.list.selected()?;
        let Some(dimension) = self.dimension() else {
            let found = row.event.as_ref()?;
            let event = &found.event;
            let time = point_text(event.time, &self.time.zone);
            let parts = [&time, event.kind.name(), &event.program_text(), &event.sentence()];
            let parts = parts.map(|part| self.display.labels.sentence(part));
            let host =
                self.is_of_server().then(|| self.label(Dimension::Host, &Value::Bytes(found.host.clone())));
            return Some(host.into_iter().chain(parts).collect::<Vec<_>>().join("\t"));
        };
        let label = self.label(dimension, &row.value);
        let counters = row.counters;
        Some(format!("{label}\t{}\t{}\t{}", counters.connections, counters.received, counters.sent))
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
                self.list.replace(*rows, &self.time.zone);
                self.queries.error = None;
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
            return Effect::None;
        }
        self.search()
    }

    /// Applies a changed text of the search. Answers for an older text are not shown any more.
    fn search(&mut self) -> Effect {
        self.queries.next_number();
        Effect::QuerySoon
    }

    pub fn scroll_help(&mut self, lines: isize) -> Effect {
        self.help.scroll(lines);
        Effect::None
    }

    fn notify(&mut self, notice: impl Into<String>) -> Effect {
        self.notice = Some(notice.into());
        Effect::None
    }

    /// The filter that the selected row stands for.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn filter_of_row(&self, row: &ListRow, exclude: bool) -> Result<AppliedFilter, &'static str> {
        let value =
            |dimension, value: &Value| AppliedFilter::Value { dimension, value: value.clone(), exclude };
        match (self.dimension(), &row.value, &row.event) {
            (None, _, Some(found)) if !found.event.path.is_empty() && !exclude => {
                Ok(value(Dimension::Executable, &Value::Bytes(found.event.path.clone())))
            }
            (None, ..) if exclude => Err("an event cannot be excluded"),
            (None, ..) => Err("this event is about no program"),
            (Some(Dimension::Time), ..) if exclude => Err("a piece of time cannot be excluded"),
            (Some(Dimension::Time), Value::Integer(start), _) => {
                let end = self.list.answer.edges.iter().find(|edge| *edge > start);
                let end = end.copied().unwrap_or(start + 1);
                Ok(AppliedFilter::Period(Period { start: Some(*start), end: Some(end) }))
            }
            (Some(dimension), of_row, _) => Ok(value(dimension, of_row)),
        }
    }

    /// Whether the selected row can be a filter.
    fn can_filter(&self, exclude: bool) -> bool {
        let selected = self.list.selected().filter(|_| !self.filters.is_full());
        selected.is_some_and(|row| self.filter_of_row(row, exclude).is_ok())
    }

    /// Sets a filter on the value of the selected row.
    fn push_filter(&mut self, exclude: bool) -> Effect {
        let Some(row) = self.list.selected() else { return Effect::None };
        let selected = row.value.clone();
        if self.filters.is_full() {
            return self
                .notify(format!("no more than {MAX_FILTERS} filters; Backspace removes the last one"));
        }
        let filter = match self.filter_of_row(row, exclude) {
            Ok(filter) => filter,
            Err(why_not) => return self.notify(why_not),
        };
        let (tab, choice, at) = (self.tab, self.choice, self.time.at);
        self.filters.push(FilterLayer { filter, tab, selected, choice, at });
        if exclude {
            return self.restart();
        }
        // What belongs to something new is not new itself.
        self.choice.only = Only::All;
        if self.filters.chooses(Dimension::Scope) {
            self.choice.scope = None;
        }
        self.go_to_tab(self.tab.detail())
    }

    /// Removes the last filter and goes back to where it was set.
    fn pop_filter(&mut self) -> Effect {
        let Some(layer) = self.filters.pop() else { return Effect::None };
        self.go_to_tab(layer.tab);
        self.choice = layer.choice;
        self.time.at = layer.at;
        self.restart();
        self.list.expect(layer.selected);
        Effect::Query
    }

    /// Whether the period is one of several that follow each other.
    fn has_history(&self) -> bool {
        !self.time.is_all() && self.filters.period().is_none()
    }

    /// The end of the first recording window of the log.
    fn first_window(&self) -> Option<i64> {
        self.list.answer.extent.map(|(first, _)| first)
    }

    /// Steps through the history, between the beginning of the log and the present.
    fn step_time(&mut self, earlier: bool) -> Effect {
        if !self.has_history() {
            return self.notify("this shows one piece of time only: choose another with t, or Backspace");
        }
        if earlier {
            if self.time.step_back(self.first_window()).is_err() {
                return self.notify("the log does not go back further");
            }
        } else if !self.time.step_forward() {
            return Effect::None;
        }
        self.restart()
    }

    /// Shows only what is new, or only programs that changed, or all again.
    fn toggle_only(&mut self, only: Only) -> Effect {
        match only {
            Only::Changed if self.tab != Tab::Programs => self.notify("only programs change: see that tab"),
            _ if !self.dimension().is_some_and(Dimension::is_seen) => {
                self.notify("the log does not know when these were first seen")
            }
            _ => {
                self.choice.toggle_only(only);
                self.restart()
            }
        }
    }

    /// Compares the rows with the period before, or shows them alone again.
    fn toggle_comparison(&mut self) -> Effect {
        if !self.can_compare() {
            return self.notify("a piece of time or an event is in one period only");
        }
        if self.time.before(self.period()).is_none() {
            return self.notify("nothing is before all of the log: choose a shorter range with T");
        }
        self.choice.toggle_comparison();
        self.restart()
    }

    /// Shows the next scope only.
    fn next_scope(&mut self) -> Effect {
        if self.dimension().is_none() {
            return self.notify("events have no addresses");
        }
        if self.filters.chooses(Dimension::Scope) {
            return self.notify("a filter chooses the scope; Backspace removes the last one");
        }
        self.choice.next_scope();
        self.restart()
    }

    /// Goes to the next column, or the one before, and sorts by it.
    fn change_sort(&mut self, forward: bool) -> Effect {
        let compares = self.before().is_some();
        let Some(dimension) = self.dimension() else { return self.notify("the latest event is the first") };
        self.display.change_sort(forward, dimension, compares);
        self.restart()
    }

    /// Begins a search.
    fn begin_search(&mut self) -> Effect {
        if !self.can_find() {
            return self.notify("/ finds texts; t, h and space choose a time");
        }
        self.list.finding = true;
        Effect::None
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
                self.go_to_tab(cycle(Tab::all(self.is_of_server()), self.tab, action == Action::NextTab))
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
            Action::NextSort | Action::PreviousSort => self.change_sort(action == Action::NextSort),
            Action::New => self.toggle_only(Only::New),
            Action::Changed => self.toggle_only(Only::Changed),
            Action::Compare => self.toggle_comparison(),
            Action::Scope => self.next_scope(),
            Action::Find => self.begin_search(),
            Action::Escape if self.list.end_search() => Effect::Query,
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
        match action {
            Action::Filter | Action::Exclude => self.can_filter(action == Action::Exclude),
            Action::Copy => self.list.selected().is_some(),
            Action::Find => self.can_find(),
            Action::New => self.dimension().is_some_and(Dimension::is_seen),
            Action::Compare => self.comparable_period().is_some(),
            Action::Scope => self.dimension().is_some() && !self.filters.chooses(Dimension::Scope),
            Action::NextSort => self.dimension().is_some(),
            Action::Unfilter => !self.filters.is_empty(),
            Action::Earlier => self.has_history() && self.time.can_step_back(self.first_window()),
            Action::Later => self.has_history() && self.time.at.is_some(),
            _ => true,
        }
    }
}
