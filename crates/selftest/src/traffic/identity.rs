//! Identity of executables: short-lived programs, and files that are deleted, replaced, modified, in memory or on FUSE.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{SocketAddr, SocketAddrV4},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, OpenOptionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::stream_socket::{listener, receive_to_end, send_all};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult, write_line},
    ancestors::ancestors,
    expected_flow::ExpectedFlow,
    fuse::{self, FuseMount},
    lab::{LabNamespace, Link},
    program::{Action, elf},
    scenario::Scenario,
    socket::Socket,
};
use identity::digests;

const TCP: i32 = libc::IPPROTO_TCP;
const LINK: Link = Link::Ipv4;
/// Number of programs that live for less than a millisecond.
const SHORT_LIVED_PROGRAMS: u64 = 50;
/// Bytes that each tiny program sends.
const TINY_BYTES: u16 = 100;
/// Bytes that each of the other programs sends.
const BYTES: usize = 5003;
const NOBODY: u32 = 65_534;
/// Time after which the recorder has hashed an executable.
const HASHING_TIME: Duration = Duration::from_secs(1);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("short-lived", SHORT_LIVED_PROGRAMS, run_short_lived),
        scenario("modified", 2, run_modified),
        scenario("replaced", 2, run_replaced).child_actor("old", replace_and_send),
        scenario("deleted", 1, |actor| run_role(&actor.executable("gone"), actor, "gone"))
            .child_actor("gone", delete_and_send),
        scenario("memfd", 1, run_in_memory).child_actor("inner", send_from_memory),
        scenario("fuse", 1, run_on_fuse),
    ]
}

/// Makes a scenario with a server that accepts so many connections, and a client that runs the programs.
fn scenario(id: &str, connections: u64, client: fn(&ActorProcess) -> ActorResult<()>) -> Scenario {
    Scenario::new(id)
        .actor("server", LINK.server_namespace(), move |actor| {
            let listener = listener(LINK, TCP)?;
            actor.publish_port(listener.local()?)?;
            for _ in 0..connections {
                let mut socket = listener.accept()?;
                receive_to_end(&mut socket)?;
                socket.report_flows()?;
            }
            Ok(())
        })
        .actor("client", LabNamespace::First, client)
}

/// A program of a few instructions that connects to the server, and what the log must contain about it.
struct TinyProgram {
    path: PathBuf,
    sha256: String,
    to: SocketAddr,
}

impl TinyProgram {
    fn write(path: PathBuf, to: SocketAddr, salt: u64) -> ActorResult<Self> {
        let SocketAddr::V4(address) = to else {
            return Err(ActorError::Failed("not an IPv4 address".into()));
        };
        let program = tiny_executable(address, 0, salt)?;
        // An existing file is modified in place.
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(&path)?
            .write_all(&program)?;
        let sha256 = digests::hash(&File::open(&path)?, &mut [0; 4096])?.to_hex();
        Ok(Self { path, sha256, to })
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.path).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }

    /// Waits for the end of the program and reports its flow.
    fn finish(self, running: Child) -> ActorResult<()> {
        let path = self.path.to_string_lossy().into_owned();
        self.finish_as(running, path, 0)
    }

    /// Like [`Self::finish`], for another command line and user.
    fn finish_as(self, mut running: Child, command_line: String, uid: u32) -> ActorResult<()> {
        let status = running.wait()?;
        if !status.success() {
            return Err(ActorError::Failed(format!("{} ended with {status}", self.path.display())));
        }
        let path = self.path.to_string_lossy().into_owned();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let [parent, _] = ancestors().pop().unwrap_or_default();
        let flow = ExpectedFlow {
            exe: path,
            sha256: Some(self.sha256),
            // TASK_COMM_LEN, without the zero byte.
            name: name.chars().take(15).collect(),
            command_line,
            ancestors: vec![[fs::read_link("/proc/self/exe")?.to_string_lossy().into_owned(), parent]],
            uid,
            network_namespace: fs::metadata("/proc/self/ns/net")?.ino(),
            family: libc::AF_INET as u16,
            protocol: TCP as u16,
            remote_address: Some(self.to.ip()),
            remote_port: self.to.port(),
            connections: 1,
            sent: u64::from(TINY_BYTES),
            ..ExpectedFlow::default()
        };
        Ok(write_line(&format!("flow {}", serde_json::to_string(&flow).map_err(io::Error::from)?))?)
    }

    fn run(self) -> ActorResult<()> {
        let running = self.start()?;
        self.finish(running)
    }
}

/// Makes the directory for the programs of a scenario.
fn program_directory(actor: &ActorProcess) -> io::Result<PathBuf> {
    let directory = actor.directory.join(format!("{}-programs", actor.scenario));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Runs programs of different content, each of which is deleted while it runs or just after.
fn run_short_lived(actor: &ActorProcess) -> ActorResult<()> {
    let (to, programs) = (actor.server(LINK)?, program_directory(actor)?);
    for salt in 0..SHORT_LIVED_PROGRAMS {
        let program = TinyProgram::write(programs.join(format!("p{salt}")), to, salt)?;
        let running = program.start()?;
        fs::remove_file(&program.path)?;
        program.finish(running)?;
    }
    Ok(())
}

/// Runs a file, modifies it, and runs it again.
fn run_modified(actor: &ActorProcess) -> ActorResult<()> {
    let (to, programs) = (actor.server(LINK)?, program_directory(actor)?);
    for salt in [1, 2] {
        TinyProgram::write(programs.join("program"), to, salt)?.run()?;
        // The recorder hashes the file after its execution; an earlier modification would leave the first content without a digest.
        thread::sleep(HASHING_TIME);
    }
    Ok(())
}

/// Replaces the file of a running program by rename, and then runs the new file.
fn run_replaced(actor: &ActorProcess) -> ActorResult<()> {
    let to = actor.server(LINK)?;
    let path = actor.executable("old");
    let new = TinyProgram::write(program_directory(actor)?.join("new"), to, 1)?;
    let arguments = [to.to_string(), new.path.to_string_lossy().into_owned()];
    let status = Command::new(&path)
        .args(actor.arguments("old", &[arguments[0].as_ref(), arguments[1].as_ref()]))
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(ActorError::Failed(format!("the old program ended with {status}")));
    }
    TinyProgram { path, ..new }.run()
}

fn replace_and_send(actor: &ActorProcess) -> ActorResult<()> {
    let path = fs::read_link("/proc/self/exe")?;
    let new =
        actor.extra_arguments.get(1).ok_or_else(|| ActorError::Failed("argument 1 is missing".into()))?;
    fs::rename(new, &path)?;
    send_as(actor, Some(path))
}

fn delete_and_send(actor: &ActorProcess) -> ActorResult<()> {
    let path = fs::read_link("/proc/self/exe")?;
    fs::remove_file(&path)?;
    send_as(actor, Some(path))
}

/// Runs a copy of the program in memory, without a file system.
fn run_in_memory(actor: &ActorProcess) -> ActorResult<()> {
    let memory = copy_to_memory()?;
    run_role(Path::new(&format!("/proc/self/fd/{}", memory.as_raw_fd())), actor, "inner")
}

fn copy_to_memory() -> ActorResult<OwnedFd> {
    let memory = memfd_create(c"picosnitch", MemfdFlags::empty()).map_err(io::Error::from)?;
    io::copy(&mut File::open("/proc/self/exe")?, &mut File::from(memory.try_clone()?))?;
    // A file that is open for writing cannot be executed (ETXTBSY).
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap_or_default();
    // SAFETY: the path ends with a zero byte. Without O_CLOEXEC: the program is executed through it.
    let reader = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    if reader < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel just made this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(reader) })
}

fn send_from_memory(actor: &ActorProcess) -> ActorResult<()> {
    send_as(actor, Some("/memfd:picosnitch".into()))?;
    // The file can be read only while the process lives.
    thread::sleep(HASHING_TIME);
    Ok(())
}

/// Runs `program` as the actor in `role`, with the address of the server, and waits for its end.
fn run_role(program: &Path, actor: &ActorProcess, role: &str) -> ActorResult<()> {
    let to = actor.server(LINK)?.to_string();
    let status =
        Command::new(program).args(actor.arguments(role, &[to.as_ref()])).stdin(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(ActorError::Failed(format!("{} ended with {status}", program.display()))),
    }
}

/// Sends to the server that the first extra argument names. The log must contain `path` as the executable.
fn send_as(actor: &ActorProcess, path: Option<PathBuf>) -> ActorResult<()> {
    let to = actor.extra_arguments.first().and_then(|argument| argument.to_str()?.parse::<SocketAddr>().ok());
    let to = to.ok_or_else(|| ActorError::Failed("argument 0 is no address".into()))?;
    let mut socket = Socket::open(LINK.family(), libc::SOCK_STREAM, TCP)?;
    socket.executable = path.map(|path| path.to_string_lossy().into_owned());
    socket.connect(to)?;
    send_all(&mut socket, BYTES)?;
    socket.report_flows()?;
    Ok(())
}

/// Runs a program on a file system that only its user may read.
fn run_on_fuse(actor: &ActorProcess) -> ActorResult<()> {
    let (to, programs) = (actor.server(LINK)?, program_directory(actor)?);
    let SocketAddr::V4(address) = to else { return Err(ActorError::Failed("not an IPv4 address".into())) };
    let mount_point = programs.join("mounted");
    fs::create_dir(&mount_point)?;
    // The program lives for three seconds, as even a small AppImage does, because its file can be read through the process only.
    let program = tiny_executable(address, 3, 0)?;
    let copy = programs.join("copy");
    fs::write(&copy, &program)?;
    let sha256 = digests::hash(&File::open(&copy)?, &mut [0; 4096])?.to_hex();
    let mounted = match FuseMount::mount(&mount_point, "picosnitch", program, NOBODY, NOBODY) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            return Err(ActorError::Skipped(format!("this kernel has no FUSE ({error})")));
        }
        mounted => mounted?,
    };
    // The user may not enter the private directory, so that the program is started from within it.
    let directory = File::open(&programs)?;
    let path = Path::new("mounted").join(fuse::PROGRAM);
    let mut command = Command::new(&path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            let succeeded = libc::fchdir(directory.as_raw_fd()) == 0
                && libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
                && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0;
            if succeeded { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    let running = command.spawn()?;
    let program = TinyProgram { path: mount_point.join(fuse::PROGRAM), sha256, to };
    program.finish_as(running, path.to_string_lossy().into_owned(), NOBODY)?;
    // The file can be read only while its file system is mounted.
    thread::sleep(HASHING_TIME);
    drop(mounted);
    Ok(())
}

/// Makes the content of a tiny program.
fn tiny_executable(to: SocketAddrV4, linger: u8, salt: u64) -> ActorResult<Vec<u8>> {
    elf(Action::Send { to, bytes: TINY_BYTES, linger }, salt)
        .ok_or_else(|| ActorError::Skipped("the tiny programs are made for x86-64 only".into()))
}
