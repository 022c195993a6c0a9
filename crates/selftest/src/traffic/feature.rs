//! Features that a kernel may lack.

use crate::{
    actor_process::{ActorError, ActorResult},
    system_error::SystemError,
};

/// Turns an error that means that the kernel lacks `feature` into a reason to skip the scenario. Other errors stay errors.
pub(super) fn require<T>(result: Result<T, SystemError>, feature: &str) -> ActorResult<T> {
    result.map_err(|error| match error.source.raw_os_error() {
        Some(
            libc::EAFNOSUPPORT
            | libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::ENOENT
            | libc::EADDRNOTAVAIL,
        ) => ActorError::Skipped(format!("this kernel has no {feature} ({error})")),
        _ => ActorError::System(error),
    })
}

/// Returns the name of the feature that sockets of this protocol need.
pub(super) fn protocol_name(protocol: i32) -> &'static str {
    match protocol {
        libc::IPPROTO_TCP => "TCP",
        libc::IPPROTO_UDP => "UDP",
        libc::IPPROTO_UDPLITE => "UDP-Lite",
        libc::IPPROTO_SCTP => "SCTP",
        libc::IPPROTO_MPTCP => "MPTCP",
        libc::IPPROTO_ICMP => "ICMP sockets",
        libc::IPPROTO_ICMPV6 => "ICMPv6 sockets",
        _ => "such sockets",
    }
}
