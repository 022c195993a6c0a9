//! Entries for journald, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use tokio::net::UnixDatagram;

use crate::{delivery::in_time, error::ForwardError, item::Item, syslog::severity};

/// The socket of the native protocol.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Sends items; returns when journald has all of them in its socket.
pub(crate) async fn send(address: &str, items: &[Item]) -> Result<(), ForwardError> {
    let error = |error| ForwardError::Connect(address.to_owned(), error);
    let socket = UnixDatagram::unbound().map_err(error)?;
    socket.connect(SOCKET).map_err(error)?;
    for item in items {
        let entry = entry(item);
        let sent = async {
            socket.send(&entry).await.map_err(|error| ForwardError::Send(address.to_owned(), error))
        };
        in_time(address, sent).await?;
    }
    Ok(())
}

/// The fields of an entry, a line each: no value has a line feed. Keys of the item become `PICOSNITCH_KEY`.
fn entry(item: &Item) -> Vec<u8> {
    let mut lines = vec![
        format!("MESSAGE={}", item.text("summary").unwrap_or_default()),
        format!("PRIORITY={}", severity(item)),
        "SYSLOG_IDENTIFIER=picosnitch".to_owned(),
    ];
    for key in item.object.keys().filter(|key| *key != "summary") {
        let value = item.text(key).unwrap_or_default();
        if !value.is_empty() {
            lines.push(format!("PICOSNITCH_{}={value}", key.to_ascii_uppercase().replace('-', "_")));
        }
    }
    (lines.join("\n") + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_one_line_whatever_a_program_is_called() {
        let object = json!({"id": "a/1/2/event/0", "exe": "/tmp/a\nPRIORITY=0\u{1b}", "domain-source": "dns", "sha256": null,
                            "summary": "alert: x\ny", "count": 3});
        let serde_json::Value::Object(object) = object else { panic!() };
        let item = Item { object, kind: Some(model::EventKind::Alert), time: 0 };
        let text = String::from_utf8(entry(&item)).unwrap();
        let expected = "MESSAGE=alert: x\\x0ay\nPRIORITY=4\nSYSLOG_IDENTIFIER=picosnitch\nPICOSNITCH_COUNT=3\n\
                        PICOSNITCH_DOMAIN_SOURCE=dns\nPICOSNITCH_EXE=/tmp/a\\x0aPRIORITY=0\\x1b\nPICOSNITCH_ID=a/1/2/event/0\n";
        assert_eq!(text, expected);
    }
}
