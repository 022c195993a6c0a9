//! The HTTP client of the exporter: which authorities it trusts, and what it never does. It follows no redirect, which would send a
//! key to another server, asks no proxy, and takes headers of a bounded length.

use std::{fs, sync::Arc, time::Duration};

use thiserror::Error;
use ureq::{
    Agent,
    tls::{
        Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder, TlsProvider,
        parse_pem,
    },
};

/// Files with the certificates of authorities on Debian, Fedora, openSUSE and Arch, and Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The longest time for which a connection to a web server is kept that is not used.
const MAX_IDLE: Duration = Duration::from_secs(15);
/// Bytes of the headers of a response.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// There are no authorities by which a server could be known.
#[derive(Debug, Error)]
pub enum NoAuthorities {
    /// None of the files in which distributions keep their certificates can be read.
    #[error("there are no certificates of authorities (install ca-certificates): none of {AUTHORITIES:?}")]
    Missing,
    /// The certificates that are to be used are none.
    #[error("the file of certificates of authorities holds none")]
    Empty,
}

/// A database server cannot be spoken to as configured.
#[derive(Debug, Error)]
pub enum TlsSettingsError {
    /// There are no authorities.
    #[error(transparent)]
    NoAuthorities(#[from] NoAuthorities),
    /// The certificate of the account, or its key, is none.
    #[error("the certificate of the account, or its key, is not in PEM")]
    ClientCertificate,
}

/// How a connection to a database server over HTTPS is protected.
#[derive(Clone, Copy, Debug)]
pub struct ServerTls<'a> {
    /// Whether the certificate of the server is checked, and its name.
    pub is_verified: bool,
    /// Certificates of authorities in PEM that are trusted besides those of this machine; may be empty.
    pub authority: &'a str,
    /// The certificate of the account, with those that vouch for it, and its key, in PEM.
    pub client: Option<(&'a str, &'a str)>,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To accept a connection.
    pub connect: Duration,
    /// For all of a request, unless the request says otherwise.
    pub request: Duration,
}

/// The certificates of authorities in PEM: `own`, or if that is empty those that this machine trusts.
///
/// # Errors
/// [`NoAuthorities::Missing`].
pub fn authorities(own: &str) -> Result<Vec<u8>, NoAuthorities> {
    match own.is_empty() {
        true => AUTHORITIES.iter().find_map(|path| fs::read(path).ok()).ok_or(NoAuthorities::Missing),
        false => Ok(own.as_bytes().to_vec()),
    }
}

/// Makes a client for requests to `url`. `own` are the authorities that are trusted instead of those of this machine, if it is not
/// empty.
///
/// # Errors
/// There are no certificates for an encrypted connection.
pub fn agent(url: &str, own: &str, timeouts: Timeouts) -> Result<Agent, NoAuthorities> {
    let mut tls = tls_builder();
    if url.starts_with("https:") {
        tls = tls.root_certs(roots(&authorities(own)?)?);
    }
    Ok(agent_with(tls.build(), timeouts, MAX_IDLE))
}

/// Makes a client for requests to a database server. `tls` is for addresses that begin with `https:`. Connections that were not
/// used for as long as `max_idle` are closed.
///
/// # Errors
/// There are no certificates for an encrypted connection, or the one of the account cannot be read.
pub fn server_agent(
    tls: Option<ServerTls<'_>>,
    timeouts: Timeouts,
    max_idle: Duration,
) -> Result<Agent, TlsSettingsError> {
    let mut config = tls_builder();
    if let Some(ServerTls { is_verified, authority, client }) = tls {
        config = config.disable_verification(!is_verified);
        if is_verified {
            let mut pem = match authorities("") {
                Err(_) if !authority.is_empty() => Vec::new(),
                found => found?,
            };
            pem.push(b'\n');
            pem.extend_from_slice(authority.as_bytes());
            config = config.root_certs(roots(&pem)?);
        }
        if let Some((chain, key)) = client {
            let chain = certificates(chain.as_bytes());
            let key = PrivateKey::from_pem(key.as_bytes());
            let (Ok(key), false) = (key, chain.is_empty()) else {
                return Err(TlsSettingsError::ClientCertificate);
            };
            config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
    }
    Ok(agent_with(config.build(), timeouts, max_idle))
}

/// Whether a request failed since the certificate of the server is not accepted.
pub fn is_certificate_refused(error: &ureq::Error) -> bool {
    let refused = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    match error {
        ureq::Error::Rustls(error) => refused(error),
        ureq::Error::Io(error) => {
            error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()).is_some_and(refused)
        }
        _ => false,
    }
}

/// Whether a request failed since the two do not agree on how to encrypt, or the server does not encrypt at all.
pub fn is_tls_refused(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(error) => error.get_ref().is_some_and(|error| error.is::<rustls::Error>()),
        _ => false,
    }
}

fn tls_builder() -> TlsConfigBuilder {
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

fn roots(pem: &[u8]) -> Result<RootCerts, NoAuthorities> {
    let certificates = certificates(pem);
    match certificates.is_empty() {
        true => Err(NoAuthorities::Empty),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}

fn agent_with(tls: TlsConfig, timeouts: Timeouts, max_idle: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(timeouts.connect))
        .timeout_global(Some(timeouts.request))
        .max_response_header_size(MAX_HEADER_BYTES)
        .user_agent(concat!("picosnitch/", env!("CARGO_PKG_VERSION")))
        .max_idle_age(max_idle)
        .tls_config(tls)
        .build();
    config.new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_certificates_there_is_no_encrypted_connection() {
        let timeouts = Timeouts { connect: Duration::from_secs(1), request: Duration::from_secs(1) };
        assert!(matches!(agent("https://a.example/", "none", timeouts), Err(NoAuthorities::Empty)));
        assert!(agent("http://a.example/", "none", timeouts).is_ok());
    }
}
