//! How much work the verifier had with each program: instructions that it looked at, of the million that it allows.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use libbpf_rs::{PrintLevel, skel::OpenSkel};

use super::{
    CaptureError, Settings,
    hooks::HOOKS,
    load::{open, probe},
};

/// `BPF_LOG_STATS` of the kernel's include/linux/bpf_verifier.h: the verifier tells its statistics and nothing else.
const STATISTICS: u32 = 4;

/// What the verifier said about the program that was loaded last.
static SAID: Mutex<String> = Mutex::new(String::new());

fn keep(_level: PrintLevel, message: String) {
    if message.contains("processed ") {
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

/// Loads each program that this kernel gets, one at a time, and returns its name and the number of instructions that
/// the verifier processed; `None` for a program that was refused.
///
/// # Errors
/// When there is no BTF, or the object is not valid.
pub fn instructions() -> Result<Vec<(&'static str, Option<u64>)>, CaptureError> {
    libbpf_rs::set_print(Some((PrintLevel::Debug, keep)));
    let features = probe()?;
    let mut counts = Vec::new();
    let usable = HOOKS.iter().filter(|hook| hook.is_wanted(&features) && hook.is_possible(&features).is_ok());
    for hook in usable {
        let mut object = open(&Settings { ring_buffer_pages: 16 }, &features, &[hook])?;
        for mut program in object.open_object_mut().progs_mut() {
            program.set_log_level(STATISTICS);
        }
        mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner));
        let loaded = object.load().is_ok();
        let said = mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner));
        counts.push((hook.program, processed(&said).filter(|_| loaded)));
    }
    Ok(counts)
}

/// The number in `processed 1234 insns (limit 1000000) ...`.
fn processed(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("processed ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("insns").then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_the_verifier_are_read() {
        let said = "prog 'x': -- BEGIN PROG LOAD LOG --\nverification time 92 usec\nstack depth 24+0\nprocessed 417 \
                    insns (limit 1000000) max_states_per_insn 1 total_states 24 peak_states 24 mark_read 2\n-- END";
        assert_eq!(processed(said), Some(417));
        assert_eq!(processed("processed nothing"), None);
        assert_eq!(processed(""), None);
    }
}
