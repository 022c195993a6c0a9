//! VirusTotal's API, version 3, as far as it is used here: one request, one answer.

use std::{fs, sync::Arc, time::Duration};

use serde_json::Value;
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use model::Sha256;

/// Bytes of an answer.
const MAX_ANSWER: u64 = 1 << 20;
/// How long a request may take; one with a file.
const PATIENCE: Duration = Duration::from_secs(60);
const UPLOAD_PATIENCE: Duration = Duration::from_secs(300);
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Where distributions keep the certificates of authorities: Debian, Fedora, openSUSE and Arch, Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What VirusTotal's engines say about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Engines that call it malicious.
    pub malicious: u64,
    /// Engines that call it suspicious.
    pub suspicious: u64,
    /// Engines that have an opinion.
    pub total: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The file is known.
    Known(Stats),
    /// It is not (404), or its analysis is not finished.
    Unknown,
    /// It was taken for analysis.
    Uploaded,
    /// Later: too many requests (429), the server's trouble (5xx), or the network's.
    Later(String),
    /// The key is not accepted (401, 403).
    Refused(String),
    /// Something else that makes no sense here.
    Nonsense(String),
}

/// The HTTP client.
pub struct Client {
    agent: Agent,
    url: String,
    key: String,
}

impl Client {
    /// A client for the API at `url`, such as `https://www.virustotal.com/api/v3`.
    ///
    /// # Errors
    /// Why there can be no encrypted connection.
    pub fn new(url: &str, key: &str) -> Result<Self, String> {
        let mut tls = TlsConfig::builder().provider(TlsProvider::Rustls);
        tls = tls.unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        if url.starts_with("https:") {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities()?)));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would carry the key to somebody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_PATIENCE))
            .timeout_global(Some(PATIENCE))
            .max_response_header_size(64 * 1024)
            .user_agent(concat!("picosnitch/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Looks a digest up.
    pub fn look_up(&self, digest: Sha256) -> Answer {
        let request = self.agent.get(format!("{}/files/{}", self.url, digest.to_hex()));
        match request.header("x-apikey", &self.key).call() {
            Ok(answer) => read(answer, |document| {
                let stats = &document["data"]["attributes"]["last_analysis_stats"];
                let count = |kind: &str| stats[kind].as_u64();
                let stats = Stats {
                    malicious: count("malicious")?,
                    suspicious: count("suspicious")?,
                    total: ["malicious", "suspicious", "harmless", "undetected"]
                        .into_iter()
                        .filter_map(count)
                        .fold(0, u64::saturating_add),
                };
                Some(if stats.total == 0 { Answer::Unknown } else { Answer::Known(stats) })
            }),
            Err(error) => failed(error),
        }
    }

    /// Sends a file; its name is its digest, nothing else of it is told.
    pub fn upload(&self, digest: Sha256, bytes: &[u8]) -> Answer {
        let name = digest.to_hex();
        // A file that holds its own digest is not to be found.
        let boundary = format!("picosnitch-{name}");
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let request = self.agent.post(format!("{}/files", self.url)).config();
        let request = request.timeout_global(Some(UPLOAD_PATIENCE)).build();
        let answer = request
            .header("x-apikey", &self.key)
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .send(&body[..]);
        match answer {
            Ok(answer) => read(answer, |document| document["data"]["id"].as_str().map(|_| Answer::Uploaded)),
            Err(error) => failed(error),
        }
    }
}

fn failed(error: ureq::Error) -> Answer {
    match error {
        ureq::Error::BodyExceedsLimit(_) => Answer::Nonsense("the answer is too long".into()),
        // Whatever else it is, time may mend it.
        error => Answer::Later(error.to_string()),
    }
}

fn read(mut answer: Response<Body>, meaning: impl Fn(&Value) -> Option<Answer>) -> Answer {
    let status = answer.status();
    match status.as_u16() {
        200 => {}
        404 => return Answer::Unknown,
        401 | 403 => return Answer::Refused(status.to_string()),
        429 => return Answer::Later("the quota of the key is used up (429)".into()),
        300..=399 => return Answer::Nonsense(format!("a redirect ({status}), which is not followed")),
        500..=599 => return Answer::Later(format!("the server has trouble ({status})")),
        _ => return Answer::Nonsense(format!("the answer {status}")),
    }
    let body = match answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec() {
        Ok(body) => body,
        Err(error) => return failed(error),
    };
    serde_json::from_slice(&body)
        .ok()
        .and_then(|document| meaning(&document))
        .unwrap_or_else(|| Answer::Nonsense("an answer that is not understood".into()))
}

fn authorities() -> Result<Vec<Certificate<'static>>, String> {
    let bundle = AUTHORITIES.iter().find_map(|path| fs::read(path).ok()).ok_or_else(|| {
        format!("there are no certificates of authorities (install ca-certificates): none of {AUTHORITIES:?}")
    })?;
    let certificates: Vec<_> = parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err("the file of certificates of authorities holds none".into());
    }
    Ok(certificates)
}
