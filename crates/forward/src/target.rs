//! What is known of a receiver.

use config::{Destination, ForwardSection};
use serde::{Deserialize, Serialize};

/// A receiver of events, with its secrets: the process that sends opens no file of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Target {
    /// The section of the configuration, for example `export.siem`.
    pub name: String,
    /// What it gets, and where it is.
    pub section: ForwardSection,
    /// Certificates of authorities that are trusted instead of those of the system, PEM; empty for those of the system.
    pub authority: String,
    /// The token of the section, or that of its file.
    pub token: String,
}

impl Target {
    /// The receiver in a sentence, without secrets: of a URL the scheme and the host, since the path may be a secret.
    pub fn address(&self) -> String {
        match &self.section.destination {
            Destination::Syslog(server) => server.address(),
            Destination::Journald => "journald".to_owned(),
            Destination::Webhook(hook) => format!("webhook at {}", hook.origin()),
            Destination::Otlp(collector) => format!("otlp at {}", collector.origin()),
        }
    }

    /// The TCP port to which it is connected.
    pub fn port(&self) -> Option<u16> {
        self.section.destination.tcp_port()
    }
}
