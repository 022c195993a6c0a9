//! Records and events as lines of text.

use model::{
    Event, PORT_EXECUTION, Record,
    text::{
        sanitize,
        units::{self, ByteUnit},
    },
};
use question::Now;
use store::{Dimension, protocol_name, record_value, values};
use system_names::Users;

/// Makes the lines.
pub(super) struct Lines<'a> {
    users: Users,
    now: &'a Now,
}

impl<'a> Lines<'a> {
    /// For times in the zone of `now`.
    pub(super) fn new(now: &'a Now) -> Self {
        Self { users: Users::load(), now }
    }

    /// A record of a window that ended at `time` (unix seconds UTC).
    pub(super) fn record(&self, record: &Record, time: i64) -> String {
        let text = |dimension| {
            let value = record_value(record, time, dimension, &self.now.zone);
            sanitize::terminal(&values::bytes(dimension, &value))
        };
        let uid = record.context.uid;
        let program = match text(Dimension::Executable) {
            path if path.is_empty() => text(Dimension::Name),
            path => path,
        };
        let (domain, address) = (text(Dimension::Domain), text(Dimension::Address));
        let peer = match (domain.is_empty(), address.is_empty()) {
            (true, true) => "unknown peer".to_owned(),
            (true, false) => address,
            (false, true) => domain,
            (false, false) => format!("{domain} ({address})"),
        };
        let what = match record.tuple.remote_port {
            PORT_EXECUTION => "executed".to_owned(),
            port => {
                let port = if port == 0 { String::new() } else { format!(" port {}", text(Dimension::Port)) };
                let protocol = i64::from(record.tuple.protocol);
                let protocol =
                    protocol_name(protocol).map_or_else(|| format!("protocol {protocol}"), str::to_owned);
                format!(
                    "{protocol} {peer}{port}, {} connections, {} received, {} sent",
                    units::grouped(record.counters.connections),
                    ByteUnit::Decimal.write(record.counters.received),
                    ByteUnit::Decimal.write(record.counters.sent),
                )
            }
        };
        format!("{}  record  {program} ({}): {what}\n", self.now.text(time), self.user(uid))
    }

    /// An event.
    pub(super) fn event(&self, event: &Event) -> String {
        let program = event.program_text();
        let user = event.uid.map(|uid| format!(" ({})", self.user(uid))).unwrap_or_default();
        let about =
            if program.is_empty() && user.is_empty() { String::new() } else { format!("{program}{user}: ") };
        let begin = event.begin.map(|begin| format!(" (since {})", self.now.text(begin))).unwrap_or_default();
        let (time, kind) = (self.now.text(event.time), event.kind.name());
        format!("{time}  {kind}  {}{}{begin}\n", about.trim_start(), event.sentence())
    }

    /// A user by name, if the machine has one.
    fn user(&self, uid: u32) -> String {
        match self.users.name(uid.into()) {
            Some(name) => sanitize::terminal(name.as_bytes()),
            None => uid.to_string(),
        }
    }
}
