//! The start of the monitor: everything it needs, in the order in which it must be set up.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    context_ids::ContextIds, exporter_process::ExporterProcess, limits::raise_descriptor_limit,
    name_sources::NameSources, notifiers::Notifiers, recorder_link::RecorderLink, signals::Signals,
    state::Monitor,
};
use crate::{
    error::{MonitorError, io_error},
    exporter_settings::exporter_settings,
    file_opener,
    heap::share_heap,
};
use capture::{Capture, Event};
use config::{Config, layout::Layout};
use identity::{AppImages, CgroupPaths, Executables, Processes};

impl Monitor {
    /// Starts the recorder, attaches the BPF programs and reads the processes that run already. Calls `started` once all
    /// programs are attached and the log is open.
    pub(super) fn start(
        layout: &Layout,
        config: &Config,
        with_exporter: bool,
        started: impl FnOnce(&Capture),
    ) -> Result<Self, MonitorError> {
        share_heap();
        let signals = Signals::block()?;
        raise_descriptor_limit(config.monitor.rlimit_nofile)?;
        let exporter = Some(exporter_settings(layout, config)).filter(|settings| !settings.is_empty());
        let exporter = exporter.filter(|_| with_exporter);
        sandbox::Monitor { starts_exporter: exporter.is_some() }
            .enter()
            .map_err(io_error("the monitor cannot give up the rights that it does not need"))?;
        // The recorder opens the log while the kernel verifies the programs.
        let mut recorder = RecorderLink::start(layout, config)?;
        let settings = capture::Settings { ring_buffer_pages: config.monitor.ring_buffer_pages };
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
        }
        let name_sources = start_name_sources(&capture, &existing)?;
        capture.learn_earlier_sockets()?;
        let cgroups = capture.features().cgroup.as_deref().map(CgroupPaths::read).unwrap_or_default();
        recorder.wait_until_ready()?;
        started(&capture);
        recorder.send_unseen(&capture, &[])?;
        Ok(Self {
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
            open_sockets: None,
        })
    }
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
