//! Errors of the kernel half.

/// The reasons why the kernel half cannot work at all.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The caller lacks the rights. Holds the command to run as root.
    #[error("picosnitch has to run as root to load BPF programs: run `sudo {0}`")]
    NotRoot(String),
    /// The kernel was built without type information.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): nothing can be recorded. A kernel of version 5.10 or \
         later built with CONFIG_DEBUG_INFO_BTF=y is needed; those of all large distributions are"
    )]
    NoBtf,
    /// The machine around the kernel half lacks something; a sentence that says what, and what to do.
    #[error("{0}")]
    Machine(String),
    /// A hook without which there is nothing to record cannot be attached.
    #[error("{what} cannot be watched on this kernel, so nothing can be recorded: {why}")]
    Essential {
        /// The traffic that stays unseen, as in [`BlindSpot::unseen`](crate::BlindSpot::unseen).
        what: &'static str,
        /// The reason why the hook cannot be attached.
        why: String,
    },
    /// A call of libbpf returned an error.
    #[error("{what}")]
    Bpf {
        /// The action that failed, as a sentence without its end.
        what: String,
        /// The error that libbpf returned.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A system call returned an error.
    #[error("{what}")]
    Io {
        /// The action that failed, as a sentence without its end.
        what: String,
        /// The error that the system call returned.
        #[source]
        source: std::io::Error,
    },
}

impl CaptureError {
    pub(crate) fn bpf(what: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Self {
        // The text is copied only if there is an error.
        move |source| Self::Bpf { what: what.into(), source }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
