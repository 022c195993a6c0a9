//! Where the server listens, and who may read: from the command line, the environment and the configuration.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use config::layout::Layout;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::password::Password;

/// What a server is started with.
pub struct Settings {
    /// Where the files of picosnitch are.
    pub layout: Layout,
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The name that people type.
    host: String,
    /// Names of this machine besides `localhost` and addresses.
    pub(crate) host_names: Vec<String>,
    /// No token is needed.
    pub(crate) no_auth: bool,
    pub(crate) password: Option<Password>,
    /// The users whose programs may read with the token; `None`: all.
    pub users: Option<Vec<u32>>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Files that replace the built-in ones of the page, for work on it.
    pub static_directory: Option<PathBuf>,
}

/// Settings that do not go together.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The host is no address of this machine.
    #[error("{0:?} is no address to listen on; use localhost, or an IP address of this machine")]
    Host(String),
    /// Other machines could read along, or read without a password.
    #[error(
        "{0} can be reached from other machines: that needs a certificate and a password. Set web.certificate, web.key and \
         web.password_hash in the configuration (`picosnitch dash --hash-password` makes the last), or listen on localhost \
         and use `ssh -L 5100:localhost:5100` from the other machine"
    )]
    Unprotected(IpAddr),
}

impl Settings {
    /// A server on a port of `localhost` or of an address.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(layout: Layout, host: &str, port: u16) -> Result<Self, SettingsError> {
        let addresses: Vec<IpAddr> = match host {
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            host => {
                let address = host.trim_start_matches('[').trim_end_matches(']').parse();
                vec![address.map_err(|_| SettingsError::Host(host.to_owned()))?]
            }
        };
        if let Some(address) = addresses.iter().find(|address| !address.is_loopback()) {
            return Err(SettingsError::Unprotected(*address));
        }
        Ok(Self {
            layout,
            addresses: addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            host: host.to_owned(),
            host_names: Vec::new(),
            no_auth: false,
            password: None,
            users: None,
            tls: None,
            static_directory: None,
        })
    }

    /// Lets everybody read who can connect, which are all users of this machine.
    pub fn without_auth(mut self) -> Self {
        self.no_auth = true;
        self
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
