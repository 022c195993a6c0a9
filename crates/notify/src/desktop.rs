//! A client of a user's notification service: `org.freedesktop.Notifications` on the session bus.

use std::{collections::HashMap, os::unix::net::UnixStream, path::PathBuf, time::Duration};

use thiserror::Error;
use zbus::{Connection, Variant, block_on, connection::Builder, fdo};

use super::notification::Notification;

/// How long the bus may take for a reply, which includes the start of the service.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper bound for the characters of a title.
const MAX_TITLE: usize = 120;
/// Upper bound for the characters of a body.
const MAX_BODY: usize = 2000;
/// The expiration timeout that leaves the decision to the service.
const DEFAULT_TIMEOUT: i32 = -1;

/// The reasons why a notification was not shown.
#[derive(Debug, Error)]
pub enum DesktopError {
    /// There is no bus, or no notification service on it. A later try may succeed.
    #[error("there is no notification service now: {0}")]
    Unavailable(String),
    /// The service does not accept this notification.
    #[error("the notification service refused: {0}")]
    Refused(String),
}

/// A connection to the notification service of one user, made when it is first needed.
#[derive(Debug)]
pub struct Desktop {
    bus: PathBuf,
    connection: Option<Connection>,
}

impl Desktop {
    /// The service on the bus whose socket has the path `bus`.
    pub fn new(bus: PathBuf) -> Self {
        Self { bus, connection: None }
    }

    /// Shows a notification, and connects to the bus before if necessary.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub fn show(&mut self, notification: &Notification) -> Result<(), DesktopError> {
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut hints: HashMap<&str, Variant<'_>> = HashMap::new();
        // Urgency levels of the Desktop Notifications Specification: 1 normal, 2 critical.
        hints.insert("urgency", Variant::from(if notification.kind.is_urgent() { 2_u8 } else { 1_u8 }));
        hints.insert("category", Variant::from("network"));
        let (title, body) =
            (shorten(&notification.title, MAX_TITLE), escape_markup(&shorten(&notification.body, MAX_BODY)));
        let actions: [&str; 0] = [];
        let arguments = (
            "picosnitch",
            0_u32,
            "dialog-warning",
            title.as_str(),
            body.as_str(),
            &actions[..],
            hints,
            DEFAULT_TIMEOUT,
        );
        let name = "org.freedesktop.Notifications";
        let reply = block_on(connection.call_method(
            Some(name),
            "/org/freedesktop/Notifications",
            Some(name),
            "Notify",
            &arguments,
        ));
        match reply {
            Ok(_) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(zbus::Error::MethodError(name, why, _)) => {
                Err(DesktopError::Refused(format!("{name} {}", why.unwrap_or_default())))
            }
            Err(zbus::Error::FDO(error)) => match *error {
                fdo::Error::InvalidArgs(why) | fdo::Error::NotSupported(why) | fdo::Error::Failed(why) => {
                    Err(DesktopError::Refused(why))
                }
                other => Err(DesktopError::Unavailable(other.to_string())),
            },
            Err(error) => Err(DesktopError::Unavailable(error.to_string())),
        }
    }

    fn connect(&self) -> Result<Connection, DesktopError> {
        let stream =
            UnixStream::connect(&self.bus).map_err(|error| DesktopError::Unavailable(error.to_string()))?;
        block_on(Builder::unix_stream(stream).method_timeout(REPLY_TIMEOUT).build())
            .map_err(|error| DesktopError::Unavailable(error.to_string()))
    }
}

/// Escapes text for the body, in which the service interprets markup.
fn escape_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cuts a text after `max` characters.
fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::NotificationKind;

    #[test]
    fn markup_is_escaped_and_long_text_is_cut() {
        assert_eq!(escape_markup("<b>a</b> & \"c\""), "&lt;b&gt;a&lt;/b&gt; &amp; \"c\"");
        assert_eq!(shorten("äöü", 2), "äö…");
        assert_eq!(shorten("äöü", 3), "äöü");
    }

    #[test]
    fn without_a_bus_the_service_is_unavailable() {
        let directory = tempfile::tempdir().unwrap();
        let notification =
            Notification { kind: NotificationKind::Program, title: "t".into(), body: "b".into() };
        let mut desktop = Desktop::new(directory.path().join("bus"));
        assert!(matches!(desktop.show(&notification), Err(DesktopError::Unavailable(_))));
    }
}
