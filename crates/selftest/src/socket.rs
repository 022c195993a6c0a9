//! Sockets that count what the kernel says they moved.
//!
//! The wrappers are thin: a count is the return value of a system call, never what the caller asked for.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::fs::MetadataExt,
};

use serde::{Deserialize, Serialize};

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct SystemError {
    /// The name of the call.
    pub call: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

impl SystemError {
    /// The error that `errno` now holds.
    pub fn last(call: &'static str) -> Self {
        Self { call, source: io::Error::last_os_error() }
    }

    /// Whether the kernel answered with this `errno`.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// Turns the return value of a call into a count, or into the error that `errno` holds.
pub fn check(call: &'static str, returned: isize) -> Result<usize, SystemError> {
    usize::try_from(returned).map_err(|_| SystemError::last(call))
}

/// What an actor moved over one socket with one peer, as the actor itself counted it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Path of the executable; when `marked`, only a part of it that is unique.
    pub exe: String,
    /// Whether `exe` and `name` are parts to look for, because the whole holds bytes that are no text.
    #[serde(default)]
    pub marked: bool,
    /// SHA-256 of the executable, hexadecimal; `None`: that of the selftest's own program.
    #[serde(default)]
    pub sha256: Option<String>,
    /// `comm` of the thread-group leader.
    pub name: String,
    /// The command line, arguments separated by single spaces; when `marked`, only a part of it.
    pub command_line: String,
    /// Paths of the executables of parent and grandparent, of each process that was part of it; empty where the
    /// actor may not look.
    #[serde(default)]
    pub ancestors: Vec<[String; 2]>,
    /// Real user id.
    pub uid: u32,
    /// Inode number of the network namespace.
    pub network_namespace: u64,
    /// Address family of the traffic: IPv4 over an IPv6 socket is `AF_INET`.
    pub family: u16,
    /// IP protocol number; not compared for `AF_PACKET`.
    pub protocol: u16,
    /// The peer; `None` where there is none (`AF_PACKET`).
    pub remote_address: Option<IpAddr>,
    /// Port of the peer, 0 where the protocol has none.
    pub remote_port: u16,
    /// Local address where it is certain.
    pub local_address: Option<IpAddr>,
    /// Local port where it is certain.
    pub local_port: Option<u16>,
    /// Connections opened, accepted or tried.
    pub connections: u64,
    /// Bytes that the kernel took.
    pub sent: u64,
    /// Bytes that the kernel gave.
    pub received: u64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    connections: u64,
    sent: u64,
    received: u64,
}

/// A socket and what it moved, for each peer.
pub struct Socket {
    fd: OwnedFd,
    family: i32,
    kind: i32,
    protocol: i32,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    counts: BTreeMap<Option<(IpAddr, u16)>, Count>,
    /// Set where the executable's path is no text: see [`Flow::marked`].
    pub marker: Option<String>,
    /// Set where /proc does not tell the path under which the program was executed.
    pub executable: Option<String>,
    /// Set where the command line is no text: see [`Flow::command_line`].
    pub command_line_part: Option<String>,
}

impl Socket {
    /// `socket(2)`.
    pub fn open(family: i32, kind: i32, protocol: i32) -> Result<Self, SystemError> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        check("socket", fd as isize)?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self::adopt(fd, family, kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol))
    }

    /// A socket that another process opened: its connections up to now are not this process's.
    pub fn adopt(fd: OwnedFd, family: i32, kind: i32, protocol: i32) -> Self {
        let mut socket = Self {
            fd,
            family,
            kind,
            protocol,
            peer: None,
            local: None,
            counts: BTreeMap::new(),
            marker: None,
            executable: None,
            command_line_part: None,
        };
        socket.peer = socket.name(libc::getpeername).ok();
        if socket.peer.is_some() {
            socket.local = socket.name(libc::getsockname).ok();
        }
        socket
    }

    /// The descriptor, for calls that have no wrapper here.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The protocol that it was opened with.
    pub fn protocol(&self) -> i32 {
        self.protocol
    }

    /// `bind(2)`.
    pub fn bind(&self, address: SocketAddr) -> Result<(), SystemError> {
        let (storage, length) = to_kernel(address);
        // SAFETY: the pointer and the length describe `storage`, which outlives the call.
        let returned = unsafe { libc::bind(self.raw(), (&raw const storage).cast(), length) };
        check("bind", returned as isize).map(drop)
    }

    /// `listen(2)`.
    pub fn listen(&self, backlog: i32) -> Result<(), SystemError> {
        // SAFETY: no pointers are passed.
        check("listen", unsafe { libc::listen(self.raw(), backlog) } as isize).map(drop)
    }

    /// `accept4(2)`; counts a connection.
    pub fn accept(&self) -> Result<Self, SystemError> {
        // SAFETY: the address may be null.
        let fd = unsafe {
            libc::accept4(self.raw(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        };
        check("accept4", fd as isize)?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut socket = Self::adopt(fd, self.family, self.kind, self.protocol);
        socket.count_connection();
        Ok(socket)
    }

    /// `connect(2)`; counts a connection, also a failed one, unless the protocol has only datagrams.
    pub fn connect(&mut self, address: SocketAddr) -> Result<(), SystemError> {
        self.peer = Some(address);
        if self.is_connection_oriented() {
            self.count_connection();
        }
        let (storage, length) = to_kernel(address);
        // SAFETY: the pointer and the length describe `storage`, which outlives the call.
        let returned = unsafe { libc::connect(self.raw(), (&raw const storage).cast(), length) };
        let result = check("connect", returned as isize).map(drop);
        // A failed attempt leaves no local end that anybody could still ask for.
        if result.as_ref().err().is_none_or(|error| error.is(libc::EINPROGRESS)) {
            self.note_local();
        }
        result
    }

    /// Takes note of a peer that the socket got in another way than by [`Self::connect`].
    pub fn set_peer(&mut self, address: SocketAddr) {
        self.peer = Some(address);
    }

    /// Counts a connection that was opened in another way than by [`Self::connect`] or [`Self::accept`].
    pub fn count_connection(&mut self) {
        self.count(self.peer).connections += 1;
    }

    /// Takes note of the local end, while the socket still has one.
    pub fn note_local(&mut self) {
        self.local = self.name(libc::getsockname).ok().filter(|local| local.port() != 0);
    }

    /// `send(2)`; counts what the kernel took.
    pub fn send(&mut self, bytes: &[u8], flags: i32) -> Result<usize, SystemError> {
        // SAFETY: the pointer and the length describe `bytes`.
        let returned =
            unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), flags | libc::MSG_NOSIGNAL) };
        let sent = check("send", returned)?;
        self.count_sent(sent);
        Ok(sent)
    }

    /// `recv(2)`; counts what the kernel gave, unless it stays there (`MSG_PEEK`).
    pub fn recv(&mut self, buffer: &mut [u8], flags: i32) -> Result<usize, SystemError> {
        // SAFETY: the pointer and the length describe `buffer`.
        let returned = unsafe { libc::recv(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        let received = check("recv", returned)?;
        if flags & libc::MSG_PEEK == 0 {
            self.count_received(received);
        }
        Ok(received)
    }

    /// `sendto(2)`; counts what the kernel took.
    pub fn send_to(&mut self, bytes: &[u8], address: SocketAddr) -> Result<usize, SystemError> {
        let (storage, length) = to_kernel(address);
        // SAFETY: both pointers are described by the lengths beside them and outlive the call.
        let returned = unsafe {
            libc::sendto(
                self.raw(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
                (&raw const storage).cast(),
                length,
            )
        };
        let sent = check("sendto", returned)?;
        self.count(Some(address)).sent += sent as u64;
        Ok(sent)
    }

    /// `recvfrom(2)`; counts what the kernel gave.
    pub fn recv_from(
        &mut self,
        buffer: &mut [u8],
        flags: i32,
    ) -> Result<(usize, Option<SocketAddr>), SystemError> {
        // SAFETY: all zeros is a valid address storage.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&storage) as libc::socklen_t;
        // SAFETY: both pointers are described by the lengths beside them and outlive the call.
        let returned = unsafe {
            libc::recvfrom(
                self.raw(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
                (&raw mut storage).cast(),
                &mut length,
            )
        };
        let received = check("recvfrom", returned)?;
        let from = from_kernel(&storage);
        if flags & libc::MSG_PEEK == 0 {
            self.count(from).received += received as u64;
        }
        Ok((received, from))
    }

    /// Counts bytes that went to the connected peer through another call.
    pub fn count_sent(&mut self, bytes: usize) {
        if bytes > 0 {
            self.count(self.peer).sent += bytes as u64;
        }
    }

    /// Counts bytes that came from the connected peer through another call.
    pub fn count_received(&mut self, bytes: usize) {
        if bytes > 0 {
            self.count(self.peer).received += bytes as u64;
        }
    }

    /// Counts bytes that came from `from` through another call.
    pub fn count_received_from(&mut self, from: Option<SocketAddr>, bytes: usize) {
        self.count(from).received += bytes as u64;
    }

    /// `setsockopt(2)` with a plain value.
    pub fn set_option<T>(&self, level: i32, option: i32, value: &T) -> Result<(), SystemError> {
        // SAFETY: the pointer and the length describe `value`.
        let returned = unsafe {
            libc::setsockopt(
                self.raw(),
                level,
                option,
                (&raw const *value).cast(),
                mem::size_of::<T>() as libc::socklen_t,
            )
        };
        check("setsockopt", returned as isize).map(drop)
    }

    /// `shutdown(2)` of the sending direction.
    pub fn end_sending(&self) -> Result<(), SystemError> {
        // SAFETY: no pointers are passed.
        check("shutdown", unsafe { libc::shutdown(self.raw(), libc::SHUT_WR) } as isize).map(drop)
    }

    /// Waits until the socket has one of `events` (`poll(2)`); false when `milliseconds` have passed.
    pub fn wait(&self, events: i16, milliseconds: i32) -> Result<bool, SystemError> {
        let mut poll = libc::pollfd { fd: self.raw(), events, revents: 0 };
        // SAFETY: one entry is passed and one is announced.
        Ok(check("poll", unsafe { libc::poll(&mut poll, 1, milliseconds) } as isize)? > 0)
    }

    /// The local end (`getsockname(2)`).
    pub fn local(&self) -> Result<SocketAddr, SystemError> {
        self.name(libc::getsockname)
    }

    /// Tells the selftest what this process moved over the socket: one line for each peer.
    pub fn publish(&self) -> io::Result<()> {
        let local = match (self.local, self.family, self.kind) {
            (Some(local), _, _) => Some(local),
            (None, libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
                self.name(libc::getsockname).ok().filter(|local| local.port() != 0)
            }
            _ => None,
        };
        let has_ports = self.kind != libc::SOCK_RAW
            && !matches!(self.protocol, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6);
        let network_namespace = std::fs::metadata("/proc/self/ns/net")?.ino();
        let exe = std::fs::read_link("/proc/self/exe")?;
        let name = std::fs::read("/proc/self/comm")?;
        let mut arguments = std::fs::read("/proc/self/cmdline")?;
        arguments.pop_if(|last| *last == 0);
        let command_line = String::from_utf8_lossy(&arguments).replace('\0', " ");
        for (peer, count) in &self.counts {
            let flow = Flow {
                exe: self
                    .marker
                    .clone()
                    .or_else(|| self.executable.clone())
                    .unwrap_or_else(|| exe.to_string_lossy().into_owned()),
                sha256: None,
                marked: self.marker.is_some(),
                name: match self.marker {
                    Some(_) => "odd".to_owned(),
                    None => String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned(),
                },
                command_line: self.command_line_part.clone().unwrap_or_else(|| command_line.clone()),
                ancestors: ancestors(),
                // SAFETY: getuid has no preconditions.
                uid: unsafe { libc::getuid() },
                network_namespace,
                family: match peer {
                    Some((IpAddr::V4(_), _)) => libc::AF_INET as u16,
                    Some((IpAddr::V6(_), _)) => libc::AF_INET6 as u16,
                    None => self.family as u16,
                },
                protocol: self.protocol as u16,
                remote_address: peer.map(|(address, _)| address),
                remote_port: peer.map_or(0, |(_, port)| if has_ports { port } else { 0 }),
                local_address: local
                    .map(|local| local.ip().to_canonical())
                    .filter(|local| has_ports && !local.is_unspecified()),
                local_port: local.map(|local| local.port()).filter(|_| has_ports),
                connections: count.connections,
                sent: count.sent,
                received: count.received,
            };
            let mut line = String::from("flow ");
            line.push_str(&serde_json::to_string(&flow)?);
            line.push('\n');
            // One write: lines of several processes that share the pipe do not mix.
            io::stdout().lock().write_all(line.as_bytes())?;
            io::stdout().lock().flush()?;
        }
        Ok(())
    }

    fn is_connection_oriented(&self) -> bool {
        matches!(self.kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET)
    }

    /// The counters of one peer. A new peer of a datagram socket is a connection.
    fn count(&mut self, peer: Option<SocketAddr>) -> &mut Count {
        let key = peer.map(|peer| (peer.ip().to_canonical(), peer.port()));
        let connections = u64::from(!self.is_connection_oriented());
        self.counts.entry(key).or_insert(Count { connections, ..Count::default() })
    }

    fn name(
        &self,
        call: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> Result<SocketAddr, SystemError> {
        // SAFETY: all zeros is a valid address storage.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&storage) as libc::socklen_t;
        // SAFETY: the pointer and the length describe `storage`.
        check("getsockname", unsafe { call(self.raw(), (&raw mut storage).cast(), &mut length) } as isize)?;
        from_kernel(&storage).ok_or_else(|| SystemError {
            call: "getsockname",
            source: io::Error::from_raw_os_error(libc::EAFNOSUPPORT),
        })
    }
}

/// Executables of the parent and the grandparent of this process, where they are visible from here.
pub fn ancestors() -> Vec<[String; 2]> {
    let parent_of = |id: &str| {
        // After the name, which is in parentheses and may hold anything: state, parent (proc_pid_stat(5)).
        let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        let exe = std::fs::read_link(format!("/proc/{parent}/exe")).ok()?;
        Some((exe.to_string_lossy().into_owned(), parent))
    };
    let known = parent_of("self").and_then(|(exe, parent)| Some([exe, parent_of(&parent)?.0]));
    known.into_iter().collect()
}

/// An address as system calls take it, with its length.
pub fn to_kernel(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid address storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let kernel = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every address type.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(kernel) };
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let kernel = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: the storage is large enough and aligned for every address type.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(kernel) };
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

/// An address as the kernel wrote it; `None` for other families than IPv4 and IPv6.
pub fn from_kernel(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds this type.
            let kernel = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let address = Ipv4Addr::from(kernel.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((address, u16::from_be(kernel.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds this type.
            let kernel = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let address = Ipv6Addr::from(kernel.sin6_addr.s6_addr);
            Some(SocketAddr::from((address, u16::from_be(kernel.sin6_port))))
        }
        _ => None,
    }
}
