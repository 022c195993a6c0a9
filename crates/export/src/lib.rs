//! Copies of the log on SQL servers: PostgreSQL, MariaDB, MySQL, ClickHouse. [`run`] sends whole windows to one server, each batch in one
//! transaction, and asks the server what it has whenever it connects; so every record is there once, whatever died in between.
//!
//! Only INSERT and SELECT are needed, but for the first start, which makes the tables if it may ([`schema_sql`] has the statements).
//! docs/export.md describes them. [`Server`] is a connection, also for those that ask the copies.

mod announcement;
mod batch;
mod content_digest;
mod error;
mod flat_sums;
mod position;
mod repeated;
mod sender;
mod server;
mod settings;
mod sink_state;
mod status;
mod sum_claims;
mod sum_kind;
mod sums;

pub use error::ExportError;
pub use repeated::Repeated;
pub use sender::{Heartbeats, run, run_beside};
pub use server::{
    Server,
    dialect::Dialect,
    grant_sql,
    rows::{Cell, Row},
    schema_sql,
    tables::Kind,
};
pub use settings::{ClientCertificate, ServerSettings};
pub use sink_state::{Failure, POLL_INTERVAL, SinkState};
pub use status::{SinkNews, SinkPosition, SinkStatus, Unsent};
pub use sum_claims::{Claimed, claimed};
pub use sum_kind::SumKind;
