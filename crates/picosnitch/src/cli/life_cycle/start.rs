//! `picosnitch start`: starts the daemon in the background, and waits until it records.
//! Exit codes: 0 if it records, 78 for a bad configuration, 77 without the right, 1 when nothing is recorded.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{
        fs::{FileExt, PermissionsExt},
        net::UnixDatagram,
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{refuse_bad_configuration, refuse_without_root, systemctl};
use crate::cli::{common::Common, daemon_state};
use config::layout::Layout;
use daemon::{
    daemon_log::open_daemon_log,
    monitor::{self, Instance, find_instance},
};
use live::client::LiveClient;
use model::text::{sanitize, time};

/// The variable of sd_notify(3): the daemon tells this command what it tells systemd.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Name of that socket in the run directory.
const SOCKET_NAME: &str = "up.sock";
/// Time between two looks whether the daemon has ended.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of its messages that are printed when it does not start.
const MAX_PRINTED: u64 = 64 * 1024;

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if it records, or did already; 78 if the configuration is bad, 77 without root, 1 when nothing is \
                  recorded. Where systemd has the unit picosnitch.service, that is started."
)]
pub struct Options {
    /// Seconds to wait until it records
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(code) = refuse_without_root("start") {
        return Ok(code);
    }
    let layout = common.layout();
    match find_instance(&layout).context("it cannot be found out whether picosnitch runs")? {
        Instance::Daemon(daemon) => return Ok(report_running(&layout, daemon.pid())),
        Instance::OtherCommand(..) | Instance::Hidden(_) => {
            // Says what it is.
            super::stop::find(&layout)?.map_err(anyhow::Error::msg)?;
        }
        Instance::None(_) => {}
    }
    if systemctl::is_responsible(common) {
        // What is wrong is only in the journal otherwise.
        return match refuse_bad_configuration(&layout) {
            Some(code) => Ok(code),
            None => systemctl::execute("start"),
        };
    }
    start(common, &layout, Duration::from_secs(options.timeout))
}

/// Says that a daemon runs already, or why it does not answer.
fn report_running(layout: &Layout, pid: u32) -> ExitCode {
    match LiveClient::connect(&layout.run_dir.join(live::SOCKET_NAME)) {
        Ok(_) => {
            eprintln!("picosnitch: it is running already (process {pid})");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let why = daemon_state::explain(error, layout);
            eprintln!(
                "picosnitch: it is running already (process {pid}), but does not answer: {why:#}. `sudo picosnitch stop` ends it, \
                 or `sudo picosnitch stop --kill` if it hangs"
            );
            ExitCode::FAILURE
        }
    }
}

/// Starts a daemon of this binary, while none runs.
pub(super) fn start(common: &Common, layout: &Layout, patience: Duration) -> anyhow::Result<ExitCode> {
    if let Some(code) = refuse_bad_configuration(layout) {
        return Ok(code);
    }
    monitor::prepare(layout)?;
    let log = open_daemon_log(&layout.daemon_log)
        .with_context(|| format!("{} cannot be used", layout.daemon_log.display()))?;
    let socket = NotifySocket::bind(layout.run_dir.join(SOCKET_NAME))?;
    // Who reads the file later wants to know which lines are of which start.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(&log, "{} picosnitch {version} is started.", time::local(time::now()))
        .with_context(|| format!("{} cannot be written", layout.daemon_log.display()))?;
    let begin = log.metadata()?.len();
    let mut child = spawn(common, &log, &socket)?;
    match socket.wait_until_ready(&mut child, patience)? {
        Waited::Ready => {
            report_start(layout, child.id());
            Ok(ExitCode::SUCCESS)
        }
        Waited::Ended(status) => {
            print_messages(&log, begin);
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            eprintln!("picosnitch: nothing is recorded: the daemon has ended ({status})");
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
        Waited::TooLong => {
            let _ = child.kill();
            let _ = child.wait();
            print_messages(&log, begin);
            eprintln!(
                "picosnitch: nothing is recorded: the daemon was not ready after {} s and was ended; --timeout waits longer",
                patience.as_secs()
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts the daemon in a session of its own: it goes on when the terminal of this command is closed.
fn spawn(common: &Common, log: &File, socket: &NotifySocket) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    // What is shown as its command line.
    if let Ok(path) = std::env::current_exe() {
        command.arg0(path);
    }
    command
        .args(common.arguments())
        .args(["start-no-daemon", "--keep-hooks"])
        .env(NOTIFY_SOCKET, &socket.path);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    // SAFETY: setsid(2) is a system call that needs no memory. It cannot fail in a process that was just made.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    command.spawn().context("the daemon cannot be started")
}

/// Says that it records, where its messages are, and how much it does not see.
fn report_start(layout: &Layout, pid: u32) {
    eprintln!("picosnitch: recording (process {pid}); its messages are in {}", layout.daemon_log.display());
    let Ok(client) = LiveClient::connect(&layout.run_dir.join(live::SOCKET_NAME)) else { return };
    match client.status().unseen.len() {
        0 => {}
        1 => eprintln!(
            "picosnitch: one kind of traffic is not seen on this kernel: `sudo picosnitch doctor` says which"
        ),
        count => eprintln!(
            "picosnitch: {count} kinds of traffic are not seen on this kernel: `sudo picosnitch doctor` says which"
        ),
    }
}

/// Prints what the daemon has printed since `begin`.
fn print_messages(log: &File, begin: u64) {
    let length = log.metadata().map_or(0, |found| found.len()).saturating_sub(begin).min(MAX_PRINTED);
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = log.read_at(&mut text, begin).unwrap_or(0);
    for line in String::from_utf8_lossy(text.get(..read).unwrap_or_default()).lines() {
        eprintln!("{}", sanitize::message(line));
    }
}

/// The socket on which the daemon says that it records. Removed when dropped.
struct NotifySocket {
    path: PathBuf,
    socket: UnixDatagram,
}

/// What the wait for a daemon has shown.
enum Waited {
    Ready,
    Ended(ExitStatus),
    TooLong,
}

impl NotifySocket {
    fn bind(path: PathBuf) -> anyhow::Result<Self> {
        let fail = || format!("the socket {} cannot be made", path.display());
        // One that a killed command has left. Only root makes files in the run directory.
        let _ = fs::remove_file(&path);
        let socket = match UnixDatagram::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => anyhow::bail!(
                "{} is on a read-only file system, so that picosnitch cannot be found while it runs: mount it writable, or choose \
                 another directory for all files with --base-dir",
                path.parent().unwrap_or(&path).display()
            ),
            made => made.with_context(fail)?,
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(fail)?;
        socket.set_read_timeout(Some(LOOK)).with_context(fail)?;
        Ok(Self { path, socket })
    }

    fn wait_until_ready(&self, child: &mut Child, patience: Duration) -> anyhow::Result<Waited> {
        let until = Instant::now() + patience;
        let mut message = [0; 4096];
        while Instant::now() < until {
            match self.socket.recv(&mut message) {
                Ok(length)
                    if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") =>
                {
                    return Ok(Waited::Ready);
                }
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    return Err(anyhow::Error::new(error).context("the daemon cannot be waited for"));
                }
                _ => {}
            }
            if let Some(status) = child.try_wait().context("the daemon cannot be waited for")? {
                return Ok(Waited::Ended(status));
            }
        }
        Ok(Waited::TooLong)
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(script: &str, patience: Duration, message: Option<&[u8]>) -> Waited {
        let place = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(place.path().join(SOCKET_NAME)).unwrap();
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        if let Some(message) = message {
            UnixDatagram::unbound().unwrap().send_to(message, &socket.path).unwrap();
        }
        let waited = socket.wait_until_ready(&mut child, patience).unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        waited
    }

    #[test]
    fn the_wait_ends_with_the_message_the_end_or_the_patience() {
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(300));
        assert!(matches!(wait("sleep 60", long, Some(b"STATUS=x\nREADY=1\nMAINPID=7")), Waited::Ready));
        assert!(matches!(wait("sleep 60", short, Some(b"STATUS=NOT READY=1")), Waited::TooLong));
        let Waited::Ended(status) = wait("exit 78", long, None) else { panic!("it has ended") };
        assert_eq!(status.code(), Some(78));
    }
}
