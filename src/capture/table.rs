//! The flow table: reading all of it, removing what is over.
//!
//! The kernel half keeps the flows in an array, and where the flow of each key is in a hash table. User space shares
//! the array's memory: it reads the counters of those places that the hash table names.

use std::{
    os::fd::{AsFd, AsRawFd},
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

/// One entry of the flow table.
pub(super) struct Entry {
    pub raw_key: [u8; KEY_BYTES],
    pub key: FlowKey,
    /// Where `flow` was read.
    pub place: u32,
    pub flow: types::flow,
}

/// The array of flows, shared with the kernel half.
pub(super) struct Flows {
    memory: NonNull<types::flow>,
    places: usize,
}

impl Flows {
    /// Maps the array, and gives all of its places to the kernel half.
    pub(super) fn share(flows: &impl MapCore, free: &impl MapCore) -> Result<Self, CaptureError> {
        let places = flows.max_entries();
        // From the last one: what was put in last is taken first, and memory that was never used costs nothing.
        for place in (0..places).rev() {
            give(free, place).map_err(CaptureError::bpf("the flow table cannot be set up"))?;
        }
        let places = places as usize;
        let bytes = (places * size_of::<types::flow>()).next_multiple_of(page_bytes());
        // SAFETY: a new mapping of a map's memory, of the length that the kernel has for it.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                flows.as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(CaptureError::io("the flow table cannot be shared")(std::io::Error::last_os_error()));
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| {
            CaptureError::io("the flow table cannot be shared")(std::io::ErrorKind::OutOfMemory.into())
        })?;
        Ok(Self { memory, places })
    }

    /// The flow in a place, as it is now: each counter is whole.
    fn read(&self, place: u32) -> Option<types::flow> {
        let words = self.at(place)?.cast::<[u64; FLOW_WORDS]>().as_ptr();
        let mut copy = [0_u64; FLOW_WORDS];
        for (at, word) in copy.iter_mut().enumerate() {
            // SAFETY: inside of the flow, aligned; volatile because the kernel half writes meanwhile.
            *word = unsafe { (&raw const (*words)[at]).read_volatile() };
        }
        // SAFETY: integers only, of the same size.
        Some(unsafe { std::mem::transmute::<[u64; FLOW_WORDS], types::flow>(copy) })
    }

    /// From now on no hint of the kernel half leads to what was in this place.
    fn end_life(&self, place: u32) {
        if let Some(flow) = self.at(place) {
            // SAFETY: a valid, aligned place; volatile because the kernel half reads it meanwhile.
            unsafe {
                let life = &raw mut (*flow.as_ptr()).life;
                life.write_volatile(life.read_volatile().wrapping_add(1));
            }
        }
    }

    fn at(&self, place: u32) -> Option<NonNull<types::flow>> {
        // SAFETY: the mapping has `places` flows, and lives as long as this.
        ((place as usize) < self.places).then(|| unsafe { self.memory.add(place as usize) })
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        let bytes = (self.places * size_of::<types::flow>()).next_multiple_of(page_bytes());
        // SAFETY: mapped in `share`, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), bytes) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Lets the kernel half use a place.
fn give(free: &impl MapCore, place: u32) -> libbpf_rs::Result<()> {
    free.update(&[], &place.to_ne_bytes(), MapFlags::ANY)
}

impl Capture {
    /// Every entry. What is added meanwhile is in there or comes next time.
    pub(super) fn read_table(&mut self) -> Result<Vec<Entry>, CaptureError> {
        let map = self.skeleton.maps.places.as_fd().as_raw_fd();
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
                if let (Some(key), Some(flow)) =
                    (abi::read::<types::flow_key>(key), self.drain.flows.read(*place))
                {
                    entries.push(Entry { raw_key, key: key.into(), place: *place, flow });
                }
            }
            if result == -libc::ENOENT {
                return Ok(entries);
            }
            first = false;
            position = next;
        }
    }

    /// Removes entries, and makes room where they were.
    pub(super) fn remove(&self, finished: &[([u8; KEY_BYTES], u32)]) {
        let places = &self.skeleton.maps.places;
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
            self.drain.flows.end_life(*place);
            // There is room for all places.
            let _ = give(&self.skeleton.maps.free_places, *place);
        }
    }
}
