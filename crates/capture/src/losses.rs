//! What the kernel half lost, by its own counters and by the kernel's.

use std::os::fd::{AsRawFd, RawFd};

use super::Capture;
use model::{Loss, LossKind};

impl Capture {
    /// What was lost since the last call.
    pub(super) fn losses(&mut self) -> Vec<Loss> {
        let Some(bss) = self.skeleton.maps.bss_data.as_deref() else { return Vec::new() };
        // SAFETY: valid, aligned references; volatile because the kernel half writes them meanwhile.
        let now = unsafe {
            [
                std::ptr::read_volatile(&bss.lost_process_events),
                std::ptr::read_volatile(&bss.lost_release_events),
                std::ptr::read_volatile(&bss.lost_flow_operations),
                std::ptr::read_volatile(&bss.lost_flow_bytes),
                std::ptr::read_volatile(&bss.lost_observations),
                std::ptr::read_volatile(&bss.done_by_backup),
            ]
        };
        let [events, releases, operations, bytes, heard, repaired] = now;
        // What the second programs did is not lost; neither number is of exactly the same moment.
        let skipped = self.skipped_calls().saturating_sub(repaired).max(self.drain.losses[5]);
        let now = [events, releases, operations, bytes, heard, skipped];
        let before = std::mem::replace(&mut self.drain.losses, now);
        let kinds = [
            LossKind::ProcessEvents,
            LossKind::ReleaseEvents,
            LossKind::FlowTableFull,
            LossKind::FlowTableBytes,
            LossKind::Names,
            LossKind::SkippedCalls,
        ];
        kinds
            .into_iter()
            .zip(now.into_iter().zip(before))
            .map(|(kind, (now, before))| Loss { kind, count: now.wrapping_sub(before) })
            .filter(|loss| loss.count > 0)
            .collect()
    }

    /// How often the kernel skipped a tracing program, because it was running on that CPU already
    /// (`bpf_prog_info.recursion_misses`, 5.12 and later).
    fn skipped_calls(&self) -> u64 {
        self.guarded.iter().map(|program| recursion_misses(program.as_raw_fd())).sum()
    }
}

fn recursion_misses(program: RawFd) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `bytes` bytes into a structure of that size; zeroed, it asks for no array.
    let result =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(program, (&raw mut info).cast(), &raw mut bytes) };
    if result == 0 { info.recursion_misses } else { 0 }
}
