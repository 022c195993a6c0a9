//! Hundreds of network namespaces with traffic: each has its record, and they cost nothing while they are silent.

use std::{fs::File, thread, time::Duration};

use model::Counters;
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::Pid,
};
use store::{Dimension, Filter, Query, Value};

use super::harness::{Daemon, base, fresh_address, losses, reader, root_alone, talk};

const NAMESPACES: usize = 300;
/// Time over which the cost is measured.
const SPAN: Duration = Duration::from_secs(5);

/// Sets the loopback device of the namespace of this thread up.
fn set_loopback_up() {
    // SAFETY: all bytes zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: the request outlives the call.
    let result = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Ticks of the processor that processes have used.
fn ticks(processes: &[Pid]) -> u64 {
    let of = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        // utime and stime of proc_pid_stat(5), after the name and the state.
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum::<u64>()
    };
    processes.iter().map(of).sum()
}

#[test]
#[ignore = "needs root"]
fn three_hundred_network_namespaces_have_exact_records_and_cost_nothing_while_silent() {
    let _root = root_alone();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let processes = [daemon.monitor(), daemon.recorder()];
    let cost = || {
        let before = ticks(&processes);
        thread::sleep(SPAN);
        ticks(&processes) - before
    };
    let without = cost();
    let address = fresh_address();
    let namespaces: Vec<File> = (0..NAMESPACES)
        .map(|number| {
            let in_namespace = move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                set_loopback_up();
                talk(address, 1000 + number, 10);
                File::open("/proc/thread-self/ns/net").unwrap()
            };
            thread::spawn(in_namespace).join().unwrap()
        })
        .collect();
    thread::sleep(SPAN);
    let with = cost();
    println!("ticks in {SPAN:?}: {without} without, {with} with {NAMESPACES} namespaces");
    assert!(with <= 2 * without + 25, "{without} ticks without, {with} with {NAMESPACES} namespaces");
    daemon.stop(Signal::SIGTERM);
    drop(namespaces);
    let query = Query {
        group_by: vec![Dimension::NetworkNamespace],
        filters: vec![Filter::equal(Dimension::Address, Value::Address(address.into()), false)],
        ..Query::default()
    };
    let rows = reader(base.path()).query(&query).unwrap();
    let mut found: Vec<Counters> = rows.iter().map(|row| row.counters).collect();
    found.sort_by_key(|counters| counters.sent);
    let expected = |number| Counters { connections: 1, sent: 1000 + number as u64, received: 10 };
    assert_eq!(found, (0..NAMESPACES).map(expected).collect::<Vec<_>>());
    assert!(losses(base.path()).is_empty(), "{:?}", losses(base.path()));
}
