//! System calls that avoid copying: sendfile, splice, vmsplice, MSG_ZEROCOPY, TCP_ZEROCOPY_RECEIVE.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use super::{
    feature::require,
    stream_socket::{
        CHUNK, accept_one, connect_one, finish_stream, receive_exactly, receive_to_end, send_all,
    },
};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{LabNamespace, Link},
    scenario::Scenario,
    socket::Socket,
    system_error::{SystemError, check},
};

const TCP: i32 = libc::IPPROTO_TCP;
const TOTAL_BYTES: usize = 256 * 1024;
const PAGE_BYTES: usize = 4096;
// `SO_ZEROCOPY` and `MSG_ZEROCOPY`, linux/socket.h.
const SO_ZEROCOPY: i32 = 60;
const MSG_ZEROCOPY: i32 = 0x400_0000;
// `TCP_ZEROCOPY_RECEIVE`, linux/tcp.h.
const TCP_ZEROCOPY_RECEIVE: i32 = 35;

pub(super) fn scenarios() -> Vec<Scenario> {
    let link = Link::Ipv4;
    let sender = |id: &str, send: fn(&mut Socket) -> ActorResult<()>| {
        Scenario::new(id)
            .actor("server", link.server_namespace(), move |actor| {
                let mut socket = accept_one(actor, link, TCP)?;
                receive_to_end(&mut socket)?;
                Ok(socket.report_flows()?)
            })
            .actor("client", LabNamespace::First, move |actor| {
                let mut socket = connect_one(actor, link, TCP)?;
                send(&mut socket)?;
                finish_stream(&mut socket)?;
                Ok(socket.report_flows()?)
            })
    };
    vec![
        sender("sendfile", send_file),
        sender("splice-to-tcp", splice_to_socket),
        sender("vmsplice", vmsplice_to_socket),
        sender("msg-zerocopy", zero_copy_send),
        splice_from_socket(Link::Ipv4),
        splice_from_socket(Link::Ipv6),
        zero_copy_receive(),
    ]
}

fn memory_file() -> ActorResult<File> {
    let memory = rustix::fs::memfd_create(c"selftest", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.map_err(std::io::Error::from)?);
    file.write_all(&vec![0x11; TOTAL_BYTES])?;
    Ok(file)
}

fn pipe() -> ActorResult<(File, File)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer))))
}

fn send_file(socket: &mut Socket) -> ActorResult<()> {
    let file = memory_file()?;
    let mut offset = 0;
    while (offset as usize) < TOTAL_BYTES {
        // SAFETY: the offset outlives the call.
        let sent = unsafe {
            libc::sendfile(socket.raw(), file.as_raw_fd(), &mut offset, TOTAL_BYTES - offset as usize)
        };
        socket.count_sent(check("sendfile", sent)?);
    }
    Ok(())
}

fn splice(from: i32, to: i32, length: usize) -> Result<usize, SystemError> {
    // SAFETY: the offsets may be null.
    let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), length, 0) };
    check("splice", moved)
}

/// Moves `length` bytes from a pipe into the socket.
fn splice_all(pipe: &File, socket: &mut Socket, length: usize) -> ActorResult<()> {
    let mut left = length;
    while left > 0 {
        let moved = splice(pipe.as_raw_fd(), socket.raw(), left)?;
        socket.count_sent(moved);
        left -= moved;
    }
    Ok(())
}

fn splice_to_socket(socket: &mut Socket) -> ActorResult<()> {
    let (reader, mut writer) = pipe()?;
    for _ in 0..TOTAL_BYTES / CHUNK {
        writer.write_all(&[0x22; CHUNK])?;
        splice_all(&reader, socket, CHUNK)?;
    }
    Ok(())
}

fn vmsplice_to_socket(socket: &mut Socket) -> ActorResult<()> {
    let (reader, writer) = pipe()?;
    let bytes = [0x33; CHUNK];
    for _ in 0..TOTAL_BYTES / CHUNK {
        let buffer = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: the pointer refers to one buffer, and the count is one; it describes `bytes`, which does not change.
        let taken = unsafe { libc::vmsplice(writer.as_raw_fd(), &buffer, 1, 0) };
        let taken = check("vmsplice", taken)?;
        splice_all(&reader, socket, taken)?;
    }
    Ok(())
}

/// Sends without copying, and reads the notifications from the error queue, which must not be counted.
fn zero_copy_send(socket: &mut Socket) -> ActorResult<()> {
    require(socket.set_option(libc::SOL_SOCKET, SO_ZEROCOPY, &1_i32), "MSG_ZEROCOPY")?;
    let bytes = vec![0x44; CHUNK];
    let mut left = TOTAL_BYTES;
    while left > 0 {
        let sent = socket.send(&bytes, MSG_ZEROCOPY)?;
        left = left.saturating_sub(sent);
        read_error_queue(socket)?;
    }
    Ok(())
}

fn read_error_queue(socket: &Socket) -> ActorResult<()> {
    let mut control = [0_u64; 32];
    // SAFETY: all zeros is a valid header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = std::mem::size_of_val(&control);
    // SAFETY: the header describes `control`, which outlives the call.
    let returned =
        unsafe { libc::recvmsg(socket.raw(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    match check("recvmsg", returned) {
        Err(error) if error.is(libc::EAGAIN) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

fn splice_from_socket(link: Link) -> Scenario {
    Scenario::new(format!("splice-from-tcp-{}", link.name()))
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, link, TCP)?;
            let (reader, writer) = pipe()?;
            let mut buffer = [0; CHUNK];
            loop {
                let moved = splice(socket.raw(), writer.as_raw_fd(), CHUNK)?;
                if moved == 0 {
                    break;
                }
                socket.count_received(moved);
                let mut left = moved;
                while left > 0 {
                    left -= std::io::Read::read(&mut &reader, &mut buffer[..left])?;
                }
            }
            // Also send(2) on the same socket.
            send_all(&mut socket, 5003)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            send_all(&mut socket, TOTAL_BYTES)?;
            socket.end_sending()?;
            receive_exactly(&mut socket, 5003)?;
            Ok(socket.report_flows()?)
        })
}

// `struct tcp_zerocopy_receive`, linux/tcp.h, up to the fields of 5.11.
#[repr(C)]
#[derive(Default)]
struct ZeroCopyReceive {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
}

/// The receiver maps whole pages and copies the rest. The sender sends whole pages of a pipe, since the receiver may map only pages
/// that belong to no file and to no process.
fn zero_copy_receive() -> Scenario {
    const PAGES: usize = 16;
    const REST_BYTES: usize = 1003;
    let link = Link::Loopback4;
    Scenario::new("tcp-zerocopy-receive")
        .actor("server", link.server_namespace(), move |actor| map_and_copy(actor, link, PAGES))
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            let (reader, mut writer) = pipe()?;
            for _ in 0..4 {
                for _ in 0..PAGES / 2 {
                    writer.write_all(&[0x66; PAGE_BYTES])?;
                }
                splice_all(&reader, &mut socket, PAGES / 2 * PAGE_BYTES)?;
            }
            send_all(&mut socket, REST_BYTES)?;
            finish_stream(&mut socket)?;
            Ok(socket.report_flows()?)
        })
}

fn map_and_copy(actor: &ActorProcess, link: Link, pages: usize) -> ActorResult<()> {
    let mut socket = accept_one(actor, link, TCP)?;
    let length = pages * PAGE_BYTES;
    // SAFETY: the kernel chooses the address.
    let window =
        unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, socket.raw(), 0) };
    if window == libc::MAP_FAILED {
        return require(Err(SystemError::last("mmap")), "TCP_ZEROCOPY_RECEIVE");
    }
    let mut mapped = 0;
    loop {
        socket.wait(libc::POLLIN, -1)?;
        let mut copy = [0_u8; PAGE_BYTES];
        let mut request = ZeroCopyReceive {
            address: window as u64,
            length: length as u32,
            copybuf_address: copy.as_mut_ptr() as u64,
            copybuf_len: copy.len() as i32,
            ..ZeroCopyReceive::default()
        };
        let mut size = std::mem::size_of::<ZeroCopyReceive>() as libc::socklen_t;
        // SAFETY: the pointer and the size describe `request`, which refers to the mapping and to `copy`.
        let returned = unsafe {
            libc::getsockopt(socket.raw(), TCP, TCP_ZEROCOPY_RECEIVE, (&raw mut request).cast(), &mut size)
        };
        match check("getsockopt", returned as isize) {
            // No more pages can be mapped. The recv below detects the end of the stream.
            Err(error) if error.is(libc::EIO) => request = ZeroCopyReceive::default(),
            result => drop(require(result, "TCP_ZEROCOPY_RECEIVE")?),
        };
        // Kernels before 5.11 do not know the buffer: they return a shorter size and do not change its fields.
        let knows_buffer = size as usize >= std::mem::offset_of!(ZeroCopyReceive, flags);
        let copied = if knows_buffer { request.copybuf_len.max(0) as usize } else { 0 };
        mapped += request.length as usize;
        socket.count_received(request.length as usize + copied);
        if request.recv_skip_hint > 0 {
            // Bytes that cannot be mapped are received with recv(2).
            let mut buffer = vec![0; request.recv_skip_hint as usize];
            socket.recv(&mut buffer, 0)?;
        } else if request.length == 0 && copied == 0 && socket.recv(&mut [0; 1], 0)? == 0 {
            break;
        }
    }
    // SAFETY: no pointer into the mapping is used any more.
    unsafe { libc::munmap(window, length) };
    match mapped {
        0 => Err(ActorError::Skipped("this kernel maps no page of a stream".to_owned())),
        _ => Ok(socket.report_flows()?),
    }
}
