//! A collector of OpenTelemetry, by OTLP over HTTP with protobuf (opentelemetry.io/docs/specs/otlp): events and records as logs, and sums
//! as metrics.

mod log_record;
mod totals;

use std::io::Write;

use config::{Compression, Otlp};
use flate2::{Compression as Level, write::GzEncoder};
use model::text::{sanitize, time::now};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{ResourceLogs, ScopeLogs},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
};
use prost::Message;

pub(crate) use self::totals::Totals;
use crate::{
    error::ForwardError,
    http::{Answer, WebServer},
    item::Item,
    target::Target,
};

const PROGRAM: &str = "picosnitch";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const NANOSECONDS: u64 = 1_000_000_000;
/// Characters of what a server says about a refusal.
const MAX_REASON: usize = 300;

/// A collector.
pub(crate) struct Collector<'a> {
    server: WebServer<'a>,
    section: &'a Otlp,
    host: &'a str,
}

/// What a collector will never take: sending it again would change nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many log records or data points.
    pub count: u64,
    /// What they are, in the plural.
    pub what: &'static str,
    /// What it says, perhaps nothing.
    pub reason: String,
}

/// The part of a `google.rpc.Status` that is read: the body of an answer with an error.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

impl<'a> Collector<'a> {
    pub fn new(target: &'a Target, section: &'a Otlp, host: &'a str) -> Result<Self, ForwardError> {
        Ok(Self { server: WebServer::new(target, &section.url.0)?, section, host })
    }

    /// Whether it gets sums.
    pub fn has_metrics(&self) -> bool {
        self.section.metrics
    }

    /// Sends items; returns when the collector has answered that it has them, with those that it refuses for good.
    pub async fn send_logs(&self, items: &[Item]) -> Result<Vec<Refusal>, ForwardError> {
        let mut refusals = Vec::new();
        let mut parts = if self.section.logs { vec![items] } else { Vec::new() };
        while let Some(part) = parts.pop() {
            let answer = self.post("logs", &self.logs(part)).await?;
            let all = |reason| Refusal { count: part.len() as u64, what: "log records", reason };
            match answer.status {
                200..=299 => refusals.extend(refused_logs(&answer.body)),
                // Too much for it at once.
                413 if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                400 | 413 => refusals.push(all(reason(&answer))),
                _ => return Err(self.error("logs", &answer)),
            }
        }
        Ok(refusals)
    }

    /// Sends sums; returns when the collector has answered that it has them, with those that it refuses for good.
    pub async fn send_metrics(&self, totals: &Totals) -> Result<Vec<Refusal>, ForwardError> {
        let metrics = totals.metrics();
        let count = metrics.iter().map(totals::data_points).sum();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource(&totals.log())),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        let answer = self.post("metrics", &request).await?;
        match answer.status {
            200..=299 => Ok(refused_metrics(&answer.body).into_iter().collect()),
            400 | 413 => Ok(vec![Refusal { count, what: "data points", reason: reason(&answer) }]),
            _ => Err(self.error("metrics", &answer)),
        }
    }

    /// The error of an answer, which may be about one of the signals only.
    fn error(&self, signal: &str, answer: &Answer) -> ForwardError {
        let reason = reason(answer);
        let separator = if reason.is_empty() { "" } else { ": " };
        self.server.refused(answer, &format!("/v1/{signal}{separator}{reason}"))
    }

    fn logs(&self, items: &[Item]) -> ExportLogsServiceRequest {
        let observed = u64::try_from(now()).unwrap_or(0) * NANOSECONDS;
        let log = items.first().and_then(|item| item.text("log")).unwrap_or_default();
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource(&log)),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records: items.iter().map(|item| log_record::log_record(item, observed)).collect(),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        }
    }

    /// This machine. The name of the log tells apart machines with one name (`service.instance.id` must be unique).
    fn resource(&self, log: &str) -> Resource {
        let attributes = [
            ("host.name", self.host),
            ("service.name", PROGRAM),
            ("service.version", VERSION),
            ("service.instance.id", log),
        ];
        Resource {
            attributes: attributes.map(|(key, value)| attribute(key, text(value))).into(),
            ..Resource::default()
        }
    }

    async fn post(&self, signal: &str, request: &impl Message) -> Result<Answer, ForwardError> {
        let url = format!("{}/v1/{signal}", self.section.url.0);
        let mut headers = vec![("content-type", "application/x-protobuf")];
        let mut body = request.encode_to_vec();
        if self.section.compression == Compression::Gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            let packed = encoder.write_all(&body).and_then(|()| encoder.finish());
            body = packed.map_err(|error| ForwardError::Send(self.server.address().to_owned(), error))?;
            headers.push(("content-encoding", "gzip"));
        }
        self.server.send("POST", &url, &headers, body).await
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: PROGRAM.into(), version: VERSION.into(), ..InstrumentationScope::default() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.into())
}

/// What a partial success says, if it is one. Warnings alone refuse nothing.
fn refused_logs(body: &[u8]) -> Option<Refusal> {
    let found = ExportLogsServiceResponse::decode(body).ok()?.partial_success?;
    refusal(found.rejected_log_records, "log records", &found.error_message)
}

/// As [`refused_logs`].
fn refused_metrics(body: &[u8]) -> Option<Refusal> {
    let found = ExportMetricsServiceResponse::decode(body).ok()?.partial_success?;
    refusal(found.rejected_data_points, "data points", &found.error_message)
}

fn refusal(count: i64, what: &'static str, message: &str) -> Option<Refusal> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    Some(Refusal { count, what, reason: shortened(message) })
}

/// What an answer with an error says, if it is a status of protobuf, as it should be.
fn reason(answer: &Answer) -> String {
    Status::decode(&answer.body[..]).map(|status| shortened(&status.message)).unwrap_or_default()
}

fn shortened(text: &str) -> String {
    sanitize::shorten(&sanitize::message(text), MAX_REASON)
}
