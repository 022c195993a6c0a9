//! How each role of picosnitch gives up its rights. No other crate changes the user, the groups or the process
//! attributes of a role.
//!
//! # The order is a contract
//!
//! The monitor starts each role by executing its own binary anew. Each step below relies on the ones before it.
//!
//! 1. *The monitor, as root*: gives up what it inherited from its starter ([`reset_inherited`]), before it opens anything.
//!    Then it prepares what the role may no longer do by itself. It opens the channel and the descriptors
//!    that go through it, and gives the files of the log to the user of the recorder.
//! 2. *The child, between fork(2) and execve(2)* ([`command`]): clears the supplementary groups, sets the group, then the
//!    user: without root the process can no longer change its groups. Then it changes the working directory to `/`, with
//!    the rights of that user, leaves the session, so that it has no terminal, and marks every descriptor but the standard
//!    ones as close-on-exec. `PR_SET_NO_NEW_PRIVS` comes last: execve(2) keeps it, all threads of the role inherit it, and
//!    nothing can undo it. The environment is a new one.
//! 3. *execve(2)*: replaces the memory of the monitor. All its descriptors are close-on-exec, so that the role
//!    gets its end of the channel as standard input, the recorder also standard error, and no other descriptor. The kernel resets the dumpable attribute here, so that setting it earlier would have no effect.
//! 4. *The role* ([`enter`]): the first call of its main function, before it reads a message or opens a file. The recorder
//!    hides its memory and ignores the signals that end the monitor.
//! 5. *The role*: reads its first message. Only from here on it handles data that an attacker may have made.
//!
//! # What a role may still do afterwards
//!
//! | role | user | privileges by execve(2) | environment, directory | signals |
//! | --- | --- | --- | --- | --- |
//! | recorder | the service user ([`User::of_log`]) | cannot gain any | `TZ`, `RUST_BACKTRACE`; `/` | ignores SIGINT, SIGTERM, SIGHUP, SIGABRT |
//! | notifier | the desktop user | cannot gain any | empty, `/` | default |
//! | file opener | the user of one process | cannot gain any | empty, `/` | default |
//!
//! | web server ([`WebServer`]) | who started it; instead of root, nobody in the group of the log | cannot gain any | as started | default |
//!
//! Each of the roles may open what its user may open, and use the network. Other processes of the same user may read the
//! memory of a notifier or a file opener (ptrace(2)), but not that of the recorder.
//!
//! # The web server
//!
//! A user starts it, not the monitor. It is no [`Role`], keeps its environment and directory, and has an order of its own:
//!
//! 1. *With the rights of who started it*: closes the descriptors that it inherited ([`close_inherited`]), reads the configuration,
//!    binds its addresses, reads its certificate, writes its address for the service, and starts the browser. It has one thread: the
//!    steps below hold for the thread that takes them and for those that it starts later.
//! 2. [`WebServer::enter`]: no core dumps and `PR_SET_NO_NEW_PRIVS`; empties the bounding set, as long as it is root; becomes the user with
//!    the least rights who can read the log and use the live socket, in one group; gives up all capabilities; hides its memory,
//!    after the change of the user, which would show it again; then Landlock, where the kernel has it (reading beneath the
//!    directories of the log, the live socket and the configuration, `/proc`, and names and zones of the system; no writing, execution,
//!    TCP, or signals); the filter of system calls comes last, since it refuses the steps before it.
//! 3. Reads the first request. Whatever a request makes of the server, it can read the log and answer, and no more: it writes no
//!    file, starts no process, opens no socket but `AF_UNIX`, and signals nobody, on every kernel.
//!
//! The monitor is no [`Role`] either: it keeps the rights and the environment it was started with. The program that tries return probes
//! (`capture::return_probe`) is none: it handles no data at all, and a seccomp filter of its own leaves it only
//! exit_group(2).

mod access;
mod capabilities;
mod file_access;
mod inherited;
mod role;
mod system_calls;
mod user;
mod web_server;

pub use access::{AccessWanted, Denied};
pub use inherited::{close as close_inherited, limit_problem, reset as reset_inherited};
pub use role::{Role, command, enter};
pub use user::User;
pub use web_server::WebServer;
