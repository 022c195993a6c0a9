//! The array of flows, whose memory user space shares with the kernel half.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    ptr::NonNull,
};

use libbpf_rs::MapCore;

use crate::{abi::types, error::CaptureError};

const FLOW_WORDS: usize = size_of::<types::flow>() / size_of::<u64>();
/// Size of the parts of the array that are mapped one by one; a multiple of any page size.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_FLOWS: usize = CHUNK_BYTES / size_of::<types::flow>();
const NOT_SHARED: &str = "the flow table cannot be shared";

/// The array of flows. Only chunks with flows in them are mapped: a mapping of the whole array would count as memory of
/// this process, used or not.
pub(crate) struct FlowArray {
    map: OwnedFd,
    chunks: Vec<Option<MappedChunk>>,
}

impl FlowArray {
    pub(crate) fn new(flows: &impl MapCore) -> Result<Self, CaptureError> {
        let map = flows.as_fd().try_clone_to_owned().map_err(CaptureError::io(NOT_SHARED))?;
        let chunks = (flows.max_entries() as usize).div_ceil(CHUNK_FLOWS);
        Ok(Self { map, chunks: std::iter::repeat_with(|| None).take(chunks).collect() })
    }

    /// Reads the flow in a slot. The kernel half may change it meanwhile, but each counter is read as a whole.
    pub(crate) fn read(&mut self, index: u32) -> Result<types::flow, CaptureError> {
        let words = self.flow(index)?.cast::<[u64; FLOW_WORDS]>().as_ptr();
        let mut copy = [0_u64; FLOW_WORDS];
        for (at, word) in copy.iter_mut().enumerate() {
            // SAFETY: inside of the flow, aligned; volatile because the kernel half writes meanwhile.
            *word = unsafe { (&raw const (*words)[at]).read_volatile() };
        }
        // SAFETY: integers only, of the same size.
        Ok(unsafe { std::mem::transmute::<[u64; FLOW_WORDS], types::flow>(copy) })
    }

    /// Advances the epoch of a slot before the slot is given to another flow, so that no entry of the flow cache leads to
    /// it.
    pub(crate) fn advance_epoch(&mut self, index: u32) -> Result<(), CaptureError> {
        let flow = self.flow(index)?.as_ptr();
        // SAFETY: a valid, aligned slot; volatile because the kernel half reads it meanwhile.
        unsafe {
            let epoch = &raw mut (*flow).slot_epoch;
            epoch.write_volatile(epoch.read_volatile().wrapping_add(1));
        }
        Ok(())
    }

    /// Unmaps the chunks that were not read since the last call.
    pub(crate) fn unmap_unused(&mut self) {
        for slot in &mut self.chunks {
            if slot.as_mut().is_some_and(|chunk| !std::mem::take(&mut chunk.is_used)) {
                *slot = None;
            }
        }
    }

    fn flow(&mut self, index: u32) -> Result<NonNull<types::flow>, CaptureError> {
        let (number, offset) = (index as usize / CHUNK_FLOWS, index as usize % CHUNK_FLOWS);
        let chunk = match self.chunks.get_mut(number) {
            Some(Some(chunk)) => Ok(chunk),
            Some(chunk) => MappedChunk::new(&self.map, number).map(|mapped| chunk.insert(mapped)),
            None => Err(std::io::ErrorKind::InvalidData.into()),
        };
        let chunk = chunk.map_err(CaptureError::io(NOT_SHARED))?;
        chunk.is_used = true;
        // SAFETY: the chunk has CHUNK_FLOWS flows, and stays mapped until `unmap_unused`.
        Ok(unsafe { chunk.memory.add(offset) })
    }
}

struct MappedChunk {
    memory: NonNull<types::flow>,
    is_used: bool,
}

impl MappedChunk {
    fn new(map: &OwnedFd, number: usize) -> std::io::Result<Self> {
        // SAFETY: a new mapping of a part of a map's memory; the kernel refuses what is not there.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                CHUNK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                (number * CHUNK_BYTES) as libc::off_t,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, is_used: false })
    }
}

impl Drop for MappedChunk {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), CHUNK_BYTES) };
    }
}
