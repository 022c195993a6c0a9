//! The messages between the roles. Each channel is an [`ipc::Channel`].

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use config::log_rules::LogRules;
use identity::digests::FileState;
use ipc::Channel;
use live::connections::ListKind;
use model::{Continuity, DrainId, Flow, Loss, NameObservation, ProcessContext, Writer};
use names::GeoFiles;
use notify::Notification;

/// The settings of the recorder, which it needs before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Path of snitch.db; `None` if it is not to be written.
    #[serde(with = "crate::path_bytes::optional")]
    pub(crate) database: Option<PathBuf>,
    #[serde(with = "crate::path_bytes")]
    pub(crate) error_log: PathBuf,
    pub(crate) reporter: ReporterSettings,
    /// Length of the window in seconds, after which records are written.
    pub(crate) write_limit_seconds: u32,
    /// Days after which records are deleted.
    pub(crate) retention_days: u32,
    /// Bytes above which the oldest detail of the log is deleted; `None` if it may have any size.
    pub(crate) retention_bytes: Option<u64>,
    /// A context with more groups than this in one window is folded.
    pub(crate) fold_above: u32,
    /// The network namespace of systemd-resolved; the recorder has one of its own.
    pub(crate) network_namespace: u32,
    /// What this kernel lacks to confine the roles, a sentence for each wall.
    pub(crate) missing_walls: Vec<String>,
    /// The id of this boot of the machine.
    pub(crate) boot_id: String,
    /// The effective configuration, a line for each key.
    pub(crate) configuration: String,
    pub(crate) rules: LogRules,
    /// The files that map addresses to countries and networks.
    pub(crate) geography: GeoFiles,
    /// What is recorded of the time since the run before.
    pub(crate) continuity: Continuity,
    /// The next run can record a drain that this one has not recorded to its end.
    pub(crate) has_journal: bool,
    /// Whether name servers are asked for the names of addresses (PTR).
    pub(crate) reverse_dns: bool,
}

impl Settings {
    /// Length of the window, after which records are written.
    pub(crate) fn window_length(&self) -> Duration {
        Duration::from_secs(u64::from(self.write_limit_seconds))
    }
}

/// Where the recorder reports programs and problems.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReporterSettings {
    #[serde(with = "crate::path_bytes")]
    pub(crate) record_json: PathBuf,
    #[serde(with = "crate::path_bytes")]
    pub(crate) exe_log: PathBuf,
    /// Path of conn.log; `None` if it is not to be written.
    #[serde(with = "crate::path_bytes::optional")]
    pub(crate) conn_log: Option<PathBuf>,
    /// Whether notifications are sent to the monitor, for desktop users.
    pub(crate) desktop: bool,
    /// `None` if VirusTotal is not used.
    pub(crate) lookups: Option<LookupSettings>,
}

/// How the recorder chooses what VirusTotal is asked about. The exporter alone has the key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LookupSettings {
    /// Whether the exporter uploads files that VirusTotal does not know.
    pub(crate) upload: bool,
    /// Seconds between two requests.
    pub(crate) request_limit_seconds: u32,
}

/// Messages from the monitor to the recorder. Ids of executables and contexts are never used again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToRecorder {
    /// The first message, with the listening socket live.sock.
    Settings(Box<Settings>),
    /// An executable to hash, with its descriptor.
    Executable {
        id: u32,
        file_is: FileState,
        /// Device, number and generation of its inode.
        inode: (u32, u64, u32),
    },
    /// The content of an executable was written into a file that had been executed, by this process if it is known. It comes
    /// before its digest is known and a context with that executable has come.
    Written(u32, Option<Writer>),
    /// An executable that cannot be hashed, and why.
    Unhashed(u32, String),
    /// The traffic that stays unseen on this kernel, a sentence for each blind spot.
    Unseen(Vec<String>),
    /// The log files may have been renamed: open them again.
    ReopenLogs,
    /// Settings that replace those before, and a sentence about what has changed. The flows before it belong to the old ones.
    NewSettings(Box<Settings>, String),
    /// Asks whether the recorder makes progress: it answers with [`ToMonitor::Alive`].
    AreYouAlive,
    /// A context; it comes before its first flow.
    Context {
        id: u32,
        /// It has no digests yet: the recorder computes them.
        context: Box<ProcessContext>,
        /// Ids of the executables of the process, its parent and its grandparent.
        executables: [Option<u32>; 3],
    },
    /// No flow of a context before this id comes any more.
    ForgetContexts(u32),
    /// No context of an executable before this id comes any more.
    ForgetExecutables(u32),
    Flows(Vec<Flow>),
    /// Observations that may name peers; they come before the flows that follow from them.
    NameObservations(Vec<NameObservation>),
    /// A connection to systemd-resolved, as descriptor, on which it reports what it resolves.
    ResolvedConnection,
    /// A part of a list of open sockets, wanted by [`ToMonitor::ListOpenSockets`].
    OpenSockets(Vec<Flow>),
    /// The end of such a list.
    OpenSocketsEnd(ListKind),
    /// The listening socket for the exporter, as descriptor; only if another machine is asked for anything.
    ExporterSocket,
    /// The end of a drain, whose flows count from here on; only after flows, and while lists of open sockets are wanted. With
    /// the number of the drain, if the next run can go on behind it.
    DrainEnd(Option<DrainId>),
    Losses(Vec<Loss>),
    /// A problem that the recorder writes to error.log.
    Problem(String),
    /// The problem that a process of a user receives through an `AF_PACKET` ring. Its text has bytes of that user.
    PacketRing {
        user: u32,
        text: String,
    },
    /// A locked file, as descriptor: the lock lasts until the recorder has ended.
    Lock,
    /// The last message: write what is there, and end.
    End,
}

/// Messages from the recorder to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMonitor {
    /// The log is open, and the recorder takes flows. With the last drain whose flows are in the log, if it knows one.
    Ready(Option<DrainId>),
    /// The log has all flows up to this drain.
    Recorded(DrainId),
    /// The log cannot be opened, and why.
    Failed(String),
    /// The answer to [`ToRecorder::AreYouAlive`].
    Alive,
    /// A notification for desktop users.
    Notification(Notification),
    /// The connection to systemd-resolved has ended.
    ResolvedClosed,
    /// Whether lists of open sockets are wanted.
    ListOpenSockets(bool),
}

impl ToMonitor {
    /// Sends the message; false when the channel is full or closed.
    pub(crate) fn try_send(&self, channel: &Channel) -> bool {
        Channel::encode(self).is_ok_and(|message| channel.send(&message, None).is_ok_and(|sent| sent))
    }
}

/// Messages from the monitor to a notifier.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToNotifier {
    Notification(Notification),
    /// The number of notifications that were dropped before they could be sent.
    Dropped(u64),
}
