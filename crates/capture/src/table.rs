//! The flow table: reading all of it, removing what is over.
//!
//! The kernel half keeps the flows in an array, and where the flow of each key is in a hash table. User space shares
//! the array's memory: it reads the counters of those places that the hash table names.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr::NonNull,
};

use libbpf_rs::{MapCore, MapFlags};

use super::{
    Capture, CaptureError,
    abi::{self, FlowKey, types},
};

/// Flow table entries that are read with one system call.
const BATCH: usize = 2048;
const KEY_BYTES: usize = size_of::<types::flow_key>();
const FLOW_WORDS: usize = size_of::<types::flow>() / size_of::<u64>();

/// Buffers for reading, kept from one drain to the next.
pub(super) struct Buffers {
    keys: Vec<u8>,
    places: Vec<u32>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { keys: vec![0; BATCH * KEY_BYTES], places: vec![0; BATCH] }
    }
}

/// A key as the hash table has it, and the place in the array that it names.
pub(super) type Slot = ([u8; KEY_BYTES], u32);

/// One flow.
pub(super) struct Entry {
    pub key: FlowKey,
    /// Where it is in the flow table.
    pub slot: Option<Slot>,
    pub flow: types::flow,
}

impl Entry {
    /// One that was told at its end and is in no table.
    pub(super) fn ended(flow: types::flow) -> Self {
        Self { key: flow.key.into(), slot: None, flow }
    }
}

/// Bytes of the array that are mapped together; a multiple of any page size.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_FLOWS: usize = CHUNK_BYTES / size_of::<types::flow>();

/// The array of flows, shared with the kernel half: those parts of it in which there are flows. A mapping of all of it
/// would count as memory of this process, used or not.
pub(super) struct Flows {
    map: OwnedFd,
    chunks: Vec<Option<Chunk>>,
}

impl Flows {
    /// Gives all places of the array to the kernel half.
    pub(super) fn share(flows: &impl MapCore, free: &impl MapCore) -> Result<Self, CaptureError> {
        let places = flows.max_entries();
        // From the last one: what was put in last is taken first, so that flows stay together.
        for place in (0..places).rev() {
            give(free, place).map_err(CaptureError::bpf("the flow table cannot be set up"))?;
        }
        let map = flows
            .as_fd()
            .try_clone_to_owned()
            .map_err(CaptureError::io("the flow table cannot be shared"))?;
        let chunks = (places as usize).div_ceil(CHUNK_FLOWS);
        Ok(Self { map, chunks: std::iter::repeat_with(|| None).take(chunks).collect() })
    }

    /// The flow in a place, as it is now: each counter is whole.
    fn read(&mut self, place: u32) -> Result<types::flow, CaptureError> {
        let words = self.at(place)?.cast::<[u64; FLOW_WORDS]>().as_ptr();
        let mut copy = [0_u64; FLOW_WORDS];
        for (at, word) in copy.iter_mut().enumerate() {
            // SAFETY: inside of the flow, aligned; volatile because the kernel half writes meanwhile.
            *word = unsafe { (&raw const (*words)[at]).read_volatile() };
        }
        // SAFETY: integers only, of the same size.
        Ok(unsafe { std::mem::transmute::<[u64; FLOW_WORDS], types::flow>(copy) })
    }

    /// From now on no hint of the kernel half leads to what was in this place.
    fn end_life(&mut self, place: u32) -> Result<(), CaptureError> {
        let flow = self.at(place)?.as_ptr();
        // SAFETY: a valid, aligned place; volatile because the kernel half reads it meanwhile.
        unsafe {
            let life = &raw mut (*flow).slot_epoch;
            life.write_volatile(life.read_volatile().wrapping_add(1));
        }
        Ok(())
    }

    fn at(&mut self, place: u32) -> Result<NonNull<types::flow>, CaptureError> {
        let (number, offset) = (place as usize / CHUNK_FLOWS, place as usize % CHUNK_FLOWS);
        let shared = match self.chunks.get_mut(number) {
            Some(Some(chunk)) => Ok(chunk),
            Some(chunk) => Chunk::map(&self.map, number).map(|mapped| chunk.insert(mapped)),
            None => Err(std::io::ErrorKind::InvalidData.into()),
        };
        let chunk = shared.map_err(CaptureError::io("the flow table cannot be shared"))?;
        chunk.used = true;
        // SAFETY: the chunk has CHUNK_FLOWS flows, and stays mapped until `unmap_unused`.
        Ok(unsafe { chunk.memory.add(offset) })
    }

    /// Lets go of what no flow was read from since the last call.
    fn unmap_unused(&mut self) {
        for slot in &mut self.chunks {
            if slot.as_mut().is_some_and(|chunk| !std::mem::take(&mut chunk.used)) {
                *slot = None;
            }
        }
    }
}

/// A mapped part of the array.
struct Chunk {
    memory: NonNull<types::flow>,
    used: bool,
}

impl Chunk {
    fn map(map: &OwnedFd, number: usize) -> std::io::Result<Self> {
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
        Ok(Self { memory, used: false })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), CHUNK_BYTES) };
    }
}

/// Lets the kernel half use a place.
fn give(free: &impl MapCore, place: u32) -> libbpf_rs::Result<()> {
    free.update(&[], &place.to_ne_bytes(), MapFlags::ANY)
}

impl Capture {
    /// Every entry. What is added meanwhile is in there or comes next time.
    pub(super) fn read_table(&mut self) -> Result<Vec<Entry>, CaptureError> {
        let map = self.skeleton.maps.flow_index.as_fd().as_raw_fd();
        let buffers = &mut self.drain.buffers;
        let mut entries = Vec::new();
        let mut position = [0_u64; 6]; // the kernel keeps a bucket number in it, at most a key
        let mut first = true;
        loop {
            let mut count = BATCH as u32;
            let from = if first { std::ptr::null_mut() } else { position.as_mut_ptr().cast() };
            let mut next = [0_u64; 6];
            // SAFETY: keys and values have room for BATCH entries of the map's sizes, the positions for a key, and
            // `count` says so; the kernel writes no more than that.
            let result = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    map,
                    from,
                    next.as_mut_ptr().cast(),
                    buffers.keys.as_mut_ptr().cast(),
                    buffers.places.as_mut_ptr().cast(),
                    &mut count,
                    std::ptr::null(),
                )
            };
            if result != 0 && result != -libc::ENOENT {
                return Err(CaptureError::io("the flow table cannot be read")(
                    std::io::Error::from_raw_os_error(-result),
                ));
            }
            let keys = buffers.keys.chunks_exact(KEY_BYTES).take(count as usize);
            for (key, place) in keys.zip(&buffers.places) {
                let Ok(raw_key) = <[u8; KEY_BYTES]>::try_from(key) else { continue };
                if let Some(key) = abi::read::<types::flow_key>(key) {
                    let flow = self.drain.flows.read(*place)?;
                    entries.push(Entry { key: key.into(), slot: Some((raw_key, *place)), flow });
                }
            }
            if result == -libc::ENOENT {
                self.drain.flows.unmap_unused();
                return Ok(entries);
            }
            first = false;
            position = next;
        }
    }

    /// Removes entries, and makes room where they were.
    pub(super) fn remove(&mut self, finished: &[Slot]) {
        let places = &self.skeleton.maps.flow_index;
        let keys: Vec<u8> = finished.iter().flat_map(|(key, _)| *key).collect();
        if !keys.is_empty()
            && places.delete_batch(&keys, finished.len() as u32, MapFlags::ANY, MapFlags::ANY).is_err()
        {
            // The batch stops at a key that is not there (it cannot be): go on one by one.
            for (key, _) in finished {
                let _ = places.delete(key);
            }
        }
        for (_, place) in finished {
            // A place that cannot be reached is not used again. There is room for all in the stack.
            if self.drain.flows.end_life(*place).is_ok() {
                let _ = give(&self.skeleton.maps.free_slots, *place);
            }
        }
    }
}
