//! Starts a daemon with files of its own, makes traffic of known size, and reads back what was recorded.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU16, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use model::{Counters, Loss};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandbox::User;
use store::{Dimension, Filter, Query, Range, Reader, Value};

/// Longest wait for anything on a slow, emulated machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Length of the window that these daemons are configured with.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Every daemon sees the traffic of the whole machine, so a test that floods it takes the write lock and runs alone.
static FLOODS: RwLock<()> = RwLock::new(());

/// Locks for a test that may run beside others. Panics without root.
pub fn root() -> RwLockReadGuard<'static, ()> {
    assert!(nix::unistd::geteuid().is_root(), "recording needs root");
    FLOODS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for a test that has to run alone. Panics without root.
pub fn root_alone() -> RwLockWriteGuard<'static, ()> {
    assert!(nix::unistd::geteuid().is_root(), "recording needs root");
    FLOODS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a base directory with a configuration of a short window, to which `more` is appended.
pub fn base(more: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let group = service_user().gid.as_raw();
    chown(place.path(), None, Some(group)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1770)).unwrap();
    configure(place.path(), more);
    place
}

/// Makes a directory through which every user may pass, for a base directory in it.
pub fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// The user that writes the log.
pub fn service_user() -> User {
    User::of_log(Path::new("/snitch.db")).unwrap()
}

/// Writes the configuration of a base directory.
pub fn configure(base: &Path, more: &str) {
    fs::write(base.join("config.toml"), format!("[log]\nwrite_limit_seconds = {}\n{more}", WINDOW.as_secs()))
        .unwrap();
}

/// A `picosnitch` command on a base directory.
pub fn picosnitch(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base).args(arguments).env_remove("PICOSNITCH_BASE_DIR");
    command
}

/// A `picosnitch` command in a mount namespace of its own, which the shell command `prepare` changes first.
pub fn picosnitch_elsewhere(prepare: &str, base: &Path, arguments: &[&str]) -> Command {
    let script = format!("{prepare} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .arg(env!("CARGO_BIN_EXE_picosnitch"))
        .arg("--base-dir")
        .arg(base)
        .args(arguments)
        .env_remove("PICOSNITCH_BASE_DIR");
    command
}

/// Makes a copy of /etc in which one file has this text, to be mounted over /etc: not every machine has that file.
pub fn etc_with(directory: &Path, file: &str, text: &str) -> PathBuf {
    let etc = directory.join("etc");
    assert!(Command::new("cp").arg("-a").arg("/etc").arg(&etc).status().unwrap().success());
    // It may be a link out of /etc.
    let _ = fs::remove_file(etc.join(file));
    fs::write(etc.join(file), text).unwrap();
    etc
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    text: Arc<Mutex<String>>,
    /// Ends when the last process of the daemon has closed standard error.
    ended: Receiver<()>,
}

impl Daemon {
    /// Starts a daemon and waits until it records.
    pub fn start(base: &Path) -> Self {
        Self::start_as(picosnitch(base, &["start-no-daemon"]))
    }

    /// Starts a prepared command and waits until it records.
    pub fn start_as(command: Command) -> Self {
        let daemon = Self::spawn(command);
        daemon.wait_for("picosnitch: recording\n");
        daemon
    }

    /// Starts a prepared command without waiting.
    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let (into, stderr) = (Arc::clone(&text), child.stderr.take().unwrap());
        let (alive, ended) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            let mut lines = BufReader::new(stderr);
            while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
            drop(alive);
        });
        Self { child, text, ended }
    }

    /// Its standard error so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until its standard error contains a text.
    pub fn wait_for(&self, expected: &str) {
        wait_until(&format!("{expected:?} among its messages"), || {
            let gone = matches!(self.ended.try_recv(), Err(mpsc::TryRecvError::Disconnected));
            let text = self.text();
            assert!(!gone || text.contains(expected), "it ended without {expected:?}: {text}");
            text.contains(expected)
        });
    }

    pub fn monitor(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Process ids of the monitor's children: the recorder first, then notifiers.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|child| child.parse().unwrap()).collect()
    }

    /// Process id of the recorder.
    pub fn recorder(&self) -> Pid {
        Pid::from_raw(*self.children().first().expect("no recorder") as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.monitor(), signal).unwrap();
    }

    /// Waits until all of its processes have ended by themselves. Returns the monitor's status and the whole standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        let ended = self.ended.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it does not end: {}", self.text());
        let status = self.child.wait().unwrap();
        (status, self.text())
    }

    /// Stops it with a signal and returns its standard error.
    pub fn stop(self, signal: Signal) -> String {
        self.signal(signal);
        let (status, text) = self.end();
        assert_eq!(status.code(), Some(0), "{status}: {text}");
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The recorder ends when the monitor is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a daemon that is expected to refuse. Returns its exit code and standard error once all processes have ended.
pub fn refused(command: Command) -> (i32, String) {
    let (status, text) = Daemon::spawn(command).end();
    assert!(!text.contains("picosnitch: recording\n"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    (status.code().expect("it was killed"), text)
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback address that no other test uses. No address is the beginning of another one, so that texts can be searched for it.
pub fn fresh_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = [number / 150, number % 150].map(|part| 100 + part as u8);
    Ipv4Addr::new(127, 64 + (std::process::id() % 128) as u8, high, low)
}

/// Makes one TCP connection of this process with itself, whose client sends and receives so many bytes.
pub fn talk(address: Ipv4Addr, sent: usize, received: usize) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).unwrap();
        connection.write_all(&vec![0; received]).unwrap();
        bytes.len()
    });
    let mut connection = TcpStream::connect((address, port)).unwrap();
    connection.write_all(&vec![0; sent]).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    assert_eq!((server.join().unwrap(), bytes.len()), (sent, received));
}

/// Sums of the log over traffic with the address on one side (`Address`: remote, `LocalAddress`: local). All of it must be
/// this program's.
pub fn recorded(base: &Path, side: Dimension, address: Ipv4Addr) -> Counters {
    let query = Query {
        group_by: vec![Dimension::Executable, Dimension::Protocol],
        filters: vec![Filter::equal(side, Value::Address(address.into()), false)],
        ..Query::default()
    };
    let rows = reader(base).query(&query).unwrap();
    let own = std::env::current_exe().unwrap();
    let expected = [Value::Bytes(own.as_os_str().as_bytes().to_vec()), Value::Integer(6)];
    for row in &rows {
        assert_eq!(row.values, expected, "of another program");
    }
    rows.first().map(|row| row.counters).unwrap_or_default()
}

/// Asserts that both sides of `connections` calls of [`talk`] are in the log, exactly.
pub fn assert_recorded(base: &Path, address: Ipv4Addr, connections: u64, sent: u64, received: u64) {
    let client = recorded(base, Dimension::Address, address);
    assert_eq!(client, Counters { connections, sent, received }, "the client's side");
    let server = recorded(base, Dimension::LocalAddress, address);
    assert_eq!(server, Counters { connections, sent: received, received: sent }, "the server's side");
}

pub fn reader(base: &Path) -> Reader {
    Reader::open(&base.join("snitch.db")).unwrap()
}

pub fn losses(base: &Path) -> Vec<Loss> {
    reader(base).losses(Range::default()).unwrap()
}

pub fn assert_intact(database: &Path) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let answer: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
}

pub fn error_log(base: &Path) -> String {
    fs::read_to_string(base.join("error.log")).unwrap_or_default()
}

/// The output of `picosnitch query`, as bytes.
pub fn query(base: &Path, arguments: &[OsString]) -> Vec<u8> {
    let output = picosnitch(base, &["query"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A small file system, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=1770,gid={}", service_user().gid);
        mount(Some("picosnitch-test"), at, Some("tmpfs"), MsFlags::empty(), Some(OsStr::new(&options)))
            .unwrap();
        Self(at.to_owned())
    }

    pub fn resize(&self, size: &str) {
        let options = format!("size={size}");
        let none: Option<&str> = None;
        mount(none, &self.0, none, MsFlags::MS_REMOUNT, Some(OsStr::new(&options))).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
