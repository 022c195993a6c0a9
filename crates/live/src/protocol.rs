//! The lines of the live socket that tell of traffic (docs/live.md): who sends them and who reads them has them from
//! here.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use model::text::escape::{from_text, to_text};
use model::{Bytes, Connection, DomainSource, Peer, Program, Sha256, Talker};

/// What a listener writes to hear of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
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

/// A program of a talker.
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

/// `talker`: who talks. A later line with the same id replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TalkerLine {
    /// Always `talker`.
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

impl TalkerLine {
    /// The line about a talker.
    pub fn new(id: u32, talker: &Talker) -> Self {
        Self {
            event: "talker".to_owned(),
            id,
            program: (&talker.program).into(),
            parent: (&talker.parent).into(),
            grandparent: (&talker.grandparent).into(),
            uid: talker.uid,
            network_namespace: talker.network_namespace,
            cgroup: Text(talker.place.cgroup.clone()),
            unit: Text(talker.place.unit.clone()),
            container: Text(talker.place.container.clone()),
            app: Text(talker.place.app.clone()),
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
    pub talker: u32,
    /// Process id, in the initial pid namespace.
    pub process: u32,
    /// This process called `connect()`, or these are datagrams.
    pub opened: bool,
    /// Address family.
    pub family: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Local address; `None` when unknown or any, and with `log.addresses = false`.
    pub local_address: Option<IpAddr>,
    /// Local port.
    pub local_port: i32,
    /// Remote address.
    pub remote_address: Option<IpAddr>,
    /// Remote port.
    pub remote_port: i32,
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
    pub fn new(event: &str, (id, talker): (u64, u32), connection: &Connection, peer: &Peer) -> Self {
        Self {
            event: event.to_owned(),
            id,
            talker,
            process: connection.process.tgid,
            opened: connection.opened,
            family: peer.family,
            protocol: peer.protocol,
            local_address: peer.local_address,
            local_port: peer.local_port,
            remote_address: peer.remote_address,
            remote_port: peer.remote_port,
            domain: Text(peer.domain.clone()),
            domain_source: match peer.domain_source {
                DomainSource::None => String::new(),
                source => format!("{source:?}").to_lowercase(),
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
        let talker = Talker {
            program: Program { path: b"/bin/\xff\n\\x41".to_vec(), ..Program::default() },
            uid: 7,
            ..Talker::default()
        };
        let line = TalkerLine::new(3, &talker);
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<TalkerLine>(&text).unwrap(), line);
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
