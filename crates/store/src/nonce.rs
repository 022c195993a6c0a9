//! The nonce of a window: by it a copy of the window elsewhere is known, also when two logs have a common past (a clone of the
//! machine, an older copy of the log) and windows of the same number and time.

/// A random number of 32 bits from the kernel; `None` if it has none yet, in the first moments of a machine. Time and uptime tell
/// windows apart as well, and each window keeps the number as long as it is there, so that it should be short. SQLite's own random
/// numbers would be the same in two machines that were cloned while they ran: it asks the kernel only once.
pub fn random() -> Option<i64> {
    let mut bytes = [0; 4];
    // The C library has the call from glibc 2.25 on; packages run with older ones.
    // SAFETY: the buffer is valid for its length, and the call only writes into it (getrandom(2)).
    let filled =
        unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK) };
    usize::try_from(filled)
        .is_ok_and(|filled| filled == bytes.len())
        .then(|| i32::from_ne_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let nonces: std::collections::HashSet<i64> = (0..100).filter_map(|_| random()).collect();
        assert_eq!(nonces.len(), 100);
    }
}
