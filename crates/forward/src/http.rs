//! Requests to web servers.

use std::time::{Duration, SystemTime};

use http_client::Timeouts;
use tokio::task::spawn_blocking;
use ureq::{
    Agent,
    http::{HeaderMap, Request, header::RETRY_AFTER},
};

use crate::{delivery::TIMEOUT, error::ForwardError, target::Target};

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// The longest pause that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A web server that is known by its token and its certificate.
pub(crate) struct WebServer<'a> {
    agent: Agent,
    token: &'a str,
    address: String,
}

/// What a server has answered.
pub(crate) struct Answer {
    /// The status (RFC 9110, section 15).
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The body; empty if it is too long, or did not come.
    pub body: Vec<u8>,
}

impl<'a> WebServer<'a> {
    /// The server of a section with this URL.
    pub fn new(target: &'a Target, url: &str) -> Result<Self, ForwardError> {
        let address = target.address();
        let timeouts = Timeouts { connect: TIMEOUT, request: TIMEOUT };
        let agent = http_client::agent(url, &target.authority, timeouts)
            .map_err(|source| ForwardError::NoAuthorities(address.clone(), source))?;
        Ok(Self { agent, token: &target.token, address })
    }

    /// The server in a sentence, without secrets.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request, with the token, and returns the answer whatever it is. A URL or header that cannot be sent is an error.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ForwardError> {
        let address = || self.address.clone();
        let mut request = Request::builder().method(method).uri(url);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let wrong = |error: ureq::http::Error| ForwardError::Request(address(), Box::new(error.into()));
        let request = request.body(body).map_err(wrong)?;
        let agent = self.agent.clone();
        let asked = spawn_blocking(move || {
            let mut response = agent.run(request)?;
            let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
            let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
            Ok(Answer { status, retry_after, body: body.unwrap_or_default() })
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ForwardError::Request(address(), Box::new(error))),
            Err(error) => Err(ForwardError::Send(address(), error.into())),
        }
    }

    /// The error of an answer that is none; `reason` is what the server says.
    pub fn refused(&self, answer: &Answer, reason: &str) -> ForwardError {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let Answer { status, retry_after, .. } = *answer;
        ForwardError::Status { address: self.address.clone(), status, reason, retry_after }
    }
}

/// The header Retry-After, seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || httpdate::parse_http_date(text).ok();
    let pause = seconds.or_else(|| Some(until()?.duration_since(SystemTime::now()).unwrap_or_default()));
    pause.map(|pause| pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_an_hour_at_most() {
        let found = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        assert_eq!(found(" 17 "), Some(17));
        assert_eq!(found("100000000"), Some(3600));
        assert_eq!(found("soon"), None);
        assert_eq!(found("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(120));
        assert!(found(&soon).is_some_and(|seconds| (100..=120).contains(&seconds)));
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
