//! From what was asked to a query.

use calendar::TimeZone;
use model::{Scope, text::sanitize};
use store::{CompareOrder, Dimension, Filter, Query, SeenFilter, Sort, Value};

use crate::{
    error::{Parameter, Problem, QuestionError},
    filters,
    now::Now,
    range::{self, DefaultRange, for_log},
};

/// What was asked, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A length, a word, a date or `FROM..TO`.
    pub range: Option<String>,
    /// Only from this time on. Goes before `range`.
    pub since: Option<String>,
    /// Only up to this time.
    pub until: Option<String>,
    /// The range without one of these.
    pub default_range: DefaultRange,
    /// One row for each combination of the values of these dimensions.
    pub group_by: Vec<Dimension>,
    /// `DIMENSION=VALUE`: values that records must have.
    pub wanted: Vec<Vec<u8>>,
    /// `DIMENSION=VALUE`: values that records must not have.
    pub exclude: Vec<Vec<u8>>,
    /// Only traffic with the internet, or with local networks.
    pub scope: Option<Scope>,
    /// A text in the values of the first dimension of `group_by`.
    pub find: Option<Vec<u8>>,
    /// Only values that were never seen before this time.
    pub new_since: Option<String>,
    /// Only programs that have another digest since this time.
    pub changed_since: Option<String>,
    /// Whether the rows tell when their values were seen.
    pub seen: bool,
    /// Another range: `previous`, or written as `range`.
    pub compare: Option<String>,
    /// The order of a comparison.
    pub order: CompareOrder,
    /// The order; without it that of time for points of time, otherwise by bytes.
    pub sort: Option<Sort>,
    /// Whether the order is the other one.
    pub reverse: bool,
    /// The number of rows that are left out at the beginning.
    pub offset: Option<u64>,
    /// The number of rows at most.
    pub limit: Option<u64>,
    /// Whether a server is asked, which knows hosts ([`Dimension::Host`]).
    pub is_of_server: bool,
}

/// A question to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The range of time, with the part of the calendar that it is.
    pub range: calendar::Range,
    /// The query for this range.
    pub query: Query,
    /// The range to compare with.
    pub before: Option<calendar::Range>,
    /// The order of a comparison.
    pub order: CompareOrder,
}

impl Asked {
    /// Takes a parameter by the name that programs use for it; one that may be repeated is added. Returns false, and does
    /// nothing, if it is not for this: questions have no parameter of the name, or it is [`Parameter::Zone`], which belongs to
    /// [`Now`].
    ///
    /// # Errors
    /// The value is not one of the words for it.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<bool, QuestionError> {
        let Some(parameter) = Parameter::from_name(name) else { return Ok(false) };
        let text = || String::from_utf8_lossy(value).into_owned();
        let wrong = |words: &dyn std::fmt::Display| QuestionError::words(parameter, words);
        let flag = || match value {
            b"" | b"1" | b"true" => Ok(true),
            b"0" | b"false" => Ok(false),
            _ => Err(wrong(&"write 1 or 0")),
        };
        match parameter {
            Parameter::Zone => return Ok(false),
            Parameter::Range => self.range = Some(text()),
            Parameter::Since => self.since = Some(text()),
            Parameter::Until => self.until = Some(text()),
            Parameter::GroupBy => self.group_by.push(text().parse().map_err(|error| {
                let error: store::UnknownDimension = error;
                wrong(&error)
            })?),
            Parameter::Where => self.wanted.push(value.to_vec()),
            Parameter::Exclude => self.exclude.push(value.to_vec()),
            Parameter::Scope => {
                let mut scopes = [Scope::Internet, Scope::Local].into_iter();
                let scope = scopes.find(|scope| scope.name().as_bytes() == value);
                self.scope = Some(scope.ok_or_else(|| wrong(&"write internet or local"))?);
            }
            Parameter::Find => self.find = Some(value.to_vec()).filter(|text| !text.is_empty()),
            Parameter::NewSince => self.new_since = Some(text()),
            Parameter::ChangedSince => self.changed_since = Some(text()),
            Parameter::Seen => self.seen = flag()?,
            Parameter::Compare => self.compare = Some(text()),
            Parameter::Sort => {
                let words =
                    "write total, conns, received, sent, first-seen, last-seen, digests, or a dimension";
                self.sort = Some(text().parse().map_err(|_| wrong(&words))?);
            }
            Parameter::Reverse => self.reverse = flag()?,
            Parameter::Order => {
                self.order = match value {
                    b"now" => CompareOrder::Now,
                    b"difference" => CompareOrder::Difference,
                    _ => return Err(wrong(&"write now or difference")),
                };
            }
            Parameter::Offset | Parameter::Limit => {
                let rows = text().parse().map_err(|_| wrong(&"write a number of rows"))?;
                *(if parameter == Parameter::Offset { &mut self.offset } else { &mut self.limit }) =
                    Some(rows);
            }
        }
        Ok(true)
    }

    /// Refuses parts of the question that `what`, a noun with its article, does not have: they would be ignored.
    ///
    /// # Errors
    /// The first part that is none of `known`.
    pub fn check_only(&self, what: &'static str, known: &'static [Parameter]) -> Result<(), QuestionError> {
        match self.given().into_iter().find(|parameter| !known.contains(parameter)) {
            None => Ok(()),
            Some(parameter) => Err(QuestionError::new(parameter, Problem::NotOf(what, known))),
        }
    }

    /// The parts that were asked.
    fn given(&self) -> Vec<Parameter> {
        let parts = [
            (Parameter::Range, self.range.is_some()),
            (Parameter::Since, self.since.is_some()),
            (Parameter::Until, self.until.is_some()),
            (Parameter::GroupBy, !self.group_by.is_empty()),
            (Parameter::Where, !self.wanted.is_empty()),
            (Parameter::Exclude, !self.exclude.is_empty()),
            (Parameter::Scope, self.scope.is_some()),
            (Parameter::Find, self.find.is_some()),
            (Parameter::NewSince, self.new_since.is_some()),
            (Parameter::ChangedSince, self.changed_since.is_some()),
            (Parameter::Seen, self.seen),
            (Parameter::Compare, self.compare.is_some()),
            (Parameter::Order, self.order != CompareOrder::default()),
            (Parameter::Sort, self.sort.is_some()),
            (Parameter::Reverse, self.reverse),
            (Parameter::Offset, self.offset.is_some()),
            (Parameter::Limit, self.limit.is_some()),
        ];
        parts.into_iter().filter(|(_, is_given)| *is_given).map(|(parameter, _)| parameter).collect()
    }

    /// Reads all of the question.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(&self, now: &Now) -> Result<Question, QuestionError> {
        let wanted_times = self.wanted_times(now)?;
        let range = self.range(now)?;
        let filters = self.filters(&now.zone)?;
        let group_by = self.group_by.clone();
        if !self.is_of_server && group_by.contains(&Dimension::Host) {
            return Err(QuestionError::new(Parameter::GroupBy, Problem::NoHost));
        }
        for (index, dimension) in group_by.iter().enumerate() {
            if group_by[..index].contains(dimension) {
                return Err(QuestionError::new(Parameter::GroupBy, Problem::Twice(*dimension)));
            }
        }
        // Times are read in their order.
        let in_order =
            group_by.first().copied().filter(|first| *first == Dimension::Time || first.is_calendar());
        let sort = self.sort.or(in_order.map(Sort::Dimension)).unwrap_or_default();
        if let Some(error) = QuestionError::not_grouped(sort, &group_by) {
            return Err(error);
        }
        let find = self.find.as_ref().map(|text| {
            let refuse = |problem| Err(QuestionError::new(Parameter::Find, problem));
            match group_by.first() {
                None => refuse(Problem::FindWithoutGroup),
                Some(first) if in_order.is_some() => refuse(Problem::FindInTimes(*first)),
                Some(first) => Ok(filters::find(*first, text)),
            }
        });
        let query = Query {
            range: for_log(range),
            find: find.transpose()?,
            seen: self.seen_filter(sort, wanted_times)?,
            group_by,
            filters,
            zone: Some(now.zone.clone()),
            sort,
            reverse: self.reverse,
            offset: self.offset,
            limit: self.limit,
        };
        let before = self.before(&query, range, now)?;
        Ok(Question { range, query, before, order: self.order })
    }

    /// Reads the range.
    ///
    /// # Errors
    /// A time or a range that is none.
    pub fn range(&self, now: &Now) -> Result<calendar::Range, QuestionError> {
        let SeenFilter { new_since, changed_since } = self.wanted_times(now)?;
        // What is new has its traffic since then, also where that is longer ago than a day.
        range::range(self, [new_since, changed_since].into_iter().flatten().min(), now)
    }

    /// Reads the filters.
    ///
    /// # Errors
    /// A value that does not fit its dimension; a scope that is asked for twice.
    pub fn filters(&self, zone: &TimeZone) -> Result<Vec<Filter>, QuestionError> {
        let (mut filters, names) = (Vec::new(), filters::Names::default());
        for (texts, exclude, parameter) in
            [(&self.wanted, false, Parameter::Where), (&self.exclude, true, Parameter::Exclude)]
        {
            for text in texts {
                let typed = filters::filter(text, exclude, zone, &names);
                let problem = |words| Problem::Value(sanitize::terminal(text), words);
                let typed = typed.map_err(|words| QuestionError::new(parameter, problem(words)))?;
                if !self.is_of_server && typed.iter().any(|filter| filter.dimension() == Dimension::Host) {
                    return Err(QuestionError::new(parameter, Problem::NoHost));
                }
                filters.extend(typed);
            }
        }
        let Some(scope) = self.scope else { return Ok(filters) };
        // Two filters on one dimension would be alternatives.
        if filters.iter().any(|filter| filter.dimension() == Dimension::Scope) {
            return Err(QuestionError::new(Parameter::Scope, Problem::ScopeTwice));
        }
        filters.push(Filter::equal(Dimension::Scope, Value::Bytes(scope.name().into()), false));
        Ok(filters)
    }

    /// The times since which values are new or changed.
    fn wanted_times(&self, now: &Now) -> Result<SeenFilter, QuestionError> {
        let point = |parameter, text: &Option<String>| {
            range::part(parameter, text.as_deref(), now).map(|part| part.map(|part| part.start))
        };
        Ok(SeenFilter {
            new_since: point(Parameter::NewSince, &self.new_since)?,
            changed_since: point(Parameter::ChangedSince, &self.changed_since)?,
        })
    }

    /// Whether the rows say when their values were seen, and which of them are wanted.
    fn seen_filter(&self, sort: Sort, filter: SeenFilter) -> Result<Option<SeenFilter>, QuestionError> {
        if filter == SeenFilter::default() && !self.seen && !sort.is_by_seen() {
            return Ok(None);
        }
        let parameter = match (filter.new_since, filter.changed_since) {
            (Some(_), _) => Parameter::NewSince,
            (_, Some(_)) => Parameter::ChangedSince,
            _ if self.seen => Parameter::Seen,
            _ => Parameter::Sort,
        };
        let refuse = |problem| Err(QuestionError::new(parameter, problem));
        let [dimension] = self.group_by[..] else { return refuse(Problem::SeenOfSeveral) };
        if !dimension.is_seen() {
            return refuse(Problem::NotSeen(dimension));
        }
        let needs_digests = filter.changed_since.is_some() || sort == Sort::Digests;
        if needs_digests && dimension != Dimension::Executable {
            return refuse(Problem::NoDigests);
        }
        Ok(Some(filter))
    }

    /// The range to compare with. Two ranges have no point of time in common.
    fn before(
        &self,
        query: &Query,
        range: calendar::Range,
        now: &Now,
    ) -> Result<Option<calendar::Range>, QuestionError> {
        let Some(text) = &self.compare else { return Ok(None) };
        let refuse = |problem| Err(QuestionError::new(Parameter::Compare, problem));
        if query.seen.is_some() {
            return refuse(Problem::CompareSeen);
        }
        // Hours of the day and days of the week are in all ranges.
        if let Some(dimension) = query.group_by.iter().find(|dimension| dimension.is_time()) {
            return refuse(Problem::CompareTimes(*dimension));
        }
        range::other_range(text, range, now).map(Some)
    }
}
