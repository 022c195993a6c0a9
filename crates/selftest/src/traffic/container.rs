//! A container without a container engine: namespaces of its own (mount, process, network, cgroup, IPC, UTS) and a root of its own.

use std::{
    ffi::CString,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{
    process::wait_for,
    stream_socket::{receive_exactly, send_all},
};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{self, LabNamespace},
    private_directory::link_executable,
    scenario::Scenario,
    socket::Socket,
    system_error::{SystemError, check},
};

/// The path of the executable inside the container.
const INNER_EXECUTABLE: &str = "/picosnitch-container-actor";
/// Directories of programs and libraries, which are mounted into the container.
const SYSTEM_DIRECTORIES: [&str; 5] = ["usr", "lib", "lib64", "bin", "nix"];
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("container")
            .actor("client", LabNamespace::First, start_container)
            .child_actor("inner", exchange_over_loopback),
    ]
}

fn start_container(actor: &ActorProcess) -> ActorResult<()> {
    // SAFETY: no pointers are passed; this process has one thread.
    check("unshare", unsafe { libc::unshare(NAMESPACES) } as isize)?;
    let root = make_root(&actor.directory)?;
    // The child is the first process of the new process namespace.
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let error = enter(actor, &root);
            eprintln!("picosnitch: the selftest's container: {error}");
            // SAFETY: the child ends without running what belongs to the parent.
            unsafe { libc::_exit(1) }
        }
        child if child > 0 => wait_for(child),
        _ => Err(SystemError::last("fork").into()),
    }
}

/// Makes the root: an overlay, as container engines use it, with the executable and the system directories of the host.
fn make_root(directory: &Path) -> io::Result<PathBuf> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let [lower, writable, root] =
        ["lower", "writable", "root"].map(|name| directory.join("container").join(name));
    for path in [&lower, &writable, &root] {
        fs::create_dir_all(path)?;
    }
    link_executable(directory, &lower.join(INNER_EXECUTABLE.trim_start_matches('/')))?;
    mount(Some("tmpfs"), &writable, Some("tmpfs"), MsFlags::empty(), none)?;
    fs::create_dir(writable.join("upper"))?;
    fs::create_dir(writable.join("work"))?;
    let mut options = b"lowerdir=".to_vec();
    options.extend_from_slice(lower.as_os_str().as_bytes());
    for name in ["upper", "work"] {
        options.extend_from_slice(format!(",{name}dir=").as_bytes());
        options.extend_from_slice(writable.join(name).as_os_str().as_bytes());
    }
    if mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(&*options)).is_err() {
        // On a kernel without overlayfs the lower directory itself is the root.
        mount(Some(&lower), &root, none, MsFlags::MS_BIND, none)?;
    }
    fs::create_dir_all(root.join("proc"))?;
    for name in SYSTEM_DIRECTORIES {
        let (host, inside) = (Path::new("/").join(name), root.join(name));
        match fs::symlink_metadata(&host) {
            Err(_) => {}
            Ok(metadata) if metadata.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(&host)?, &inside)?;
            }
            Ok(_) => {
                fs::create_dir_all(&inside)?;
                mount(Some(&host), &inside, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
            }
        }
    }
    Ok(root)
}

/// Makes `root` the root of this process and executes the inner actor. Returns only if that fails.
fn enter(actor: &ActorProcess, root: &Path) -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        std::env::set_current_dir(root)?;
        // The old root is then mounted on top of the new one, and is unmounted (pivot_root(2), "pivot_root(".", ".")").
        nix::unistd::pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
        lab::set_loopback_up()?;
        nix::unistd::sethostname("selftest")?;
        Ok(Command::new(INNER_EXECUTABLE).args(actor.arguments("inner", &[])).exec())
    };
    attempt().unwrap_or_else(|error| error)
}

/// Opens both ends of a connection and of an exchange of datagrams, over the loopback interface of the container.
fn exchange_over_loopback(_: &ActorProcess) -> ActorResult<()> {
    const BYTES: usize = 20_003;
    let path = CString::new(INNER_EXECUTABLE).unwrap_or_default();
    // SAFETY: the path ends with a zero byte.
    check("access", unsafe { libc::access(path.as_ptr(), libc::X_OK) } as isize)?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
    listener.bind(any_port)?;
    listener.listen(1)?;
    let mut client = Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
    client.connect(listener.local()?)?;
    let mut server = listener.accept()?;
    send_all(&mut client, BYTES)?;
    receive_exactly(&mut server, BYTES)?;

    let mut datagrams = [0, 1].map(|_| Socket::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP));
    let [Ok(one), Ok(other)] = &mut datagrams else {
        return Err(ActorError::Failed("cannot open datagram sockets".to_owned()));
    };
    other.bind(any_port)?;
    one.send_to(&[1; 900], other.local()?)?;
    other.recv_from(&mut [0; 1000], 0)?;
    for socket in [&client, &server, one, other] {
        socket.report_flows()?;
    }
    Ok(())
}
