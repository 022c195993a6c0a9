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

/// What a daemon that was told to end waits for.
pub(super) fn describe(monitor: u32) -> String {
    reason(monitor).unwrap_or_else(|| match daemon_state::first_child(monitor) {
        Some(recorder) => format!("its recorder (process {recorder}) writes what was recorded"),
        None => "it is busy".to_owned(),
    })
}

/// Why one of the processes of a daemon does nothing; `None` if they show no reason.
pub(super) fn reason(monitor: u32) -> Option<String> {
    let recorder = daemon_state::first_child(monitor);
    let recorder = recorder.map(|pid| (format!("its recorder (process {pid})"), pid));
    [Some(("it".to_owned(), monitor)), recorder].into_iter().flatten().find_map(|(name, pid)| {
        let why = match daemon_state::state(pid) {
            _ if is_frozen(pid) => "is frozen with its cgroup",
            Some('t') => "is stopped by a debugger",
            Some('T') => "is stopped by a signal",
            Some('D') => "waits for a disk that does not answer",
            _ => return None,
        };
        Some(format!("{name} {why}"))
    })
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
        assert_eq!(reason(std::process::id()), None);
        let text = describe(std::process::id());
        assert!(text == "it is busy" || text.contains("writes"), "{text}");
    }
}
