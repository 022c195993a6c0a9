//! The verdict of VirusTotal on a digest, as record.json stores it.

use serde::{Deserialize, Serialize};

/// The number of VirusTotal's engines with each opinion of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCounts {
    /// Engines that report the file as malicious.
    pub malicious: u64,
    /// Engines that report the file as suspicious.
    pub suspicious: u64,
    /// Engines that have any opinion of the file.
    pub total: u64,
}

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// At least one engine reports the file as malicious or suspicious.
    Suspicious(EngineCounts),
    /// No engine reports the file.
    Clean(EngineCounts),
    /// VirusTotal does not know the file.
    Unknown,
    /// VirusTotal does not know the file, and it was not uploaded, for this reason.
    NotSent(String),
    /// The file was uploaded, and its analysis is pending.
    Uploaded,
}

impl Verdict {
    /// The verdict as record.json stores it.
    pub fn text(&self) -> String {
        match self {
            Self::Suspicious(EngineCounts { malicious, suspicious, total }) => {
                format!("suspicious: {malicious} malicious, {suspicious} suspicious of {total}")
            }
            Self::Clean(EngineCounts { total, .. }) => format!("clean: 0 of {total}"),
            Self::Unknown => "unknown".into(),
            Self::NotSent(why) => format!("unknown, not sent: {why}"),
            Self::Uploaded => "uploaded".into(),
        }
    }
}

/// Whether the digest with this text in record.json still needs a look-up. The original picosnitch wrote the last two.
pub(crate) fn is_pending(text: &str) -> bool {
    text.is_empty()
        || text == "uploaded"
        || text.starts_with("VT Pending")
        || text.starts_with("File not analyzed")
}
