//! The certificate of a server that other machines can reach: from files, or made here.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::digest::{SHA256, digest};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read, or has no certificate or key.
    #[error("cannot read a {what} from {path}")]
    Read {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The key does not fit the certificate, or is of a kind that is not known.
    #[error("the certificate and its key cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// Reads a certificate and its key, for TLS 1.2 and 1.3 with HTTP/1.1.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, CertificateError> {
    let error = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(error("certificate", certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(error("key", key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(CertificateError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The files of a certificate that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeCertificate {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of its key, which only the owner can read.
    pub key: PathBuf,
    /// SHA-256 digest of the certificate in hexadecimal, by which people compare it with what their browser shows.
    pub fingerprint: String,
}

/// Makes a certificate that vouches for itself, for names and addresses of this machine, and writes it into a directory. Files that
/// are there already are not replaced.
///
/// # Errors
/// See [`CertificateError`].
pub fn make(directory: &Path, names: Vec<String>) -> Result<MadeCertificate, CertificateError> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    write_new(&key, &made.signing_key.serialize_pem(), 0o600)?;
    write_new(&certificate, &made.cert.pem(), 0o644)?;
    let fingerprint = hex::encode(digest(&SHA256, made.cert.der()));
    Ok(MadeCertificate { certificate, key, fingerprint })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| CertificateError::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_certificate_can_be_used_and_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let made = make(directory.path(), vec!["box.lan".into(), "192.0.2.1".into()]).unwrap();
        assert_eq!(made.fingerprint.len(), 64);
        acceptor(&made.certificate, &made.key).unwrap();
        assert!(matches!(make(directory.path(), vec!["x".into()]), Err(CertificateError::Write(..))));
        let error = acceptor(&made.key, &made.key).err().unwrap();
        assert!(matches!(error, CertificateError::Read { .. } | CertificateError::Unusable(_)), "{error}");
        let error = acceptor(Path::new("/missing"), &made.key).err().unwrap();
        assert_eq!(error.to_string(), "cannot read a certificate from /missing");
    }
}
