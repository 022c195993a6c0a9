//! A cgroup with too little memory: the kernel ends the recorder, and the daemon says that this was the reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::harness::{Daemon, base, error_log, fresh_address, picosnitch, root_alone, talk};

/// A cgroup that bounds memory, removed when dropped.
struct MemoryCgroup {
    directory: PathBuf,
    usage: &'static str,
    limit: &'static str,
}

impl MemoryCgroup {
    fn make() -> Self {
        let name = format!("picosnitch-test-{}", std::process::id());
        // Version 2 has the file in each cgroup, version 1 in the hierarchy of the controller.
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        let made = [
            ("/sys/fs/cgroup", "memory.current", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.limit_in_bytes"),
        ]
        .into_iter()
        .find_map(|(mount, usage, limit)| {
            let directory = Path::new(mount).join(&name);
            fs::create_dir(&directory).ok()?;
            let cgroup = Self { directory, usage, limit };
            cgroup.directory.join(limit).exists().then_some(cgroup)
        });
        made.expect("no memory controller")
    }

    fn usage(&self) -> u64 {
        fs::read_to_string(self.directory.join(self.usage)).unwrap().trim().parse().unwrap()
    }

    fn limit(&self, bytes: u64) {
        // Version 1 refuses a limit that cannot be reached at once.
        let _ = fs::write(self.directory.join(self.limit), bytes.to_string());
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

#[test]
#[ignore = "needs root"]
fn a_recorder_that_the_kernel_ends_for_lack_of_memory_is_told_as_such() {
    let _root = root_alone();
    let base = base("");
    let cgroup = MemoryCgroup::make();
    let daemon = picosnitch(base.path(), &["start-no-daemon"]);
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&cgroup.directory);
    command.arg(daemon.get_program()).args(daemon.get_args()).env_remove("PICOSNITCH_BASE_DIR");
    let daemon = Daemon::start_as(command);
    let recorder = daemon.recorder();
    // The kernel chooses this one.
    fs::write(format!("/proc/{recorder}/oom_score_adj"), "1000").unwrap();
    let (process, until) =
        (PathBuf::from(format!("/proc/{recorder}/exe")), Instant::now() + Duration::from_secs(120));
    let mut command = 0;
    while fs::read_link(&process).is_ok() {
        assert!(Instant::now() < until, "the kernel kills nothing: {}", daemon.text());
        cgroup.limit(cgroup.usage().saturating_sub(512 * 1024));
        talk(fresh_address(), 1, 1);
        // New programs are new contexts, which take memory.
        for _ in 0..20 {
            command += 1;
            let script = format!("exec 3<>/dev/udp/127.0.0.1/9; echo {command} >&3; : {}", "x".repeat(3000));
            let _ = Command::new("bash").args(["-c", &script]).status();
        }
    }
    let (status, text) = daemon.end();
    assert_eq!(status.code(), Some(1), "{status}: {text}");
    assert!(text.contains("memory ran out in the cgroup /sys/fs/cgroup"), "{text}");
    assert!(error_log(base.path()).contains("memory ran out"));
}
