//! Loading the BPF object and attaching its programs.

use std::{
    fs::File,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

use libbpf_rs::{
    Link, PrintLevel, ProgramMut,
    skel::{OpenSkel, Skel, SkelBuilder},
};

use crate::{
    abi::skeleton::{OpenPicosnitchSkel, PicosnitchSkel, PicosnitchSkelBuilder},
    error::CaptureError,
    features::Features,
    hand_over::{HandOver, Pins, pin_maps},
    hook::{AttachKind, BlindSpot, Hook},
    hook_id::HookId,
    hooks::HOOKS,
};

/// Settings of the kernel half.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of the ring buffer for events, in pages of 4 KiB; a power of two.
    pub ring_buffer_pages: u32,
    /// Where a run leaves what the next one takes over; `None` if it leaves nothing.
    pub hand_over: Option<HandOver>,
}

/// The last significant message of libbpf: its error codes do not say which program or instruction was refused.
static LAST_MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Keeps the last significant message; a callback for [`libbpf_rs::set_print`].
pub(crate) fn keep_last_message(_level: PrintLevel, message: String) {
    let mut last = LAST_MESSAGE.lock().unwrap_or_else(PoisonError::into_inner);
    // The verifier's log can be megabytes: the last line before its statistics says what is wrong. The messages after it
    // only say that loading has failed.
    let is_significant =
        |line: &&str| !line.starts_with(['-', 'p']) && !line.contains("failed to load") && !line.is_empty();
    if let Some(line) = message.lines().rev().find(is_significant) {
        last.clear();
        last.extend(line.chars().take(300));
    }
}

pub(crate) fn last_message() -> String {
    LAST_MESSAGE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Finds out what this kernel has, and leaves nothing attached.
pub(crate) fn probe_features() -> Result<Features, CaptureError> {
    let functions = HOOKS.iter().filter_map(|hook| match hook.attach {
        AttachKind::Function(name) => Some(name),
        _ => None,
    });
    let tracepoints = HOOKS.iter().filter_map(|hook| match hook.attach {
        AttachKind::Tracepoint(name) | AttachKind::ClassicTracepoint(name) => Some(name),
        _ => None,
    });
    let mut features = Features::probe(functions, tracepoints)?;
    // The smallest program that is attached to a function.
    if let Some(hook) = HOOKS.iter().find(|hook| hook.id == HookId::PacketSetRing) {
        features.ftrace = true;
        features.ftrace = hook.check(&features).is_ok()
            && load(&Settings { ring_buffer_pages: 1, hand_over: None }, &features, &[hook], None)
                .is_ok_and(|skeleton| attach(&skeleton, hook, &features).is_ok());
    }
    Ok(features)
}

/// Loads the programs of all hooks that this kernel needs and accepts, but for those whose links are among the pins: they run.
/// Returns the hooks, too, and adds a blind spot for each that is missing.
///
/// # Errors
/// When an essential hook is missing, or the object cannot be loaded without the refused programs either.
pub(crate) fn load_usable(
    settings: &Settings,
    features: &Features,
    blind_spots: &mut Vec<BlindSpot>,
    pins: Option<&Pins>,
) -> Result<(PicosnitchSkel<'static>, Vec<&'static Hook>), CaptureError> {
    let mut hooks = Vec::new();
    for hook in HOOKS.iter().filter(|hook| hook.is_wanted(features)) {
        match hook.check(features) {
            Ok(()) => hooks.push(hook),
            Err(why) => add_missing(blind_spots, hook, features, why)?,
        }
    }
    let error = match load(settings, features, &hooks, pins) {
        Ok(skeleton) => return Ok((skeleton, hooks)),
        Err(error) => error,
    };
    // One refused program fails the whole object: find the refused ones by loading each alone, and go on without them.
    let mut refused = Vec::new();
    for hook in &hooks {
        if load(settings, features, &[hook], None).is_err() {
            refused.push((*hook, last_message()));
        }
    }
    if refused.is_empty() {
        return Err(error);
    }
    hooks.retain(|hook| !refused.iter().any(|(other, _)| other.id == hook.id));
    for (hook, why) in refused {
        add_missing(blind_spots, hook, features, why)?;
    }
    Ok((load(settings, features, &hooks, pins)?, hooks))
}

/// Adds a blind spot for a missing hook, unless the kernel also lacks what the hook would see.
///
/// # Errors
/// When the hook is essential.
pub(crate) fn add_missing(
    blind_spots: &mut Vec<BlindSpot>,
    hook: &Hook,
    features: &Features,
    why: String,
) -> Result<(), CaptureError> {
    if hook.essential {
        return Err(CaptureError::Essential { what: hook.unseen, why });
    }
    let is_absent = matches!(hook.attach, AttachKind::Function(name) if !features.has_function(name));
    if !(hook.only_where_present && is_absent) {
        blind_spots.push(BlindSpot { hook: hook.id, unseen: hook.unseen, why });
    }
    Ok(())
}

/// Opens the object with the switches set for this kernel. Only the programs of these hooks will be loaded.
pub(crate) fn open(
    settings: &Settings,
    features: &Features,
    hooks: &[&Hook],
) -> Result<OpenPicosnitchSkel<'static>, CaptureError> {
    // The skeleton borrows it for the life of the process; a process opens a bounded number of objects.
    let object = Box::leak(Box::new(MaybeUninit::uninit()));
    let refused = || CaptureError::bpf("the kernel refused the BPF object");
    let mut open: OpenPicosnitchSkel<'static> =
        PicosnitchSkelBuilder::default().open(object).map_err(refused())?;
    for mut program in open.open_object_mut().progs_mut() {
        let is_wanted = hooks.iter().any(|hook| program.name() == hook.id.program());
        program.set_autoload(is_wanted);
    }
    // Some kernels lack this type of map, and only backups need it.
    let storage = open.maps.backup_marks.set_autocreate(features.preemptible_tracepoints);
    storage.map_err(CaptureError::bpf("a map was refused"))?;
    let bytes = settings.ring_buffer_pages.saturating_mul(4096);
    open.maps
        .events
        .set_max_entries(bytes)
        .map_err(CaptureError::bpf("the size of the ring buffer was refused"))?;
    if let Some(switches) = open.maps.rodata_data.as_deref_mut() {
        switches.have_current_task_btf = features.current_task_btf;
        switches.have_skb_consume_udp = features.has_skb_consume_udp();
        switches.have_casts = features.casts;
        switches.have_task_pt_regs = features.task_registers && features.current_task_btf;
        switches.have_preempt_disable = features.preempt_disable;
        switches.have_backups = features.preemptible_tracepoints;
        switches.wake_threshold = u64::from(bytes / 4);
        switches.compare_consumed = !(features.ftrace
            && features.has_function("tcp_splice_read")
            && features.has_function("tcp_zerocopy_receive"));
    }
    Ok(open)
}

fn load(
    settings: &Settings,
    features: &Features,
    hooks: &[&Hook],
    pins: Option<&Pins>,
) -> Result<PicosnitchSkel<'static>, CaptureError> {
    let runs = |hook: &&Hook| pins.is_some_and(|pins| pins.link(hook.id).exists());
    let hooks: Vec<&Hook> = hooks.iter().copied().filter(|hook| !runs(hook)).collect();
    let mut open = open(settings, features, &hooks)?;
    if let Some(pins) = pins {
        pin_maps(open.open_object_mut(), pins).map_err(CaptureError::bpf("the maps cannot be pinned"))?;
    }
    open.load().map_err(|source| CaptureError::Bpf {
        what: format!("the kernel refused the BPF object ({})", last_message()),
        source,
    })
}

/// Attaches a loaded program. The returned link detaches it when it is dropped, unless it is pinned.
pub(crate) fn attach(
    skeleton: &PicosnitchSkel<'_>,
    hook: &Hook,
    features: &Features,
) -> libbpf_rs::Result<Link> {
    let program = find_program(skeleton, hook.id)?;
    match (&hook.attach, &features.cgroup) {
        (AttachKind::Cgroup, Some(root)) => {
            let root = File::open(Path::new(root)).map_err(libbpf_rs::Error::from)?;
            program.attach_cgroup(root.as_raw_fd())
        }
        _ => program.attach(),
    }
}

/// Finds the program of a hook.
///
/// # Errors
/// `ENOENT` when the object has none of that name: one for another architecture.
pub(crate) fn find_program<'skel>(
    skeleton: &'skel PicosnitchSkel<'_>,
    id: HookId,
) -> libbpf_rs::Result<ProgramMut<'skel>> {
    skeleton
        .object()
        .progs_mut()
        .find(|program| program.name() == id.program())
        .ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))
}
