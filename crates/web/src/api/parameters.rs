//! The parameters of a question in the address of a request.

use question::{Asked, Now, Parameter, QuestionError};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use crate::error::ApiError;

/// Parameters of one request. More are no question of people.
const MAX_PARAMETERS: usize = 64;
/// Dimensions that rows are grouped by.
const MAX_DIMENSIONS: usize = 4;

/// What all questions take; the words are those of `picosnitch query`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it only describes the parameters")]
pub(crate) struct ListParameters {
    /// A length up to now or to `until` (5m, 1h, 30d), a word (today, last-month), a date, a month, a year, FROM..TO, or all.
    /// Default: 1d.
    range: Option<String>,
    /// Only from this time on: unix seconds, or a time as people write it. Goes before `range`.
    since: Option<String>,
    /// Only up to this time, which is included.
    until: Option<String>,
    /// The time zone in which times are read and written, by its name (Europe/Berlin). Default: that of the server.
    zone: Option<String>,
    /// Only records with this value: DIMENSION=VALUE; may be repeated, values of one dimension are alternatives. A value of an
    /// answer can be written as it is, null as nothing.
    r#where: Option<Vec<String>>,
    /// No records with this value: DIMENSION=VALUE; may be repeated.
    exclude: Option<Vec<String>>,
}

/// What questions about traffic take besides.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it only describes the parameters")]
pub(crate) struct TrafficParameters {
    /// `internet` or `local`: only traffic with such addresses.
    scope: Option<String>,
    /// Only values of the first `group_by` that contain this text, in upper or lower case.
    find: Option<String>,
}

/// What questions for rows take besides.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it only describes the parameters")]
pub(crate) struct RowParameters {
    /// One row for each value of this dimension; may be repeated. Without it there is one row with the sum.
    group_by: Option<Vec<String>>,
    /// total, conns, received, sent, first-seen, last-seen, digests (largest first), or a dimension of `group_by`.
    sort: Option<String>,
    /// 1: the other order.
    reverse: Option<String>,
    /// 1: tell when each value was first and last seen.
    seen: Option<String>,
    /// Only values that were never seen before this time.
    new_since: Option<String>,
    /// Only programs that have had another digest since this time.
    changed_since: Option<String>,
    /// Put another range beside this one: `previous`, or as for `range`.
    compare: Option<String>,
}

/// Parameters that are not taken yet.
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    /// Their text, by which equal questions are known.
    pub text: String,
}

impl Parameters {
    /// Reads the part of an address after the question mark.
    ///
    /// # Errors
    /// There are too many.
    pub fn parse(text: Option<String>) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let pairs: Vec<_> = pairs.take(MAX_PARAMETERS + 1).collect();
        if pairs.len() > MAX_PARAMETERS {
            return Err(ApiError::bad_parameter("where", "there are too many parameters"));
        }
        Ok(Self { pairs, text })
    }

    /// Takes a parameter; the last one counts if it is repeated.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.take_all(name).pop()
    }

    /// Takes all parameters of a name.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        let taken = self.pairs.extract_if(.., |(known, _)| known == name);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a number from 0 to `max`.
    ///
    /// # Errors
    /// It is none.
    pub fn take_number(&mut self, name: &'static str, max: u64) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= max);
        number
            .map(Some)
            .ok_or_else(|| ApiError::bad_parameter(name, format!("{name}: write a number up to {max}")))
    }

    /// Reads the question that is left, and what it means now.
    ///
    /// # Errors
    /// A value is wrong, or there is a parameter that is none of the question.
    pub fn asked(&mut self, api: &Api) -> Result<(Asked, Now), ApiError> {
        let mut now = Now::read();
        if let Some(zone) = self.take(Parameter::Zone.name()) {
            now = now.in_zone(&zone)?;
        }
        let mut asked = Asked { is_of_server: api.source.is_server(), ..Asked::default() };
        for (name, value) in self.pairs.drain(..) {
            if !asked.set(&name, value.as_bytes())? {
                let name = model::text::sanitize::message(&name);
                return Err(ApiError::bad_parameter("", format!("there is no parameter {name:?} here")));
            }
        }
        if asked.group_by.len() > MAX_DIMENSIONS {
            let text = format!("group_by: at most {MAX_DIMENSIONS} dimensions");
            return Err(ApiError::bad_parameter("group_by", text));
        }
        Ok((asked, now))
    }
}

impl From<QuestionError> for ApiError {
    fn from(error: QuestionError) -> Self {
        Self::bad_parameter(error.parameter().name(), error.to_string())
    }
}
