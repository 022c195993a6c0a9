//! Values of the log as bytes and names, the same on every face.

use crate::{Dimension, Value, domain_source_name, family_name, protocol_name};
use model::{Loss, LossKind};

/// A value as bytes: those of a stranger as they are, everything else as its usual text; nothing for what is unknown.
/// The bytes are still a stranger's: [`super::format`] makes them safe for an output.
pub fn bytes(dimension: Dimension, value: &Value) -> Vec<u8> {
    match value {
        Value::None => Vec::new(),
        Value::Bytes(bytes) => bytes.clone(),
        Value::Address(address) => address.to_string().into_bytes(),
        Value::Sha256(digest) => digest.to_hex().into_bytes(),
        Value::Integer(number) => {
            named(dimension, *number).map_or(number.to_string(), str::to_owned).into_bytes()
        }
    }
}

/// The name of a number, where its dimension gives it one.
pub fn named(dimension: Dimension, number: i64) -> Option<&'static str> {
    match dimension {
        Dimension::Protocol => protocol_name(number),
        Dimension::Family => family_name(number),
        Dimension::DomainSource => domain_source_name(number),
        _ => None,
    }
}

/// What was lost, in a few words.
pub fn losses(losses: &[Loss]) -> String {
    let describe = |loss: &Loss| {
        let what = match loss.kind {
            LossKind::ProcessEvents => "process events",
            LossKind::FlowTableFull => "sends, receives or connects (flow table full)",
            LossKind::SkippedCalls => "events (skipped by the kernel)",
            LossKind::FlowTableBytes => "bytes (flow table full)",
            LossKind::ReleaseEvents => "notices of closed sockets (their traffic is recorded)",
            LossKind::Channel => "flows (recorder too slow)",
            LossKind::Names => "answers of name servers or greetings of connections (too fast)",
            LossKind::Log => "records (log not writable)",
            LossKind::UncountableSocket => "sockets whose bytes this kernel does not show",
        };
        format!("{} {what}", loss.count)
    };
    losses.iter().map(describe).collect::<Vec<_>>().join(", ")
}
