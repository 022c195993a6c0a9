//! How each role of picosnitch gives up its rights. No other crate changes the user, the groups or the process
//! attributes of a role.
//!
//! # The order is a contract
//!
//! The monitor starts each role by executing its own binary anew. Each step below relies on the ones before it.
//!
//! 1. *The monitor, as root*: gives up what it inherited from its starter ([`reset_inherited`]), before it opens anything. Before it
//!    starts its first thread and its first role, it gives up ([`Monitor::enter`]) all capabilities but a list, in all sets; any way
//!    to gain others (`PR_SET_NO_NEW_PRIVS`); and the system calls that neither it nor a role needs: the roles inherit that filter.
//!    Then it prepares what the role may no longer do by itself. It opens the channel and the descriptors
//!    that go through it, and gives the files of the log to the user of the recorder.
//! 2. *The child, between fork(2) and execve(2)* ([`command`]): leaves the session, so that it has no terminal, and marks every
//!    descriptor but the standard ones as close-on-exec. The recorder and the parser enter a network namespace of their own, which
//!    has not even a loopback device that is up. Of the bounding set only what step 4 needs is left. Then the supplementary
//!    groups are cleared and the group is set. Last comes the working directory `/`. The environment is a new one, and names the user.
//! 3. *execve(2)*: replaces the memory of the monitor. All its descriptors are close-on-exec, so that the role
//!    gets its end of the channel as standard input, the recorder and the exporter also standard error, the parser standard output,
//!    and no other descriptor. The kernel makes the memory of a program readable for its user here: that is why it still is root.
//! 4. *The role* ([`enter`]): the first call of its main function, before it reads a message or opens a file. It hides its memory
//!    (`PR_SET_DUMPABLE`), empties the bounding set, and only then becomes its user; from here on it cannot change its user or groups. It gives up all capabilities,
//!    `PR_SET_NO_NEW_PRIVS` keeps it from gaining any by execve(2), and it makes no core dumps. The notifier, the file opener and
//!    the parser then give up files (Landlock) and system calls (seccomp), in this order, since the filter refuses the calls for Landlock.
//! 5. *The recorder and the exporter*: read their first message, which is the monitor's, and then give up the files that it does not
//!    name, and system calls, before they start a thread ([`RecorderFiles::confine`], [`ExporterAccess::confine`]).
//! 6. *The role*: opens its files and reads further messages. Only from here on it handles data that an attacker may have made.
//!
//! # What a role may still do afterwards
//!
//! | role | user | files | network | system calls |
//! | --- | --- | --- | --- | --- |
//! | recorder | the service user ([`User::of_log`]) | writes the directories of the log; reads zones of time, countries and networks | none: an empty namespace, no socket(2) | files, threads, sockets that it got |
//! | exporter | the service user | reads `/etc`, zones, certificates of authorities; the directory of the log, if a server gets a copy | TCP to the ports of VirusTotal and the servers and 53, UDP | files to read, threads, sockets |
//! | notifier | the desktop user | none | none but unix sockets | the same without other sockets |
//! | file opener | the user of one process | reads what that user may read | none | opens files to read |
//! | parser | nobody | none | none: an empty namespace, no socket(2) | reads what is open |
//!
//! None of them can gain privileges, execute a program, start a process, listen, signal or trace another process, or be traced by
//! another one of its user. Where the kernel lacks one of the walls ([`missing_walls`]), the others hold. The file opener has no Landlock
//! rules: they would refuse it the executables of other processes, which it is there for.
//!
//! # The web server
//!
//! A user starts it, not the monitor. It is no [`Role`], keeps its environment and directory, and has an order of its own:
//!
//! 1. *With the rights of who started it*: closes the descriptors that it inherited ([`close_inherited`]), reads the configuration,
//!    binds its addresses, reads its certificate, writes its address for the service, and starts the browser. It has one thread: the
//!    steps below hold for the thread that takes them and for those that it starts later.
//! 2. [`WebServer::enter`]: no core dumps and `PR_SET_NO_NEW_PRIVS`; empties the bounding set, as long as it is root; becomes the user with
//!    the least rights who can read the log and use the live socket, in one group (nobody, where it shows a server); gives up all capabilities; hides its memory,
//!    after the change of the user, which would show it again; then Landlock, where the kernel has it (reading beneath the
//!    directories of the log, the live socket and the configuration, `/proc`, and names and zones of the system; no writing, execution,
//!    TCP, or signals); the filter of system calls comes last, since it refuses the steps before it.
//! 3. Reads the first request. Whatever a request makes of the server, it can read the log and answer, and no more: it writes no
//!    file, starts no process, opens no socket but `AF_UNIX`, and signals nobody, on every kernel. Where it shows the copies on an SQL
//!    server (`dash --source`), it opens sockets to other machines as the exporter does, where the kernel has Landlock for ports to
//!    the port of that server and to 53, and may not read the log.
//!
//! The monitor is no [`Role`] either: it stays root and keeps its environment. The program that tries return probes
//! (`capture::return_probe`) is none: it handles no data at all, and a seccomp filter of its own leaves it only
//! exit_group(2).

mod access;
mod capabilities;
mod confined;
mod file_access;
mod inherited;
mod monitor;
mod role;
mod system_calls;
mod user;
mod web_server;

pub use access::{AccessWanted, Denied};
pub use confined::{ExporterAccess, RecorderFiles};
pub use inherited::{close as close_inherited, limit_problem, reset as reset_inherited};
pub use monitor::{Monitor, missing_walls};
pub use role::{Role, command, enter};
pub use user::User;
pub use web_server::WebServer;
