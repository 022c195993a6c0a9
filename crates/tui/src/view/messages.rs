//! The messages between the screen and the query thread. Each carries the number of its request.

use std::time::Duration;

use super::{
    detail::{Detail, DetailSubject},
    query::{ChartSeries, ScreenQuery, ScreenRows},
};
use model::error_chain;
use server_query::SourceError;

/// A request to the query thread.
#[derive(Clone, Debug)]
pub enum Request {
    /// The rows and the chart of a screen.
    Screen(Box<ScreenQuery>),
    /// The detail of one row.
    Detail(Box<ScreenQuery>, DetailSubject),
}

/// A response of the query thread.
#[derive(Debug)]
pub enum Response {
    /// The log could be opened, or the server be reached, at the start.
    Opened,
    /// The log cannot be opened or read. The thread opens it again at the next request. The number is 0 if the log could
    /// not be opened at the start.
    Failed(u64, SourceError),
    /// The first response to a screen request.
    Rows(u64, Box<ScreenRows>),
    /// The second response to a screen request, and how long both took.
    Series(u64, ChartSeries, Duration),
    /// The response to a detail request.
    Detail(u64, Box<Detail>),
}

/// An error of the log as a sentence, with advice where there is some.
pub fn error_sentence(error: &SourceError) -> String {
    let advice = match error {
        SourceError::Log(error) if error.is_permission() => {
            "; run it as root, or as a member of the group that owns the log"
        }
        SourceError::Log(error) if error.is_transient() => "; press r to try again",
        SourceError::Log(_) => "",
        SourceError::Server(_) => "; it is tried again every ten seconds, and when you press r",
    };
    format!("{}{advice}", error_chain(error))
}
