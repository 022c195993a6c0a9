//! The state of the monitor.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    context_ids::ContextIds, exporter_process::ExporterProcess, name_sources::NameSources,
    notifiers::Notifiers, open_sockets::OpenSocketLists, recorder_link::RecorderLink,
    service_manager::ServiceManager, signals::Signals,
};
use capture::{Capture, Event};
use config::{Config, layout::Layout};
use identity::{AppImages, CgroupPaths, Executables, Processes};
use model::ProcessId;

/// The monitor of one run.
pub(super) struct Monitor {
    pub(super) layout: Layout,
    /// The configuration that is in force.
    pub(super) config: Config,
    pub(super) service: ServiceManager,
    pub(super) signals: Signals,
    pub(super) capture: Capture,
    /// The processes that ran before the monitor, until they are sent.
    pub(super) existing: Vec<Event>,
    pub(super) processes: Processes,
    /// `None` where fanotify is refused.
    pub(super) executables: Option<Executables>,
    pub(super) app_images: AppImages,
    pub(super) name_sources: NameSources,
    /// Whether each executed program is a record (`monitor.every_exe`).
    pub(super) every_exe: bool,
    pub(super) cgroups: CgroupPaths,
    pub(super) contexts: ContextIds,
    pub(super) recorder: RecorderLink,
    /// `None` if no other machine is asked, or a service manager runs the exporter.
    pub(super) exporter: Option<ExporterProcess>,
    /// `None` if desktop users are not notified.
    pub(super) notifiers: Option<Notifiers>,
    /// Processes whose `AF_PACKET` rings were reported.
    pub(super) packet_rings: HashSet<ProcessId>,
    /// When the process table was last read again.
    pub(super) resynced: Option<Instant>,
    /// Flows or losses show that the process table lacks processes, and it was not read again since.
    pub(super) resync_wanted: bool,
    /// Length of the recorder's window.
    pub(super) window: Duration,
    /// Drains that failed, one after the other.
    pub(super) failed_drains: u32,
    /// When open sockets were last sampled for bytes that no hook sees.
    pub(super) sampled: Instant,
    pub(super) heap_trimmed: Instant,
    /// The recorder has got flows since the last end of a drain.
    pub(super) has_open_drain: bool,
    /// SIGTERM leaves the hooks to the next run.
    pub(super) keeps_hooks: bool,
    /// The monitor ends, and leaves them.
    pub(super) leaves_hooks: bool,
    /// When the size of daemon.log was last looked at.
    pub(super) log_bounded: Instant,
    /// `Some` while the recorder wants lists of open sockets.
    pub(super) open_sockets: Option<OpenSocketLists>,
}
