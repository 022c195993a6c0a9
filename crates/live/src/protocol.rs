//! Wire types of the live socket, shared by daemon and clients: the request of a client and every line (docs/live.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use model::{
    Address, Bytes, DomainSource, FlowId, FlowTuple, Port, ProcessContext, Program, Sha256, Writer,
    text::{
        command_line,
        lossless::{from_text, to_text},
        sanitize,
    },
};

/// File name of the socket in the run directory.
pub const SOCKET_NAME: &str = "live.sock";

/// The line that a client writes to subscribe to traffic, or to end its subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeRequest {
    /// Whether the client subscribes to traffic.
    #[serde(default)]
    pub traffic: bool,
}

/// Untrusted bytes, written into JSON as in record.json ([`to_text`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Bytes);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(from_text(&String::deserialize(deserializer)?)))
    }
}

/// `hello`: the status of the daemon, the first line that a client gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelloLine {
    /// Kind of the line: always `hello`.
    pub event: String,
    /// Version of picosnitch.
    pub version: String,
    /// Process id of the monitor.
    pub monitor: u32,
    /// Process id of the recorder.
    pub recorder: u32,
    /// Start of the daemon, unix seconds.
    pub since: i64,
    /// The files that the daemon writes.
    pub files: FilePaths,
    /// Programs that have used the network, as many as record.json has.
    pub programs: usize,
    /// Executables of those programs that wait to be hashed.
    pub digests_pending: usize,
    /// Alerts since the start.
    pub alerts: u64,
    /// Errors since the start.
    pub errors: u64,
    /// The last of these errors.
    pub last_error: Option<LastError>,
    /// Progress of the look-ups at VirusTotal; null without a key.
    pub virustotal: serde_json::Value,
    /// Losses since the start, by the name of their kind.
    pub losses: BTreeMap<String, u64>,
    /// Clients that are served now, without this one.
    pub subscribers: usize,
    /// Clients that were dropped since the start, because they were too slow or too many.
    pub subscribers_dropped: u64,
    /// Sentences about what this kernel does not show.
    pub unseen: Vec<String>,
    /// What this kernel lacks to confine the processes of the daemon, a sentence for each wall.
    #[serde(default)]
    pub unprotected: Vec<String>,
    /// The copies of the log on servers.
    pub servers: Vec<ServerCopy>,
}

/// The copy of the log on one server. Counts are since the exporter started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerCopy {
    /// The section of the configuration, for example `log.server`.
    pub name: String,
    /// The server, for example `PostgreSQL at db.example:5432`.
    pub server: String,
    /// Whether it takes what it is sent.
    pub connected: bool,
    /// The number of the last window that it has; 0 if that is not known.
    pub last_window: i64,
    /// Windows that were sent.
    pub sent_windows: u64,
    /// Records that were sent.
    pub sent_records: u64,
    /// Windows that it lacks; `None` if that is not known.
    pub lag_windows: Option<u64>,
    /// End of the oldest window that it lacks, unix seconds; `None` if it lacks none.
    pub lacks_since: Option<i64>,
    /// Windows that were deleted from the log before they were sent.
    pub unsent_windows: u64,
    /// Records of windows of which only the sums are left, that were deleted before they were sent.
    pub unsent_records: u64,
    /// What is wrong; `None` if nothing is.
    pub problem: Option<String>,
}

impl ServerCopy {
    /// The state in words, at `now` (unix seconds).
    pub fn sentence(&self, now: i64) -> String {
        let mut text = match (self.connected, self.lag_windows) {
            (true, Some(0)) => "has all".to_owned(),
            (true, Some(_)) => format!("gets what it lacks: {}", self.lag(now)),
            (true, None) => "is asked what it has".to_owned(),
            (false, Some(windows)) if windows > 0 => format!("is not reached and lacks {}", self.lag(now)),
            (false, _) => "is not reached".to_owned(),
        };
        match (self.unsent_windows, self.unsent_records) {
            (0, 0) => {}
            (windows, 0) => text += &format!("; {windows} windows were deleted before they were sent"),
            (windows, records) => {
                text += &format!(
                    "; {windows} windows and {records} other records were deleted before they were sent"
                );
            }
        }
        if let Some(problem) = &self.problem {
            text += &format!("; {problem}");
        }
        format!("{} {text}", self.server)
    }

    /// How much it lacks.
    fn lag(&self, now: i64) -> String {
        let windows = self.lag_windows.unwrap_or_default();
        match self.lacks_since {
            Some(since) => format!("{windows} windows, the oldest of {} s ago", (now - since).max(0)),
            None => format!("{windows} windows"),
        }
    }
}

/// Paths of the files that the daemon writes; `None` for a file that is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilePaths {
    /// snitch.db
    pub database: Option<String>,
    /// record.json
    pub record: String,
    /// exe.log
    pub exe_log: String,
    /// conn.log
    pub conn_log: Option<String>,
}

/// The last error of a [`HelloLine`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// Time of the error, unix seconds.
    pub time: i64,
    /// The sentence of error.log.
    pub text: String,
}

/// `alert`: a program that was not seen before, a changed executable, or a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertLine {
    /// Kind of the line: always `alert`.
    pub event: String,
    /// Time of the alert, unix seconds.
    pub time: i64,
    /// The tag in exe.log without its parentheses, for example `new name, exe`.
    pub tag: String,
    /// `program`, `parent` or `grandparent`: which of the three the alert is about.
    pub rank: String,
    /// Path of the executable.
    pub path: Text,
    /// `comm` of the process; empty where the alert is about a digest.
    pub name: Text,
    /// The digest that the alert is about, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// VirusTotal's verdict; empty without one.
    pub virustotal: String,
    /// The process that changed the executable; `None` where it is not known, or nothing was changed.
    pub writer: Option<WriterLine>,
}

/// The process that changed the executable of an [`AlertLine`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriterLine {
    /// Process id.
    pub process: u32,
    /// Path of its executable.
    pub path: Text,
    /// Name of its program (`comm`).
    pub name: Text,
    /// Its real user id.
    pub uid: Option<u32>,
}

impl From<&Writer> for WriterLine {
    fn from(writer: &Writer) -> Self {
        let Writer { pid, path, name, uid } = writer;
        Self { process: *pid, path: Text(path.clone()), name: Text(name.clone()), uid: *uid }
    }
}

/// `alerts_folded`: alerts above the rate of a user, which have no line of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertsFoldedLine {
    /// Kind of the line: always `alerts_folded`.
    pub event: String,
    /// Time of the line, unix seconds.
    pub time: i64,
    /// The user id; `None` for several users.
    pub uid: Option<u32>,
    /// The number of alerts.
    pub count: u64,
}

/// `error`: a sentence of error.log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorLine {
    /// Kind of the line: always `error`.
    pub event: String,
    /// Time of the error, unix seconds.
    pub time: i64,
    /// The sentence.
    pub text: String,
}

/// `loss`: something was not seen or not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossLine {
    /// Kind of the line: always `loss`.
    pub event: String,
    /// Time of the report, unix seconds.
    pub time: i64,
    /// The name of the kind, for example `flow_table_full` ([`model::LossKind::name`]).
    pub kind: String,
    /// The amount that was lost, in the unit of the kind.
    pub count: u64,
    /// A sentence about the loss.
    pub text: String,
}

/// A program of a [`ContextLine`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramLine {
    /// Path of the program's executable.
    pub path: Text,
    /// `comm` of the thread-group leader.
    pub name: Text,
    /// Arguments with the quotes of a shell ([`command_line::quote`]); empty with `log.commands = false`.
    pub command_line: Text,
    /// Digest of the executable, 64 hexadecimal digits; `None` while it is not known.
    pub sha256: Option<String>,
}

impl From<&Program> for ProgramLine {
    fn from(program: &Program) -> Self {
        Self {
            path: Text(program.path.clone()),
            name: Text(program.name.clone()),
            command_line: Text(command_line::quote(&program.command_line).into_owned()),
            sha256: program.sha256.map(Sha256::to_hex),
        }
    }
}

/// `context`: the program behind traffic. A later line with the same id replaces this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextLine {
    /// Kind of the line: always `context`.
    pub event: String,
    /// Id by which [`ConnectionLine`]s refer to this context.
    pub id: u32,
    /// The program that moves the bytes.
    #[serde(flatten)]
    pub program: ProgramLine,
    /// The program that started it.
    pub parent: ProgramLine,
    /// The program that started the parent.
    pub grandparent: ProgramLine,
    /// Real user id of the process.
    pub uid: u32,
    /// Inode number of the network namespace; 0 when unknown.
    pub network_namespace: u32,
    /// Path of the process's cgroup.
    pub cgroup: Text,
    /// systemd unit; empty without one.
    pub unit: Text,
    /// Engine and name of the container; empty outside of one.
    pub container: Text,
    /// Flatpak, Snap or desktop application; empty when unknown.
    pub app: Text,
}

impl ContextLine {
    /// Makes the line about a context.
    pub fn new(id: u32, context: &ProcessContext) -> Self {
        Self {
            event: "context".to_owned(),
            id,
            program: (&context.program).into(),
            parent: (&context.parent).into(),
            grandparent: (&context.grandparent).into(),
            uid: context.uid,
            network_namespace: context.network_namespace,
            cgroup: Text(context.cgroup.path.clone()),
            unit: Text(context.cgroup.unit.clone()),
            container: Text(context.cgroup.container.clone()),
            app: Text(context.cgroup.app.clone()),
        }
    }
}

/// `connection`, or `listening` for a socket that waits for peers. A later line with the same id replaces this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionLine {
    /// Kind of the line: `connection` or `listening`.
    pub event: String,
    /// Id, which is not used again while the daemon runs.
    pub id: u64,
    /// Id of the [`ContextLine`] about the program.
    pub context: u32,
    /// Process id, in the initial pid namespace.
    pub process: u32,
    /// Whether this process called `connect()`; also true for datagrams.
    pub opened: bool,
    /// Address family, for example `AF_INET` (2).
    pub family: u16,
    /// IP protocol number, for example TCP (6).
    pub protocol: u16,
    /// Local address; `None` when unknown or unspecified, and with `log.addresses = false`.
    pub local_address: Option<Address>,
    /// Local port; 0 if there is none.
    pub local_port: Port,
    /// Remote address; `None` when unknown, and with `log.addresses = false`.
    pub remote_address: Option<Address>,
    /// Remote port; 0 if there is none.
    pub remote_port: Port,
    /// Domain of the remote end; empty when unknown.
    pub domain: Text,
    /// How the domain is known ([`DomainSource::name`]); empty without a domain.
    pub domain_source: String,
    /// First use of the socket by this process, unix seconds; `None` if it has moved nothing since the monitor sees it.
    pub began: Option<f64>,
    /// Bytes that the process sent since then.
    pub sent: u64,
    /// Bytes that the process received since then.
    pub received: u64,
}

impl ConnectionLine {
    /// Makes the line about a flow; the caller fills in what is not part of its id and tuple.
    pub(crate) fn new(flow: &FlowId, tuple: &FlowTuple) -> Self {
        Self {
            process: flow.process.tgid,
            opened: flow.opened,
            family: tuple.family,
            protocol: tuple.protocol,
            local_address: tuple.local_address,
            local_port: tuple.local_port,
            remote_address: tuple.remote_address,
            remote_port: tuple.remote_port,
            domain: Text(tuple.domain.clone()),
            domain_source: match tuple.domain_source {
                DomainSource::None => String::new(),
                source => source.name().to_owned(),
            },
            ..Self::default()
        }
    }
}

/// `traffic`: new counters and ends of connections that earlier lines described.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficLine {
    /// Kind of the line: always `traffic`.
    pub event: String,
    /// Id, bytes sent and bytes received since the connection began.
    pub connections: Vec<(u64, u64, u64)>,
    /// Ids of connections and listening sockets that have ended.
    pub ended: Vec<u64>,
}

/// `tick`: the lines before this one describe everything up to `time`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickLine {
    /// Kind of the line: always `tick`.
    pub event: String,
    /// End of the described time, unix seconds.
    pub time: f64,
    /// Connections that were left out because the table was full, since the first client subscribed.
    pub omitted: u64,
}

/// The part of a line that all kinds of lines have.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LineKind {
    /// Kind of the line: `hello`, `alert`, `context` and so on.
    #[serde(default)]
    pub event: String,
}

/// Encodes one line of the protocol, with its line feed: JSON without characters that a terminal would act on.
pub(crate) fn encode_line(line: &impl Serialize) -> String {
    // The lines are plain data with string keys, whose serialisation cannot fail.
    let mut text = sanitize::json_document(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_serialisation() {
        let context = ProcessContext {
            program: Program { path: b"/bin/\xff\n\\x41".to_vec(), ..Program::default() },
            uid: 7,
            ..ProcessContext::default()
        };
        let line = ContextLine::new(3, &context);
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<ContextLine>(&text).unwrap(), line);
        assert!(text.contains(r#""path":"/bin/\\xff\n\\x5cx41""#), "{text}");
        let traffic =
            TrafficLine { event: "traffic".into(), connections: vec![(1, 2, u64::MAX)], ended: vec![9] };
        let text = serde_json::to_string(&traffic).unwrap();
        assert_eq!(text, format!(r#"{{"event":"traffic","connections":[[1,2,{}]],"ended":[9]}}"#, u64::MAX));
        assert_eq!(serde_json::from_str::<TrafficLine>(&text).unwrap(), traffic);
        // Keys that a later version adds or leaves out are no error.
        let line: ConnectionLine = serde_json::from_str(r#"{"event":"connection","id":4,"new":[]}"#).unwrap();
        assert_eq!((line.id, line.began), (4, None));
    }
}
