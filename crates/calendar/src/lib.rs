//! Local time: parts of the calendar, and points and ranges of time as people write and read them.
//!
//! Points are unix seconds UTC. Every function takes the time zone, so that none depends on the machine it runs on.

mod local;
mod offset;
mod parse;
mod range;
mod step;
mod text;

pub use jiff::tz::TimeZone;
pub use local::{LocalSecond, local_second, named_zone, posix_zone};
pub use offset::{OffsetSpan, offset_spans};
pub use parse::{Part, TimeError, parse_part, parse_span};
pub use range::{Range, RangeError, parse_range};
pub use step::{Step, after, divide, floor, hour_of_day, weekday, zone};
pub use text::{Offsets, day_text, month_text, point_text, rfc3339, weekday_name, zone_name};
