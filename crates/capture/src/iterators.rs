//! Reading the iterators of the kernel half: existing processes and open sockets.

use std::io::Read;

use libbpf_rs::Iter;

use crate::{
    abi::skeleton::PicosnitchSkel, error::CaptureError, event::Event, hook_id::HookId, load::find_program,
};

/// Runs an iterator program to its end and decodes the events that it writes.
pub(crate) fn read_events(skeleton: &PicosnitchSkel<'_>, id: HookId) -> Result<Vec<Event>, CaptureError> {
    let failed = || format!("the iterator {} cannot be read", id.program());
    let program = find_program(skeleton, id).map_err(CaptureError::bpf(failed()))?;
    let link = program.attach().map_err(CaptureError::bpf(failed()))?;
    let mut iterator = Iter::new(&link).map_err(CaptureError::bpf(failed()))?;
    let mut bytes = Vec::new();
    iterator.read_to_end(&mut bytes).map_err(CaptureError::io(failed()))?;
    let mut events = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((event, length)) = Event::decode(rest) {
        events.push(event);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(events)
}
