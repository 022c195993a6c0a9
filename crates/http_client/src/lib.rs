//! The HTTP client of the exporter: which authorities it trusts, and what it never does. It follows no redirect, which would send a
//! key to another server, asks no proxy, and takes headers of a bounded length.

use std::{fs, sync::Arc, time::Duration};

use thiserror::Error;
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

/// Files with the certificates of authorities on Debian, Fedora, openSUSE and Arch, and Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
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
    let mut tls = TlsConfig::builder().provider(TlsProvider::Rustls);
    tls = tls.unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if url.starts_with("https:") {
        let certificates: Vec<Certificate<'static>> = parse_pem(&authorities(own)?)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(NoAuthorities::Empty);
        }
        tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(timeouts.connect))
        .timeout_global(Some(timeouts.request))
        .max_response_header_size(MAX_HEADER_BYTES)
        .user_agent(concat!("picosnitch/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    Ok(config.new_agent())
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
