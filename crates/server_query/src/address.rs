//! The address of a server as a user types it: `postgres://user@host:port/database?tls=verify-full`.

use std::path::PathBuf;

use config::{ServerKind, TlsMode};
use export::ServerSettings;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::Url;

/// Parameters behind the question mark.
const PARAMETERS: &str = "tls, ca, host, password_file, sums";
/// The database if the address names none, as in the configuration.
const DEFAULT_DATABASE: &str = "picosnitch";

/// The address of a server cannot be read.
#[derive(Debug, Error)]
pub enum AddressError {
    /// It is no address.
    #[error(
        "{0} is no address of a server: write postgres://USER@HOST/DATABASE, mysql:// or mariadb:// ({1})"
    )]
    Syntax(String, String),
    /// It has no account.
    #[error("{0} lacks the account: write {1}://USER@...")]
    NoUser(String, String),
    /// It has a password, which every user of this machine sees in the list of processes.
    #[error(
        "an address may have no password, since the command line is seen by all users of this machine: put it into the environment \
         ({variable}), or into a file (--password-file FILE)", variable = password_variable(*.0)
    )]
    Password(ServerKind),
    /// It has a parameter that is not known.
    #[error("an address of a server has no parameter {0}; it may have: {PARAMETERS}")]
    Parameter(String),
    /// The value of a parameter is not one of its words.
    #[error("tls={0} is none of disable, prefer, require, verify-ca, verify-full")]
    Tls(String),
    /// The value of `sums` is not one of its words.
    #[error("sums={0} is neither on nor off")]
    Sums(String),
    /// A file that the address names cannot be read.
    #[error("{0} cannot be read")]
    File(PathBuf, #[source] std::io::Error),
}

/// The variable of the environment with the password, as the clients of these systems have it.
fn password_variable(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::PostgreSql => "PGPASSWORD",
        ServerKind::MariaDb | ServerKind::MySql => "MYSQL_PWD",
    }
}

/// Reads the address of a server, with the secrets that it needs. The password is in the file that the address names, else it is
/// what `variable` returns for the variable of the environment that the clients of the system use (`PGPASSWORD`, `MYSQL_PWD`).
/// Returns `None` if the text is the address of nothing that is a server (`scheme://`).
///
/// # Errors
/// See [`AddressError`].
pub fn server_at(
    text: &str,
    password_file: Option<&std::path::Path>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Result<ServerSettings, AddressError>> {
    let (scheme, _) = text.split_once("://")?;
    let kind = match scheme {
        "postgres" | "postgresql" => ServerKind::PostgreSql,
        "mariadb" => ServerKind::MariaDb,
        "mysql" => ServerKind::MySql,
        _ => return None,
    };
    Some(read(text, kind, password_file.map(PathBuf::from), &variable))
}

fn read(
    text: &str,
    kind: ServerKind,
    mut password_file: Option<PathBuf>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ServerSettings, AddressError> {
    let url = Url::parse(text).map_err(|error| AddressError::Syntax(text.to_owned(), error.to_string()))?;
    // Before the address is in any other error.
    if url.password().is_some() {
        return Err(AddressError::Password(kind));
    }
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    if url.username().is_empty() {
        return Err(AddressError::NoUser(text.to_owned(), url.scheme().to_owned()));
    }
    let host = decoded(url.host_str().unwrap_or_default());
    // An IPv6 address is in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
    let database = decoded(url.path().trim_start_matches('/'));
    let mut settings = ServerSettings {
        name: "--source".to_owned(),
        kind,
        host,
        port: url.port().unwrap_or(kind.default_port()),
        user: decoded(url.username()),
        password: String::new(),
        database: if database.is_empty() { DEFAULT_DATABASE.to_owned() } else { database },
        view: String::new(),
        tls: TlsMode::default(),
        authority: String::new(),
        client_certificate: None,
        backfill: false,
        asks_sums: true,
    };
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" => settings.host = value.into_owned(),
            "tls" => settings.tls = value.parse().map_err(|()| AddressError::Tls(value.into_owned()))?,
            "ca" => settings.authority = read_file(PathBuf::from(&*value))?,
            "sums" => {
                settings.asks_sums = match &*value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(AddressError::Sums(value.into_owned())),
                }
            }
            "password_file" => password_file = Some(PathBuf::from(&*value)),
            _ => return Err(AddressError::Parameter(name.into_owned())),
        }
    }
    settings.password = match password_file {
        // Editors end files with a line feed.
        Some(path) => read_file(path)?.trim_end_matches('\n').to_owned(),
        None => variable(password_variable(kind)).unwrap_or_default(),
    };
    Ok(settings)
}

fn read_file(path: PathBuf) -> Result<String, AddressError> {
    std::fs::read_to_string(&path).map_err(|error| AddressError::File(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerSettings, AddressError> {
        server_at(text, None, |name| Some(format!("of {name}"))).unwrap()
    }

    #[test]
    fn addresses_are_read() {
        let found = read("postgres://reader@db.example.org/fleet?tls=verify-full").unwrap();
        assert_eq!((found.kind, &*found.host, found.port), (ServerKind::PostgreSql, "db.example.org", 5432));
        assert_eq!((&*found.user, &*found.database, found.tls), ("reader", "fleet", TlsMode::VerifyFull));
        assert!(found.asks_sums && !read("postgres://u@h/d?sums=off").unwrap().asks_sums);
        assert_eq!(found.password, "of PGPASSWORD");
        let found = read("mariadb://a%40b@[2001:db8::1]:33").unwrap();
        assert_eq!((&*found.host, found.port, &*found.user), ("2001:db8::1", 33, "a@b"));
        assert_eq!((&*found.database, &*found.password), ("picosnitch", "of MYSQL_PWD"));
        let found = read("postgres://u@%2Frun%2Fpostgresql/d").unwrap();
        assert_eq!(found.host, "/run/postgresql");
        let found = read("mysql://u@localhost/d?host=/run/mysqld/mysqld.sock").unwrap();
        assert_eq!((found.kind, &*found.host), (ServerKind::MySql, "/run/mysqld/mysqld.sock"));
        assert!(server_at("/var/lib/snitch.db", None, |_| None).is_none());
        assert!(server_at("log.server", None, |_| None).is_none());
    }

    #[test]
    fn passwords_come_from_files_and_never_from_the_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "a b\n").unwrap();
        let found = server_at("mysql://u@h", Some(&path), |_| None).unwrap().unwrap();
        assert_eq!(found.password, "a b");
        let found = read(&format!("mysql://u@h/?password_file={}", path.display())).unwrap();
        assert_eq!(found.password, "a b");
        let Err(error) = read("postgres://u:secret@h/d") else { panic!() };
        let text = error.to_string();
        assert!(text.contains("PGPASSWORD") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| read(text).err().unwrap().to_string();
        assert!(error("postgres://h/d").contains("postgres://USER@"), "{}", error("postgres://h/d"));
        assert!(error("postgres://u@h/d?sslmode=require").contains("no parameter sslmode"));
        assert!(error("postgres://u@h/d?tls=yes").contains("verify-full"));
        assert!(error("postgres://u@h/d?sums=no").contains("neither on nor off"));
        assert!(error("postgres://u@h:port/d").contains("is no address"));
        assert!(error("postgres://u@h/d?ca=/nowhere").contains("/nowhere cannot be read"));
    }
}
