//! Programs that the tests run, and the files in which the daemon writes about them.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::executables;

/// The lines of a file in the base directory; none when it does not exist.
pub fn lines(base: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(base.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The contents of record.json.
pub fn record(base: &Path) -> Value {
    serde_json::from_slice(&fs::read(base.join("record.json")).unwrap()).unwrap()
}

/// Makes a copy of a shell under a name of any bytes: an executable path that the daemon has not seen.
pub fn program(base: &Path, name: &[u8]) -> PathBuf {
    let path = base.join(OsString::from_vec(name.to_vec()));
    executables::copy("/bin/bash", &path);
    path
}

/// Runs a program that connects to `address` and lives for 1.5 s, so that the daemon can open its file. Returns the time
/// before it was started.
pub fn run(program: &Path, address: Ipv4Addr) -> Instant {
    run_to(program, &TcpListener::bind((address, 0)).unwrap())
}

/// Like [`run`], with a given listener.
pub fn run_to(program: &Path, listener: &TcpListener) -> Instant {
    let (address, port) = (listener.local_addr().unwrap().ip(), listener.local_addr().unwrap().port());
    let script = format!("exec 3<>/dev/tcp/{address}/{port}; printf hello >&3; read -r -n 3 answer <&3");
    let started = Instant::now();
    let mut child = Command::new(program).args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.read_exact(&mut [0; 5]).unwrap();
    thread::sleep(Duration::from_millis(1500));
    connection.write_all(b"bye").unwrap();
    child.wait().unwrap();
    started
}
