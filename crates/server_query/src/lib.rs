//! The questions of the log, asked to an SQL server with copies of logs (`export`): [`ServerReader`] answers a [`store::Query`] as
//! [`store::Reader`] answers it for one log, over the records of all logs on the server, and knows [`store::Dimension::Host`].
//!
//! The server adds up; what its SQL cannot compare as the log does (patterns, networks, command lines) is compared here with the
//! code of the log, over the values that occur.

mod address;
mod bucket;
mod column;
mod condition;
mod error;
mod events;
mod fleet;
mod reader;
mod seen;
mod series;
mod session;
mod sighting;
mod source;
mod statement;
mod sums;

pub use address::{AddressError, server_at};
pub use error::ServerQueryError;
pub use fleet::{FleetAnswer, FleetQuestion};
pub use reader::ServerReader;
pub use session::ServerInterrupter;
pub use sighting::{HostSight, Sighting};
pub use source::{LogSource, SourceError, SourceInterrupter, SourceReader};
