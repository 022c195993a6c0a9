//! The roles, and the two steps in which they lose their rights.

use std::{
    env, io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::sys::{
    prctl,
    signal::{SigHandler, Signal, signal},
};

use crate::{inherited, user::User};

/// Variables of the environment that a role keeps: the time zone, and how a crash is reported.
const KEPT_VARIABLES: [&str; 2] = ["TZ", "RUST_BACKTRACE"];

/// A process with fewer rights than the monitor, which starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Hashes executables and writes the log.
    Recorder,
    /// Shows notifications on the session bus of one desktop user.
    Notifier,
    /// Opens one executable with the rights of one user.
    FileOpener,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Recorder => "recorder",
            Self::Notifier => "notifier",
            Self::FileOpener => "file-opener",
        }
    }
}

/// Returns the command that executes this binary in a role, as `user`, with nothing of what the monitor was started with:
/// an environment of [`KEPT_VARIABLES`] only, the working directory `/`, a session without a terminal, and no descriptor
/// but the three standard ones. The caller adds the arguments of the role and its standard input.
pub fn command(role: Role, user: User) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // `uid` clears the supplementary groups too, and the standard library sets the group first.
    command.args(["role", role.name()]).gid(user.gid.as_raw()).uid(user.uid.as_raw());
    command.env_clear().current_dir("/").stdout(Stdio::null());
    match role {
        // It reports problems there.
        Role::Recorder => {
            let kept = KEPT_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?)));
            command.envs(kept).stderr(Stdio::inherit());
        }
        Role::Notifier | Role::FileOpener => {
            command.stderr(Stdio::null());
        }
    }
    // Each role handles data that an attacker may have made: code of the attacker must not gain privileges through a
    // set-user-id program, type into the terminal of root (TIOCSTI), or use a descriptor of the monitor's starter.
    // SAFETY: between fork and exec the closure makes system calls only, which need no memory.
    unsafe {
        command.pre_exec(|| {
            // It fails only for the leader of a process group, which has no terminal either after the session was made.
            let _ = libc::setsid();
            inherited::close_others(libc::CLOSE_RANGE_CLOEXEC);
            let result = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    command
}

/// Gives up what the role does not need. Each role calls it before it does anything else.
///
/// # Errors
/// The errors of prctl(2) and sigaction(2). The caller must not continue in the role then.
pub fn enter(role: Role) -> io::Result<()> {
    match role {
        Role::Recorder => {
            // Other processes of the same user must not read its memory (ptrace(2), /proc/PID/mem).
            prctl::set_dumpable(false)?;
            // A terminal sends these signals to the monitor too, which ends this process once everything is written.
            // A service manager sends SIGABRT to all of them when its watchdog ends a monitor that hangs.
            for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGABRT] {
                // SAFETY: ignoring a signal runs no code.
                unsafe { signal(number, SigHandler::SigIgn) }?;
            }
        }
        // Everything was done before their execve(2).
        Role::Notifier | Role::FileOpener => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::Path,
    };

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, Gid, Uid, fork},
    };

    use super::*;

    fn user() -> User {
        User { uid: Uid::from_raw(4242), gid: Gid::from_raw(4243) }
    }

    #[test]
    fn a_command_executes_this_binary_in_its_role() {
        for (role, name) in
            [(Role::Recorder, "recorder"), (Role::Notifier, "notifier"), (Role::FileOpener, "file-opener")]
        {
            let command = command(role, user());
            assert_eq!(command.get_program(), "/proc/self/exe");
            assert_eq!(command.get_args().collect::<Vec<_>>(), ["role", name]);
        }
    }

    #[test]
    fn no_role_keeps_what_the_monitor_was_started_with() {
        let user = User { uid: Uid::current(), gid: Gid::current() };
        let inherited = File::open("/proc/self/status").unwrap();
        fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        for role in [Role::Recorder, Role::Notifier, Role::FileOpener] {
            let mut command = command(role, user);
            assert_eq!(command.get_current_dir(), Some(Path::new("/")));
            assert!(format!("{command:?}").contains("env -i"), "{command:?}");
            // This binary runs the test below until its standard input ends.
            let child = command.args(["--ignored", "--exact", "role::tests::reads_until_the_end"]);
            let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
            let process = format!("/proc/{}", child.id());
            // The environment of cargo has many variables.
            let environment = fs::read_to_string(format!("{process}/environ")).unwrap();
            let foreign = environment.split('\0').filter(|entry| {
                !KEPT_VARIABLES.iter().any(|name| entry.starts_with(name)) && !entry.is_empty()
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

    #[test]
    fn no_role_can_gain_privileges() {
        let user = User { uid: Uid::current(), gid: Gid::current() };
        for role in [Role::Recorder, Role::Notifier, Role::FileOpener] {
            let mut command = command(role, user);
            // This binary lists its tests.
            let mut child = command.arg("--list").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            // The file is there until the child is waited for.
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            assert!(status.contains("\nNoNewPrivs:\t1\n"), "{role:?}: {status}");
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_recorder_hides_its_memory_and_ignores_signals() {
        // In a process of its own: the attributes cannot all be taken back.
        // SAFETY: the child makes system calls only, none of which needs memory or a lock.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let entered = enter(Role::Recorder).is_ok()
                    && prctl::get_dumpable().is_ok_and(|set| !set)
                    && nix::sys::signal::raise(Signal::SIGTERM).is_ok();
                // SAFETY: it ends the child without running code of the parent.
                unsafe { libc::_exit(i32::from(!entered)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
    }
}
