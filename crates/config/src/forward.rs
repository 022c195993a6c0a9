//! `[export.NAME]` of other tools: a syslog server, journald, a web server, or a collector of OpenTelemetry that get events, and
//! records if they are wanted.

use std::{path::PathBuf, str::FromStr};

use model::EventKind;
use serde::{Deserialize, Serialize};

use super::{
    node::{Node, NodeValue},
    ranges,
    secret::Secret,
    table_reader::TableReader,
};

/// What a receiver gets, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSection {
    /// The receiver.
    pub destination: Destination,
    /// It gets records as well as events.
    pub records: bool,
    /// It gets events of these kinds only; of all kinds if there are none.
    pub kinds: Vec<EventKind>,
    /// It gets what was recorded before the first start with this section as well.
    pub backfill: bool,
    /// PEM file with the certificates of authorities that are trusted instead of those of the system.
    pub ca: Option<PathBuf>,
    /// Token for the web server (RFC 6750); empty if there is none, or it is elsewhere.
    #[serde(skip)]
    pub token: Secret,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// A syslog server: `syslog` in the file.
    Syslog(SyslogServer),
    /// The journal of this machine: `journald` in the file.
    Journald,
    /// A web server: `webhook` in the file.
    Webhook(Webhook),
    /// A collector of OpenTelemetry: `otlp` in the file.
    Otlp(Otlp),
}

impl Destination {
    /// The TCP port to which it is connected, if it has one.
    pub fn tcp_port(&self) -> Option<u16> {
        match self {
            Self::Syslog(server) => {
                matches!(server.transport, SyslogTransport::Tcp | SyslogTransport::Tls).then_some(server.port)
            }
            Self::Journald => None,
            Self::Webhook(hook) => Some(hook.url.port()),
            Self::Otlp(collector) => Some(collector.url.port()),
        }
    }
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogServer {
    /// How messages get there.
    pub transport: SyslogTransport,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The socket of the local server.
    pub path: PathBuf,
    /// The facility of all messages.
    pub facility: Facility,
}

impl SyslogServer {
    /// The server in a sentence.
    pub fn address(&self) -> String {
        match self.transport {
            SyslogTransport::Local => format!("syslog at {}", self.path.display()),
            _ if self.host.contains(':') => format!("syslog at [{}]:{}", self.host, self.port),
            _ => format!("syslog at {}:{}", self.host, self.port),
        }
    }
}

/// How messages get to a syslog server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogTransport {
    /// TCP with octet counting (RFC 6587).
    Tcp,
    /// TLS (RFC 5425).
    Tls,
    /// UDP (RFC 5426).
    Udp,
    /// A datagram socket of this machine (syslog(3)).
    Local,
}

impl SyslogTransport {
    /// The port of IANA's registry.
    fn default_port(self) -> u16 {
        match self {
            Self::Tls => 6514,
            _ => 514,
        }
    }
}

impl FromStr for SyslogTransport {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            "udp" => Ok(Self::Udp),
            "local" => Ok(Self::Local),
            _ => Err(()),
        }
    }
}

/// A syslog facility, by its number (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facility(u8);

impl Facility {
    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Facility {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let local = text.strip_prefix("local").and_then(|number| number.parse().ok());
        match (text, local) {
            ("user", _) => Ok(Self(1)),
            ("daemon", _) => Ok(Self(3)),
            ("auth", _) => Ok(Self(4)),
            ("authpriv", _) => Ok(Self(10)),
            (_, Some(number @ 0..=7)) => Ok(Self(16 + number)),
            _ => Err(()),
        }
    }
}

/// A URL whose path may be a secret, as those of chat services are: only its origin is printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct HookUrl(pub String);

impl HookUrl {
    /// Scheme, host and port.
    fn origin(&self) -> &str {
        let begin = self.0.find("://").map_or(0, |at| at + 3);
        let length = self.0[begin..].find(['/', '?']).unwrap_or(self.0.len() - begin);
        &self.0[..begin + length]
    }

    /// The TCP port.
    fn port(&self) -> u16 {
        let origin = self.origin();
        let port = origin.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(if origin.starts_with("http:") { 80 } else { 443 })
    }
}

impl std::fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.origin())
    }
}

/// A web server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The URL; `{id}` in it stands for the name of the event or record.
    #[serde(with = "whole_url")]
    pub url: HookUrl,
    /// The method of requests.
    pub method: HookMethod,
    /// JSON in whose texts `{key}` stands for a value; without it the body is the event or record itself.
    pub body: Option<String>,
}

impl Webhook {
    /// The server in a sentence, without what may be a secret.
    pub fn origin(&self) -> &str {
        self.url.origin()
    }
}

/// A collector of OpenTelemetry, or another server that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otlp {
    /// The URL to which `/v1/logs` and `/v1/metrics` are added; it does not end in a slash.
    #[serde(with = "whole_url")]
    pub url: HookUrl,
    /// It gets events, and records if they are wanted, as logs.
    pub logs: bool,
    /// It gets sums of traffic, events and losses as metrics.
    pub metrics: bool,
    /// How the requests are compressed.
    pub compression: Compression,
}

impl Otlp {
    /// The server in a sentence, without what may be a secret.
    pub fn origin(&self) -> &str {
        self.url.origin()
    }
}

/// How a request is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// With gzip.
    #[default]
    Gzip,
    /// It is not.
    None,
}

impl FromStr for Compression {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

/// The URL as it goes to the exporter.
mod whole_url {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::HookUrl;

    pub fn serialize<S: Serializer>(url: &HookUrl, serializer: S) -> Result<S::Ok, S::Error> {
        // What people read (`check-config`) has no secrets.
        match serializer.is_human_readable() {
            true => serializer.serialize_str(url.origin()),
            false => serializer.serialize_str(&url.0),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HookUrl, D::Error> {
        String::deserialize(deserializer).map(HookUrl)
    }
}

/// The method of the requests to a web server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookMethod {
    /// POST
    #[default]
    Post,
    /// PUT
    Put,
}

impl FromStr for HookMethod {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            _ => Err(()),
        }
    }
}

const HOST_ALLOWED: &str = "a string of 1 to 255 characters without spaces and control characters";
const FACILITY_ALLOWED: &str = "\"user\", \"daemon\", \"auth\", \"authpriv\", or \"local0\" to \"local7\"";
const URL_ALLOWED: &str = "a URL with http:// or https:// of at most 1024 printable ASCII characters, without a user (@) and a fragment (#)";
const BASE_URL_ALLOWED: &str = "a URL with http:// or https:// of at most 1024 printable ASCII characters, without a user (@), a question (?) and a fragment (#); /v1/logs and /v1/metrics are added to it";
const BODY_ALLOWED: &str = "a string of at most 4096 bytes that is a document of JSON";
const TOKEN_ALLOWED: &str = "a string of at most 1024 printable ASCII characters";
const MAX_KINDS: usize = 32;

fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= 1024
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?']))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'#'))
}

fn is_base_url(text: &str) -> bool {
    is_url(text) && !text.contains('?')
}

fn is_body(text: &str) -> bool {
    text.len() <= 4096 && serde_json::from_str::<serde_json::Value>(text).is_ok()
}

fn is_token(text: &str) -> bool {
    text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a section of `[export]` is one of these and not of an SQL server.
pub(super) fn is_forward(node: &Node) -> bool {
    let NodeValue::Table(entries) = &node.value else { return false };
    entries.iter().any(|(key, node)| {
        let NodeValue::Text(client) = &node.value else { return false };
        key == "client" && matches!(client.as_str(), "syslog" | "journald" | "webhook" | "otlp")
    })
}

/// Reads a section; `None` if it has problems, which are added to those of `parent`.
pub(super) fn read_toml(parent: &mut TableReader<'_>, name: &str, node: Node) -> Option<ForwardSection> {
    let mut table = parent.sub(name, node);
    let client = table.text("client", "", |_| true)?;
    let destination = match client.as_str() {
        "syslog" => syslog(&mut table),
        "webhook" => webhook(&mut table),
        "otlp" => otlp(&mut table),
        _ => Some(Destination::Journald),
    };
    let (mut records, mut backfill) = (false, false);
    let line = table.line_of("records");
    table.boolean("records", &mut records);
    if records && matches!(&destination, Some(Destination::Otlp(collector)) if !collector.logs) {
        table.problem(line, "records", "they are sent as logs, which are not wanted (`logs`)");
    }
    table.boolean("backfill", &mut backfill);
    let kinds = kinds(&mut table);
    let mut section = ForwardSection {
        destination: Destination::Journald,
        records,
        kinds,
        backfill,
        ca: None,
        token: Secret::default(),
        token_file: None,
    };
    if client != "journald" {
        let ca = table.text("ca", ranges::FILE_ALLOWED, ranges::is_file_path);
        section.ca = ca.map(PathBuf::from);
    }
    if matches!(client.as_str(), "webhook" | "otlp") {
        let line = table.line_of("token_file");
        section.token = Secret(table.secret("token", TOKEN_ALLOWED, is_token).unwrap_or_default());
        let file = table.text("token_file", ranges::FILE_ALLOWED, ranges::is_file_path);
        section.token_file = file.map(PathBuf::from);
        if section.token_file.is_some() && !section.token.0.is_empty() {
            table.problem(line, "token_file", "there is a token, too; keep one of them");
        }
    }
    table.finish();
    section.destination = destination?;
    Some(section)
}

fn syslog(table: &mut TableReader<'_>) -> Option<Destination> {
    let transport = table.keyword("transport", "\"tcp\", \"tls\", \"udp\" or \"local\"");
    let host = table.text("host", HOST_ALLOWED, is_host);
    let port = table.integer("port", 1..=u16::MAX);
    let path = table.text("path", ranges::FILE_ALLOWED, ranges::is_file_path);
    let facility = table.keyword("facility", FACILITY_ALLOWED);
    table.require(&["transport"]);
    let transport: SyslogTransport = transport?;
    Some(Destination::Syslog(SyslogServer {
        transport,
        host: host.unwrap_or_else(|| "localhost".to_owned()),
        port: port.unwrap_or(transport.default_port()),
        path: path.unwrap_or_else(|| "/dev/log".to_owned()).into(),
        facility: facility.unwrap_or(Facility(3)),
    }))
}

fn webhook(table: &mut TableReader<'_>) -> Option<Destination> {
    let url = table.secret("url", URL_ALLOWED, is_url);
    let method = table.keyword("method", "\"POST\" or \"PUT\"");
    let body = table.text("body", BODY_ALLOWED, is_body);
    table.require(&["url"]);
    let method = method.unwrap_or_default();
    Some(Destination::Webhook(Webhook { url: HookUrl(url?), method, body }))
}

fn otlp(table: &mut TableReader<'_>) -> Option<Destination> {
    let url = table.secret("url", BASE_URL_ALLOWED, is_base_url);
    let (mut logs, mut metrics) = (true, true);
    let line = table.line_of("metrics");
    table.boolean("logs", &mut logs);
    table.boolean("metrics", &mut metrics);
    if !logs && !metrics {
        table.problem(line, "metrics", "there are no logs either, so that nothing would be sent");
    }
    let compression = table.keyword("compression", "\"gzip\" or \"none\"");
    table.require(&["url"]);
    let url = HookUrl(url?.trim_end_matches('/').to_owned());
    Some(Destination::Otlp(Otlp { url, logs, metrics, compression: compression.unwrap_or_default() }))
}

/// Reads a list of kinds of events.
fn kinds(table: &mut TableReader<'_>) -> Vec<EventKind> {
    let Some(node) = table.take("kinds") else { return Vec::new() };
    let names = EventKind::ALL.map(EventKind::name).join(", ");
    let allowed = format!("allowed: a list of some of {names}");
    let NodeValue::Array(values) = node.value else {
        table.problem(node.line, "kinds", format!("{} is not allowed; {allowed}", node.description()));
        return Vec::new();
    };
    let mut kinds = Vec::new();
    for value in values.into_iter().take(MAX_KINDS) {
        match &value.value {
            NodeValue::Text(name) if EventKind::from_name(name).is_some() => {
                kinds.extend(EventKind::from_name(name));
            }
            _ => table.problem(
                value.line.or(node.line),
                "kinds",
                format!("{} is not allowed; {allowed}", value.description()),
            ),
        }
    }
    kinds
}
