//! A terminal that shows what it gets and answers no question, such as a serial console.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::pty::{Winsize, openpty};

use super::TIMEOUT;

/// The question where the cursor is (DSR 6, ECMA-48).
const CURSOR_QUESTION: &str = "\x1b[6n";

/// The terminal, and the program in it, which is killed when this is dropped.
pub struct MuteTerminal {
    keyboard: File,
    output: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl MuteTerminal {
    /// Runs a command as the leader of a session in the terminal, which has so many lines and columns.
    pub fn run(mut command: Command, [ws_row, ws_col]: [u16; 2]) -> Self {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        command.stdin(pty.slave.try_clone().unwrap()).stdout(pty.slave.try_clone().unwrap());
        command.stderr(pty.slave).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        // SAFETY: two system calls, which need no memory.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // The ends of the program are closed here, so that its end is the end of the output.
        drop(command);
        let keyboard = File::from(pty.master);
        let output = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, into) = (keyboard.try_clone().unwrap(), Arc::clone(&output));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self { keyboard, output, child }
    }

    /// Types keys, and waits until the program writes something that contains `expected`.
    pub fn type_and_expect(&mut self, keys: &[u8], expected: &str) {
        let before = self.output.lock().unwrap().len();
        self.keyboard.write_all(keys).unwrap();
        let until = Instant::now() + TIMEOUT;
        loop {
            let output = self.output.lock().unwrap()[before..].to_vec();
            let text = String::from_utf8_lossy(&output).into_owned();
            if text.contains(expected) {
                break;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{ended:?}, no {expected:?}: {text:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that the program has written.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Types keys that end the program. Returns its exit status; it must not have asked anything.
    pub fn end(mut self, keys: &[u8]) -> ExitStatus {
        self.keyboard.write_all(keys).unwrap();
        let status = self.child.wait().unwrap();
        let asked = self.output().contains(CURSOR_QUESTION);
        assert!(!asked, "it has asked where the cursor is");
        status
    }
}

impl Drop for MuteTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
