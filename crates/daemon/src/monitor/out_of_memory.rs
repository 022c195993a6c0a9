//! Whether the kernel has ended a process because memory ran out: it does that with SIGKILL, and leaves no other message.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Name of the counter in each file.
const COUNTER: &str = "oom_kill";
/// How `/proc/PID/cgroup` shows a hierarchy with the memory controller, where it is mounted, and the files of the counter and of
/// the limit: version 2, and version 1 on older machines.
const HIERARCHIES: [(&str, &str, &str, &str); 2] = [
    ("0::", "/sys/fs/cgroup", "memory.events", "memory.max"),
    (":memory:", "/sys/fs/cgroup/memory", "memory.oom_control", "memory.limit_in_bytes"),
];

/// The counters of killed processes at a moment.
#[derive(Debug, Default)]
pub(super) struct OutOfMemory {
    cgroup: Option<MemoryCgroup>,
    in_cgroup: u64,
    on_machine: u64,
}

/// The cgroup of this process that bounds its memory.
#[derive(Debug)]
struct MemoryCgroup {
    directory: PathBuf,
    counter: PathBuf,
    limit: PathBuf,
}

impl OutOfMemory {
    /// Reads the counters now.
    pub(super) fn read() -> Self {
        let cgroup = MemoryCgroup::own();
        let in_cgroup = cgroup.as_ref().and_then(|cgroup| count(&cgroup.counter)).unwrap_or(0);
        Self { in_cgroup, on_machine: count("/proc/vmstat".as_ref()).unwrap_or(0), cgroup }
    }

    /// A sentence part if memory has run out since then.
    pub(super) fn explanation(&self) -> Option<String> {
        let now = Self::read();
        match (&self.cgroup, now.in_cgroup > self.in_cgroup, now.on_machine > self.on_machine) {
            (Some(cgroup), true, _) => {
                let limit = fs::read_to_string(&cgroup.limit).unwrap_or_default();
                Some(format!(
                    "the kernel ended it because memory ran out in the cgroup {}, which may have {} bytes (MemoryMax= of the \
                     unit): give picosnitch more",
                    cgroup.directory.display(),
                    limit.trim()
                ))
            }
            (_, _, true) => {
                Some("probably ended by the kernel, because the memory of the machine ran out".into())
            }
            _ => None,
        }
    }
}

impl MemoryCgroup {
    fn own() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        HIERARCHIES.iter().find_map(|(mark, mount, counter, limit)| {
            let path = text.lines().find_map(|line| {
                let (before, path) = line.split_once(mark)?;
                before.bytes().all(|byte| byte.is_ascii_digit()).then_some(path)
            })?;
            let directory = PathBuf::from(mount).join(path.trim_start_matches('/'));
            let (counter, limit) = (directory.join(counter), directory.join(limit));
            counter.exists().then_some(Self { directory, counter, limit })
        })
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(COUNTER)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_the_line_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.events");
        fs::write(&file, "low 0\noom 4\noom_kill_disable 9\noom_kill 3\noom_group_kill 1\n").unwrap();
        assert_eq!(count(&file), Some(3));
        assert_eq!(count(&directory.path().join("none")), None);
    }

    #[test]
    fn memory_that_did_not_run_out_explains_nothing() {
        assert_eq!(OutOfMemory::read().explanation(), None);
    }

    #[test]
    fn a_counter_that_has_grown_explains_the_end() {
        let before = OutOfMemory::read();
        let Some(less) = before.on_machine.checked_sub(1) else { return };
        let text = OutOfMemory { on_machine: less, ..before }.explanation().unwrap();
        assert!(text.contains("memory"), "{text}");
    }
}
