//! Session buses of desktop users, and notification services on them that keep what they are asked to show.

use std::{
    fs,
    future::poll_fn,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

use futures_core::Stream;
use zbus::{MessageStream, Variant, block_on, connection::Builder};

use super::harness::{PATIENCE, wait_until};

/// A directory like `/run/user`.
pub struct RunUser(tempfile::TempDir);

impl RunUser {
    /// Makes the directory. Panics where there is no dbus-daemon.
    pub fn new() -> Self {
        let version = Command::new("dbus-daemon").arg("--version").stdout(Stdio::null()).status();
        assert!(version.is_ok(), "there is no dbus-daemon: run scripts/setup test");
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(place)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Logs a user in by starting a session bus of that user.
    pub fn log_in(&self, user: u32) -> Session {
        let directory = self.path().join(user.to_string());
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&directory, Some(user), Some(user)).unwrap();
        let bus = directory.join("bus");
        // Root may connect as well: the services below run as root.
        let configuration = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
             <allow user=\"*\"/></policy></busconfig>",
            bus.display()
        );
        let file = self.path().join(format!("{user}.conf"));
        fs::write(&file, configuration).unwrap();
        let daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile"])
            .arg(format!("--config-file={}", file.display()))
            .current_dir("/")
            .uid(user)
            .gid(user)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let session = Session { directory, bus, daemon };
        wait_until("the bus", || UnixStream::connect(&session.bus).is_ok());
        session
    }
}

/// A session of one user. Dropping it logs the user out.
pub struct Session {
    directory: PathBuf,
    bus: PathBuf,
    daemon: Child,
}

impl Session {
    /// Starts a notification service.
    pub fn service(&self) -> Service {
        let stream = UnixStream::connect(&self.bus).unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&shown);
        let (ready, is_ready) = mpsc::channel();
        // Closing this end ends the connection and with it the thread.
        let handle = stream.try_clone().unwrap();
        let thread = thread::spawn(move || block_on(serve(stream, &into, &ready)));
        is_ready.recv_timeout(PATIENCE).expect("the bus does not answer");
        Service { shown, stream: handle, thread: Some(thread) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A notification that a service was asked to show.
#[derive(Clone, Debug)]
pub struct Shown {
    pub at: Instant,
    pub title: String,
    pub body: String,
    pub urgency: u8,
}

/// A notification service, which ends when dropped.
pub struct Service {
    shown: Arc<Mutex<Vec<Shown>>>,
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap().clone()
    }

    /// The first notification that contains a text.
    pub fn find(&self, text: &str) -> Option<Shown> {
        let says = |shown: &Shown| shown.title.contains(text) || shown.body.contains(text);
        self.shown().into_iter().find(says)
    }

    /// Waits for a notification that contains a text.
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("a notification of {text}"), || self.find(text).is_some());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.thread.take().unwrap().join();
    }
}

type Arguments<'a> =
    (String, u32, String, String, String, Vec<String>, std::collections::HashMap<String, Variant<'a>>, i32);

async fn serve(stream: UnixStream, shown: &Mutex<Vec<Shown>>, ready: &mpsc::Sender<()>) {
    let connection = Builder::unix_stream(stream).build().await.unwrap();
    let mut messages = MessageStream::from(&connection);
    connection.request_name("org.freedesktop.Notifications").await.unwrap();
    ready.send(()).unwrap();
    while let Some(Ok(message)) = poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await {
        let header = message.header();
        if header.member().is_none_or(|member| member.as_str() != "Notify") {
            continue;
        }
        let body = message.body();
        let (_, _, _, title, text, _, hints, _): Arguments<'_> = body.deserialize().unwrap();
        let urgency = u8::try_from(&hints["urgency"]).unwrap();
        shown.lock().unwrap().push(Shown { at: Instant::now(), title, body: text, urgency });
        connection.reply(&header, &1_u32).await.unwrap();
    }
}
