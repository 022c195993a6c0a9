//! A log that is damaged is moved away: recording goes on in a new one, and what can be read is not lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::text::time;

/// Moves a damaged log away, with its other files. Returns a sentence about it.
pub(super) fn set_aside(path: &Path, damage: &str) -> io::Result<String> {
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp: String = time::local(time::now())
        .chars()
        .map(|character| match character {
            ' ' => '-',
            other => other,
        })
        .filter(|character| *character != ':')
        .collect();
    let mut to = name(&format!(".damaged-{stamp}"));
    let mut number = 1;
    while to.symlink_metadata().is_ok() {
        number += 1;
        to = name(&format!(".damaged-{stamp}-{number}"));
    }
    fs::rename(path, &to)?;
    for suffix in ["-wal", "-shm"] {
        let mut to = to.as_os_str().to_owned();
        to.push(suffix);
        match fs::rename(name(suffix), to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(format!(
        "The log {} was damaged ({}) and is {} now; a new one was begun. `picosnitch doctor --salvage {}` brings over what \
         can be read of it.",
        path.display(),
        damage,
        to.display(),
        to.display()
    ))
}
