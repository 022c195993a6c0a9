//! [`Capture`]: loads and attaches the kernel half, and reads its maps and iterators.

use std::{
    collections::HashSet,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use libbpf_rs::{MapHandle, MapMut};

use model::{NameObservation, ProcessId};

use crate::{
    abi::skeleton::PicosnitchSkel,
    drain_state::DrainState,
    error::CaptureError,
    event::{Event, OpenSocket, SocketEvent},
    features::Features,
    file_probe::FileProbe,
    flow_table::FlowTable,
    hand_over::HandOverState,
    hook::{BlindSpot, Condition},
    hook_id::HookId,
    hooks::{HOOKS, RESOLVER_NAMES},
    iterators,
    links::Links,
    load::{
        Settings, add_missing, find_program, keep_last_message, last_message, load_usable, probe_features,
    },
    machine::check_machine,
    observations::ObservationRing,
    resolver_probes::{CLibrary, ResolverFunction, ResolverProbes},
    return_probe,
    ring::EventRing,
    unwatched_programs::UnwatchedRing,
    variables::Variables,
};

/// The loaded and attached kernel half. Dropping it detaches everything that the next run cannot take over.
pub struct Capture {
    pub(crate) skeleton: PicosnitchSkel<'static>,
    pub(crate) variables: Variables,
    pub(crate) drain: DrainState,
    observations: ObservationRing,
    resolver_probes: ResolverProbes,
    /// The primary programs of the tracing hooks: those that the kernel may skip.
    pub(crate) primary_programs: Vec<OwnedFd>,
    pub(crate) links: Links,
    features: Features,
    blind_spots: Vec<BlindSpot>,
    pub(crate) hand_over: HandOverState,
}

impl Capture {
    /// Loads and attaches the kernel half, or takes over what an earlier run has left. [`Capture::processes`] reads the
    /// processes that existed before; [`Capture::begin`] comes before the first drain.
    ///
    /// # Errors
    /// When nothing could be recorded: without root's rights, without BTF, or when an essential hook is missing.
    pub fn start(settings: &Settings) -> Result<Self, CaptureError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(CaptureError::NotRoot("picosnitch start-no-daemon".into()));
        }
        check_machine()?;
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, keep_last_message)));
        let features = probe_features()?;
        let mut hand_over = HandOverState::prepare(settings);
        let mut blind_spots = Vec::new();
        let loaded = load_usable(settings, &features, &mut blind_spots, hand_over.pins());
        let (skeleton, hooks) = match loaded {
            Err(error) if hand_over.pins().is_some() => {
                hand_over.give_up(&model::error_chain(&error));
                blind_spots.clear();
                load_usable(settings, &features, &mut blind_spots, None)?
            }
            loaded => loaded?,
        };
        // The table is set up before any hook is attached: the hooks need free slots for their flows.
        let maps = &skeleton.maps;
        let unshared = "the flow table cannot be shared";
        let table = FlowTable::new(
            &maps.flows,
            share(&maps.flow_index, unshared)?,
            share(&maps.free_slots, unshared)?,
        )?;
        if !hand_over.is_taken_over() {
            table.set_up()?;
        }
        let mut links = Links::new(hand_over.is_taken_over());
        for hook in &hooks {
            if hook.is_on_demand() && !hand_over.has_link(hook.id) {
                continue;
            }
            if let Err(error) = links.attach(&skeleton, hook, &features, &mut hand_over) {
                let why = format!("{error} ({})", last_message());
                add_missing(&mut blind_spots, hook, &features, why)?;
            }
        }
        let events = share(&skeleton.maps.events, "the ring buffer for events cannot be shared")?;
        let observations = share(&skeleton.maps.observations, "the ring buffer for names cannot be shared")?;
        Ok(Self {
            variables: Variables::new(&skeleton)?,
            drain: DrainState::new(EventRing::new(events)?, table),
            observations: ObservationRing::new(observations)?,
            resolver_probes: ResolverProbes::default(),
            primary_programs: links.primary_programs(&hooks),
            skeleton,
            links,
            features,
            blind_spots,
            hand_over,
        })
    }

    /// Returns the object that identifies the files of descriptors.
    ///
    /// # Errors
    /// When descriptors cannot be duplicated.
    pub fn file_probe(&self) -> Result<FileProbe, CaptureError> {
        let what = "the program that identifies files cannot be found";
        let share =
            |descriptor: BorrowedFd<'_>| descriptor.try_clone_to_owned().map_err(CaptureError::io(what));
        // Without the program, each executable is reported as unknown.
        let program = find_program(&self.skeleton, HookId::IdentifyFd).ok();
        let program = program.map(|program| share(program.as_fd())).transpose()?;
        Ok(FileProbe::new(program, share(self.skeleton.maps.fd_info_result.as_fd())?))
    }

    /// Returns the ring buffer of programs whose files fanotify does not hand over.
    ///
    /// # Errors
    /// When the ring buffer cannot be shared.
    pub fn unwatched(&self) -> Result<UnwatchedRing, CaptureError> {
        let what = "the ring buffer for executables cannot be shared";
        Ok(UnwatchedRing::new(share(&self.skeleton.maps.unwatched_programs, what)?))
    }

    /// Returns the features of the running kernel.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Returns the blind spots on this kernel, by hook.
    pub fn blind_spots(&self) -> &[BlindSpot] {
        &self.blind_spots
    }

    /// Returns the blind spots as texts for the user. A text that several hooks share is listed once.
    pub fn unseen(&self) -> Vec<&BlindSpot> {
        let mut unseen: Vec<&BlindSpot> = Vec::new();
        for spot in &self.blind_spots {
            if !unseen.iter().any(|other| (other.unseen, &other.why) == (spot.unseen, &spot.why)) {
                unseen.push(spot);
            }
        }
        unseen
    }

    pub(crate) fn is_missing(&self, hook: HookId) -> bool {
        self.blind_spots.iter().any(|spot| spot.hook == hook)
    }

    /// Detaches all hooks. What they have counted until then stays readable for [`Capture::drain`].
    ///
    /// The hooks that were attached last go first, and those that count bytes and tell of processes nearly last: detaching
    /// the others takes up to seconds, in which traffic is still counted.
    pub fn detach(&mut self) {
        self.resolver_probes = ResolverProbes::default();
        self.hand_over.end();
        self.links.detach();
    }

    /// Returns how many hooks are attached now.
    pub fn attached(&self) -> usize {
        self.links.len()
    }

    /// Attaches the hooks on each packet, unless they are attached already.
    pub(crate) fn attach_packet_hooks(&mut self) {
        if self.variables.packet_hooks_attached() {
            return;
        }
        for hook in HOOKS.iter().filter(|hook| hook.condition == Condition::PacketHooks) {
            if self.is_missing(hook.id) {
                continue;
            }
            let attached = self.links.attach(&self.skeleton, hook, &self.features, &mut self.hand_over);
            if let Err(error) = attached {
                self.blind_spots.push(BlindSpot {
                    hook: hook.id,
                    unseen: hook.unseen,
                    why: format!("{error} ({})", last_message()),
                });
            }
        }
        self.variables.set_packet_hooks_attached();
    }

    /// Reads every process, in all pid namespaces.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn processes(&self) -> Result<Vec<Event>, CaptureError> {
        self.iterate(HookId::IterTask)
    }

    /// Reads every open IP and `AF_PACKET` socket as its release would report it.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub(crate) fn sockets(&self) -> Result<Vec<SocketEvent>, CaptureError> {
        Ok(self.open_sockets()?.into_iter().map(|open| open.socket).collect())
    }

    /// Reads every open IP and `AF_PACKET` socket, in all network namespaces, once for each process that holds it.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub(crate) fn open_sockets(&self) -> Result<Vec<OpenSocket>, CaptureError> {
        let events = self.iterate(HookId::IterTaskFile)?;
        Ok(events
            .into_iter()
            .filter_map(|event| if let Event::Socket(socket) = event { Some(*socket) } else { None })
            .collect())
    }

    /// The processes that have connections open now: they may talk at any moment.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn connected_processes(&self) -> Result<HashSet<ProcessId>, CaptureError> {
        let sockets = self.open_sockets()?;
        Ok(sockets.iter().filter(|open| open.peer.1 != 0).map(|open| open.socket.process).collect())
    }

    fn iterate(&self, id: HookId) -> Result<Vec<Event>, CaptureError> {
        if self.is_missing(id) {
            return Ok(Vec::new());
        }
        iterators::read_events(&self.skeleton, id)
    }

    /// Becomes readable when observations should be taken before the next drain.
    pub fn observations_fd(&self) -> BorrowedFd<'_> {
        self.observations.as_fd()
    }

    /// Takes the observations since the last call.
    ///
    /// # Errors
    /// When the ring buffer cannot be read.
    pub fn take_observations(&self) -> Result<Vec<NameObservation>, CaptureError> {
        self.observations.take()
    }

    /// Whether the resolver functions of C libraries can be probed on this kernel.
    pub fn can_probe_resolvers(&self) -> bool {
        !ResolverFunction::ALL.iter().flat_map(|function| function.hooks()).any(|hook| self.is_missing(hook))
    }

    /// Attaches the resolver probes to a C library at the offsets of its functions, in bytes from the beginning of the file.
    ///
    /// # Errors
    /// When the kernel refuses: probes do not work on the library's file system, or an offset is not at an instruction. The
    /// probes that could be attached stay.
    pub fn attach_resolver_probes(
        &mut self,
        library: CLibrary<'_>,
        offsets: &[(ResolverFunction, u64)],
    ) -> Result<(), CaptureError> {
        self.resolver_probes.attach(&self.skeleton, library, offsets)
    }

    /// Tries a return probe on a process of its own. If that process dies, C libraries are not probed, and this becomes a
    /// blind spot.
    pub fn try_return_probes(&mut self) {
        if !self.can_probe_resolvers() {
            return;
        }
        if let Err(why) = return_probe::check(&self.skeleton) {
            self.blind_spots.push(BlindSpot { hook: return_probe::TRIED_HOOK, unseen: RESOLVER_NAMES, why });
        }
    }
}

impl Drop for Capture {
    /// Leaves the hooks that are pinned as they are.
    fn drop(&mut self) {
        if self.hand_over.leaves_hooks() {
            self.links.leave();
        }
    }
}

fn share(map: &MapMut<'_>, what: &'static str) -> Result<MapHandle, CaptureError> {
    MapHandle::try_from(map).map_err(CaptureError::bpf(what))
}
