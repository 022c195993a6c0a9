//! What is wrong with a question. The sentences name parameters as whoever asks knows them: `new_since`, or `--new-since`.

use std::fmt;

use store::{Dimension, Sort};

/// A part of a question, by the name that programs use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// The range of time.
    Range,
    /// The first time.
    Since,
    /// The last time.
    Until,
    /// The time zone.
    Zone,
    /// The dimensions of the rows.
    GroupBy,
    /// Values that records must have.
    Where,
    /// Values that records must not have.
    Exclude,
    /// The internet, or local networks.
    Scope,
    /// The text to find.
    Find,
    /// Only what was never seen before a time.
    NewSince,
    /// Only programs that have another digest since a time.
    ChangedSince,
    /// Whether the rows tell when their values were seen.
    Seen,
    /// Another range.
    Compare,
    /// What the rows are sorted by.
    Sort,
    /// Whether the order is the other one.
    Reverse,
    /// The order of a comparison.
    Order,
    /// The number of rows that are left out.
    Offset,
    /// The number of rows.
    Limit,
}

impl Parameter {
    const ALL: [Self; 18] = [
        Self::Range,
        Self::Since,
        Self::Until,
        Self::Zone,
        Self::GroupBy,
        Self::Where,
        Self::Exclude,
        Self::Scope,
        Self::Find,
        Self::NewSince,
        Self::ChangedSince,
        Self::Seen,
        Self::Compare,
        Self::Sort,
        Self::Reverse,
        Self::Order,
        Self::Offset,
        Self::Limit,
    ];

    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Since => "since",
            Self::Until => "until",
            Self::Zone => "zone",
            Self::GroupBy => "group_by",
            Self::Where => "where",
            Self::Exclude => "exclude",
            Self::Scope => "scope",
            Self::Find => "find",
            Self::NewSince => "new_since",
            Self::ChangedSince => "changed_since",
            Self::Seen => "seen",
            Self::Compare => "compare",
            Self::Sort => "sort",
            Self::Reverse => "reverse",
            Self::Order => "order",
            Self::Offset => "offset",
            Self::Limit => "limit",
        }
    }

    /// The parameter with a name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parameter| parameter.name() == name)
    }
}

/// A question that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionError {
    parameter: Parameter,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The words say what is wrong with the value.
    Words(String),
    /// What is wrong with one of several values, which is written so.
    Value(String, String),
    /// The range ends, with these times, before it begins.
    Reversed(String, String),
    /// The range has an end besides the one of `until`.
    TwoEnds(String),
    Twice(Dimension),
    ScopeTwice,
    NotGrouped(Dimension),
    FindWithoutGroup,
    FindInTimes(Dimension),
    SeenOfSeveral,
    NotSeen(Dimension),
    NoDigests,
    CompareSeen,
    CompareTimes(Dimension),
    NothingBefore,
    /// A log does not know the machine that it is of.
    NoHost,
    /// What is asked for has no such part, but these.
    NotOf(&'static str, &'static [Parameter]),
    /// What is listed does not have the dimension of a filter, but these.
    NotListed(&'static str, Dimension, &'static [Dimension]),
}

impl QuestionError {
    pub(crate) fn new(parameter: Parameter, problem: Problem) -> Self {
        Self { parameter, problem }
    }

    pub(crate) fn words(parameter: Parameter, words: impl fmt::Display) -> Self {
        Self::new(parameter, Problem::Words(words.to_string()))
    }

    /// Refuses the key of an order that the rows are not grouped by.
    pub(crate) fn not_grouped(sort: Sort, group_by: &[Dimension]) -> Option<Self> {
        let Sort::Dimension(dimension) = sort else { return None };
        (!group_by.contains(&dimension)).then(|| Self::new(Parameter::Sort, Problem::NotGrouped(dimension)))
    }

    /// The parameter that is wrong.
    pub fn parameter(&self) -> Parameter {
        self.parameter
    }

    /// What is wrong, and what to do. `name` tells how whoever asks knows a parameter.
    pub fn sentence(&self, name: impl Fn(Parameter) -> String) -> String {
        let own = name(self.parameter);
        let [group_by, where_, exclude] =
            [Parameter::GroupBy, Parameter::Where, Parameter::Exclude].map(&name);
        let [new_since, seen] = [Parameter::NewSince, Parameter::Seen].map(&name);
        match &self.problem {
            Problem::Words(words) => format!("{own}: {words}"),
            Problem::Value(value, words) => format!("{own} {value}: {words}"),
            Problem::Reversed(from, to) => {
                format!("{own} ({from}) is later than {} ({to})", name(Parameter::Until))
            }
            Problem::TwoEnds(range) => {
                format!("{own} {range} has an end of its own: leave {} out", name(Parameter::Until))
            }
            Problem::Twice(dimension) => format!("{own} {dimension} is there twice"),
            Problem::ScopeTwice => format!("{own} do not go with {where_} and {exclude} of the scope"),
            Problem::NotGrouped(dimension) => format!("{own} {dimension} needs {group_by} {dimension}"),
            Problem::FindWithoutGroup => format!("{own} looks for values: it needs {group_by}"),
            Problem::FindInTimes(dimension) => {
                format!("{own} finds texts: group by another dimension than {dimension}")
            }
            Problem::SeenOfSeveral => format!(
                "when something was seen is known of single values: use one {group_by} with {new_since}, {seen} and the \
                 like"
            ),
            Problem::NotSeen(dimension) => format!(
                "the log does not know when each {dimension} was first seen; group by another dimension"
            ),
            Problem::NoDigests => format!("only programs change and have digests: use {group_by} exe"),
            Problem::CompareSeen => {
                format!("{own} does not go with {new_since}, {} and {seen}", name(Parameter::ChangedSince))
            }
            Problem::CompareTimes(dimension) => format!(
                "{own} puts values beside each other that both ranges have, and no {dimension} is in both: group by \
                 hour-of-day or weekday"
            ),
            Problem::NothingBefore => format!(
                "{own} previous needs a range with a beginning: {} all has nothing before it",
                name(Parameter::Range)
            ),
            Problem::NoHost => {
                format!(
                    "{own} host: the log of this machine has no others; only copies on a server know hosts"
                )
            }
            Problem::NotOf(what, known) => {
                let known: Vec<String> = known.iter().map(|parameter| name(*parameter)).collect();
                format!("{what} has no {own}: it takes {} only", known.join(", "))
            }
            Problem::NotListed(what, dimension, known) => {
                format!("{what} have no {dimension}: they can be filtered by {}", crate::list(known))
            }
        }
    }
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence(|parameter| match parameter {
            Parameter::Scope if self.problem == Problem::ScopeTwice => {
                "scope=internet and scope=local".to_owned()
            }
            parameter => parameter.name().to_owned(),
        }))
    }
}

impl std::error::Error for QuestionError {}
