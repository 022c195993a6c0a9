//! Requests to a web server, one for each event or record.

use config::{HookMethod, Webhook};
use http_client::Timeouts;
use serde_json::Value as Json;
use tokio::task::spawn_blocking;
use ureq::Agent;

use crate::{delivery::TIMEOUT, error::ForwardError, item::Item, target::Target, template};

/// A web server, and what it is sent.
pub(crate) struct Hook<'a> {
    agent: Agent,
    section: &'a Webhook,
    /// The body, if it is not the item itself.
    template: Option<Json>,
    token: &'a str,
    address: String,
}

impl<'a> Hook<'a> {
    pub fn new(target: &'a Target, section: &'a Webhook) -> Result<Self, ForwardError> {
        let address = target.address();
        let timeouts = Timeouts { connect: TIMEOUT, request: TIMEOUT };
        let agent = http_client::agent(&section.url.0, &target.authority, timeouts)
            .map_err(|source| ForwardError::NoAuthorities(address.clone(), source))?;
        // The configuration takes no other template.
        let template = section.body.as_ref().and_then(|body| serde_json::from_str(body).ok());
        Ok(Self { agent, section, template, token: &target.token, address })
    }

    /// Sends an item; returns when the server has answered that it has it (2xx).
    pub async fn send(&self, item: &Item) -> Result<(), ForwardError> {
        let body = match &self.template {
            Some(template) => template::fill(template, item),
            None => Json::Object(item.object.clone()),
        };
        // The name has hexadecimal digits, digits, letters and slashes only.
        let url = self.section.url.0.replace("{id}", &item.id().replace('/', "-"));
        let mut request = match self.section.method {
            HookMethod::Post => self.agent.post(&url),
            HookMethod::Put => self.agent.put(&url),
        };
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let request = request.content_type("application/json");
        let asked =
            spawn_blocking(move || request.send(body.to_string()).map(|answer| answer.status().as_u16()));
        let address = || self.address.clone();
        match asked.await {
            Ok(Ok(200..=299)) => Ok(()),
            Ok(Ok(status)) => Err(ForwardError::Status(address(), status)),
            Ok(Err(error)) => Err(ForwardError::Request(address(), Box::new(error))),
            Err(error) => Err(ForwardError::Send(address(), error.into())),
        }
    }
}
