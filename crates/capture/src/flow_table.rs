//! The flow table: setting it up, reading all of it, removing flows.
//!
//! The kernel half keeps the flows in an array ([`FlowArray`]), and the slot of each key in a hash table. A third map
//! holds the free slots: user space puts them there, the kernel half takes them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::{
    abi::{self, types},
    error::CaptureError,
    flow::{FlowEntry, KEY_BYTES, TableSlot},
    flow_array::FlowArray,
};

/// Entries that are read with one system call.
const BATCH_ENTRIES: usize = 2048;
/// A position within the hash table, for the kernel alone: a bucket number, or at most a key.
type Cursor = [u64; 6];
const _: () = assert!(size_of::<Cursor>() >= size_of::<types::flow_key>());

pub(crate) struct FlowTable {
    flows: FlowArray,
    /// Maps the key of a flow to its slot.
    index: MapHandle,
    free_slots: MapHandle,
    batch: BatchBuffers,
}

/// Buffers for reading the hash table, kept from one drain to the next.
struct BatchBuffers {
    keys: Vec<u8>,
    slots: Vec<u32>,
}

impl FlowTable {
    pub(crate) fn new(
        flows: &impl MapCore,
        index: MapHandle,
        free_slots: MapHandle,
    ) -> Result<Self, CaptureError> {
        let batch = BatchBuffers { keys: vec![0; BATCH_ENTRIES * KEY_BYTES], slots: vec![0; BATCH_ENTRIES] };
        Ok(Self { flows: FlowArray::new(flows)?, index, free_slots, batch })
    }

    /// Gives all slots of the array of a new table to the kernel half.
    pub(crate) fn set_up(&self) -> Result<(), CaptureError> {
        // The stack returns what was put in last: from the last slot to the first, so that flows stay together.
        for slot in (0..types::abi_bound::MAX_FLOWS.0).rev() {
            self.free(slot).map_err(CaptureError::bpf("the flow table cannot be set up"))?;
        }
        Ok(())
    }

    /// Reads every entry. An entry that the kernel half adds meanwhile is read now or in the next drain.
    ///
    /// # Errors
    /// When the hash table cannot be read or the array cannot be mapped.
    pub(crate) fn read(&mut self) -> Result<Vec<FlowEntry>, CaptureError> {
        let unreadable = CaptureError::io("the flow table cannot be read");
        let mut entries = Vec::new();
        let mut cursor = None;
        loop {
            let (count, next) = match self.batch.fill(&self.index, cursor) {
                Ok(read) => read,
                Err(error) => return Err(unreadable(error)),
            };
            let keys = self.batch.keys.chunks_exact(KEY_BYTES).take(count);
            for (key, index) in keys.zip(&self.batch.slots) {
                let Ok(raw_key) = <[u8; KEY_BYTES]>::try_from(key) else { continue };
                if let Some(key) = abi::read::<types::flow_key>(key) {
                    let flow = self.flows.read(*index)?;
                    entries.push(FlowEntry::new(key, &flow, Some(TableSlot { raw_key, index: *index })));
                }
            }
            if next.is_none() {
                self.flows.unmap_unused();
                return Ok(entries);
            }
            cursor = next;
        }
    }

    /// Removes entries and gives their slots to the kernel half.
    pub(crate) fn remove(&mut self, slots: &[TableSlot]) {
        let keys: Vec<u8> = slots.iter().flat_map(|slot| slot.raw_key).collect();
        if !keys.is_empty()
            && self.index.delete_batch(&keys, slots.len() as u32, MapFlags::ANY, MapFlags::ANY).is_err()
        {
            // The batch stops at a key that is not in the table, which cannot happen: delete them one by one.
            for slot in slots {
                let _ = self.index.delete(&slot.raw_key);
            }
        }
        for slot in slots {
            // A slot that cannot be reached is not used again. The stack has room for all slots.
            if self.flows.advance_epoch(slot.index).is_ok() {
                let _ = self.free(slot.index);
            }
        }
    }

    fn free(&self, slot: u32) -> libbpf_rs::Result<()> {
        self.free_slots.update(&[], &slot.to_ne_bytes(), MapFlags::ANY)
    }
}

impl BatchBuffers {
    /// Reads the entries after `cursor`, or the first ones. Returns their number, and a cursor unless they were the last.
    fn fill(&mut self, map: &MapHandle, cursor: Option<Cursor>) -> io::Result<(usize, Option<Cursor>)> {
        let mut count = BATCH_ENTRIES as u32;
        let mut next: Cursor = [0; 6];
        let mut cursor = cursor;
        let from = cursor.as_mut().map_or(std::ptr::null_mut(), |cursor| cursor.as_mut_ptr());
        // SAFETY: keys and slots have room for BATCH_ENTRIES entries of the map's sizes, the cursors for a key, and
        // `count` says so; the kernel writes no more than that.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                map.as_fd().as_raw_fd(),
                from.cast(),
                next.as_mut_ptr().cast(),
                self.keys.as_mut_ptr().cast(),
                self.slots.as_mut_ptr().cast(),
                &mut count,
                std::ptr::null(),
            )
        };
        match -result {
            0 => Ok((count as usize, Some(next))),
            libc::ENOENT => Ok((count as usize, None)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}
