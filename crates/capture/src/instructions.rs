//! Counting the verifier's work on each program: the instructions that it processed, of the million that it allows.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use libbpf_rs::{PrintLevel, skel::OpenSkel};

use crate::{
    error::CaptureError,
    hook_id::HookId,
    hooks::HOOKS,
    load::{Settings, open, probe_features},
};

/// `BPF_LOG_STATS` of the kernel's include/linux/bpf_verifier.h: the verifier logs its statistics and nothing else.
const LOG_STATS: u32 = 4;

/// The verifier's statistics of the program that was loaded last.
static STATISTICS: Mutex<String> = Mutex::new(String::new());

fn keep_statistics(_level: PrintLevel, message: String) {
    if message.contains("processed ") {
        *STATISTICS.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

fn take_statistics() -> String {
    mem::take(&mut *STATISTICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The verifier's work on one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInstructions {
    /// The hook of the program.
    pub hook: HookId,
    /// Instructions that the verifier processed; `None` for a program that it refused.
    pub processed: Option<u64>,
}

/// Loads each program that this kernel needs, one at a time, and counts the instructions that the verifier processes.
///
/// # Errors
/// When there is no BTF, or the object is not valid.
pub fn count_instructions() -> Result<Vec<ProgramInstructions>, CaptureError> {
    libbpf_rs::set_print(Some((PrintLevel::Debug, keep_statistics)));
    let features = probe_features()?;
    let mut counts = Vec::new();
    let usable = HOOKS.iter().filter(|hook| hook.is_wanted(&features) && hook.check(&features).is_ok());
    for hook in usable {
        let mut object = open(&Settings { ring_buffer_pages: 16, hand_over: None }, &features, &[hook])?;
        for mut program in object.open_object_mut().progs_mut() {
            program.set_log_level(LOG_STATS);
        }
        take_statistics();
        let is_loaded = object.load().is_ok();
        let processed = processed_in(&take_statistics()).filter(|_| is_loaded);
        counts.push(ProgramInstructions { hook: hook.id, processed });
    }
    Ok(counts)
}

/// Parses the number in `processed 1234 insns (limit 1000000) ...`.
fn processed_in(statistics: &str) -> Option<u64> {
    let (_, rest) = statistics.split_once("processed ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("insns").then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_the_verifier_are_parsed() {
        let statistics = "prog 'x': -- BEGIN PROG LOAD LOG --\nverification time 92 usec\nstack depth 24+0\nprocessed 417 \
                          insns (limit 1000000) max_states_per_insn 1 total_states 24 peak_states 24 mark_read 2\n-- END";
        assert_eq!(processed_in(statistics), Some(417));
        assert_eq!(processed_in("processed nothing"), None);
        assert_eq!(processed_in(""), None);
    }
}
