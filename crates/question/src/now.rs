//! The present, and the time zone of the user.

use calendar::TimeZone;

use crate::error::{Parameter, QuestionError};

/// The present, and the time zone of the user.
#[derive(Clone, Debug)]
pub struct Now {
    /// Unix seconds.
    pub seconds: i64,
    /// The zone in which people write and read times.
    pub zone: TimeZone,
}

impl Now {
    /// The present by the clock, in the zone of the process.
    pub fn read() -> Self {
        Self { seconds: model::text::time::now(), zone: calendar::zone() }
    }

    /// The same time in a zone with this name (IANA), for example `Europe/Berlin`.
    ///
    /// # Errors
    /// The machine has no such zone.
    pub fn in_zone(self, name: &str) -> Result<Self, QuestionError> {
        match TimeZone::get(name) {
            Ok(zone) => Ok(Self { zone, ..self }),
            Err(_) => Err(QuestionError::words(
                Parameter::Zone,
                format!("there is no time zone {name:?}; write its name, for example Europe/Berlin or UTC"),
            )),
        }
    }

    /// A point in local time with its offset.
    pub fn text(&self, seconds: i64) -> String {
        calendar::Offsets::new([seconds], &self.zone).text(seconds)
    }

    /// A range in words: both ends in local time.
    pub fn describe(&self, range: calendar::Range) -> String {
        match (range.start, range.end) {
            (Some(start), Some(end)) => {
                format!("{} to {}", self.text(start), self.text(end.saturating_sub(1)))
            }
            (Some(start), None) => format!("since {}", self.text(start)),
            (None, Some(end)) => format!("until {}", self.text(end.saturating_sub(1))),
            (None, None) => "all of the log".to_owned(),
        }
    }
}
