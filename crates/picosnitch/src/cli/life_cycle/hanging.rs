//! Why a daemon does not end, as far as its processes show.

use std::{fs, path::Path};

use crate::cli::daemon_state;

/// How `/proc/PID/cgroup` shows a hierarchy that can freeze processes, where it is mounted, and the file and the line that say that
/// a cgroup is frozen: version 2, also beside version 1, and version 1.
const HIERARCHIES: [(&str, &str, &str, &str); 3] = [
    ("0::/", "/sys/fs/cgroup", "cgroup.events", "frozen 1"),
    ("0::/", "/sys/fs/cgroup/unified", "cgroup.events", "frozen 1"),
    (":freezer:", "/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"),
];

/// A sentence about what a daemon that was told to end waits for.
pub(super) fn describe(monitor: u32) -> String {
    let recorder = daemon_state::first_child(monitor);
    for (name, pid) in [("", Some(monitor)), ("its recorder ", recorder)] {
        let Some(pid) = pid else { continue };
        if is_frozen(pid) {
            return format!("{name}(process {pid}) is frozen with its cgroup");
        }
        match daemon_state::state(pid) {
            Some('t') => return format!("{name}(process {pid}) is stopped by a debugger"),
            Some('T') => return format!("{name}(process {pid}) is stopped by a signal"),
            Some('D') => return format!("{name}(process {pid}) waits for a disk that does not answer"),
            _ => {}
        }
    }
    match recorder {
        Some(recorder) => format!("its recorder (process {recorder}) writes what was recorded"),
        None => "it is busy".to_owned(),
    }
}

fn is_frozen(pid: u32) -> bool {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    HIERARCHIES.iter().any(|(mark, mount, file, frozen)| {
        let path = cgroups.lines().find_map(|line| Some(line.split_once(mark)?.1.trim_start_matches('/')));
        let state = path.and_then(|path| fs::read_to_string(Path::new(mount).join(path).join(file)).ok());
        state.is_some_and(|state| state.lines().any(|line| line == *frozen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_busy() {
        assert!(!is_frozen(std::process::id()));
        let text = describe(std::process::id());
        assert!(text == "it is busy" || text.contains("writes"), "{text}");
    }
}
