//! Executes itself in each role and tries what the role must not be able to do, and what it is there for. Without root, whose
//! rights are to be dropped, nothing can be tried.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::{Gid, Pid, Uid, fork, getppid, setgroups, setuid},
};
use sandbox::{ExporterAccess, Monitor, RecorderFiles, Role, User};

const UID: u32 = 4242;
const GID: u32 = 4243;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("role") => return play(&arguments[2], &arguments[3..]),
        Some("monitor") => return play_monitor(),
        Some("attack") => return attack(),
        _ => {}
    }
    if !Uid::effective().is_root() {
        println!("skipped: only root can drop its rights");
        return;
    }
    let checks: [(&str, fn()); 4] = [
        ("no_role_can_do_what_it_is_not_there_for", no_role_can_do_what_it_is_not_there_for),
        ("no_role_runs_as_root", no_role_runs_as_root),
        ("no_user_can_look_into_a_role", no_user_can_look_into_a_role),
        ("a_monitor_keeps_a_list_of_rights", a_monitor_keeps_a_list_of_rights),
    ];
    for (name, check) in checks {
        check();
        println!("{name} ... ok");
    }
}

fn user() -> User {
    User { uid: Uid::from_raw(UID), gid: Gid::from_raw(GID) }
}

/// What the roles may and may not use.
struct Place {
    directory: tempfile::TempDir,
    listener: TcpListener,
    other: TcpListener,
    bystander: Child,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(directory.path(), 0o755);
        for name in ["log", "elsewhere"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            mode(&directory.path().join(name), 0o777);
        }
        fs::write(directory.path().join("public"), "").unwrap();
        mode(&directory.path().join("public"), 0o666);
        let bystander = Command::new("sleep").arg("600").uid(UID).gid(GID).spawn().unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self { directory, listener: bind(), other: bind(), bystander }
    }

    fn arguments(&self) -> [String; 5] {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        [
            self.directory.path().to_str().unwrap().to_owned(),
            port(&self.listener),
            port(&self.other),
            self.bystander.id().to_string(),
            fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned(),
        ]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
    }
}

fn no_role_can_do_what_it_is_not_there_for() {
    let place = Place::new();
    for role in Role::ALL {
        let mut command = sandbox::command(role, user());
        command.args(place.arguments()).stdin(Stdio::null()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{role:?}: {status}");
    }
    assert!(kill(Pid::from_raw(place.bystander.id() as i32), None).is_ok(), "the other process lives");
}

fn no_role_runs_as_root() {
    for role in Role::ALL {
        let root = User { uid: Uid::from_raw(0), gid: Gid::from_raw(0) };
        let mut command = sandbox::command(role, root);
        let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("never as root"), "{role:?}: {text}");
    }
}

/// A process in a role: checks everything, and panics if something is possible that should not be.
fn play(name: &str, arguments: &[String]) {
    let role = Role::ALL.into_iter().find(|role| role.name() == name).unwrap();
    let landlock = landlock_version();
    sandbox::enter(role).unwrap();
    let [directory, port, other_port, bystander, network] = arguments else {
        // Another process tries to look into this one.
        return thread::sleep(Duration::from_secs(600));
    };
    let place = Directories(directory.into());
    let (port, other_port) = (port.parse::<u16>().unwrap(), other_port.parse::<u16>().unwrap());
    if matches!(role, Role::Recorder | Role::Exporter | Role::FileOpener) {
        check_status(role, &fs::read_to_string("/proc/self/status").unwrap());
    }
    if role != Role::Parser {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(own != Path::new(network), role == Role::Recorder, "{role:?}: network namespace");
    }
    match role {
        Role::Recorder => {
            RecorderFiles { written: &[&place.log()], read: &[Path::new("/missing/file")] }
                .confine()
                .unwrap();
        }
        Role::Exporter => ExporterAccess { ports: &[port], log: None }.confine().unwrap(),
        _ => {}
    }
    refused_to_all(role, Pid::from_raw(bystander.parse().unwrap()));
    refused_files(role, &place, landlock);
    refused_network(role, (port, other_port), landlock);
    purpose(role, &place, port, bystander);
}

/// The version of Landlock, before a role has no right to ask.
fn landlock_version() -> i64 {
    // SAFETY: asks for the version (LANDLOCK_CREATE_RULESET_VERSION).
    unsafe { libc::syscall(444, std::ptr::null::<u8>(), 0, 1) }
}

struct Directories(PathBuf);

impl Directories {
    fn log(&self) -> PathBuf {
        self.0.join("log/snitch.db")
    }

    fn elsewhere(&self) -> PathBuf {
        self.0.join("elsewhere/new")
    }
}

/// What /proc says about a role that has entered.
fn check_status(role: Role, status: &str) {
    let ids = |id: u32| format!("\t{id}\t{id}\t{id}\t{id}\n");
    for expected in [
        format!("\nUid:{}", ids(UID)),
        format!("\nGid:{}", ids(GID)),
        "\nGroups:\t \n".to_owned(),
        "\nNoNewPrivs:\t1\n".to_owned(),
    ] {
        assert!(status.contains(&expected), "{role:?}: {expected:?} is not in {status}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("\n{set}:\t0000000000000000\n")), "{role:?}: {set} in {status}");
    }
}

fn refused_to_all(role: Role, bystander: Pid) {
    for other in [bystander, getppid_of(role)] {
        assert!(kill(other, None).is_err() && kill(other, Signal::SIGTERM).is_err(), "{role:?} signals");
        assert!(!can_trace(other), "{role:?} traces {other}");
        // The bystander belongs to the same user as the file opener, which has no Landlock rules.
        let may = role == Role::FileOpener && other == bystander;
        assert!(may || File::open(format!("/proc/{other}/mem")).is_err(), "{role:?} reads memory");
    }
    for (name, call) in [
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
        ("tkill", libc::SYS_tkill),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
        ("mount", libc::SYS_mount),
        ("setns", libc::SYS_setns),
        ("keyctl", libc::SYS_keyctl),
        ("setuid", libc::SYS_setuid),
        ("setresuid", libc::SYS_setresuid),
        ("setgroups", libc::SYS_setgroups),
        ("capset", libc::SYS_capset),
        ("execve", libc::SYS_execve),
        ("listen", libc::SYS_listen),
        ("mknodat", libc::SYS_mknodat),
        ("symlinkat", libc::SYS_symlinkat),
        ("chroot", libc::SYS_chroot),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("personality", libc::SYS_personality),
        ("seccomp", libc::SYS_seccomp),
    ] {
        // SAFETY: null pointers and numbers only; each call is refused.
        let result = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
        assert_eq!((result, Errno::last()), (-1, Errno::EPERM), "{role:?}: {name}");
    }
    assert!(Command::new("/bin/true").status().is_err(), "{role:?} executes");
    // SAFETY: the fork is refused.
    assert!(unsafe { fork() }.is_err(), "{role:?} forks");
    for flags in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWNET] {
        assert_eq!(unshare(flags), Err(Errno::EPERM), "{role:?} unshares");
    }
    // A signal of the kernel to another process.
    for operation in [libc::F_SETOWN, 10, 15] {
        // SAFETY: the call is refused.
        let result = unsafe { libc::fcntl(0, operation, bystander.as_raw()) };
        assert_eq!((result, Errno::last()), (-1, Errno::EPERM), "{role:?}: fcntl {operation}");
    }
    // SAFETY: the call is refused.
    let typed = unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) };
    assert_eq!((typed, Errno::last()), (-1, Errno::EPERM), "{role:?} types");
    let executable = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the mapping is refused.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, executable, flags, -1, 0) };
    assert_eq!(mapped, libc::MAP_FAILED, "{role:?} makes code");
}

/// The monitor; only some roles may ask who it is.
fn getppid_of(role: Role) -> Pid {
    if role == Role::Recorder { getppid() } else { Pid::from_raw(1) }
}

fn refused_files(role: Role, place: &Directories, landlock: i64) {
    assert!(File::open("/etc/shadow").is_err(), "{role:?} opens /etc/shadow");
    assert!(fs::write(place.elsewhere(), "").is_err(), "{role:?} writes elsewhere");
    assert!(fs::write(place.0.join("public"), "x").is_err(), "{role:?} writes what all may write");
    if role != Role::FileOpener && landlock > 0 {
        assert!(File::open(place.0.join("public")).is_err(), "{role:?} reads what all may read");
        assert!(File::open("/usr").is_err() && fs::read_dir("/").is_err(), "{role:?} lists");
        assert!(role == Role::Exporter || File::open("/etc/passwd").is_err(), "{role:?} reads /etc");
    }
    if role != Role::Recorder {
        assert!(fs::write(place.log(), "x").is_err(), "{role:?} writes the log");
    }
}

fn refused_network(role: Role, (port, other_port): (u16, u16), landlock: i64) {
    for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH] {
        // SAFETY: numbers only.
        let socket = unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) };
        assert_eq!((socket, Errno::last()), (-1, Errno::EPERM), "{role:?}: family {family}");
    }
    // SAFETY: numbers only.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, 1) };
    assert_eq!(raw, -1, "{role:?} makes a raw socket");
    assert!(TcpListener::bind("127.0.0.1:0").is_err(), "{role:?} listens");
    if role != Role::Exporter {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{role:?} connects");
        assert!(UdpSocket::bind("127.0.0.1:0").is_err(), "{role:?} makes a UDP socket");
    } else if landlock >= 4 {
        assert!(TcpStream::connect(("127.0.0.1", other_port)).is_err(), "{role:?} connects to another port");
    }
    if role != Role::Exporter && role != Role::Notifier {
        assert!(std::os::unix::net::UnixStream::pair().is_err(), "{role:?} makes sockets");
    }
}

/// What the role is there for.
fn purpose(role: Role, place: &Directories, port: u16, bystander: &str) {
    match role {
        Role::Recorder => {
            let (log, renamed) = (place.log(), place.0.join("log/snitch.db.1"));
            fs::write(&log, "log").unwrap();
            fs::rename(&log, &renamed).unwrap();
            assert_eq!(fs::read_to_string(&renamed).unwrap(), "log");
            fs::hard_link(&renamed, &log).unwrap();
            File::options().append(true).open(&log).unwrap().set_len(1).unwrap();
            File::open(&log).unwrap().sync_all().unwrap();
            fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
            fs::remove_file(&renamed).unwrap();
            fs::remove_file(&log).unwrap();
            thread::spawn(|| fs::metadata("/etc/localtime").is_ok()).join().unwrap();
        }
        Role::Exporter => {
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            UdpSocket::bind("127.0.0.1:0").unwrap();
            std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).unwrap();
            thread::spawn(|| File::open("/etc/passwd").unwrap()).join().unwrap();
        }
        Role::Notifier => {
            thread::spawn(|| std::os::unix::net::UnixStream::pair().unwrap()).join().unwrap();
        }
        Role::FileOpener => drop(File::open(format!("/proc/{bystander}/exe")).unwrap()),
        Role::Parser => {
            let _ = std::io::stdin().read(&mut [0; 16]).unwrap();
            std::io::stdout().write_all(b"answer").unwrap();
        }
    }
}

/// Another process of the same user tries to look into each role from its first moment on.
fn no_user_can_look_into_a_role() {
    let mut attacker = Command::new("/proc/self/exe");
    attacker.arg("attack").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attacker = attacker.spawn().unwrap();
    let (mut told, mut heard) = (attacker.stdin.take().unwrap(), attacker.stdout.take().unwrap());
    for role in [Role::Notifier, Role::FileOpener, Role::Recorder].into_iter().cycle().take(60) {
        let mut child = sandbox::command(role, user()).stdin(Stdio::null()).spawn().unwrap();
        told.write_all(&child.id().to_ne_bytes()).unwrap();
        let mut answer = [0];
        heard.read_exact(&mut answer).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(answer, *b"-", "{role:?}: another process of its user has looked into it");
    }
    drop(told);
    attacker.wait().unwrap();
}

fn can_trace(process: Pid) -> bool {
    // SAFETY: numbers only.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, process.as_raw(), 0, 0) == 0 }
}

fn attack() {
    nix::unistd::setgid(Gid::from_raw(GID)).unwrap();
    setgroups(&[]).unwrap();
    setuid(Uid::from_raw(UID)).unwrap();
    let mut pid = [0; 4];
    while std::io::stdin().read_exact(&mut pid).is_ok() {
        let process = u32::from_ne_bytes(pid);
        let until = Instant::now() + Duration::from_millis(60);
        let mut found = b"-";
        while Instant::now() < until {
            let traced = can_trace(Pid::from_raw(process as i32));
            let opened = ["mem", "maps", "environ", "exe", "fd/0"].iter().any(|file| {
                File::open(format!("/proc/{process}/{file}"))
                    .is_ok_and(|mut file| file.read(&mut [0]).is_ok())
            });
            if traced || opened {
                found = b"+";
                break;
            }
        }
        std::io::stdout().write_all(found).unwrap();
        std::io::stdout().flush().unwrap();
        if found == b"+" {
            // The end of a tracer frees the process that it traces.
            return;
        }
    }
}

fn a_monitor_keeps_a_list_of_rights() {
    let status = Command::new("/proc/self/exe").arg("monitor").stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
}

fn play_monitor() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let place = Place::new();
    Monitor { starts_exporter: false }.enter().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    // CHOWN, DAC_*, FOWNER, KILL, SETGID, SETUID, SETPCAP, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, PERFMON, BPF.
    let kept = 0x0000_00c0_0128_01ef_u64;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{set}:\t"))).unwrap();
        let held = u64::from_str_radix(line, 16).unwrap();
        assert_eq!(held & !kept, 0, "{set}: {status}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert!(status.contains(&format!("\n{set}:\t0000000000000000\n")), "{status}");
    }
    assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
    for (name, call) in [
        ("mount", libc::SYS_mount),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("setns", libc::SYS_setns),
        ("chroot", libc::SYS_chroot),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("clock_settime", libc::SYS_clock_settime),
        ("keyctl", libc::SYS_keyctl),
    ] {
        // SAFETY: null pointers and numbers only; each call is refused.
        let result = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
        assert_eq!((result, Errno::last()), (-1, Errno::EPERM), "{name}");
    }
    for flags in [
        CloneFlags::CLONE_NEWUSER,
        CloneFlags::CLONE_NEWNS,
        CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS,
    ] {
        assert_eq!(unshare(flags), Err(Errno::EPERM));
    }
    assert!(TcpStream::connect("127.0.0.1:9").is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)));
    // What it is there for.
    chown(file.path(), Some(UID), Some(GID)).unwrap();
    File::options().append(true).open(file.path()).unwrap();
    let bystander = format!("/proc/{}", place.bystander.id());
    assert!(
        fs::read_link(format!("{bystander}/exe")).is_ok() && File::open(format!("{bystander}/maps")).is_ok()
    );
    assert!(Command::new("/bin/true").status().unwrap().success());
    for role in [Role::Recorder, Role::Notifier, Role::FileOpener, Role::Parser] {
        let mut child =
            sandbox::command(role, user()).stdin(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "{role:?} has not entered");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
}
