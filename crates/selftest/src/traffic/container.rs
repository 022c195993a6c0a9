//! A container by hand: own mount, process, network, cgroup, IPC and host name namespaces, an own root.

use std::{
    ffi::CString,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{process::wait_for, receive_exactly, send_all};
use crate::{
    actor::{Outcome, Stage, Stop},
    director, lab,
    scenario::{Place, Scenario},
    socket::{Socket, SystemError, check},
};

/// The executable as its own processes see it; from outside it is somewhere else.
const INSIDE: &str = "/picosnitch-container-actor";
/// Where programs and the libraries that they load are.
const SYSTEM: [&str; 5] = ["usr", "lib", "lib64", "bin", "nix"];
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("container").actor("client", Place::Here, start).helper("inner", inside)]
}

fn start(stage: &Stage) -> Outcome<()> {
    // SAFETY: no pointers are passed; this process has one thread.
    check("unshare", unsafe { libc::unshare(NAMESPACES) } as isize)?;
    let root = make_root(&stage.directory)?;
    // The first child is the first process of the new process namespace.
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let error = enter(stage, &root);
            eprintln!("picosnitch: the selftest's container: {error}");
            // SAFETY: the child ends without running what belongs to the parent.
            unsafe { libc::_exit(1) }
        }
        child if child > 0 => wait_for(child),
        _ => Err(SystemError::last("fork").into()),
    }
}

/// An overlay (as container engines use it) of the executable and the host's system directories.
fn make_root(directory: &Path) -> io::Result<PathBuf> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let [lower, writable, root] =
        ["lower", "writable", "root"].map(|name| directory.join("container").join(name));
    for path in [&lower, &writable, &root] {
        fs::create_dir_all(path)?;
    }
    director::give_executable(directory, &lower.join(INSIDE.trim_start_matches('/')))?;
    mount(Some("tmpfs"), &writable, Some("tmpfs"), MsFlags::empty(), nothing)?;
    fs::create_dir(writable.join("upper"))?;
    fs::create_dir(writable.join("work"))?;
    let mut options = b"lowerdir=".to_vec();
    options.extend_from_slice(lower.as_os_str().as_bytes());
    for name in ["upper", "work"] {
        options.extend_from_slice(format!(",{name}dir=").as_bytes());
        options.extend_from_slice(writable.join(name).as_os_str().as_bytes());
    }
    if mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(&*options)).is_err() {
        // A kernel without overlayfs: the directory itself is the root.
        mount(Some(&lower), &root, nothing, MsFlags::MS_BIND, nothing)?;
    }
    fs::create_dir_all(root.join("proc"))?;
    for name in SYSTEM {
        let (host, inside) = (Path::new("/").join(name), root.join(name));
        match fs::symlink_metadata(&host) {
            Err(_) => {}
            Ok(metadata) if metadata.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(&host)?, &inside)?;
            }
            Ok(_) => {
                fs::create_dir_all(&inside)?;
                mount(Some(&host), &inside, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?;
            }
        }
    }
    Ok(root)
}

/// Makes `root` the root of this process and becomes the actor inside; returns only when that fails.
fn enter(stage: &Stage, root: &Path) -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        std::env::set_current_dir(root)?;
        // The old root ends up on top of the new one and is taken away (pivot_root(2), "pivot_root(".", ".")").
        nix::unistd::pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
        lab::set_loopback_up()?;
        nix::unistd::sethostname("selftest")?;
        Ok(Command::new(INSIDE).args(stage.arguments("inner", &[])).exec())
    };
    attempt().unwrap_or_else(|error| error)
}

/// Both ends of a connection and of an exchange of datagrams, over the container's own loopback.
fn inside(_: &Stage) -> Outcome<()> {
    const BYTES: usize = 20_003;
    let path = CString::new(INSIDE).unwrap_or_default();
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
        return Err(Stop::Failed("no datagram sockets".to_owned()));
    };
    other.bind(any_port)?;
    one.send_to(&[1; 900], other.local()?)?;
    other.recv_from(&mut [0; 1000], 0)?;
    for socket in [&client, &server, one, other] {
        socket.publish()?;
    }
    Ok(())
}
