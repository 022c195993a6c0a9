//! A socket that counts its bytes and connections.
//!
//! A count is always the return value of a system call, never the length that the caller passed.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::fs::MetadataExt,
};

use crate::{
    ancestors::ancestors,
    expected_flow::ExpectedFlow,
    socket_address::{from_kernel, to_kernel},
    system_error::{SystemError, check},
};
use model::text::{command_line, lossless};

#[derive(Clone, Copy, Default)]
struct SocketCounters {
    connections: u64,
    sent: u64,
    received: u64,
}

/// A socket and its counters for each peer.
pub(crate) struct Socket {
    fd: OwnedFd,
    family: i32,
    kind: i32,
    protocol: i32,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    counters: BTreeMap<Option<(IpAddr, u16)>, SocketCounters>,
    /// A unique part of the executable's path, if the path is not valid UTF-8.
    pub(crate) path_part: Option<String>,
    /// The path of the executable, if /proc/self/exe shows another one.
    pub(crate) executable: Option<String>,
    /// A part of the command line, if the command line is not valid UTF-8.
    pub(crate) command_line_part: Option<String>,
}

impl Socket {
    /// Opens a socket with socket(2).
    pub(crate) fn open(family: i32, kind: i32, protocol: i32) -> Result<Self, SystemError> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        check("socket", fd as isize)?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self::adopt(fd, family, kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol))
    }

    /// Takes over a socket that another process opened, with counters at zero.
    pub(crate) fn adopt(fd: OwnedFd, family: i32, kind: i32, protocol: i32) -> Self {
        let mut socket = Self {
            fd,
            family,
            kind,
            protocol,
            peer: None,
            local: None,
            counters: BTreeMap::new(),
            path_part: None,
            executable: None,
            command_line_part: None,
        };
        socket.peer = socket.socket_name(libc::getpeername).ok();
        if socket.peer.is_some() {
            socket.local = socket.socket_name(libc::getsockname).ok();
        }
        socket
    }

    /// Returns the descriptor, for system calls without a method here.
    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn protocol(&self) -> i32 {
        self.protocol
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> Result<(), SystemError> {
        let (storage, length) = to_kernel(address);
        // SAFETY: the pointer and the length describe `storage`, which outlives the call.
        let returned = unsafe { libc::bind(self.raw(), (&raw const storage).cast(), length) };
        check("bind", returned as isize).map(drop)
    }

    pub(crate) fn listen(&self, backlog: i32) -> Result<(), SystemError> {
        // SAFETY: no pointers are passed.
        check("listen", unsafe { libc::listen(self.raw(), backlog) } as isize).map(drop)
    }

    /// Accepts a connection with accept4(2) and counts it.
    pub(crate) fn accept(&self) -> Result<Self, SystemError> {
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

    /// Connects with connect(2). Counts a connection, also a failed one, unless the socket sends datagrams.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<(), SystemError> {
        self.peer = Some(address);
        if self.is_connection_oriented() {
            self.count_connection();
        }
        let (storage, length) = to_kernel(address);
        // SAFETY: the pointer and the length describe `storage`, which outlives the call.
        let returned = unsafe { libc::connect(self.raw(), (&raw const storage).cast(), length) };
        let result = check("connect", returned as isize).map(drop);
        // After a failed attempt the socket has no local address.
        if result.as_ref().err().is_none_or(|error| error.is(libc::EINPROGRESS)) {
            self.note_local();
        }
        result
    }

    /// Sets the peer of a socket that was not connected by [`Self::connect`].
    pub(crate) fn set_peer(&mut self, address: SocketAddr) {
        self.peer = Some(address);
    }

    /// Counts a connection that was not opened by [`Self::connect`] or [`Self::accept`].
    pub(crate) fn count_connection(&mut self) {
        self.counters_of(self.peer).connections += 1;
    }

    /// Remembers the local address, while the socket still has one.
    pub(crate) fn note_local(&mut self) {
        self.local = self.socket_name(libc::getsockname).ok().filter(|local| local.port() != 0);
    }

    /// Sends with send(2); counts the bytes that the kernel accepted.
    pub(crate) fn send(&mut self, bytes: &[u8], flags: i32) -> Result<usize, SystemError> {
        // SAFETY: the pointer and the length describe `bytes`.
        let returned =
            unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), flags | libc::MSG_NOSIGNAL) };
        let sent = check("send", returned)?;
        self.count_sent(sent);
        Ok(sent)
    }

    /// Receives with recv(2); counts the bytes, unless they stay in the kernel (`MSG_PEEK`).
    pub(crate) fn recv(&mut self, buffer: &mut [u8], flags: i32) -> Result<usize, SystemError> {
        // SAFETY: the pointer and the length describe `buffer`.
        let returned = unsafe { libc::recv(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        let received = check("recv", returned)?;
        if flags & libc::MSG_PEEK == 0 {
            self.count_received(received);
        }
        Ok(received)
    }

    /// Sends with sendto(2); counts the bytes that the kernel accepted.
    pub(crate) fn send_to(&mut self, bytes: &[u8], address: SocketAddr) -> Result<usize, SystemError> {
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
        self.counters_of(Some(address)).sent += sent as u64;
        Ok(sent)
    }

    /// Receives with recvfrom(2); counts the bytes, unless they stay in the kernel (`MSG_PEEK`).
    pub(crate) fn recv_from(
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
            self.counters_of(from).received += received as u64;
        }
        Ok((received, from))
    }

    /// Counts bytes that were sent to the connected peer by another system call.
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        if bytes > 0 {
            self.counters_of(self.peer).sent += bytes as u64;
        }
    }

    /// Counts bytes that were received from the connected peer by another system call.
    pub(crate) fn count_received(&mut self, bytes: usize) {
        if bytes > 0 {
            self.counters_of(self.peer).received += bytes as u64;
        }
    }

    /// Counts bytes that were received from `from` by another system call.
    pub(crate) fn count_received_from(&mut self, from: Option<SocketAddr>, bytes: usize) {
        self.counters_of(from).received += bytes as u64;
    }

    /// Sets an option with setsockopt(2) to a value without pointers.
    pub(crate) fn set_option<T>(&self, level: i32, option: i32, value: &T) -> Result<(), SystemError> {
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

    /// Shuts down the sending direction with shutdown(2).
    pub(crate) fn end_sending(&self) -> Result<(), SystemError> {
        // SAFETY: no pointers are passed.
        check("shutdown", unsafe { libc::shutdown(self.raw(), libc::SHUT_WR) } as isize).map(drop)
    }

    /// Waits with poll(2) until the socket has one of `events`. Returns false when `milliseconds` have passed.
    pub(crate) fn wait(&self, events: i16, milliseconds: i32) -> Result<bool, SystemError> {
        let mut poll = libc::pollfd { fd: self.raw(), events, revents: 0 };
        // SAFETY: the pointer refers to one entry, and the count is one.
        Ok(check("poll", unsafe { libc::poll(&mut poll, 1, milliseconds) } as isize)? > 0)
    }

    /// Returns the local address (getsockname(2)).
    pub(crate) fn local(&self) -> Result<SocketAddr, SystemError> {
        self.socket_name(libc::getsockname)
    }

    /// Writes the flows of this socket to the selftest: one line for each peer.
    pub(crate) fn report_flows(&self) -> io::Result<()> {
        let flow = self.flow_without_peer()?;
        for (peer, counters) in &self.counters {
            let flow = ExpectedFlow {
                family: match peer {
                    Some((IpAddr::V4(_), _)) => libc::AF_INET as u16,
                    Some((IpAddr::V6(_), _)) => libc::AF_INET6 as u16,
                    None => self.family as u16,
                },
                remote_address: peer.map(|(address, _)| address),
                remote_port: peer.map_or(0, |(_, port)| if self.has_ports() { port } else { 0 }),
                connections: counters.connections,
                sent: counters.sent,
                received: counters.received,
                ..flow.clone()
            };
            let line = format!("flow {}\n", serde_json::to_string(&flow)?);
            // A single write, so that the lines of several processes that share the pipe do not mix.
            io::stdout().lock().write_all(line.as_bytes())?;
            io::stdout().lock().flush()?;
        }
        Ok(())
    }

    /// Returns what all flows of this socket have in common: process and local end.
    fn flow_without_peer(&self) -> io::Result<ExpectedFlow> {
        let local = match (self.local, self.family, self.kind) {
            (Some(local), _, _) => Some(local),
            (None, libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
                self.socket_name(libc::getsockname).ok().filter(|local| local.port() != 0)
            }
            _ => None,
        };
        let exe = std::fs::read_link("/proc/self/exe")?;
        let name = std::fs::read("/proc/self/comm")?;
        let arguments = std::fs::read("/proc/self/cmdline")?;
        let command_line = lossless::to_text(&command_line::quote(command_line::from_proc(&arguments)));
        Ok(ExpectedFlow {
            exe: self
                .path_part
                .clone()
                .or_else(|| self.executable.clone())
                .unwrap_or_else(|| exe.to_string_lossy().into_owned()),
            is_partial: self.path_part.is_some(),
            name: match self.path_part {
                Some(_) => "odd".to_owned(),
                None => String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned(),
            },
            command_line: self.command_line_part.clone().unwrap_or(command_line),
            ancestors: ancestors(),
            // SAFETY: getuid has no preconditions.
            uid: unsafe { libc::getuid() },
            network_namespace: std::fs::metadata("/proc/self/ns/net")?.ino(),
            protocol: self.protocol as u16,
            local_address: local
                .map(|local| local.ip().to_canonical())
                .filter(|local| self.has_ports() && !local.is_unspecified()),
            local_port: local.map(|local| local.port()).filter(|_| self.has_ports()),
            ..ExpectedFlow::default()
        })
    }

    fn has_ports(&self) -> bool {
        self.kind != libc::SOCK_RAW && !matches!(self.protocol, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6)
    }

    fn is_connection_oriented(&self) -> bool {
        matches!(self.kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET)
    }

    /// Returns the counters of one peer. A new peer of a datagram socket counts as a connection.
    fn counters_of(&mut self, peer: Option<SocketAddr>) -> &mut SocketCounters {
        let key = peer.map(|peer| (peer.ip().to_canonical(), peer.port()));
        let connections = u64::from(!self.is_connection_oriented());
        self.counters.entry(key).or_insert(SocketCounters { connections, ..SocketCounters::default() })
    }

    fn socket_name(
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
