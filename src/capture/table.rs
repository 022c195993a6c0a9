//! The flow table: reading all of it, removing what is over.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags};

use super::{
    Capture, CaptureError,
    abi::{self, FlowKey, types},
};

/// Flow table entries that are read with one system call.
const BATCH: usize = 2048;
const KEY_BYTES: usize = size_of::<types::flow_key>();
const VALUE_BYTES: usize = size_of::<types::flow>();

/// Buffers for reading, kept from one drain to the next.
pub(super) struct Buffers {
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { keys: vec![0; BATCH * KEY_BYTES], values: vec![0; BATCH * VALUE_BYTES] }
    }
}

/// One entry of the flow table.
pub(super) struct Entry {
    pub raw_key: [u8; KEY_BYTES],
    pub key: FlowKey,
    pub flow: types::flow,
}

impl Capture {
    /// Every entry. What is added meanwhile is in there or comes next time.
    pub(super) fn read_table(&mut self) -> Result<Vec<Entry>, CaptureError> {
        let map = self.skeleton.maps.flows.as_fd().as_raw_fd();
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
                    buffers.values.as_mut_ptr().cast(),
                    &mut count,
                    std::ptr::null(),
                )
            };
            if result != 0 && result != -libc::ENOENT {
                return Err(CaptureError::io("the flow table cannot be read")(
                    std::io::Error::from_raw_os_error(-result),
                ));
            }
            let count = count as usize;
            let keys = buffers.keys.chunks_exact(KEY_BYTES).take(count);
            for (key, value) in keys.zip(buffers.values.chunks_exact(VALUE_BYTES)) {
                let Ok(raw_key) = <[u8; KEY_BYTES]>::try_from(key) else { continue };
                if let (Some(key), Some(flow)) =
                    (abi::read::<types::flow_key>(key), abi::read::<types::flow>(value))
                {
                    entries.push(Entry { raw_key, key: key.into(), flow });
                }
            }
            if result == -libc::ENOENT {
                return Ok(entries);
            }
            first = false;
            position = next;
        }
    }

    /// Removes the entries of these keys, one after the other in their raw form.
    pub(super) fn remove(&self, keys: &[u8]) {
        let flows = &self.skeleton.maps.flows;
        let count = keys.len() / KEY_BYTES;
        if count > 0 && flows.delete_batch(keys, count as u32, MapFlags::ANY, MapFlags::ANY).is_err() {
            // The batch stops at a key that is not there (it cannot be): go on one by one.
            for key in keys.chunks_exact(KEY_BYTES) {
                let _ = flows.delete(key);
            }
        }
    }
}
