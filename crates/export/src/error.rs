//! What can go wrong with a copy, in sentences that say what to do.

use store::StoreError;
use thiserror::Error;

/// A copy could not be brought up to date. It is tried again.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The server could not be reached, or did not let this account in.
    #[error("cannot connect to {server}{}", hint(.source))]
    Connect {
        /// The server.
        server: String,
        /// The error of the client library.
        source: sqlx::Error,
    },
    /// The server did not answer in time.
    #[error(
        "{server} has not answered for {seconds} s while {doing}; is the network, or the server, overloaded?"
    )]
    Timeout {
        /// The server.
        server: String,
        /// How long it was waited for.
        seconds: u64,
        /// The action that was waited for, for example "connecting".
        doing: &'static str,
    },
    /// The tables are not there, and this account may not make them.
    #[error(
        "{server} has no tables of picosnitch, and the account may not make them: run `picosnitch export-sql {name}` and give what it \
         prints to an account that may ({})", sqlx_text(.source)
    )]
    MayNotCreate {
        /// The server.
        server: String,
        /// The section of the configuration.
        name: String,
        /// The refusal.
        source: sqlx::Error,
    },
    /// The tables are those of a newer version.
    #[error(
        "the tables on {server} have version {found}, and this picosnitch knows up to {known}: install the newer one"
    )]
    Newer {
        /// The server.
        server: String,
        /// Version on the server.
        found: i64,
        /// Latest version that is known.
        known: i64,
    },
    /// The tables are not as picosnitch made them.
    #[error(
        "the tables on {server} are not as picosnitch made them, so nothing is sent: {}. Give them back their columns, or \
         rename them all, so that new ones are made", .problems.join("; ")
    )]
    Altered {
        /// The server.
        server: String,
        /// What differs.
        problems: Vec<String>,
    },
    /// Another process has written the same windows at the same time.
    #[error(
        "another process is sending windows of this log to {0} as well; the server is asked again what it has"
    )]
    Overtaken(String),
    /// The sums on the server are said to have windows that were never sent.
    #[error(
        "on {server} the sums of this log are said to have its windows up to {claimed}, but it was sent up to window {sent}: another \
         account has written into picosnitch_sum_claim. Ask with sums=off in the address of the server, and delete those rows"
    )]
    ForeignClaim {
        /// The server.
        server: String,
        /// The last window that the sums are said to have.
        claimed: i64,
        /// The last window that was sent.
        sent: i64,
    },
    /// The server refused a statement, or the connection broke.
    #[error("{server}: {doing}{}", hint(.source))]
    Sql {
        /// The server.
        server: String,
        /// The action that failed, for example "cannot send windows".
        doing: &'static str,
        /// The error of the client library.
        source: sqlx::Error,
    },
    /// The log could not be read.
    #[error("the log cannot be read for {server}")]
    Log {
        /// The server.
        server: String,
        /// The reason.
        source: Box<StoreError>,
    },
}

impl ExportError {
    /// The sentence with the reasons of the client library, in one line.
    pub fn sentence(&self) -> String {
        match self {
            // Its source is in the sentence.
            Self::MayNotCreate { .. } => self.to_string(),
            Self::Connect { source, .. } | Self::Sql { source, .. } => {
                format!("{self}: {}", sqlx_text(source))
            }
            _ => model::error_chain(self),
        }
    }

    /// Whether another transaction was in the way, and this one has to be tried again.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Overtaken(_) => true,
            Self::Sql { source, .. } => is_deadlock(source),
            _ => false,
        }
    }

    /// Whether the log is not there yet, or is being made: the daemon starts.
    pub(crate) fn is_log_missing(&self) -> bool {
        let Self::Log { source, .. } = self else { return false };
        source.is_not_ready()
    }
}

/// Whether the server gave up a transaction because of another one.
fn is_deadlock(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    match database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
        Some(error) => matches!(error.number(), 1205 | 1213),
        // serialization_failure, deadlock_detected, lock_not_available
        None => matches!(database.code().as_deref(), Some("40001" | "40P01" | "55P03")),
    }
}

/// The error of the client library with its reasons, each once: many of its errors repeat their source.
fn sqlx_text(error: &sqlx::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let reason = source.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = source.source();
    }
    text.replace(['\n', '\r'], " ")
}

/// What to do about an error, as the end of a sentence.
fn hint(error: &sqlx::Error) -> &'static str {
    if let sqlx::Error::Database(database) = error {
        // SQLSTATE (PostgreSQL's appendix A, "Error Codes"), and for MariaDB and MySQL the number of the error.
        let number = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
        return match (number.map(sqlx::mysql::MySqlDatabaseError::number), database.code().as_deref()) {
            (Some(1045 | 1698), _) | (None, Some("28P01" | "28000")) => {
                " (is the user or the password wrong, or the account not allowed from this host?)"
            }
            (Some(1049), _) | (None, Some("3D000")) => " (create the database first)",
            (Some(1044 | 1142 | 1143), _) | (None, Some("42501")) => {
                " (the account lacks rights: `picosnitch export-sql` prints the statements that give them)"
            }
            (Some(1114 | 1021), _) | (None, Some("53100")) => {
                " (the disk of the server is full; what waits stays in the log)"
            }
            (Some(1040), _) | (None, Some("53300")) => " (the server has too many connections)",
            _ => "",
        };
    }
    match error {
        sqlx::Error::Tls(_) => {
            " (the certificate of the server is not trusted, or TLS is not supported: see the key `tls`, and `ca` for an authority of your own)"
        }
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            " (nothing listens there: is the server running, and are host and port right?)"
        }
        // rustls reports certificates that it does not accept as data that is not valid.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            " (the certificate of the server is not accepted: see the key `tls`, and `ca` for an authority of your own)"
        }
        _ => "",
    }
}
