//! The parent processes of this one.

/// Returns the executables of parent and grandparent of this process: one pair, or none if they are not visible from here.
pub(crate) fn ancestors() -> Vec<[String; 2]> {
    let parent_of = |id: &str| {
        // State and parent follow the name, which is in parentheses and may contain any byte (proc_pid_stat(5)).
        let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        let exe = std::fs::read_link(format!("/proc/{parent}/exe")).ok()?;
        Some((exe.to_string_lossy().into_owned(), parent))
    };
    let pair = parent_of("self").and_then(|(exe, parent)| Some([exe, parent_of(&parent)?.0]));
    pair.into_iter().collect()
}
