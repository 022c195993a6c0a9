//! The web page and its API: a server that only reads the log and the live socket.
//!
//! [`Server::start`] binds the addresses and makes the token; [`Server::run`] answers requests until the process ends. The page
//! is in `static/`, and uses nothing but the API (`/api/v1`).

mod access;
mod api;
mod certificate;
mod daemon_status;
mod error;
mod guard;
mod memory;
mod password;
mod permitted_users;
mod process;
mod readers;
mod script_text;
mod server;
mod settings;
mod slots;
mod socket_owner;
mod static_files;
mod token;
mod verdicts;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Router, middleware};
use thiserror::Error;
use tokio::net::TcpListener;
use tower_http::{CompressionLevel, compression::CompressionLayer};

pub use certificate::{CertificateError, MadeCertificate, make as make_certificate};
pub use password::{MIN_PASSWORD_LENGTH, hash as hash_password};
pub use permitted_users::PermittedUsers;
pub use settings::{Settings, SettingsError};
pub use socket_owner::{of_listener as owner_of_listener, of_listeners as owners_of_listeners};

use crate::{
    access::Access, api::Api, guard::Guard, readers::Readers, settings::Authentication,
    static_files::StaticFiles, token::Token,
};

/// Why the server cannot run.
#[derive(Debug, Error)]
pub enum WebError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of bind(2).
        source: io::Error,
    },
    /// The system refuses what the server needs.
    #[error("cannot {what}")]
    System {
        /// What the server tried to do.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
}

impl WebError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// A server that listens already, so that its address is its own before anybody is told.
pub struct Server {
    listeners: Vec<std::net::TcpListener>,
    settings: Settings,
    token: Option<Token>,
}

impl Server {
    /// Binds the addresses of the settings.
    ///
    /// # Errors
    /// See [`WebError`].
    pub fn start(settings: Settings) -> Result<Self, WebError> {
        memory::prepare();
        let listeners = server::bind(&settings.addresses)
            .map_err(|(address, source)| WebError::Bind { address, source })?;
        let token = match settings.authentication {
            Authentication::Token { .. } => Some(Token::random().map_err(WebError::system("make a token"))?),
            Authentication::None | Authentication::Password(_) => None,
        };
        Ok(Self { listeners, settings, token })
    }

    /// The address to open, with the token in the fragment, which browsers send to no server.
    pub fn url(&self) -> String {
        let address = format!("{}/", self.settings.url());
        match &self.token {
            Some(token) => format!("{address}#token={}", token.text()),
            None => address,
        }
    }

    /// Answers requests, until a signal ends the process.
    ///
    /// # Errors
    /// The system refuses what the server needs.
    pub fn run(self) -> Result<(), WebError> {
        let Self { listeners, settings, token } = self;
        let readers =
            Readers::start(settings.source.source.clone()).map_err(WebError::system("start a thread"))?;
        let (access, users) = match (settings.authentication, token) {
            (Authentication::Token { users }, Some(token)) => (Access::Token(token), Some(users)),
            (Authentication::Password(password), _) => (Access::Password(password, Default::default()), None),
            _ => (Access::Everybody, None),
        };
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let guard = Arc::new(Guard { access, host_names: settings.host_names, scheme, users });
        let files = StaticFiles::new(settings.static_directory, settings.source.kind());
        let router = router(
            Arc::new(Api::new(settings.layout, settings.source, settings.log, Arc::clone(&guard), readers)),
            guard,
            files,
        );
        static_files::make_ready();
        // One thread does all but the answers and what waits for the system: it passes bytes on, and compresses them.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()
            .map_err(WebError::system("start the server"))?;
        runtime.block_on(async move {
            let listeners: io::Result<Vec<TcpListener>> =
                listeners.into_iter().map(TcpListener::from_std).collect();
            server::serve(listeners.map_err(WebError::system("listen"))?, router, settings.tls).await;
            Ok(())
        })
    }
}

/// All paths, behind the guard.
fn router(api: Arc<Api>, guard: Arc<Guard>, files: StaticFiles) -> Router {
    api::router(api)
        .fallback_service(Router::new().fallback(static_files::serve).with_state(files))
        // More would take longer than it saves.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(middleware::from_fn_with_state(guard, guard::check))
}
