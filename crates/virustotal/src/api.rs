//! An HTTP client for the two requests of VirusTotal's API, version 3, that picosnitch makes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use super::{start_error::StartError, verdict::EngineCounts};
use http_client::Timeouts;
use model::Sha256;

/// Upper bound for the body of a response.
const MAX_BODY_BYTES: u64 = 1 << 20;
/// How long a look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the connection to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How VirusTotal is used (section `[virustotal]` of the configuration).
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Address of the API, such as `https://www.virustotal.com/api/v3`.
    pub url: String,
    /// Key of the API, which goes into a header of each request.
    pub key: String,
    /// Whether to upload files that VirusTotal does not know.
    pub upload: bool,
    /// Seconds between two requests to the API.
    pub request_limit_seconds: u32,
}

impl Settings {
    /// The port of the server.
    pub fn port(&self) -> u16 {
        let uri: Option<ureq::http::Uri> = self.url.parse().ok();
        let given = uri.as_ref().and_then(ureq::http::Uri::port_u16);
        given.unwrap_or(if self.url.starts_with("http:") { 80 } else { 443 })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The meaning of a response of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiResponse {
    /// The file is known and analysed.
    Known(EngineCounts),
    /// The file is not known (404), or its analysis is not finished.
    Unknown,
    /// The file was accepted for analysis.
    Uploaded,
    /// The request may succeed later: too many requests (429), an error of the server (5xx) or of the network.
    TryLater(String),
    /// The key is not accepted (401, 403).
    KeyRefused(String),
    /// Anything else: not a response of this API.
    Unusable(String),
}

pub(crate) struct ApiClient {
    agent: Agent,
    url: String,
    key: String,
}

impl ApiClient {
    /// Makes a client for the API at `url`. Fails if there are no certificates for an encrypted connection.
    pub(crate) fn new(url: &str, key: &str) -> Result<Self, StartError> {
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, request: LOOK_UP_TIMEOUT };
        let agent = http_client::agent(url, "", timeouts)?;
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Looks up what VirusTotal knows of a digest.
    pub(crate) fn look_up(&self, digest: Sha256) -> ApiResponse {
        let request = self.agent.get(format!("{}/files/{}", self.url, digest.to_hex()));
        match request.header("x-apikey", &self.key).call() {
            Ok(response) => interpret(response, |document| {
                let stats = &document["data"]["attributes"]["last_analysis_stats"];
                let count = |kind: &str| stats[kind].as_u64();
                let counts = EngineCounts {
                    malicious: count("malicious")?,
                    suspicious: count("suspicious")?,
                    total: ["malicious", "suspicious", "harmless", "undetected"]
                        .into_iter()
                        .filter_map(count)
                        .fold(0, u64::saturating_add),
                };
                Some(if counts.total == 0 { ApiResponse::Unknown } else { ApiResponse::Known(counts) })
            }),
            Err(error) => failure(error),
        }
    }

    /// Uploads a file under its digest as the name; the path is not sent.
    pub(crate) fn upload(&self, digest: Sha256, bytes: &[u8]) -> ApiResponse {
        let name = digest.to_hex();
        // No file contains its own digest, so the boundary does not occur in it.
        let boundary = format!("picosnitch-{name}");
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let request = self.agent.post(format!("{}/files", self.url)).config();
        let request = request.timeout_global(Some(UPLOAD_TIMEOUT)).build();
        let response = request
            .header("x-apikey", &self.key)
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .send(&body[..]);
        match response {
            Ok(response) => {
                interpret(response, |document| document["data"]["id"].as_str().map(|_| ApiResponse::Uploaded))
            }
            Err(error) => failure(error),
        }
    }
}

fn failure(error: ureq::Error) -> ApiResponse {
    match error {
        ureq::Error::BodyExceedsLimit(_) => ApiResponse::Unusable("the answer is too long".into()),
        // Every other error, for example one of the network, may be gone later.
        error => ApiResponse::TryLater(error.to_string()),
    }
}

/// The meaning of a response; `meaning` reads the body of a successful one.
fn interpret(mut response: Response<Body>, meaning: impl Fn(&Value) -> Option<ApiResponse>) -> ApiResponse {
    let status = response.status();
    match status.as_u16() {
        200 => {}
        404 => return ApiResponse::Unknown,
        401 | 403 => return ApiResponse::KeyRefused(status.to_string()),
        429 => return ApiResponse::TryLater("the quota of the key is used up (429)".into()),
        300..=399 => return ApiResponse::Unusable(format!("a redirect ({status}), which is not followed")),
        500..=599 => return ApiResponse::TryLater(format!("the server has trouble ({status})")),
        _ => return ApiResponse::Unusable(format!("the answer {status}")),
    }
    let body = match response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec() {
        Ok(body) => body,
        Err(error) => return failure(error),
    };
    serde_json::from_slice(&body)
        .ok()
        .and_then(|document| meaning(&document))
        .unwrap_or_else(|| ApiResponse::Unusable("an answer that is not understood".into()))
}
