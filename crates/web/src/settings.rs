//! Where the server listens, and which clients may read: from the environment and the configuration.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use config::{Web, layout::Layout};
use model::text::sanitize;
use server_query::LogSource;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::{
    certificate::{self, CertificateError},
    error::{ApiError, ErrorKind},
    password::Password,
    permitted_users::PermittedUsers,
};

/// What the page shows.
#[derive(Clone)]
pub(crate) struct ShownSource {
    pub source: LogSource,
    /// Whether it is the log of this machine.
    is_own: bool,
}

impl ShownSource {
    /// Whether it is the log of this machine.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        self.source.is_server()
    }

    /// What it is, for the page: `own`, `log`, `server`.
    pub fn kind(&self) -> &'static str {
        match (&self.source, self.is_own) {
            (LogSource::Server(_), _) => "server",
            (LogSource::Log(_), true) => "own",
            (LogSource::Log(_), false) => "log",
        }
    }

    /// The path of a log, or a server in words without secrets.
    pub fn name(&self) -> String {
        match &self.source {
            LogSource::Log(path) => sanitize::terminal(path.as_os_str().as_encoded_bytes()),
            LogSource::Server(settings) => {
                sanitize::message(&format!("{}, database {}", settings.address(), settings.database))
            }
        }
    }

    /// Refuses what belongs to the machine that records, where the page shows something else.
    ///
    /// # Errors
    /// It is not the log of this machine.
    pub fn only_of_own_log(&self, what: &str) -> Result<(), ApiError> {
        if self.is_own {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorKind::NotFound,
            format!(
                "{what} belongs to the machine that records, and this page shows {}: run `picosnitch dash` without --source there",
                self.name()
            ),
        ))
    }
}

/// What a server is started with.
pub struct Settings {
    pub(crate) layout: Layout,
    pub(crate) source: ShownSource,
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The name that people type.
    host: String,
    /// Names of this machine besides `localhost` and addresses.
    pub(crate) host_names: Vec<String>,
    /// Which clients may read.
    pub(crate) authentication: Authentication,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Files that replace the built-in ones of the page, for work on it.
    pub static_directory: Option<PathBuf>,
    /// What the configuration says of the log, if the server may not read it later.
    pub log: Option<config::Log>,
}

/// How people show that they may read.
pub(crate) enum Authentication {
    /// They need not.
    None,
    /// With the token of this run, from programs of these users.
    Token { users: PermittedUsers },
    /// With a password.
    Password(Password),
}

/// Settings that do not go together.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The host is no address of this machine.
    #[error("{0:?} is no address to listen on; use localhost, or an IP address of this machine")]
    Host(String),
    /// Other machines could read along, or read without a password.
    #[error(
        "{0} can be reached from other machines, which needs a certificate and a password: set web.certificate, web.key and \
         web.password_hash in the configuration (`picosnitch dash --make-certificate DIR` and `--hash-password` make them). Or \
         listen on localhost, and on the other machine run ssh -L 5100:localhost:5100"
    )]
    Unprotected(IpAddr),
    /// A password is asked for and refused.
    #[error("--no-auth does not go with web.password_hash: take one of them out")]
    PasswordWithoutAuth,
    /// One of the two files is missing.
    #[error("web.certificate and web.key belong together: set both, or none")]
    HalfCertificate,
    /// The hash of the password is none.
    #[error("web.password_hash is no hash of a password: `picosnitch dash --hash-password` makes one")]
    PasswordHash,
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Settings {
    /// A server as the section `[web]` wants it. On this machine only, without a password, the programs of `users` may read with
    /// the token; with `users` `None` all may read without one.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(layout: Layout, web: &Web, users: Option<PermittedUsers>) -> Result<Self, SettingsError> {
        let addresses: Vec<IpAddr> = match &*web.host {
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            host => vec![host.parse().map_err(|_| SettingsError::Host(host.to_owned()))?],
        };
        let tls = match (&web.certificate, &web.key) {
            (Some(certificate), Some(key)) => Some(certificate::acceptor(certificate, key)?),
            (None, None) => None,
            _ => return Err(SettingsError::HalfCertificate),
        };
        let authentication = match (&*web.password_hash.0, users) {
            (hash, None) if !hash.is_empty() => return Err(SettingsError::PasswordWithoutAuth),
            ("", Some(users)) => Authentication::Token { users },
            ("", None) => Authentication::None,
            (hash, _) => {
                Authentication::Password(Password::from_hash(hash).ok_or(SettingsError::PasswordHash)?)
            }
        };
        let is_protected = tls.is_some() && matches!(authentication, Authentication::Password(_));
        if let Some(address) = addresses.iter().find(|address| !address.is_loopback() && !is_protected) {
            return Err(SettingsError::Unprotected(*address));
        }
        let source = LogSource::Log(layout.database.clone());
        Ok(Self {
            layout,
            source: ShownSource { source, is_own: true },
            addresses: addresses.into_iter().map(|address| SocketAddr::new(address, web.port)).collect(),
            host: if web.host_name.is_empty() { web.host.clone() } else { web.host_name.clone() },
            host_names: Some(web.host_name.clone()).filter(|name| !name.is_empty()).into_iter().collect(),
            authentication,
            tls,
            static_directory: None,
            log: None,
        })
    }

    /// Shows another log, or a server, in place of the log of this machine.
    pub fn show(&mut self, source: LogSource) {
        self.source = ShownSource { source, is_own: false };
    }

    /// The address that people open.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let port = self.addresses.first().map_or(0, SocketAddr::port);
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("{scheme}://[{address}]:{port}"),
            Err(_) => format!("{scheme}://{}:{port}", self.host),
        }
    }
}
