//! The messages between the recorder and the exporter, which may be of another version: the first one of the exporter says of which.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use export::{SinkNews, SinkPosition};
use model::{Bytes, Sha256};
use virustotal::{LookupResult, LookupStatus};

/// The version of these messages: only an exporter of the same one is taken.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Messages from the recorder.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToExporter {
    /// A digest to look up, with the descriptor of the file with that digest, if there is one to upload.
    LookUp {
        /// The digest.
        digest: Sha256,
        /// The file was uploaded before.
        is_uploaded: bool,
    },
    /// An address whose name is wanted.
    Reverse(IpAddr),
    /// By the names of their sections, how far receivers that cannot be asked have taken the log. It comes first.
    Positions(Vec<(String, SinkPosition)>),
}

/// Messages from the exporter.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromExporter {
    /// The first message. No field is ever added before the version.
    Hello {
        /// See [`VERSION`].
        version: String,
        /// It looks up digests.
        virustotal: bool,
        /// It looks up addresses.
        reverse_dns: bool,
    },
    /// The result of a look-up.
    Result(LookupResult),
    /// The name of an address.
    Name(IpAddr, Option<Bytes>),
    /// The state of the look-ups has changed.
    Status(LookupStatus),
    /// What there is to tell of the copy of the log on one server.
    Sink(SinkNews),
    /// A sentence about a problem, for the user.
    Problem(String),
}
