//! Look-ups of executables at VirusTotal.
//!
//! [`LookupSchedule`], in the recorder, decides which digest is looked up when. [`LookupWorker`], a thread of the exporter, makes
//! the requests, one at a time, over the HTTP client of `api`; a [`Verdict`] is the result. Only digests leave the machine, and with
//! `virustotal.file_upload` also the files that VirusTotal does not know.

mod api;
mod schedule;
mod start_error;
mod verdict;
mod worker;

pub use api::Settings;
pub use schedule::{LookupSchedule, LookupStatus};
pub use start_error::StartError;
pub use verdict::{EngineCounts, Verdict};
pub use worker::{LookupRequest, LookupResult, LookupWorker, WorkerStatus};
