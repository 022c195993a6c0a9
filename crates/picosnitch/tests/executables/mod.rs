//! Executables that tests make.
//!
//! Another process writes them. A file that is open for writing cannot be executed (ETXTBSY in execve(2)), and a child
//! that another thread of the test forks meanwhile would hold this process's descriptor until its own execve.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Copies an executable with its rights.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let status = Command::new("cp").arg("--").args([from.as_ref(), to.as_ref()]).status().unwrap();
    assert!(status.success(), "cannot copy {}", from.as_ref().display());
}

/// Writes an executable; one that exists is modified in place.
pub fn write(path: &Path, contents: &[u8]) {
    let script = r#"cat > "$0" && chmod 755 "$0""#;
    let mut child = Command::new("sh").args(["-c", script]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(contents).unwrap();
    assert!(child.wait().unwrap().success(), "cannot write {}", path.display());
}
