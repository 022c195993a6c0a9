//! `picosnitch top` in a real terminal, with a daemon that the test plays. The terminal is restored however the screen
//! ends; the screen survives a daemon that ends, comes back or sends malformed lines, and a terminal that is stopped.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod terminal;

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use terminal::{CLEAN, Terminal, mute::MuteTerminal, picosnitch};

const HELLO: &str = r#"{"event":"hello","version":"0.0.0","monitor":1,"since":1000}"#;
const PATH: &str = "/usr/bin/example";

/// A daemon that reports one program, whose only connection receives bytes all the time.
struct Daemon {
    base: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("run")).unwrap();
        let mut daemon = Self { base, stop: Arc::default(), thread: None };
        daemon.serve(String::new());
        daemon
    }

    /// Serves clients in a thread, and sends them `more` after each tick.
    fn serve(&mut self, more: String) {
        let path = self.base.path().join("run/live.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.stop = Arc::default();
        let stop = Arc::clone(&self.stop);
        self.thread = Some(thread::spawn(move || {
            let mut clients = Vec::new();
            let mut time = 1_772_371_205.0;
            let mut received = 0;
            while !stop.load(Ordering::SeqCst) {
                if let Ok((client, _)) = listener.accept() {
                    client.set_nonblocking(false).unwrap();
                    client.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                    let mut request = String::new();
                    BufReader::new(client.try_clone().unwrap()).read_line(&mut request).unwrap();
                    assert_eq!(request, "{\"traffic\":true}\n");
                    let context = format!(r#"{{"event":"context","id":1,"path":"{PATH}","name":"x"}}"#);
                    let connection = r#"{"event":"connection","id":1,"context":1,"process":7,"family":2,"protocol":6,"remote_address":"192.0.2.7","remote_port":443,"opened":true}"#;
                    let _ = (&client).write_all(format!("{HELLO}\n{context}\n{connection}\n").as_bytes());
                    clients.push(client);
                }
                (time, received) = (time + 0.05, received + 1000);
                let mut lines = format!("{{\"event\":\"traffic\",\"connections\":[[1,7,{received}]]}}\n");
                let _ = writeln!(lines, "{{\"event\":\"tick\",\"time\":{time}}}");
                lines += &more;
                clients.retain(|mut client| client.write_all(lines.as_bytes()).is_ok());
                thread::sleep(Duration::from_millis(50));
            }
        }));
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn path(&self) -> &Path {
        self.base.path()
    }

    /// Runs `top` in a terminal, under a shell that prints the exit status.
    fn top(&self) -> (Terminal, Pid) {
        let terminal = Terminal::start(80, 24);
        let top = picosnitch(self.path(), "top");
        terminal.line(&format!("sh -c 'echo pid=$$; read go; exec {top}'; echo ended=$?"));
        let screen =
            terminal.wait_until("its pid", |screen| screen.lines().any(|line| line.starts_with("pid=")));
        let pid = screen.lines().find_map(|line| line.strip_prefix("pid=")).unwrap().trim().parse().unwrap();
        terminal.press(&["Enter"]);
        terminal.wait_for(PATH);
        assert_eq!(terminal.modes(), "1110 raw=true");
        (terminal, Pid::from_raw(pid))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asserts that the screen has ended with this status and has restored the terminal.
fn assert_restored(terminal: &Terminal, ended: &str) {
    terminal.wait_until(ended, |screen| screen.lines().any(|line| line == ended));
    assert_eq!(terminal.modes(), CLEAN, "{}", terminal.screen());
    terminal.line("echo the shell works");
    terminal.wait_until("the shell", |screen| screen.lines().any(|line| line == "the shell works"));
}

#[test]
fn keys_end_it_in_every_state() {
    let daemon = Daemon::start();
    for keys in [&["q"][..], &["C-c"], &["/", "x", "C-c"], &["?", "C-c"], &["Space", "Tab", "C-\\"]] {
        let (terminal, _) = daemon.top();
        for key in keys {
            terminal.press(&[key]);
        }
        assert_restored(&terminal, "ended=0");
    }
}

#[test]
fn signals_end_it_like_any_program() {
    let daemon = Daemon::start();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let (terminal, pid) = daemon.top();
        kill(pid, signal).unwrap();
        assert_restored(&terminal, &format!("ended={}", 128 + signal as i32));
    }
}

#[test]
fn it_ends_while_the_terminal_is_stopped() {
    let daemon = Daemon::start();
    let (terminal, pid) = daemon.top();
    // The same as Ctrl-S: the terminal accepts no more output.
    let tty = terminal.tmux(&["display", "-p", "#{pane_tty}"]);
    let stop = std::fs::File::options().read(true).write(true).open(tty.trim()).unwrap();
    nix::sys::termios::tcflow(&stop, nix::sys::termios::FlowArg::TCOOFF).unwrap();
    thread::sleep(Duration::from_secs(2));
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = || kill(pid, None).is_err();
    for _ in 0..200 {
        if ended() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(ended(), "it hangs");
    nix::sys::termios::tcflow(&stop, nix::sys::termios::FlowArg::TCOON).unwrap();
    assert_restored(&terminal, "ended=143");
}

#[test]
fn every_size_can_be_drawn() {
    let daemon = Daemon::start();
    let (terminal, _) = daemon.top();
    for (columns, lines) in [(20, 5), (300, 90), (1, 1), (159, 30), (160, 30), (80, 2), (80, 24)] {
        terminal.press(&["Tab", "t", "s", "u"]);
        terminal.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
        terminal.press(&["Down", "Space", "Space"]);
    }
    terminal.wait_for(PATH);
    terminal.press(&["q"]);
    assert_restored(&terminal, "ended=0");
}

#[test]
fn it_stops_and_goes_on() {
    let daemon = Daemon::start();
    let terminal = Terminal::start(80, 24);
    terminal.line("exec bash --norc -i");
    terminal.line(&picosnitch(daemon.path(), "top"));
    terminal.wait_for(PATH);
    terminal.press(&["C-z"]);
    terminal.wait_for("Stopped");
    assert_eq!(&terminal.modes()[..4], "0001");
    terminal.line("fg");
    terminal.wait_for("192.0.2.7:443");
    assert_eq!(terminal.modes(), "1110 raw=true");
    terminal.press(&["q"]);
    terminal.wait_until("the shell", |_| terminal.modes().starts_with("0001"));
}

#[test]
fn it_reports_that_the_daemon_has_ended_and_connects_again() {
    let mut daemon = Daemon::start();
    let (terminal, _) = daemon.top();
    daemon.stop();
    terminal.wait_for("it is tried again");
    // Keys still work.
    terminal.press(&["?"]);
    terminal.wait_for("any key closes this");
    terminal.press(&["?"]);
    daemon.serve(String::new());
    terminal.wait_until("the daemon", |screen| {
        screen.contains(PATH)
            && !screen.contains("it is tried again")
            && screen.contains("is recording since")
    });
    daemon.stop();
    std::fs::remove_file(daemon.path().join("run/live.sock")).unwrap();
    terminal.wait_for("picosnitch is not running");
    terminal.press(&["C-c"]);
    assert_restored(&terminal, "ended=0");
}

#[test]
fn malformed_and_many_lines_do_not_stop_it() {
    let mut daemon = Daemon::start();
    daemon.stop();
    let mut more = "\u{1b}[2J\u{202e} no json\n{\"event\":\"alert\",\"time\":1,\"tag\":\"new exe\",\"rank\":\"program\",\"path\":\"/tmp/\\u001b]0;owned\\u0007\\u202e\"}\n".to_owned();
    for id in 100..2000 {
        let _ = writeln!(
            more,
            r#"{{"event":"connection","id":{id},"context":1,"remote_address":"::1","remote_port":1}}"#
        );
    }
    daemon.serve(more);
    let (terminal, _) = daemon.top();
    let screen = terminal.wait_for("not understood");
    assert!(screen.contains("new program: /tmp/\\x1b]0;owned\\x07\\u{202e}"), "{screen}");
    assert!(!terminal.tmux(&["display", "-p", "#{pane_title}"]).contains("owned"));
    terminal.press(&["/", "z", "z", "z"]);
    terminal.wait_for("no program has this text");
    terminal.press(&["C-c"]);
    assert_restored(&terminal, "ended=0");
}

/// A `top` that cannot start: without a terminal, and with what `change` makes of the command. Returns what it prints.
fn refused(base: &Path, change: impl FnOnce(&mut Command) -> &mut Command) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base).arg("top").stdin(Stdio::null());
    let output = change(&mut command).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_a_terminal_or_a_daemon_the_error_has_advice() {
    let daemon = Daemon::start();
    assert!(refused(daemon.path(), |top| top).contains("picosnitch top --json"));
    let empty = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["--json"]] {
        let message = refused(empty.path(), |top| top.args(arguments));
        assert!(message.contains("picosnitch is not running: start it"), "{message}");
    }
}

#[test]
#[ignore = "needs root"]
fn without_rights_the_error_has_advice() {
    let daemon = Daemon::start();
    let socket = daemon.path().join("run/live.sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660)).unwrap();
    std::fs::set_permissions(daemon.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let message = refused(daemon.path(), |top| top.uid(65_534).gid(65_534));
    assert!(message.contains("sudo picosnitch top") && message.contains("group picosnitch"), "{message}");
}

#[test]
fn json_prints_the_lines_of_the_daemon() {
    let daemon = Daemon::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .arg("--base-dir")
        .arg(daemon.path())
        .args(["top", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), HELLO);
    let kinds: Vec<String> = lines
        .by_ref()
        .take(4)
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap()["event"].to_string())
        .collect();
    assert_eq!(kinds, ["\"context\"", "\"connection\"", "\"traffic\"", "\"tick\""]);
    // A reader that closes the pipe is not an error.
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_terminal_that_answers_nothing_is_enough() {
    let daemon = Daemon::start();
    // A serial console does not know its size either.
    for size in [[24, 80], [0, 0]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
        command.arg("--base-dir").arg(daemon.path()).arg("top");
        let mut terminal = MuteTerminal::run(command, size);
        for keys in [&b""[..], b"\x0c", b"\x1a"] {
            terminal.type_and_expect(keys, PATH);
        }
        assert!(terminal.end(b"q").success());
    }
}
