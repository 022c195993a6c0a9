//! Reads the loss counters of the kernel half and of the kernel.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::{abi::skeleton::PicosnitchSkel, reconciler::LossCounters};

/// The counters as they are now; `None` when the memory of the kernel half is not mapped. `primary_programs` are the tracing
/// programs that the kernel may skip.
pub(crate) fn loss_counters(
    skeleton: &PicosnitchSkel<'_>,
    primary_programs: &[OwnedFd],
) -> Option<LossCounters> {
    let bss = skeleton.maps.bss_data.as_deref()?;
    // SAFETY: valid, aligned references; volatile because the kernel half writes them meanwhile.
    unsafe {
        Some(LossCounters {
            process_events: std::ptr::read_volatile(&bss.lost_process_events),
            release_events: std::ptr::read_volatile(&bss.lost_release_events),
            flow_operations: std::ptr::read_volatile(&bss.lost_flow_operations),
            flow_bytes: std::ptr::read_volatile(&bss.lost_flow_bytes),
            name_events: std::ptr::read_volatile(&bss.lost_observations),
            repaired_calls: std::ptr::read_volatile(&bss.done_by_backup),
            skipped_calls: primary_programs.iter().map(|program| recursion_misses(program.as_raw_fd())).sum(),
        })
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
