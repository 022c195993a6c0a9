//! The start of the monitor: everything it needs, in the order in which it must be set up.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    RunOptions, context_ids::ContextIds, exporter_process::ExporterProcess, hand_over,
    limits::raise_descriptor_limit, name_sources::NameSources, notifiers::Notifiers,
    recorder_link::RecorderLink, service_manager::ServiceManager, signals::Signals, state::Monitor,
};
use crate::{
    error::{MonitorError, io_error},
    exporter_settings::exporter_settings,
    file_opener,
    heap::keep_memory_small,
};
use capture::{Capture, Event, LeftBehind, TakenOver};
use config::{Config, layout::Layout};
use identity::{AppImages, CgroupPaths, Executables, Processes};
use model::Continuity;

impl Monitor {
    /// Starts the recorder, attaches the BPF programs and reads the processes that run already. Calls `started` once all
    /// programs are attached and the log is open.
    pub(super) fn start(
        layout: &Layout,
        config: &Config,
        mut service: ServiceManager,
        options: RunOptions,
        started: impl FnOnce(&Capture),
    ) -> Result<Self, MonitorError> {
        keep_memory_small();
        let signals = Signals::block()?;
        raise_descriptor_limit(config.monitor.rlimit_nofile)?;
        let exporter = Some(exporter_settings(layout, config)).filter(|settings| !settings.is_empty());
        let exporter = exporter.filter(|_| options.with_exporter);
        let keeps_hooks = options.keeps_hooks;
        if keeps_hooks {
            // Without it there are no pins, which is told later.
            let _ = capture::mount_bpf_file_system();
        }
        sandbox::Monitor { starts_exporter: exporter.is_some() }
            .enter()
            .map_err(io_error("the monitor cannot give up the rights that it does not need"))?;
        // The recorder opens the log while the kernel verifies the programs.
        let settings = capture::Settings {
            ring_buffer_pages: config.monitor.ring_buffer_pages,
            hand_over: keeps_hooks.then(|| hand_over(layout)),
        };
        let mut recorder = RecorderLink::start(layout, config, keeps_hooks.then(|| continuity(&settings)))?;
        let mut capture = Capture::start(&settings)?;
        capture.try_return_probes();
        let mut executables = start_executables(&capture, &mut recorder)?;
        let mut processes = Processes::default();
        let existing = capture.processes()?;
        processes.add_existing(&existing);
        let mut app_images = AppImages::default();
        for event in &existing {
            if let Event::Existing(event) = event {
                app_images.add_process(event, Instant::now());
            }
        }
        if let Some(executables) = &mut executables {
            // What is not known yet is opened while the recorder opens the log.
            app_images.resolve(&mut processes, executables, Instant::now());
            // So are those that may send their last byte as soon as recording has begun, and end.
            for id in capture.connected_processes()? {
                if let Some(process) = processes.get(id) {
                    executables.id_of(&process.ancestry.process, Instant::now());
                }
            }
        }
        let name_sources = start_name_sources(&capture, &existing)?;
        let cgroups = capture.features().cgroup.as_deref().map(CgroupPaths::read).unwrap_or_default();
        let recorded = recorder.wait_until_ready()?;
        if let Some(why) = capture.why_gap().filter(|_| keeps_hooks) {
            recorder.report(format!("A restart of picosnitch will be a gap in what is recorded: {why}."))?;
        }
        let expected = continuity(&settings);
        let taken_over = capture.begin(recorded)?;
        let has_hooks = taken_over.as_ref().is_some_and(|taken_over| taken_over.has_hooks);
        if expected == Continuity::Whole && !has_hooks {
            recorder.report(
                "The BPF programs of the run before could not be taken over: what programs did since it ended is in no record."
                    .to_owned(),
            )?;
        }
        if let Some(taken_over) = taken_over {
            let now = Instant::now();
            taken_over.processes.iter().for_each(|process| processes.restore(process, now));
            report_taken_over(&taken_over, &mut recorder)?;
        }
        started(&capture);
        let unseen = capture.unseen();
        service.started(capture::blind_spots_in_short(unseen.iter().map(|spot| spot.unseen)));
        recorder.send_unseen(&capture, &[])?;
        Ok(Self {
            layout: layout.clone(),
            config: config.clone(),
            service,
            signals,
            capture,
            existing,
            processes,
            executables,
            app_images,
            name_sources,
            every_exe: config.monitor.every_exe,
            cgroups,
            contexts: ContextIds::new(Path::new("/")),
            exporter: exporter.map(|settings| ExporterProcess::new(settings, recorder.user())),
            recorder,
            notifiers: config.notifications.desktop.then(Notifiers::new),
            packet_rings: HashSet::new(),
            resynced: None,
            resync_wanted: false,
            window: Duration::from_secs(u64::from(config.log.write_limit_seconds)),
            failed_drains: 0,
            sampled: Instant::now(),
            heap_trimmed: Instant::now(),
            log_bounded: Instant::now(),
            open_sockets: None,
            has_open_drain: false,
            keeps_hooks,
            leaves_hooks: false,
        })
    }
}

/// What will be recorded of the time since the run before.
fn continuity(settings: &capture::Settings) -> Continuity {
    match capture::left_behind(settings) {
        LeftBehind::Nothing => Continuity::Gap,
        LeftBehind::Journal => Continuity::OpenConnections,
        LeftBehind::Hooks => Continuity::Whole,
    }
}

/// Reports what is not recorded of the time since the run before.
fn report_taken_over(taken_over: &TakenOver, recorder: &mut RecorderLink) -> Result<(), MonitorError> {
    if let Some(why) = &taken_over.problem {
        recorder.report(format!(
            "What the hooks have counted since picosnitch ended is in no record, because it is not known what it had recorded: \
             {why}."
        ))?;
    }
    if taken_over.lost_bytes > 0 {
        recorder.report(format!(
            "{} bytes of connections that had ended were in no record yet when picosnitch was killed, and are lost.",
            taken_over.lost_bytes
        ))?;
    }
    Ok(())
}

/// Starts to watch executed files; returns `None`, and reports it, where fanotify is refused.
fn start_executables(
    capture: &Capture,
    recorder: &mut RecorderLink,
) -> Result<Option<Executables>, MonitorError> {
    let started = Executables::start(capture.file_probe()?, capture.unwatched()?, file_opener::open_as_user);
    match started {
        Ok(executables) => Ok(Some(executables)),
        Err(error) => {
            recorder.report(format!(
                "Executables cannot be watched ({error}): no program has a SHA-256, and none is known to have changed. \
                 The kernel needs CONFIG_FANOTIFY, and picosnitch CAP_SYS_ADMIN."
            ))?;
            Ok(None)
        }
    }
}

/// Starts to look for the C libraries of the processes that run already.
fn start_name_sources(capture: &Capture, existing: &[Event]) -> Result<NameSources, MonitorError> {
    let mut name_sources =
        NameSources::start(capture.can_probe_resolvers()).map_err(io_error("a thread cannot be started"))?;
    let now = Instant::now();
    for event in existing {
        if let Event::Existing(event) = event {
            name_sources.add_process(event, now);
        }
    }
    Ok(name_sources)
}
