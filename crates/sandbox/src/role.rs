//! The roles, and the two steps in which they lose their rights.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::sys::{
    prctl,
    signal::{SigHandler, Signal, signal},
};

use crate::user::User;

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

/// Returns the command that executes this binary in a role, as `user`. The caller adds the arguments of the role and its
/// standard input.
pub fn command(role: Role, user: User) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // `uid` clears the supplementary groups too, and the standard library sets the group first.
    command.args(["role", role.name()]).gid(user.gid.as_raw()).uid(user.uid.as_raw());
    match role {
        // It keeps standard error, where it reports problems, and the environment, which has the time zone.
        Role::Recorder => {}
        Role::Notifier | Role::FileOpener => {
            command.env_clear().current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    // Each role handles data that an attacker may have made: code of the attacker must not gain privileges through a
    // set-user-id program.
    // SAFETY: between fork and exec the closure makes one system call, which needs no memory.
    unsafe {
        command.pre_exec(|| {
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
            for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
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
    use std::{fs, path::Path};

    use nix::{
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
    fn only_the_recorder_keeps_environment_and_directory() {
        assert_eq!(command(Role::Recorder, user()).get_current_dir(), None);
        assert!(!format!("{:?}", command(Role::Recorder, user())).contains("env -i"));
        for role in [Role::Notifier, Role::FileOpener] {
            let command = command(role, user());
            assert_eq!(command.get_current_dir(), Some(Path::new("/")));
            assert!(format!("{command:?}").contains("env -i"), "{command:?}");
        }
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
