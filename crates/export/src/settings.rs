//! What is known of a server.

use std::path::Path;

use config::{ServerKind, TlsMode};
use serde::{Deserialize, Serialize};

/// A server that gets a copy of the log, with its secrets: the process that connects opens no file of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerSettings {
    /// The section of the configuration, for example `log.server`.
    pub name: String,
    /// The database system.
    pub kind: ServerKind,
    /// Host name or address, or the path of a Unix socket (for PostgreSQL of its directory).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The account.
    pub user: String,
    /// Its password; empty if it has none.
    pub password: String,
    /// Name of the database.
    pub database: String,
    /// Name of the view with one row for each record.
    pub view: String,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// Certificates of authorities that are trusted besides those of the system, PEM; empty if there are none.
    pub authority: String,
    /// The certificate with which the account identifies itself.
    pub client_certificate: Option<ClientCertificate>,
    /// Send what was recorded before the first connection.
    pub backfill: bool,
    /// Ask the sums on the server where they are exact, and not the records only.
    pub asks_sums: bool,
}

/// A certificate of a client.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate, and those that vouch for it, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

impl ServerSettings {
    /// Whether the server is on this machine and has a Unix socket.
    pub fn is_socket(&self) -> bool {
        Path::new(&self.host).is_absolute()
    }

    /// The server in a sentence, without secrets.
    pub fn address(&self) -> String {
        let system = match self.kind {
            ServerKind::PostgreSql => "PostgreSQL",
            ServerKind::MariaDb => "MariaDB",
            ServerKind::MySql => "MySQL",
        };
        match self.is_socket() {
            true => format!("{system} at {}", self.host),
            false if self.host.contains(':') => format!("{system} at [{}]:{}", self.host, self.port),
            false => format!("{system} at {}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings of a server that is not there.
    pub(crate) fn settings() -> ServerSettings {
        ServerSettings {
            name: "log.server".into(),
            kind: ServerKind::PostgreSql,
            host: "::1".into(),
            port: 1,
            user: "u".into(),
            password: "secret".into(),
            database: "d".into(),
            view: "connections".into(),
            tls: TlsMode::Prefer,
            authority: String::new(),
            client_certificate: None,
            backfill: true,
            asks_sums: true,
        }
    }

    #[test]
    fn an_address_has_no_secret() {
        let mut server = settings();
        assert_eq!(server.address(), "PostgreSQL at [::1]:1");
        (server.host, server.kind) = ("/run/mysqld/mysqld.sock".into(), ServerKind::MariaDb);
        assert!(server.is_socket());
        assert_eq!(server.address(), "MariaDB at /run/mysqld/mysqld.sock");
    }
}
