//! The variables of the kernel half that user space reads and writes while the hooks run. They are mapped here and not by the
//! skeleton, which does not map the maps that an earlier run has left.

use std::{os::fd::AsRawFd, ptr::NonNull};

use libbpf_rs::MapCore;

use crate::{
    abi::{skeleton::PicosnitchSkel, types},
    error::CaptureError,
};

/// The variables with and without an initial value.
pub(crate) struct Variables {
    bss: Mapped<types::bss>,
    data: Mapped<types::data>,
}

/// Reads a variable as the kernel half has it now.
macro_rules! read {
    ($mapped:expr, $field:ident) => {
        // SAFETY: a valid, aligned variable of the mapping; volatile because the kernel half writes it meanwhile.
        unsafe { (&raw const (*$mapped.memory.as_ptr()).$field).read_volatile() }
    };
}

/// Writes a variable.
macro_rules! write {
    ($mapped:expr, $field:ident, $value:expr) => {
        // SAFETY: a valid, aligned variable of the mapping; volatile because the kernel half reads it meanwhile.
        unsafe { (&raw mut (*$mapped.memory.as_ptr()).$field).write_volatile($value) }
    };
}

impl Variables {
    pub(crate) fn new(skeleton: &PicosnitchSkel<'_>) -> Result<Self, CaptureError> {
        Ok(Self { bss: Mapped::new(&skeleton.maps.bss)?, data: Mapped::new(&skeleton.maps.data)? })
    }

    pub(crate) fn tick(&self) -> u32 {
        read!(self.bss, tick)
    }

    pub(crate) fn set_tick(&mut self, tick: u32) {
        write!(self.bss, tick, tick);
    }

    pub(crate) fn expire_ticks(&self) -> u32 {
        read!(self.data, expire_ticks)
    }

    pub(crate) fn set_expire_ticks(&mut self, ticks: u32) {
        write!(self.data, expire_ticks, ticks);
    }

    pub(crate) fn packet_hooks_requested(&self) -> bool {
        read!(self.bss, packet_hooks_requested)
    }

    pub(crate) fn packet_hooks_attached(&self) -> bool {
        read!(self.bss, packet_hooks_attached)
    }

    pub(crate) fn set_packet_hooks_attached(&mut self) {
        write!(self.bss, packet_hooks_attached, true);
    }

    /// The loss counters, without those of the kernel.
    pub(crate) fn loss_counters(&self) -> crate::reconciler::LossCounters {
        crate::reconciler::LossCounters {
            process_events: read!(self.bss, lost_process_events),
            release_events: read!(self.bss, lost_release_events),
            flow_operations: read!(self.bss, lost_flow_operations),
            flow_bytes: read!(self.bss, lost_flow_bytes),
            name_events: read!(self.bss, lost_observations),
            repaired_calls: read!(self.bss, done_by_backup),
            skipped_calls: 0,
        }
    }
}

/// The memory of a map with one entry.
struct Mapped<T> {
    memory: NonNull<T>,
}

impl<T> Mapped<T> {
    fn new(map: &impl MapCore) -> Result<Self, CaptureError> {
        let failed = CaptureError::io("the variables of the BPF object cannot be shared");
        // SAFETY: a new mapping, at least as large as the entry, whose size is that of `T`.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        let mapped = (memory != libc::MAP_FAILED).then(|| NonNull::new(memory.cast())).flatten();
        mapped.map(|memory| Self { memory }).ok_or_else(|| failed(std::io::Error::last_os_error()))
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), size_of::<T>()) };
    }
}
