//! Whether the original picosnitch runs on this machine.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

/// Upper bound for the bytes of a command line that are looked at.
const MAX_BYTES: usize = 64 * 1024;

/// The process id of the daemon of the original picosnitch; `None` if none is seen. It is a Python program, so that it is known by
/// its interpreter and its arguments. Without root the interpreter is known by its name only.
pub fn running_original() -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    processes.filter_map(|entry| pid(entry.ok()?)).find(|pid| {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command_line = &command_line[..command_line.len().min(MAX_BYTES)];
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
        is_original(executable.as_deref(), command_line)
    })
}

/// Whether a process is the daemon, by its executable (if that can be read) and its command line.
fn is_original(executable: Option<&Path>, command_line: &[u8]) -> bool {
    let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    let name =
        |path: &[u8]| Path::new(OsStr::from_bytes(path)).file_name().map(OsStr::as_bytes).map(<[u8]>::to_vec);
    let is_python = |name: &[u8]| name.starts_with(b"python");
    let interpreter = match executable {
        Some(path) => path.file_name().map(|name| name.as_bytes().to_vec()),
        None => arguments.first().and_then(|path| name(path)),
    };
    if !interpreter.is_some_and(|name| is_python(&name)) {
        return false;
    }
    // python3 [OPTIONS] /usr/bin/picosnitch start-no-daemon, or python3 -m picosnitch start.
    let program = arguments.iter().skip(1).position(|argument| {
        let name = name(argument);
        matches!(name.as_deref(), Some(b"picosnitch" | b"picosnitch.py"))
    });
    let starts = [&b"start"[..], b"start-no-daemon", b"restart"];
    program.and_then(|at| arguments.get(at + 2)).is_some_and(|command| starts.contains(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_known_and_its_views_are_not() {
        let python = Some(Path::new("/usr/bin/python3.12"));
        for (executable, line, expected) in [
            (python, &b"/usr/bin/python3\0/usr/bin/picosnitch\0start-no-daemon\0"[..], true),
            (python, b"python3\0-m\0picosnitch\0start\0", true),
            (None, b"/usr/bin/python3\0-u\0/home/a/picosnitch.py\0restart\0", true),
            (python, b"/usr/bin/python3\0/usr/bin/picosnitch\0dash\0", false),
            (python, b"/usr/bin/python3\0/usr/bin/picosnitch\0", false),
            (python, b"python3\0/usr/bin/other\0start\0", false),
            (Some(Path::new("/usr/bin/picosnitch")), b"picosnitch\0start-no-daemon\0", false),
            (Some(Path::new("/usr/bin/vim")), b"python3\0picosnitch\0start\0", false),
            (None, b"", false),
        ] {
            assert_eq!(is_original(executable, line), expected, "{}", String::from_utf8_lossy(line));
        }
        running_original();
    }
}
