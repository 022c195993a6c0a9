//! Reads the loss counters of the kernel half and of the kernel.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::{reconciler::LossCounters, variables::Variables};

/// The counters as they are now. `primary_programs` are the tracing programs that the kernel may skip.
pub(crate) fn loss_counters(variables: &Variables, primary_programs: &[OwnedFd]) -> LossCounters {
    LossCounters {
        skipped_calls: primary_programs.iter().map(|program| recursion_misses(program.as_raw_fd())).sum(),
        ..variables.loss_counters()
    }
}

/// Number of times that the kernel skipped a tracing program because it was running on that CPU already
/// (`bpf_prog_info.recursion_misses`, 5.12 and later).
fn recursion_misses(program: RawFd) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `bytes` bytes into a structure of that size; zeroed, it asks for no array.
    let result =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(program, (&raw mut info).cast(), &raw mut bytes) };
    if result == 0 { info.recursion_misses } else { 0 }
}
