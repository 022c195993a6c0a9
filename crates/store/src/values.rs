//! Values of the log as bytes and names, the same in every output.

use model::{Loss, LossKind};

use crate::query::{Dimension, Value, domain_source_name, family_name, protocol_name};

/// A value as bytes: bytes as they are, names and numbers as text, nothing for an unknown value. Another program may have
/// chosen these bytes: [`model::text::sanitize`] makes them safe for an output.
pub fn bytes(dimension: Dimension, value: &Value) -> Vec<u8> {
    match value {
        Value::None => Vec::new(),
        Value::Bytes(bytes) => bytes.clone(),
        Value::Address(address) => address.to_string().into_bytes(),
        Value::Sha256(digest) => digest.to_hex().into_bytes(),
        Value::Integer(number) => {
            named(dimension, *number).map_or_else(|| number.to_string(), str::to_owned).into_bytes()
        }
    }
}

/// Whether numbers of the dimension have names: an output shows all of them as text then, also one without a name.
pub fn has_names(dimension: Dimension) -> bool {
    matches!(dimension, Dimension::Protocol | Dimension::Family | Dimension::DomainSource)
}

/// The name of a number; `None` if its dimension has no names, or the number has none.
fn named(dimension: Dimension, number: i64) -> Option<&'static str> {
    match dimension {
        Dimension::Protocol => protocol_name(number),
        Dimension::Family => family_name(number),
        Dimension::DomainSource => domain_source_name(number),
        _ => None,
    }
}

/// A list of losses in a few words, for one line of an output.
pub fn losses(losses: &[Loss]) -> String {
    let describe = |loss: &Loss| {
        let what = match loss.kind {
            LossKind::ProcessEvents => "process events",
            LossKind::FlowTableFull => "sends, receives or connects (flow table full)",
            LossKind::SkippedCalls => "events (skipped by the kernel)",
            LossKind::FlowTableBytes => "bytes (flow table full)",
            LossKind::ReleaseEvents => "events of closed sockets (their traffic is recorded)",
            LossKind::Channel => "flows (recorder too slow)",
            LossKind::Names => "DNS answers or handshakes of connections (too fast)",
            LossKind::Log => "records (log not writable)",
            LossKind::UncountableSocket => "sockets whose bytes this kernel does not show",
        };
        format!("{} {what}", loss.count)
    };
    losses.iter().map(describe).collect::<Vec<_>>().join(", ")
}
