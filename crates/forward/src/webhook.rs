//! Requests to a web server, one for each event or record.

use std::sync::Arc;

use config::{HookMethod, Webhook};
use serde_json::Value as Json;
use tokio::task::spawn_blocking;
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use crate::{delivery::TIMEOUT, error::ForwardError, item::Item, target::Target, template};

/// Files with the certificates of authorities on Debian, Fedora, openSUSE and Arch, and Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sends an item; returns when the server has answered that it has it (2xx).
pub(crate) async fn send(target: &Target, hook: &Webhook, item: &Item) -> Result<(), ForwardError> {
    let address = target.address();
    let agent = agent(&address, hook, &target.authority)?;
    let body = match hook.body.as_ref().and_then(|body| serde_json::from_str(body).ok()) {
        Some(template) => template::fill(&template, item),
        None => Json::Object(item.object.clone()),
    };
    // The name has hexadecimal digits, digits, letters and slashes only.
    let url = hook.url.0.replace("{id}", &item.id().replace('/', "-"));
    let (method, token) = (hook.method, target.token.clone());
    let asked = spawn_blocking(move || {
        let mut request = match method {
            HookMethod::Post => agent.post(&url),
            HookMethod::Put => agent.put(&url),
        };
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.content_type("application/json").send(body.to_string()).map(|answer| answer.status().as_u16())
    });
    match asked.await {
        Ok(Ok(200..=299)) => Ok(()),
        Ok(Ok(status)) => Err(ForwardError::Status(address, status)),
        Ok(Err(error)) => Err(ForwardError::Request(address, Box::new(error))),
        Err(error) => Err(ForwardError::Send(address, error.into())),
    }
}

fn agent(address: &str, hook: &Webhook, authority: &str) -> Result<Agent, ForwardError> {
    let mut tls = TlsConfig::builder().provider(TlsProvider::Rustls);
    tls = tls.unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if hook.url.0.starts_with("https:") {
        let none = || ForwardError::NoAuthorities(address.to_owned());
        let pem = match authority.is_empty() {
            true => AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).ok_or_else(none)?,
            false => authority.as_bytes().to_vec(),
        };
        let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(none());
        }
        tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would send the token to another server.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .max_response_header_size(64 * 1024)
        .user_agent(concat!("picosnitch/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    Ok(config.new_agent())
}
