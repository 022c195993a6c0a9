//! `picosnitch view` in a real terminal, on the log of a real daemon.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;

use super::harness::{Daemon, base, fresh_address, root, talk};
use crate::terminal::{Terminal, picosnitch};

/// Numbers of bytes that no other process on the machine is likely to move.
const SENT: usize = 12_345;
const RECEIVED: usize = 87_654_321;

fn download(address: Ipv4Addr) {
    talk(address, SENT, RECEIVED);
}

#[test]
#[ignore = "needs root"]
fn a_download_is_on_the_screen_with_its_exact_bytes() {
    let _root = root();
    let terminal = Terminal::start(120, 40);
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    download(address);
    terminal.line(&picosnitch(base.path(), "view"));
    // Goes to the tab of addresses and searches this one; the detail has exact bytes.
    terminal.wait_for("Programs");
    terminal.press(&["BTab"; 19]);
    terminal.press(&["/"]);
    terminal.tmux(&["send-keys", "-l", &address.to_string()]);
    terminal.press(&["Enter"]);
    let mut turn = 0;
    let screen = terminal.wait_until("the window", |screen| {
        // Refreshes more often than the screen itself, which does it every ten seconds.
        turn += 1;
        if turn % 25 == 0 {
            terminal.press(&["r"]);
        }
        screen.contains("87,654,321 B")
    });
    assert!(screen.contains("12,345 B"), "{screen}");
    terminal.press(&[" "]);
    let own = std::env::current_exe().unwrap();
    // A long path is shortened in its middle, so the end of its name is visible.
    let name = own.file_name().unwrap().to_str().unwrap();
    let name = &name[name.len() - 8..];
    let screen =
        terminal.wait_until("the program", |screen| screen.contains(name) && screen.contains("SHA-256"));
    assert!(screen.contains("1 row") && screen.contains("87,654,321 B"), "{screen}");
    terminal.press(&["q"]);
    daemon.stop(Signal::SIGTERM);
}
