//! The links of attached hooks.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::{Link, Program};

use crate::{
    abi::skeleton::PicosnitchSkel,
    features::Features,
    hand_over::HandOverState,
    hook::{Condition, Hook},
    hook_id::HookId,
    load::attach,
};

/// The links, in the order in which the hooks were attached.
#[derive(Default)]
pub(crate) struct Links {
    links: Vec<(HookId, Link)>,
}

impl Links {
    /// Attaches the program of a hook, or takes over the link that an earlier run has left.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn attach(
        &mut self,
        skeleton: &PicosnitchSkel<'_>,
        hook: &Hook,
        features: &Features,
        hand_over: &mut HandOverState,
    ) -> libbpf_rs::Result<()> {
        let link = match hand_over.pins().map(|pins| pins.link(hook.id)) {
            Some(path) if path.exists() => Link::open(path)?,
            path => {
                let mut link = attach(skeleton, hook, features)?;
                if let Some(Err(error)) = path.map(|path| link.pin(path)) {
                    hand_over.give_up(&format!("{} cannot be pinned: {error}", hook.id.program()));
                }
                link
            }
        };
        self.links.push((hook.id, link));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Detaches the hooks, the last one first. Their pins must be gone.
    pub(crate) fn detach(&mut self) {
        while self.links.pop().is_some() {}
    }

    /// Lets the hooks run on without this process.
    pub(crate) fn leave(&mut self) {
        // Dropping the link of a perf event disables it, although it is pinned (bpf_link_perf_detach in libbpf.c).
        self.links.drain(..).for_each(|(_, link)| std::mem::forget(link));
    }

    /// The primary programs of the tracing hooks.
    pub(crate) fn primary_programs(&self, hooks: &[&Hook]) -> Vec<OwnedFd> {
        let is_primary = |id: &HookId| {
            let hook = hooks.iter().find(|hook| hook.id == *id);
            hook.is_some_and(|hook| hook.condition != Condition::PreemptibleTracepoints && hook.is_traced())
        };
        self.links.iter().filter(|(id, _)| is_primary(id)).filter_map(|(_, link)| program_of(link)).collect()
    }
}

/// The program of a link (`bpf_link_info.prog_id`).
fn program_of(link: &Link) -> Option<OwnedFd> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut bytes = size_of_val(&info) as u32;
    let descriptor = link.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `bytes` bytes into a structure of that size; zeroed, it asks for no array.
    let result =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(descriptor, (&raw mut info).cast(), &raw mut bytes) };
    if result == 0 { Program::fd_from_id(info.prog_id).ok() } else { None }
}
