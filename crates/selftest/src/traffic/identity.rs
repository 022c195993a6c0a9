//! Which file a program was: short-lived ones, and files that are deleted, replaced, modified or never had a name.

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

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{listener, receive_to_end, send_all};
use crate::{
    actor::{Outcome, Stage, Stop, say},
    fuse::{self, Fuse},
    lab::Link,
    program::{Deed, elf},
    scenario::{Place, Scenario},
    socket::{Flow, Socket, ancestors},
};
use identity::digests;

const TCP: i32 = libc::IPPROTO_TCP;
const LINK: Link = Link::Ipv4;
/// Programs that live for less than a millisecond.
const MANY: u64 = 50;
/// Bytes that each of the small programs sends.
const BYTES: u16 = 100;
/// Bytes of the other ones.
const MORE_BYTES: usize = 5003;
const NOBODY: u32 = 65_534;
/// How long reading may take until something may happen to a file.
const READING: Duration = Duration::from_secs(1);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        programs("short-lived", MANY, short_lived),
        programs("modified", 2, modified),
        programs("replaced", 2, replaced).helper("old", replaced_while_it_runs),
        programs("deleted", 1, |stage| run(&stage.executable("gone"), stage, "gone")).helper("gone", deleted),
        programs("memfd", 1, in_memory).helper("inner", inside_memory),
        programs("fuse", 1, on_fuse),
    ]
}

/// A server that takes so many connections, and an actor that runs the programs.
fn programs(id: &str, connections: u64, client: fn(&Stage) -> Outcome<()>) -> Scenario {
    Scenario::new(id)
        .actor("server", LINK.server_place(), move |stage| {
            let listener = listener(LINK, TCP)?;
            stage.offer(listener.local()?)?;
            for _ in 0..connections {
                let mut socket = listener.accept()?;
                receive_to_end(&mut socket)?;
                socket.publish()?;
            }
            Ok(())
        })
        .actor("client", Place::Here, client)
}

/// A program of a few instructions that talks to the server: written, run, and what it must have been recorded as.
struct Small {
    path: PathBuf,
    sha256: String,
    to: SocketAddr,
}

impl Small {
    fn write(path: PathBuf, to: SocketAddr, salt: u64) -> Outcome<Self> {
        let SocketAddr::V4(address) = to else { return Err(Stop::Failed("not an IPv4 address".into())) };
        let program = small(address, 0, salt)?;
        // In place where there is a file already.
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

    /// Waits for its end and says what it moved.
    fn finish(self, running: Child) -> Outcome<()> {
        let path = self.path.to_string_lossy().into_owned();
        self.finish_as(running, path, 0)
    }

    /// The same with another command line and user.
    fn finish_as(self, mut running: Child, command_line: String, uid: u32) -> Outcome<()> {
        let status = running.wait()?;
        if !status.success() {
            return Err(Stop::Failed(format!("{} ended with {status}", self.path.display())));
        }
        let path = self.path.to_string_lossy().into_owned();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let [parent, _] = ancestors().pop().unwrap_or_default();
        let flow = Flow {
            exe: path,
            sha256: Some(self.sha256),
            // TASK_COMM_LEN.
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
            sent: u64::from(BYTES),
            ..Flow::default()
        };
        Ok(say(&format!("flow {}", serde_json::to_string(&flow).map_err(io::Error::from)?))?)
    }

    fn run(self) -> Outcome<()> {
        let running = self.start()?;
        self.finish(running)
    }
}

/// A place for the programs of a scenario.
fn place(stage: &Stage) -> io::Result<PathBuf> {
    let place = stage.directory.join(format!("{}-programs", stage.scenario));
    fs::create_dir_all(&place)?;
    Ok(place)
}

/// Each has a content of its own, and is deleted while it runs or after.
fn short_lived(stage: &Stage) -> Outcome<()> {
    let (to, place) = (stage.server(LINK)?, place(stage)?);
    for salt in 0..MANY {
        let program = Small::write(place.join(format!("p{salt}")), to, salt)?;
        let running = program.start()?;
        fs::remove_file(&program.path)?;
        program.finish(running)?;
    }
    Ok(())
}

/// The same file with another content.
fn modified(stage: &Stage) -> Outcome<()> {
    let (to, place) = (stage.server(LINK)?, place(stage)?);
    for salt in [1, 2] {
        Small::write(place.join("program"), to, salt)?.run()?;
        // It is read after it was executed; whoever is quicker with a modification makes that impossible.
        thread::sleep(READING);
    }
    Ok(())
}

/// Another file takes the name of a program that runs, and runs then too.
fn replaced(stage: &Stage) -> Outcome<()> {
    let to = stage.server(LINK)?;
    let path = stage.executable("old");
    let new = Small::write(place(stage)?.join("new"), to, 1)?;
    let words = [to.to_string(), new.path.to_string_lossy().into_owned()];
    let status = Command::new(&path)
        .args(stage.arguments("old", &[words[0].as_ref(), words[1].as_ref()]))
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(Stop::Failed(format!("the old program ended with {status}")));
    }
    Small { path, ..new }.run()
}

fn replaced_while_it_runs(stage: &Stage) -> Outcome<()> {
    let path = fs::read_link("/proc/self/exe")?;
    let new = stage.words.get(1).ok_or_else(|| Stop::Failed("word 1 is missing".into()))?;
    fs::rename(new, &path)?;
    talk(stage, Some(path))
}

fn deleted(stage: &Stage) -> Outcome<()> {
    let path = fs::read_link("/proc/self/exe")?;
    fs::remove_file(&path)?;
    talk(stage, Some(path))
}

/// A copy of the program in memory, without a file system.
fn in_memory(stage: &Stage) -> Outcome<()> {
    let memory = memory()?;
    run(Path::new(&format!("/proc/self/fd/{}", memory.as_raw_fd())), stage, "inner")
}

fn memory() -> Outcome<OwnedFd> {
    let memory = memfd_create(c"picosnitch", MFdFlags::empty()).map_err(io::Error::from)?;
    io::copy(&mut File::open("/proc/self/exe")?, &mut File::from(memory.try_clone()?))?;
    // Nobody may execute what somebody has open for writing.
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap_or_default();
    // SAFETY: the path ends with a zero byte. Without O_CLOEXEC: the program is executed through it.
    let reader = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    if reader < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(reader) })
}

fn inside_memory(stage: &Stage) -> Outcome<()> {
    talk(stage, Some("/memfd:picosnitch".into()))?;
    // Its file ends with its process.
    thread::sleep(READING);
    Ok(())
}

/// Runs the program under another path in a role that talks to the server, and waits for it.
fn run(program: &Path, stage: &Stage, role: &str) -> Outcome<()> {
    let to = stage.server(LINK)?.to_string();
    let status =
        Command::new(program).args(stage.arguments(role, &[to.as_ref()])).stdin(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Stop::Failed(format!("{} ended with {status}", program.display()))),
    }
}

/// Talks to the server that the first word names; the executable is recorded under `path`.
fn talk(stage: &Stage, path: Option<PathBuf>) -> Outcome<()> {
    let to = stage.words.first().and_then(|word| word.to_str()?.parse::<SocketAddr>().ok());
    let to = to.ok_or_else(|| Stop::Failed("word 0 is no address".into()))?;
    let mut socket = Socket::open(LINK.family(), libc::SOCK_STREAM, TCP)?;
    socket.executable = path.map(|path| path.to_string_lossy().into_owned());
    socket.connect(to)?;
    send_all(&mut socket, MORE_BYTES)?;
    socket.publish()?;
    Ok(())
}

/// A program on a file system that only its user may read.
fn on_fuse(stage: &Stage) -> Outcome<()> {
    let (to, place) = (stage.server(LINK)?, place(stage)?);
    let SocketAddr::V4(address) = to else { return Err(Stop::Failed("not an IPv4 address".into())) };
    let at = place.join("mounted");
    fs::create_dir(&at)?;
    // Lives as long as a small AppImage does at least: no other way to its file leads past the process.
    let program = small(address, 3, 0)?;
    let copy = place.join("copy");
    fs::write(&copy, &program)?;
    let sha256 = digests::hash(&File::open(&copy)?, &mut [0; 4096])?.to_hex();
    let mounted = match Fuse::mount(&at, program, (NOBODY, NOBODY)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            return Err(Stop::Skipped(format!("this kernel has no FUSE ({error})")));
        }
        mounted => mounted?,
    };
    // The way to it is the selftest's, which others may not go: they start from there.
    let directory = File::open(&place)?;
    let path = Path::new("mounted").join(fuse::PROGRAM);
    let mut command = Command::new(&path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec only system calls are made, nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            let done = libc::fchdir(directory.as_raw_fd()) == 0
                && libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
                && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0;
            if done { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    let running = command.spawn()?;
    let small = Small { path: at.join(fuse::PROGRAM), sha256, to };
    small.finish_as(running, path.to_string_lossy().into_owned(), NOBODY)?;
    // It is read while its file system is there.
    thread::sleep(READING);
    drop(mounted);
    Ok(())
}

/// The content of a small program.
fn small(to: SocketAddrV4, linger: u8, salt: u64) -> Outcome<Vec<u8>> {
    elf(Deed::Send { to, bytes: BYTES, linger }, salt)
        .ok_or_else(|| Stop::Skipped("the small programs are made for x86-64 only".into()))
}
