//! The roles, and the two steps in which they lose their rights.

use std::{
    env, io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, signal},
    },
    unistd::{Gid, Uid, setresgid, setresuid},
};

use crate::{
    capabilities,
    file_access::FileAccess,
    inherited,
    system_calls::{self, Process},
    user::User,
    web_server::require_one_thread,
};

/// Variables of the environment that a role keeps: the time zone, and how a crash is reported.
const KEPT_VARIABLES: [&str; 2] = ["TZ", "RUST_BACKTRACE"];

/// What a parser may use: seconds of a processor, bytes of memory, and files it makes.
const PARSER_LIMITS: [(Resource, libc::rlim_t); 4] = [
    (Resource::RLIMIT_CPU, 5),
    (Resource::RLIMIT_AS, 256 << 20),
    (Resource::RLIMIT_FSIZE, 0),
    (Resource::RLIMIT_NOFILE, 16),
];

/// A process with fewer rights than the monitor, which starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Hashes executables and writes the log.
    Recorder,
    /// Asks VirusTotal and name servers.
    Exporter,
    /// Shows notifications on the session bus of one desktop user.
    Notifier,
    /// Opens one executable with the rights of one user.
    FileOpener,
    /// Looks into one C library.
    Parser,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] =
        [Self::Recorder, Self::Exporter, Self::Notifier, Self::FileOpener, Self::Parser];

    /// The argument with which this binary is started in the role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorder => "recorder",
            Self::Exporter => "exporter",
            Self::Notifier => "notifier",
            Self::FileOpener => "file-opener",
            Self::Parser => "parser",
        }
    }

    /// Whether it runs in a network namespace of its own, which is empty.
    const fn is_without_network(self) -> bool {
        matches!(self, Self::Recorder | Self::Parser)
    }
}

/// The variable that tells a role its user. It becomes that user itself, once its memory is hidden: after execve(2) a process of
/// the user could be traced, and kernels before 6.16 make one that is the user in effect only (seteuid(2)) root again, if it may
/// gain no privileges (`cap_bprm_creds_from_file`, security/commoncap.c).
const USER: &str = "PICOSNITCH_USER";

/// Returns the command that executes this binary in a role, as `user`, with nothing of what the monitor was started with:
/// an environment of [`KEPT_VARIABLES`] and its user only, the working directory `/`, a session without a terminal, and no descriptor
/// but the three standard ones. The caller adds the arguments of the role and its standard input.
pub fn command(role: Role, user: User) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["role", role.name()]).env_clear().stdout(Stdio::null());
    command.env(USER, format!("{}:{}", user.uid, user.gid));
    match role {
        // They report problems there.
        Role::Recorder | Role::Exporter => {
            let kept = KEPT_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?)));
            command.envs(kept).stderr(Stdio::inherit());
        }
        Role::Notifier | Role::FileOpener | Role::Parser => {
            command.stderr(Stdio::null());
        }
    }
    // Each role handles data that an attacker may have made: code of the attacker must not gain privileges through a
    // set-user-id program, type into the terminal of root (TIOCSTI), or use a descriptor of the monitor's starter.
    // SAFETY: between fork and exec the closure makes system calls only, which need no memory.
    unsafe {
        command.pre_exec(move || {
            // It fails only for the leader of a process group, which has no terminal either after the session was made.
            let _ = libc::setsid();
            inherited::close_others(libc::CLOSE_RANGE_CLOEXEC);
            if role.is_without_network() {
                // Without this wall, in a kernel that has no namespaces, the filter of system calls is left.
                let _ = libc::unshare(libc::CLONE_NEWNET);
            }
            capabilities::limit_to(&capabilities::OF_ROLE_START);
            user.take_group()?;
            if libc::chdir(c"/".as_ptr()) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    command
}

/// The user that the monitor has started this role for.
fn user_of_start() -> Option<(Uid, Gid)> {
    let text = env::var(USER).ok().filter(|_| Uid::effective().is_root())?;
    let (uid, gid) = text.split_once(':')?;
    Some((Uid::from_raw(uid.parse().ok()?), Gid::from_raw(gid.parse().ok()?)))
}

/// Gives up what the role does not need, for good. Each role calls it before it does anything else; the recorder and the exporter
/// take the next step when they know their files ([`RecorderFiles`](crate::RecorderFiles), [`ExporterAccess`](crate::ExporterAccess)).
///
/// # Errors
/// The errors of the system calls; `PermissionDenied` for a process of root. The caller must not continue in the role then.
pub fn enter(role: Role) -> io::Result<()> {
    // Before the change of the user: from then on other processes of that user could read the memory (ptrace(2), /proc/PID/mem).
    prctl::set_dumpable(false)?;
    let (user, group) = user_of_start().unwrap_or((Uid::effective(), Gid::effective()));
    if user.is_root() {
        let why = "the roles of picosnitch are started by its monitor, not by hand, and never as root";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    capabilities::limit();
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    capabilities::drop_all()?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    match role {
        // A terminal sends these signals to the monitor too, which ends this process once everything is written.
        Role::Recorder | Role::Exporter => ignore_signals(),
        Role::Notifier => {
            require_one_thread()?;
            FileAccess::default().restrict()?;
            system_calls::restrict(Process::Notifier)
        }
        // Landlock would refuse it the executables of other processes (ptrace(2)), which it is there for.
        Role::FileOpener => system_calls::restrict(Process::FileOpener),
        Role::Parser => {
            require_one_thread()?;
            for (resource, limit) in PARSER_LIMITS {
                setrlimit(resource, limit, limit)?;
            }
            FileAccess::default().restrict()?;
            system_calls::restrict(Process::Parser)
        }
    }
}

/// A service manager sends SIGABRT to all processes when its watchdog ends a monitor that hangs.
fn ignore_signals() -> io::Result<()> {
    for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGABRT] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::Path,
    };

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    fn user() -> User {
        User { uid: Uid::from_raw(4242), gid: Gid::from_raw(4243) }
    }

    #[test]
    fn a_command_executes_this_binary_in_its_role() {
        for role in Role::ALL {
            let command = command(role, user());
            assert_eq!(command.get_program(), "/proc/self/exe");
            assert_eq!(command.get_args().collect::<Vec<_>>(), ["role", role.name()]);
        }
    }

    #[test]
    fn no_role_keeps_what_the_monitor_was_started_with() {
        let user = User { uid: Uid::current(), gid: Gid::current() };
        let inherited = File::open("/proc/self/status").unwrap();
        fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        for role in Role::ALL {
            let mut command = command(role, user);
            assert!(format!("{command:?}").contains("env -i"), "{command:?}");
            // This binary runs the test below until its standard input ends.
            let child = command.args(["--ignored", "--exact", "role::tests::reads_until_the_end"]);
            let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
            let process = format!("/proc/{}", child.id());
            // The environment of cargo has many variables.
            let environment = fs::read_to_string(format!("{process}/environ")).unwrap();
            let foreign = environment.split('\0').filter(|entry| {
                !KEPT_VARIABLES.iter().chain([&USER]).any(|name| entry.starts_with(name)) && !entry.is_empty()
            });
            assert_eq!(foreign.collect::<Vec<_>>(), [""; 0], "{role:?}");
            assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap(), Path::new("/"));
            let links = fs::read_dir(format!("{process}/fd")).unwrap();
            let open: Vec<_> = links.flatten().filter_map(|link| fs::read_link(link.path()).ok()).collect();
            assert!(!open.iter().any(|target| target.ends_with("status")), "{role:?}: {open:?}");
            child.wait().unwrap();
        }
    }

    #[test]
    #[ignore = "a part of the test before"]
    fn reads_until_the_end() {
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    }
}
