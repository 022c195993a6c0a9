//! Requests to a web server, one for each event or record.

use config::{HookMethod, Webhook};
use serde_json::Value as Json;

use crate::{error::ForwardError, http::WebServer, item::Item, target::Target, template};

/// A web server, and what it is sent.
pub(crate) struct Hook<'a> {
    server: WebServer<'a>,
    section: &'a Webhook,
    /// The body, if it is not the item itself.
    template: Option<Json>,
}

impl<'a> Hook<'a> {
    pub fn new(target: &'a Target, section: &'a Webhook) -> Result<Self, ForwardError> {
        let server = WebServer::new(target, &section.url.0)?;
        // The configuration takes no other template.
        let template = section.body.as_ref().and_then(|body| serde_json::from_str(body).ok());
        Ok(Self { server, section, template })
    }

    /// Sends an item; returns when the server has answered that it has it (2xx).
    pub async fn send(&self, item: &Item) -> Result<(), ForwardError> {
        let body = match &self.template {
            Some(template) => template::fill(template, item),
            None => Json::Object(item.object.clone()),
        };
        // The name has hexadecimal digits, digits, letters and slashes only.
        let url = self.section.url.0.replace("{id}", &item.id().replace('/', "-"));
        let method = match self.section.method {
            HookMethod::Post => "POST",
            HookMethod::Put => "PUT",
        };
        let headers = [("content-type", "application/json")];
        let answer = self.server.send(method, &url, &headers, body.to_string().into_bytes()).await?;
        match answer.status {
            200..=299 => Ok(()),
            _ => Err(self.server.refused(&answer, "")),
        }
    }
}
