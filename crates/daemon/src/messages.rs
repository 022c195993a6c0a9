//! What the roles tell each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use capture::ResolverFunction;
use config::log_rules::LogRules;
use identity::digests::FileState;
use live::connections::ListKind;
use model::{Flow, Loss, NameObservation, ProcessContext};
use names::GeoFiles;
use notify::Notice;

/// What the recorder needs to know before all else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The log; `None` when none is to be written.
    pub database: Option<PathBuf>,
    /// error.log.
    pub error_log: PathBuf,
    /// How the user is told.
    pub telling: Telling,
    /// Length of the window, seconds.
    pub write_limit_seconds: u32,
    /// Days after which records are deleted.
    pub retention_days: u32,
    /// Megabytes above which the oldest records are deleted.
    pub retention_megabytes: Option<u32>,
    /// What of the traffic is logged.
    pub rules: LogRules,
    /// Files that know countries and networks.
    pub geography: GeoFiles,
    /// Ask name servers what the owners of addresses call them.
    pub reverse_dns: bool,
}

/// Where and how the user is told of programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Telling {
    /// record.json.
    pub record_json: PathBuf,
    /// exe.log.
    pub exe_log: PathBuf,
    /// conn.log; `None` when none is to be written.
    pub conn_log: Option<PathBuf>,
    /// Tell the monitor what desktop users should see.
    pub desktop: bool,
    /// How VirusTotal is asked; `None` when it is not.
    pub virustotal: Option<virustotal::Settings>,
}

/// From the monitor to the recorder.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRecorder {
    /// The first message, with the socket on which live.sock is listened to.
    Settings(Box<Settings>),
    /// An executable to hash, with its descriptor. Ids are never used again.
    Executable {
        /// Its id.
        id: u32,
        /// What it was when it was executed.
        file_is: FileState,
    },
    /// There will be no digest of this executable: why.
    Unhashed(u32, String),
    /// What stays unseen on this kernel.
    Unseen(Vec<String>),
    /// Open log files again: they may have been renamed.
    Reopen,
    /// A context, before its first traffic. Ids are never used again.
    ProcessContext {
        /// Its id.
        id: u32,
        /// Who it is, without digests.
        context: Box<ProcessContext>,
        /// Ids of the executables of the process, its parent and its grandparent.
        executables: [Option<u32>; 3],
    },
    /// No context before this id comes again.
    ForgetContexts(u32),
    /// No executable before this id comes again.
    ForgetExecutables(u32),
    /// Traffic.
    Flows(Vec<Flow>),
    /// What may tell names of addresses, before the traffic that follows from it.
    NameObservation(Vec<NameObservation>),
    /// A C library, with its descriptor: where do its functions lie? Numbers are never used again.
    Library(u64),
    /// A connection to systemd-resolved, which tells what it finds out.
    Resolved,
    /// A part of a list of all that is open, asked for with [`ToMonitor::Traffic`].
    Open(Vec<Flow>),
    /// The list is complete.
    OpenEnds(ListKind),
    /// All flows of a drain were told; only while somebody wants to hear of traffic.
    Drained,
    /// What was lost.
    Losses(Vec<Loss>),
    /// Something that the user should know.
    Problem(String),
    /// No more messages: write what is there, and end.
    End,
}

/// From the recorder to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMonitor {
    /// The log is open.
    Ready,
    /// There can be no log: why.
    Failed(String),
    /// Desktop users should see this.
    Notice(Notice),
    /// The connection to systemd-resolved has ended.
    ResolvedEnded,
    /// The C library of this number has these functions, so many bytes from the beginning of its file.
    Functions(u64, Vec<(ResolverFunction, u64)>),
    /// Somebody wants to hear of traffic, or nobody does any more: lists of what is open are needed, or not.
    Traffic(bool),
}
