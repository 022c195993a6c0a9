//! The way to a user's notification service: `org.freedesktop.Notifications` on the session bus.

use std::{collections::HashMap, os::unix::net::UnixStream, path::PathBuf, time::Duration};

use zbus::{Connection, Variant, block_on, connection::Builder, fdo};

use super::Notice;

/// How long the bus, and the service it may have to start, can take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a title, and of a body.
const MAX_TITLE: usize = 120;
const MAX_BODY: usize = 2000;
/// How long the service shows a notification, milliseconds: as it likes.
const SERVICE_DECIDES: i32 = -1;

/// A notification was not shown.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    /// There is no bus, or nobody on it shows notifications: later, perhaps.
    #[error("there is no notification service now: {0}")]
    NotNow(String),
    /// The service does not want this one.
    #[error("the notification service refused: {0}")]
    Refused(String),
}

/// The notification service of one user.
#[derive(Debug)]
pub struct Desktop {
    bus: PathBuf,
    connection: Option<Connection>,
}

impl Desktop {
    /// The service on the bus whose socket is at `bus`.
    pub fn new(bus: PathBuf) -> Self {
        Self { bus, connection: None }
    }

    /// Shows a notification.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub fn show(&mut self, notice: &Notice) -> Result<(), DesktopError> {
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut hints: HashMap<&str, Variant<'_>> = HashMap::new();
        // The specification's "urgency levels": 1 normal, 2 critical.
        hints.insert("urgency", Variant::from(if notice.kind.is_urgent() { 2_u8 } else { 1_u8 }));
        hints.insert("category", Variant::from("network"));
        let (title, body) = (shorten(&notice.title, MAX_TITLE), markup(&shorten(&notice.body, MAX_BODY)));
        let actions: [&str; 0] = [];
        let arguments = (
            "picosnitch",
            0_u32,
            "dialog-warning",
            title.as_str(),
            body.as_str(),
            &actions[..],
            hints,
            SERVICE_DECIDES,
        );
        let name = "org.freedesktop.Notifications";
        let answer = block_on(connection.call_method(
            Some(name),
            "/org/freedesktop/Notifications",
            Some(name),
            "Notify",
            &arguments,
        ));
        match answer {
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
                other => Err(DesktopError::NotNow(other.to_string())),
            },
            Err(error) => Err(DesktopError::NotNow(error.to_string())),
        }
    }

    fn connect(&self) -> Result<Connection, DesktopError> {
        let stream =
            UnixStream::connect(&self.bus).map_err(|error| DesktopError::NotNow(error.to_string()))?;
        block_on(Builder::unix_stream(stream).method_timeout(PATIENCE).build())
            .map_err(|error| DesktopError::NotNow(error.to_string()))
    }
}

/// The body may hold markup: what is not meant as such is escaped.
fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn markup_of_strangers_is_text() {
        assert_eq!(markup("<b>a</b> & \"c\""), "&lt;b&gt;a&lt;/b&gt; &amp; \"c\"");
        assert_eq!(shorten("äöü", 2), "äö…");
        assert_eq!(shorten("äöü", 3), "äöü");
    }

    #[test]
    fn without_a_bus_it_is_tried_later() {
        let place = tempfile::tempdir().unwrap();
        let notice = Notice { kind: Kind::Program, title: "t".into(), body: "b".into() };
        let mut desktop = Desktop::new(place.path().join("bus"));
        assert!(matches!(desktop.show(&notice), Err(DesktopError::NotNow(_))));
    }
}
