//! Tells the service manager what the daemon does: systemd, or `picosnitch start`. By hand, since it is a datagram of a few
//! lines (sd_notify(3)).

use std::{
    env,
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

/// Variables of sd_notify(3) and sd_watchdog_enabled(3).
const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_MICROSECONDS: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";
/// The watchdog is told so many times within its limit that the daemon makes progress.
const PINGS: u32 = 4;

/// The service manager that has started this process; without one, each method does nothing.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
    /// What it shows while the daemon records.
    status: String,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    pinged: Option<Instant>,
}

impl ServiceManager {
    /// Takes the service manager from the environment, so that no other process that this one starts has it. Must be called
    /// while this process has one thread.
    pub fn take_from_environment() -> Self {
        let [socket, microseconds, process] = [SOCKET, WATCHDOG_MICROSECONDS, WATCHDOG_PROCESS].map(|name| {
            let value = env::var_os(name);
            // SAFETY: no other thread reads the environment, since there is none.
            unsafe { env::remove_var(name) };
            value
        });
        Self {
            socket: socket.as_ref().and_then(connect),
            watchdog: Watchdog::of(microseconds, process),
            status: String::new(),
        }
    }

    /// Recording has begun; `blind_spots` says in one line what is not seen.
    pub(super) fn started(&mut self, blind_spots: Option<String>) {
        self.status = match blind_spots {
            None => "Recording.".to_owned(),
            Some(blind_spots) => format!("Recording. {blind_spots}."),
        };
        self.ready();
    }

    /// Recording goes on.
    pub(super) fn ready(&self) {
        self.send(&format!("READY=1\nSTATUS={}\nMAINPID={}", self.status, std::process::id()));
    }

    /// The configuration is being read anew; [`ServiceManager::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// Recording ends. The watchdog waits for nothing from here on.
    pub(super) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// The daemon makes progress: tells the watchdog, if that is due.
    pub(super) fn ping(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if watchdog.pinged.is_none_or(|pinged| pinged.elapsed() >= watchdog.interval) {
            watchdog.pinged = Some(Instant::now());
            self.send("WATCHDOG=1");
        }
    }

    /// Nothing depends on the service manager: errors are ignored, such as that `picosnitch start` has ended.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }
}

impl Watchdog {
    /// `None` if there is none, or the variables are for another process.
    fn of(microseconds: Option<OsString>, process: Option<OsString>) -> Option<Self> {
        let number = |value: OsString| value.to_str()?.parse::<u64>().ok();
        if process.is_some_and(|process| number(process) != Some(u64::from(std::process::id()))) {
            return None;
        }
        let limit = number(microseconds?).filter(|limit| *limit > 0)?;
        Some(Self { interval: Duration::from_micros(limit) / PINGS, pinged: None })
    }
}

fn connect(path: &OsString) -> Option<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(path),
        // A socket of another kind (vsock), for service managers outside of a virtual machine.
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    // A service manager that does not read must not hold up recording.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let server = UnixDatagram::bind(&path).unwrap();
        let watchdog = Watchdog::of(Some("4000000".into()), None);
        let mut manager = ServiceManager { socket: connect(&path.into()), watchdog, status: String::new() };
        let receive = || {
            let mut buffer = [0; 256];
            let length = server.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        manager.started(None);
        assert_eq!(receive(), format!("READY=1\nSTATUS=Recording.\nMAINPID={}", std::process::id()));
        manager.reloading();
        let text = receive();
        let microseconds: u64 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(microseconds > 0);
        manager.ping();
        manager.ping();
        manager.stopping("Writing.");
        assert_eq!(receive(), "WATCHDOG=1");
        assert_eq!(receive(), "STOPPING=1\nSTATUS=Writing.", "it was told twice in an instant");
        drop(server);
        manager.ready();
    }

    #[test]
    fn names_without_a_path_and_other_sockets() {
        let name = format!("picosnitch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let server = UnixDatagram::bind_addr(&address).unwrap();
        connect(&format!("@{name}").into()).unwrap().send(b"x").unwrap();
        assert_eq!(server.recv(&mut [0; 8]).unwrap(), 1);
        for other in ["vsock:2:1234", "", "relative", "/nonexistent/socket"] {
            assert!(connect(&other.into()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_watchdog_of_another_process_is_none() {
        let limit = || Some("1000000".into());
        assert!(Watchdog::of(limit(), Some("1".into())).is_none());
        assert!(Watchdog::of(limit(), Some(std::process::id().to_string().into())).is_some());
        for limit in [None, Some("0".into()), Some("x".into())] {
            assert!(Watchdog::of(limit, None).is_none());
        }
    }
}
