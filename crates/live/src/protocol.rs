//! The lines of the live socket that tell of traffic (docs/live.md): who sends them and who reads them has them from
//! here.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use model::text::escape::{from_text, to_text};
use model::{Address, Bytes, DomainSource, FlowId, FlowTuple, Port, ProcessContext, Program, Sha256};

/// What a listener writes to hear of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeRequest {
    /// Traffic is wanted.
    #[serde(default)]
    pub traffic: bool,
}

/// A stranger's bytes, in JSON as in record.json.
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

/// A program of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramLine {
    /// Path of its executable.
    pub path: Text,
    /// Its name.
    pub name: Text,
    /// Its arguments; empty with `log.commands = false`.
    pub command_line: Text,
    /// 64 hexadecimal digits; `None` while it is not known.
    pub sha256: Option<String>,
}

impl From<&Program> for ProgramLine {
    fn from(program: &Program) -> Self {
        Self {
            path: Text(program.path.clone()),
            name: Text(program.name.clone()),
            command_line: Text(program.command_line.clone()),
            sha256: program.sha256.map(Sha256::to_hex),
        }
    }
}

/// `context`: who talks. A later line with the same id replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextLine {
    /// Always `context`.
    pub event: String,
    /// Its id.
    pub id: u32,
    /// The program that moves the bytes.
    #[serde(flatten)]
    pub program: ProgramLine,
    /// Who started it.
    pub parent: ProgramLine,
    /// Who started the parent.
    pub grandparent: ProgramLine,
    /// Real user id.
    pub uid: u32,
    /// Network namespace, 0 when unknown.
    pub network_namespace: u32,
    /// Path of its cgroup.
    pub cgroup: Text,
    /// systemd unit.
    pub unit: Text,
    /// Engine and name of the container.
    pub container: Text,
    /// Application.
    pub app: Text,
}

impl ContextLine {
    /// The line about a context.
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

/// `connection`, or `listening` for a socket on which a program waits for others. A later line with the same id
/// replaces it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionLine {
    /// `connection` or `listening`.
    pub event: String,
    /// Its id, never used again while the daemon runs.
    pub id: u64,
    /// Who talks.
    pub context: u32,
    /// Process id, in the initial pid namespace.
    pub process: u32,
    /// This process called `connect()`, or these are datagrams.
    pub opened: bool,
    /// Address family.
    pub family: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Local address; `None` when unknown or any, and with `log.addresses = false`.
    pub local_address: Option<Address>,
    /// Local port.
    pub local_port: Port,
    /// Remote address.
    pub remote_address: Option<Address>,
    /// Remote port.
    pub remote_port: Port,
    /// Domain of the peer; empty when unknown.
    pub domain: Text,
    /// How the domain is known; empty without one.
    pub domain_source: String,
    /// First use by this process, unix seconds; `None` when it was open before that could be seen.
    pub began: Option<f64>,
    /// Bytes sent since then.
    pub sent: u64,
    /// Bytes received since then.
    pub received: u64,
}

impl ConnectionLine {
    /// The line about a connection, or about a place where a program listens.
    pub fn new(event: &str, (id, context): (u64, u32), connection: &FlowId, tuple: &FlowTuple) -> Self {
        Self {
            event: event.to_owned(),
            id,
            context,
            process: connection.process.tgid,
            opened: connection.opened,
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

/// `traffic`: what has changed of connections that were told before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficLine {
    /// Always `traffic`.
    pub event: String,
    /// Id, and bytes sent and received since the connection began.
    pub connections: Vec<(u64, u64, u64)>,
    /// Connections and listening sockets that are no more; their ids do not come again.
    pub ended: Vec<u64>,
}

/// `tick`: all that has happened up to now was told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickLine {
    /// Always `tick`.
    pub event: String,
    /// Unix seconds.
    pub time: f64,
    /// Connections that are not told of, because there are too many; since the first listener asked.
    pub untold: u64,
}

/// What kind of line it is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Kind {
    /// `hello`, `alert` and so on.
    #[serde(default)]
    pub event: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were() {
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
        // What a later version adds or leaves out breaks nothing.
        let line: ConnectionLine = serde_json::from_str(r#"{"event":"connection","id":4,"new":[]}"#).unwrap();
        assert_eq!((line.id, line.began), (4, None));
    }
}
