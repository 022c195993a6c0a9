//! Loading and attaching.

use std::{
    fs::File,
    io::Read,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::{Mutex, PoisonError},
};

use libbpf_rs::{
    Iter, Link, MapHandle, MapMut, PrintLevel,
    skel::{OpenSkel, Skel, SkelBuilder},
};

use super::{
    BlindSpot, CaptureError, Event, Features,
    abi::skeleton::{OpenPicosnitchSkel, PicosnitchSkel, PicosnitchSkelBuilder},
    drain_state::DrainState,
    event::{OpenSocket, SocketEvent},
    file_probe::FileProbe,
    flow_table::FlowTable,
    hooks::{AttachKind, Condition, HOOKS, Hook},
    observations::ObservationRing,
    resolver_probes::ResolverProbes,
    ring::EventRing,
    unwatched_programs::UnwatchedRing,
};

/// What the user may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of the ring buffer for events, in pages of 4 KiB; a power of two.
    pub ring_buffer_pages: u32,
}

/// The kernel half at work. Dropping it detaches everything.
pub struct Capture {
    pub(super) skeleton: PicosnitchSkel<'static>,
    pub(super) drain: DrainState,
    pub(super) observations: ObservationRing,
    pub(super) resolver_probes: ResolverProbes,
    /// The first programs of the tracing hooks: those that the kernel may skip.
    pub(super) guarded: Vec<OwnedFd>,
    links: Vec<Link>,
    features: Features,
    blind_spots: Vec<BlindSpot>,
}

/// The last words of libbpf, which its error codes do not carry.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

fn keep_last_words(_level: PrintLevel, message: String) {
    let mut words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    // The verifier's log can be megabytes: the last line before its statistics says what is wrong. The messages that
    // follow only say that all has failed.
    let telling =
        |line: &&str| !line.starts_with(['-', 'p']) && !line.contains("failed to load") && !line.is_empty();
    if let Some(line) = message.lines().rev().find(telling) {
        words.clear();
        words.extend(line.chars().take(300));
    }
}

fn last_words() -> String {
    LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Capture {
    /// Loads the kernel half and starts to capture. What existed before is read by [`Capture::existing`].
    ///
    /// # Errors
    /// When nothing could be recorded: no rights, no BTF, or an essential hook is missing.
    pub fn start(settings: &Settings) -> Result<Self, CaptureError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(CaptureError::NotRoot("picosnitch start-no-daemon".into()));
        }
        libbpf_rs::set_print(Some((PrintLevel::Warn, keep_last_words)));
        let features = probe()?;
        let mut blind_spots = Vec::new();
        let mut hooks = Vec::new();
        for hook in HOOKS.iter().filter(|hook| hook.is_wanted(&features)) {
            match hook.is_possible(&features) {
                Ok(()) => hooks.push(hook),
                Err(why) => missing(&mut blind_spots, hook, &features, why)?,
            }
        }
        let skeleton = match load(settings, &features, &hooks) {
            Ok(skeleton) => skeleton,
            Err(error) => {
                // One refused program fails the whole object: find out which ones, and go on without them.
                let mut refused = Vec::new();
                for hook in &hooks {
                    if load(settings, &features, &[hook]).is_err() {
                        refused.push((*hook, last_words()));
                    }
                }
                if refused.is_empty() {
                    return Err(error);
                }
                hooks.retain(|hook| !refused.iter().any(|(other, _)| other.program == hook.program));
                for (hook, why) in refused {
                    missing(&mut blind_spots, hook, &features, why)?;
                }
                load(settings, &features, &hooks)?
            }
        };
        // Before anything is attached: the hooks need places for their flows.
        let share = |map: &MapMut<'_>| {
            MapHandle::try_from(map).map_err(CaptureError::bpf("the flow table cannot be shared"))
        };
        let maps = &skeleton.maps;
        let table = FlowTable::new(&maps.flows, share(&maps.flow_index)?, share(&maps.free_slots)?)?;
        let mut links = Vec::new();
        let on_demand = [AttachKind::Iterator, AttachKind::TestRun, AttachKind::Uprobe];
        let now =
            |hook: &&&Hook| !on_demand.contains(&hook.attach) && hook.condition != Condition::PacketHooks;
        for hook in hooks.iter().filter(now) {
            match attach(&skeleton, hook, &features) {
                Ok(link) => links.push(link),
                Err(error) => {
                    missing(&mut blind_spots, hook, &features, format!("{error} ({})", last_words()))?
                }
            }
        }
        let ring = MapHandle::try_from(&skeleton.maps.events)
            .map_err(CaptureError::bpf("the ring buffer for events cannot be shared"))?;
        let drain = DrainState::new(EventRing::new(ring)?, table);
        let observations = MapHandle::try_from(&skeleton.maps.observations)
            .map_err(CaptureError::bpf("the ring buffer for names cannot be shared"))?;
        let observations = ObservationRing::new(observations)?;
        let guarded = hooks
            .iter()
            .filter(|hook| hook.condition != Condition::PreemptibleTracepoints && hook.is_traced());
        let guarded = guarded
            .filter_map(|hook| {
                let program = skeleton.object().progs_mut().find(|program| program.name() == hook.program)?;
                program.as_fd().try_clone_to_owned().ok()
            })
            .collect();
        let resolver_probes = ResolverProbes::default();
        Ok(Self { skeleton, drain, observations, resolver_probes, guarded, links, features, blind_spots })
    }

    /// Tells which file a descriptor is.
    ///
    /// # Errors
    /// When descriptors cannot be duplicated.
    pub fn file_probe(&self) -> Result<FileProbe, CaptureError> {
        let missing = "the program that identifies files cannot be found";
        let program = self.skeleton.object().progs_mut().find(|program| program.name() == "identify_fd");
        let share = |descriptor: std::os::fd::BorrowedFd<'_>| {
            descriptor.try_clone_to_owned().map_err(CaptureError::io(missing))
        };
        // Without it, each executable is unknown, and reported so.
        let program = program.map(|program| share(program.as_fd())).transpose()?;
        Ok(FileProbe::new(program, share(self.skeleton.maps.fd_info_result.as_fd())?))
    }

    /// Tells of programs whose files fanotify does not hand over.
    ///
    /// # Errors
    /// When the ring buffer cannot be shared.
    pub fn unwatched(&self) -> Result<UnwatchedRing, CaptureError> {
        let what = "the ring buffer for executables cannot be shared";
        Ok(UnwatchedRing::new(
            MapHandle::try_from(&self.skeleton.maps.unwatched_programs).map_err(CaptureError::bpf(what))?,
        ))
    }

    /// What this kernel has.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// What is not seen on this kernel.
    pub fn blind_spots(&self) -> &[BlindSpot] {
        &self.blind_spots
    }

    pub(super) fn add_blind_spot(&mut self, spot: BlindSpot) {
        self.blind_spots.push(spot);
    }

    /// The same for people: several hooks may see one thing from different sides, which is said once.
    pub fn unseen(&self) -> Vec<&BlindSpot> {
        let mut unseen: Vec<&BlindSpot> = Vec::new();
        for spot in &self.blind_spots {
            if !unseen.iter().any(|said| (said.unseen, &said.why) == (spot.unseen, &spot.why)) {
                unseen.push(spot);
            }
        }
        unseen
    }

    /// Number of attached hooks.
    pub fn attached(&self) -> usize {
        self.links.len()
    }

    /// Attaches the hooks that look at each packet, once somebody needs them.
    pub(super) fn watch_packets(&mut self) {
        let watched = self.skeleton.maps.bss_data.as_deref().is_none_or(|bss| bss.packet_hooks_attached);
        if watched {
            return;
        }
        for hook in HOOKS.iter().filter(|hook| hook.condition == Condition::PacketHooks) {
            if self.blind_spots.iter().any(|spot| spot.hook == hook.program) {
                continue;
            }
            match attach(&self.skeleton, hook, &self.features) {
                Ok(link) => self.links.push(link),
                Err(error) => self.blind_spots.push(BlindSpot {
                    hook: hook.program,
                    unseen: hook.unseen,
                    why: format!("{error} ({})", last_words()),
                }),
            }
        }
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            // SAFETY: a valid, aligned reference; volatile because the kernel half reads it meanwhile.
            unsafe { std::ptr::write_volatile(&mut bss.packet_hooks_attached, true) };
        }
    }

    /// Every process there is, in all pid namespaces.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn processes(&self) -> Result<Vec<Event>, CaptureError> {
        self.iterate("iter_task")
    }

    /// What every open IP and `AF_PACKET` socket says about itself.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub(super) fn sockets(&self) -> Result<Vec<SocketEvent>, CaptureError> {
        Ok(self.open_sockets()?.into_iter().map(|open| open.socket).collect())
    }

    /// Every open IP and `AF_PACKET` socket, in all network namespaces, for each process that holds it.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub(super) fn open_sockets(&self) -> Result<Vec<OpenSocket>, CaptureError> {
        let events = self.iterate("iter_task_file")?;
        Ok(events
            .into_iter()
            .filter_map(|event| if let Event::Socket(socket) = event { Some(*socket) } else { None })
            .collect())
    }

    fn iterate(&self, program: &'static str) -> Result<Vec<Event>, CaptureError> {
        if self.blind_spots.iter().any(|spot| spot.hook == program) {
            return Ok(Vec::new());
        }
        let failed = || format!("the iterator {program} cannot be read");
        let program =
            self.skeleton.object().progs_mut().find(|candidate| candidate.name() == program).ok_or_else(
                || CaptureError::Bpf {
                    what: failed(),
                    source: libbpf_rs::Error::from_raw_os_error(libc::ENOENT),
                },
            )?;
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
}

/// Looks at the kernel without leaving anything attached, for `doctor` too.
pub(super) fn probe() -> Result<Features, CaptureError> {
    let functions = HOOKS.iter().filter_map(|hook| match hook.attach {
        AttachKind::Function(name) => Some(name),
        _ => None,
    });
    let tracepoints = HOOKS.iter().filter_map(|hook| match hook.attach {
        AttachKind::Tracepoint(name) | AttachKind::ClassicTracepoint(name) => Some(name),
        _ => None,
    });
    let mut features = Features::probe(functions, tracepoints)?;
    // The smallest program of its kind.
    if let Some(hook) = HOOKS.iter().find(|hook| hook.program == "packet_set_ring") {
        features.ftrace = true;
        features.ftrace = hook.is_possible(&features).is_ok()
            && load(&Settings { ring_buffer_pages: 1 }, &features, &[hook])
                .is_ok_and(|skeleton| attach(&skeleton, hook, &features).is_ok());
    }
    Ok(features)
}

fn missing(
    spots: &mut Vec<BlindSpot>,
    hook: &Hook,
    features: &Features,
    why: String,
) -> Result<(), CaptureError> {
    if hook.essential {
        return Err(CaptureError::Essential { what: hook.unseen, why });
    }
    let absent = matches!(hook.attach, AttachKind::Function(name) if !features.has_function(name));
    if !(hook.only_where_present && absent) {
        spots.push(BlindSpot { hook: hook.program, unseen: hook.unseen, why });
    }
    Ok(())
}

/// The object with the switches set for this kernel, of which these programs will be loaded.
pub(super) fn open(
    settings: &Settings,
    features: &Features,
    hooks: &[&Hook],
) -> Result<OpenPicosnitchSkel<'static>, CaptureError> {
    // Lives as long as the process, once in each start.
    let object = Box::leak(Box::new(MaybeUninit::uninit()));
    let refused = || CaptureError::bpf("the kernel refused the BPF object");
    let mut open: OpenPicosnitchSkel<'static> =
        PicosnitchSkelBuilder::default().open(object).map_err(refused())?;
    for mut program in open.open_object_mut().progs_mut() {
        let wanted = hooks.iter().any(|hook| program.name() == hook.program);
        program.set_autoload(wanted);
    }
    // Not on every kernel, and of use only for this.
    let storage = open.maps.backup_marks.set_autocreate(features.preemptible_tracepoints);
    storage.map_err(CaptureError::bpf("a map was refused"))?;
    let bytes = settings.ring_buffer_pages.saturating_mul(4096);
    open.maps
        .events
        .set_max_entries(bytes)
        .map_err(CaptureError::bpf("the size of the ring buffer was refused"))?;
    if let Some(switches) = open.maps.rodata_data.as_deref_mut() {
        switches.have_current_task_btf = features.current_task_btf;
        switches.have_skb_consume_udp = features.has_datagram_consumed();
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
) -> Result<PicosnitchSkel<'static>, CaptureError> {
    open(settings, features, hooks)?.load().map_err(|source| CaptureError::Bpf {
        what: format!("the kernel refused the BPF object ({})", last_words()),
        source,
    })
}

fn attach(skeleton: &PicosnitchSkel<'_>, hook: &Hook, features: &Features) -> libbpf_rs::Result<Link> {
    let program = skeleton
        .object()
        .progs_mut()
        .find(|program| program.name() == hook.program)
        .ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
    match (&hook.attach, &features.cgroup) {
        (AttachKind::Cgroup, Some(root)) => {
            let root = File::open(Path::new(root)).map_err(libbpf_rs::Error::from)?;
            program.attach_cgroup(root.as_raw_fd())
        }
        _ => program.attach(),
    }
}
