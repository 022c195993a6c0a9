//! The web server of the page: it was started by a user, perhaps root, and keeps the right to read what the page shows.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::{
    access::AccessWanted,
    capabilities,
    confined::{DNS_PORT, RESOLVER},
    file_access::{FileAccess, directories_of},
    system_calls::{self, Process},
    user::{NOBODY, User},
};

/// What every web server reads: processes and sockets, and the zones of time.
const READABLE: [&str; 5] =
    ["/proc", "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/localtime"];
/// Names of users, groups and services. They are replaced when they change, so that the rule must be of their directory; but root
/// could read secrets in it.
const NAMES: &str = "/etc";
const NAMES_OF_ROOT: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/services"];
/// The same of what the resolver of the C library reads, and of the certificates of authorities, for a root that cannot become another user.
const RESOLVER_OF_ROOT: [&str; 9] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ssl/certs",
    "/etc/pki/tls",
    "/run/systemd/resolve",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
];

/// What a web server reads.
#[derive(Clone, Copy, Debug)]
pub struct WebServer<'a> {
    /// The log.
    pub database: &'a Path,
    /// The live socket.
    pub socket: &'a Path,
    /// Directories and files besides that of the log.
    pub readable: &'a [&'a Path],
    /// The port of the SQL server that is shown in place of the log, and is connected to.
    pub server_port: Option<u16>,
}

impl WebServer<'_> {
    /// Gives up every right but to read. Must be called by the only thread, after the addresses are bound and the browser is started,
    /// and before the first request is read.
    ///
    /// # Errors
    /// The errors of the calls; `Other` if there is another thread. The caller must not answer requests then.
    pub fn enter(&self) -> io::Result<()> {
        require_one_thread()?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        prctl::set_no_new_privs()?;
        // With the rights of root, which a change of the user ends.
        capabilities::limit();
        if Uid::effective().is_root() {
            become_user(self.least_user())?;
        }
        capabilities::drop_all()?;
        // A change of the user sets it anew, so it comes after.
        prctl::set_dumpable(false)?;
        let ports = self.server_port.map_or(Vec::new(), |port| vec![port, DNS_PORT]);
        FileAccess { readable: self.readable_paths(), writable: Vec::new(), ports }.restrict()?;
        system_calls::restrict(match self.server_port {
            None => Process::WebServer,
            Some(_) => Process::WebServerOfServer,
        })
    }

    /// The user with the least rights who can read the log and use the live socket: nobody in the group of the log, who can neither
    /// write it nor signal the recorder; or the service user; or, where only root can, root without its capabilities. Where a server is
    /// shown, nobody.
    fn least_user(&self) -> User {
        if self.server_port.is_some() {
            return User { uid: Uid::from_raw(NOBODY), gid: Gid::from_raw(NOBODY) };
        }
        let log = fs::metadata(self.database).map(|log| Gid::from_raw(log.gid())).ok();
        let service = User::of_log(self.database).ok();
        let group = log.or(service.map(|user| user.gid)).unwrap_or(Gid::from_raw(NOBODY));
        let nobody =
            Some(User { uid: Uid::from_raw(NOBODY), gid: group }).filter(|user| user.gid.as_raw() != 0);
        let candidates = [nobody, service].into_iter().flatten();
        let root = User { uid: Uid::from_raw(0), gid: group };
        candidates.into_iter().find(|user| self.can_be_used_by(*user).unwrap_or(false)).unwrap_or(root)
    }

    /// Whether a user can read the log and use the live socket, as far as they exist, and pass through their directories.
    fn can_be_used_by(&self, user: User) -> io::Result<bool> {
        let mut files = vec![(self.database.to_owned(), AccessWanted::Read)];
        for suffix in ["-wal", "-shm"] {
            let mut name = OsString::from(self.database);
            name.push(suffix);
            files.push((name.into(), AccessWanted::Read));
        }
        files.push((self.socket.to_owned(), AccessWanted::File));
        for (path, wanted) in files {
            let denied = match (path.exists(), path.ancestors().skip(1).find(|path| path.exists())) {
                (true, _) => user.find_denied(&path, wanted)?,
                (false, Some(directory)) => user.find_denied(directory, AccessWanted::Pass)?,
                (false, None) => None,
            };
            if denied.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All that may be read, also where symbolic links of the files lead.
    fn readable_paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).collect();
        match Uid::effective().is_root() {
            false => paths.push(NAMES.into()),
            true => paths.extend(NAMES_OF_ROOT.map(PathBuf::from)),
        }
        paths.extend(self.readable.iter().map(|path| (*path).to_owned()));
        match self.server_port {
            Some(_) if Uid::effective().is_root() => paths.extend(RESOLVER_OF_ROOT.map(PathBuf::from)),
            Some(_) => paths.extend(RESOLVER.map(PathBuf::from)),
            None => {
                for file in [self.database, self.socket] {
                    paths.extend(directories_of(file));
                }
            }
        }
        paths
    }
}

/// Capabilities, Landlock and seccomp are of a thread, and of those that it starts later.
pub(crate) fn require_one_thread() -> io::Result<()> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads == 1 { Ok(()) } else { Err(io::Error::other(format!("{threads} threads run already"))) }
}

/// Becomes a user, whose group is the only one. The C library does it in all threads.
fn become_user(user: User) -> io::Result<()> {
    // A root that may not change users, as in some containers, has the rights of a user already.
    let is_allowed = setgroups(&[]).and_then(|()| setresgid(user.gid, user.gid, user.gid));
    match is_allowed.and_then(|()| setresuid(user.uid, user.uid, user.uid)) {
        Err(errno) if !(user.uid.is_root() && errno == nix::errno::Errno::EPERM) => Err(errno.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Write,
        net::{TcpListener, TcpStream},
        os::unix::fs::{PermissionsExt, chown},
        process::Command,
        thread,
    };

    use nix::{
        errno::Errno,
        sched::{CloneFlags, unshare},
        sys::{
            signal::kill,
            wait::{WaitStatus, waitpid},
        },
        unistd::{ForkResult, Pid, fork, getppid},
    };

    use super::*;

    /// Enters as a web server of a log, in a child, and then runs checks there. Panics name what failed on standard error.
    fn in_child(database: &Path, check: impl FnOnce()) {
        in_child_of(database, None, check);
    }

    fn in_child_of(database: &Path, server_port: Option<u16>, check: impl FnOnce()) {
        let server =
            WebServer { database, socket: Path::new("/missing/live.sock"), readable: &[], server_port };
        // SAFETY: the child has one thread, and glibc lets it allocate.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    server.enter().unwrap();
                    check();
                }));
                // SAFETY: it ends the child without running code of the parent.
                unsafe { libc::_exit(i32::from(checked.is_err())) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
    }

    /// A directory with a log that anybody may read.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = place.path().join("snitch.db");
        fs::write(&path, "log").unwrap();
        (place, path)
    }

    /// The error number of a system call with these arguments.
    fn errno(call: libc::c_long, arguments: [libc::c_long; 4]) -> Errno {
        let [a, b, c, d] = arguments;
        // SAFETY: the calls of the tests are refused, or get numbers and null pointers.
        match unsafe { libc::syscall(call, a, b, c, d) } {
            -1 => Errno::last(),
            _ => Errno::UnknownErrno,
        }
    }

    #[test]
    fn a_web_server_reads_the_log_and_writes_nothing() {
        let (place, path) = log();
        let inside = place.path().join("new");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        in_child(&path, || {
            assert_eq!(fs::read_to_string(&path).unwrap(), "log");
            assert!(fs::read_to_string("/proc/self/stat").is_ok() && File::open("/proc/net/tcp").is_ok());
            for denied in [
                fs::write(&path, "").err(),
                fs::write(&inside, "").err(),
                fs::remove_file(&path).err(),
                fs::rename(&path, &inside).err(),
                fs::create_dir(&inside).err(),
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).err(),
                std::os::unix::fs::symlink("/etc", &inside).err(),
                std::os::unix::net::UnixListener::bind(&inside).err(),
            ] {
                assert_eq!(denied.unwrap().raw_os_error(), Some(libc::EPERM));
            }
        });
        // The log may be replaced.
        fs::rename(&path, &inside).unwrap();
        in_child(&inside, || assert_eq!(fs::read_to_string(&inside).unwrap(), "log"));
    }

    #[test]
    fn a_web_server_executes_nothing_and_reaches_nobody() {
        let (_place, path) = log();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let browser = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(browser.id().cast_signed());
        in_child(&path, || {
            assert!(Command::new("/bin/true").status().is_err());
            assert!(TcpStream::connect(address).is_err() && TcpListener::bind("127.0.0.1:0").is_err());
            for other in [pid, getppid()] {
                assert_eq!(kill(other, None), Err(Errno::EPERM));
            }
            for flags in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWNET] {
                assert_eq!(unshare(flags), Err(Errno::EPERM));
            }
            // SAFETY: the fork is refused.
            assert_eq!(unsafe { fork() }.err(), Some(Errno::EPERM));
            // What it is there for.
            thread::spawn(|| assert!(fs::read_to_string("/proc/self/stat").is_ok())).join().unwrap();
            let (mut one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
            one.write_all(b".").unwrap();
            let (accepted, _) = (listener.set_nonblocking(true), listener.accept());
            accepted.unwrap();
        });
        kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        { browser }.wait().unwrap();
    }

    #[test]
    fn a_web_server_of_a_server_reaches_that_and_reads_no_log() {
        // SAFETY: asks for the version of Landlock (LANDLOCK_CREATE_RULESET_VERSION).
        let version = unsafe { libc::syscall(444, std::ptr::null::<u8>(), 0, 1) };
        let (_place, path) = log();
        let [listener, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        in_child_of(&path, Some(port), || {
            assert!(TcpStream::connect(listener.local_addr().unwrap()).is_ok());
            assert!(std::net::UdpSocket::bind("0.0.0.0:0").is_ok(), "name servers are asked");
            assert!(fs::read_to_string("/etc/passwd").is_ok());
            assert!(Command::new("/bin/true").status().is_err());
            assert!(fs::write(&path, "").is_err());
            match version {
                ..4 => eprintln!("skipped: the Landlock of this kernel has no ports"),
                _ => assert!(TcpStream::connect(other.local_addr().unwrap()).is_err()),
            }
            match version {
                ..1 => eprintln!("skipped: this kernel has no Landlock"),
                _ => assert!(fs::read_to_string(&path).is_err()),
            }
            assert!(!Uid::effective().is_root());
        });
    }

    #[test]
    fn system_calls_that_gain_something_are_refused() {
        let (_place, path) = log();
        in_child(&path, || {
            for call in [
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_ptrace,
                libc::SYS_process_vm_readv,
                libc::SYS_process_vm_writev,
                libc::SYS_mount,
                libc::SYS_umount2,
                libc::SYS_open_tree,
                libc::SYS_move_mount,
                libc::SYS_fsopen,
                libc::SYS_bpf,
                libc::SYS_perf_event_open,
                libc::SYS_io_uring_setup,
                libc::SYS_io_uring_enter,
                libc::SYS_io_uring_register,
                libc::SYS_kexec_load,
                libc::SYS_init_module,
                libc::SYS_finit_module,
                libc::SYS_keyctl,
                libc::SYS_add_key,
                libc::SYS_unshare,
                libc::SYS_setns,
                libc::SYS_chroot,
                libc::SYS_pivot_root,
                libc::SYS_personality,
                libc::SYS_userfaultfd,
                libc::SYS_setuid,
                libc::SYS_setresgid,
                libc::SYS_capset,
                libc::SYS_bind,
                libc::SYS_listen,
                libc::SYS_kill,
                libc::SYS_pidfd_open,
                libc::SYS_open_by_handle_at,
                libc::SYS_openat2,
                libc::SYS_memfd_create,
                libc::SYS_ftruncate,
                libc::SYS_pwrite64,
                libc::SYS_seccomp,
            ] {
                assert_eq!(errno(call, [0; 4]), Errno::EPERM, "{call}");
            }
            for family in [
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
                libc::AF_PACKET,
                libc::AF_ALG,
                libc::AF_VSOCK,
            ] {
                let arguments = [family.into(), libc::SOCK_DGRAM.into(), 0, 0];
                assert_eq!(errno(libc::SYS_socket, arguments), Errno::EPERM, "{family}");
            }
            let thread = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
            let clone = [(libc::CLONE_NEWUSER | thread).into(), 0, 0, 0];
            assert_eq!(errno(libc::SYS_clone, clone), Errno::EPERM);
            assert_eq!(errno(libc::SYS_clone3, [0; 4]), Errno::ENOSYS);
            let executable = (libc::PROT_READ | libc::PROT_EXEC).into();
            assert_eq!(errno(libc::SYS_mmap, [0, 4096, executable, libc::MAP_PRIVATE.into()]), Errno::EPERM);
            assert_eq!(errno(libc::SYS_ioctl, [0, libc::TIOCSTI as libc::c_long, 0, 0]), Errno::EPERM);
            assert_eq!(errno(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0]), Errno::EPERM);
        });
    }

    #[test]
    fn files_that_the_page_does_not_need_are_closed_where_the_kernel_has_landlock() {
        // SAFETY: asks for the version of Landlock (LANDLOCK_CREATE_RULESET_VERSION).
        let version = unsafe { libc::syscall(444, std::ptr::null::<u8>(), 0, 1) };
        if version < 1 {
            eprintln!("skipped: this kernel has no Landlock");
            return;
        }
        let (_place, path) = log();
        let (elsewhere, other) = log();
        in_child(&path, || {
            for file in [&*other, elsewhere.path(), Path::new("/bin/sh"), Path::new("/")] {
                assert_eq!(File::open(file).unwrap_err().raw_os_error(), Some(libc::EACCES), "{file:?}");
            }
            assert!(File::open("/etc/passwd").is_ok());
        });
    }

    #[test]
    fn a_web_server_of_a_log_that_is_made_later_reads_it() {
        let (place, _) = log();
        let path = place.path().join("later/snitch.db");
        let (mut ready, told) = io::pipe().unwrap();
        thread::scope(|scope| {
            let later = path.clone();
            scope.spawn(move || {
                use std::io::Read;
                ready.read_exact(&mut [0]).unwrap();
                fs::create_dir(later.parent().unwrap()).unwrap();
                fs::write(later, "log").unwrap();
            });
            in_child(&path, || {
                (&told).write_all(b".").unwrap();
                let read = (0..200).find_map(|_| {
                    thread::sleep(std::time::Duration::from_millis(10));
                    fs::read_to_string(&path).ok().filter(|text| !text.is_empty())
                });
                assert_eq!(read.as_deref(), Some("log"));
            });
        });
    }

    #[test]
    fn with_other_threads_nobody_enters() {
        let (_place, path) = log();
        let server =
            WebServer { database: &path, socket: Path::new("/missing"), readable: &[], server_port: None };
        thread::scope(|scope| {
            let entered = scope.spawn(|| server.enter());
            assert!(entered.join().unwrap().unwrap_err().to_string().contains("threads run already"));
        });
        assert!(!prctl::get_no_new_privs().unwrap());
    }

    #[test]
    fn root_becomes_the_least_user_who_can_read() {
        if !Uid::current().is_root() {
            return;
        }
        let (place, path) = log();
        let user = || {
            let socket = &place.path().join("live.sock");
            WebServer { database: &path, socket, readable: &[], server_port: None }.least_user()
        };
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let of = |uid, gid| User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
        chown(&path, Some(4242), Some(4243)).unwrap();
        mode(&path, 0o640);
        assert_eq!(user(), of(NOBODY, 4243));
        // The socket counts, once it is there.
        let socket = place.path().join("live.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        chown(&socket, Some(4242), Some(4243)).unwrap();
        mode(&socket, 0o600);
        chown(place.path(), Some(4242), Some(4243)).unwrap();
        assert_eq!(user().uid.as_raw(), 4242);
        mode(&socket, 0o660);
        assert_eq!(user(), of(NOBODY, 4243));
        // So does the write-ahead log.
        let wal = place.path().join("snitch.db-wal");
        fs::write(&wal, "").unwrap();
        mode(&wal, 0o600);
        assert_eq!(user(), of(0, 4243));
        fs::remove_file(wal).unwrap();
        mode(place.path(), 0o700);
        assert_eq!(user().uid.as_raw(), 4242);
        chown(place.path(), Some(0), Some(0)).unwrap();
        assert_eq!(user(), of(0, 4243));
    }
}
