//! io_uring: the kernel moves the bytes, with or without a system call of the process.

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::stream_socket::{accept_one, connect_one, listener};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{LabNamespace, Link},
    scenario::Scenario,
    socket::Socket,
    socket_address::to_kernel,
};

const TCP: i32 = libc::IPPROTO_TCP;
const ROUNDS: usize = 12;
const REQUEST_BYTES: usize = 9000;
const RESPONSE_BYTES: usize = 7000;

/// The operations and the setup of the ring.
#[derive(Clone, Copy, PartialEq)]
enum RingMode {
    /// The operations Send and Recv.
    SendRecv,
    /// The operations Write and Read.
    ReadWrite,
    /// The operations SendZc and Recv.
    ZeroCopy,
    /// A kernel thread polls the submission queue.
    SubmissionQueuePolling,
    /// The socket is registered with the ring.
    FixedFiles,
    /// The operations Connect and Accept, then Send and Recv.
    ConnectAccept,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    [
        ("send-recv", RingMode::SendRecv),
        ("read-write", RingMode::ReadWrite),
        ("send-zc", RingMode::ZeroCopy),
        ("sqpoll", RingMode::SubmissionQueuePolling),
        ("fixed-files", RingMode::FixedFiles),
        ("connect-accept", RingMode::ConnectAccept),
    ]
    .into_iter()
    .map(|(name, mode)| {
        let link = Link::Ipv4;
        Scenario::new(format!("io-uring-{name}"))
            .actor("server", link.server_namespace(), move |actor| run_server(actor, link, mode))
            .actor("client", LabNamespace::First, move |actor| run_client(actor, link, mode))
    })
    .collect()
}

fn run_server(actor: &ActorProcess, link: Link, mode: RingMode) -> ActorResult<()> {
    let (mut ring, mut socket) = if mode == RingMode::ConnectAccept {
        let mut ring = open_ring(mode)?;
        let listener = listener(link, TCP)?;
        actor.publish_port(listener.local()?)?;
        let request =
            opcode::Accept::new(types::Fd(listener.raw()), std::ptr::null_mut(), std::ptr::null_mut());
        let fd = submit(&mut ring, &request.build())?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as i32) };
        let mut socket = Socket::adopt(fd, link.family(), libc::SOCK_STREAM, TCP);
        socket.count_connection();
        (ring, socket)
    } else {
        let ring = open_ring(mode)?;
        (ring, accept_one(actor, link, TCP)?)
    };
    register(&ring, mode, &socket)?;
    for _ in 0..ROUNDS {
        receive(&mut ring, mode, &mut socket, REQUEST_BYTES)?;
        send(&mut ring, mode, &mut socket, RESPONSE_BYTES)?;
    }
    Ok(socket.report_flows()?)
}

fn run_client(actor: &ActorProcess, link: Link, mode: RingMode) -> ActorResult<()> {
    let mut ring = open_ring(mode)?;
    let mut socket = if mode == RingMode::ConnectAccept {
        let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
        let server = actor.server(link)?;
        let (address, length) = to_kernel(server);
        socket.set_peer(server);
        socket.count_connection();
        let request = opcode::Connect::new(types::Fd(socket.raw()), (&raw const address).cast(), length);
        submit(&mut ring, &request.build())?;
        socket.note_local();
        socket
    } else {
        connect_one(actor, link, TCP)?
    };
    register(&ring, mode, &socket)?;
    for _ in 0..ROUNDS {
        send(&mut ring, mode, &mut socket, REQUEST_BYTES)?;
        receive(&mut ring, mode, &mut socket, RESPONSE_BYTES)?;
    }
    Ok(socket.report_flows()?)
}

fn open_ring(mode: RingMode) -> ActorResult<IoUring> {
    let mut builder = IoUring::builder();
    if mode == RingMode::SubmissionQueuePolling {
        builder.setup_sqpoll(50);
    }
    let ring =
        builder.build(8).map_err(|error| ActorError::Skipped(format!("no io_uring here ({error})")))?;
    let mut probe = Probe::new();
    let needed: &[u8] = match mode {
        RingMode::ReadWrite => &[opcode::Read::CODE, opcode::Write::CODE],
        RingMode::ZeroCopy => &[opcode::SendZc::CODE, opcode::Recv::CODE],
        RingMode::ConnectAccept => &[opcode::Connect::CODE, opcode::Accept::CODE],
        RingMode::SendRecv | RingMode::SubmissionQueuePolling | RingMode::FixedFiles => {
            &[opcode::Send::CODE, opcode::Recv::CODE]
        }
    };
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| ActorError::Skipped(format!("this io_uring cannot be probed ({error})")))?;
    match needed.iter().all(|code| probe.is_supported(*code)) {
        true => Ok(ring),
        false => Err(ActorError::Skipped("this kernel's io_uring does not support the operation".to_owned())),
    }
}

fn register(ring: &IoUring, mode: RingMode, socket: &Socket) -> ActorResult<()> {
    if mode == RingMode::FixedFiles {
        ring.submitter()
            .register_files(&[socket.raw()])
            .map_err(|error| ActorError::Skipped(format!("no fixed files ({error})")))?;
    }
    Ok(())
}

/// Submits one request and waits for its result.
fn submit(ring: &mut IoUring, request: &squeue::Entry) -> ActorResult<usize> {
    // SAFETY: the buffers of the request outlive this call, which waits for the end of the request and for the notification that
    // the kernel no longer uses the buffer.
    unsafe { ring.submission().push(request) }
        .map_err(|_| ActorError::Failed("the submission queue is full".to_owned()))?;
    let mut result = None;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            other => other?,
        };
        while let Some(entry) = ring.completion().next() {
            if !cqueue::notif(entry.flags()) {
                result = Some(entry.result());
            }
            if let Some(result) = result.filter(|_| !cqueue::more(entry.flags())) {
                return match usize::try_from(result) {
                    Ok(count) => Ok(count),
                    Err(_) => Err(std::io::Error::from_raw_os_error(-result).into()),
                };
            }
        }
    }
}

fn send(ring: &mut IoUring, mode: RingMode, socket: &mut Socket, total: usize) -> ActorResult<()> {
    let bytes = vec![0x55_u8; total];
    let mut done = 0;
    while done < total {
        let (start, length) = (bytes[done..].as_ptr(), (total - done) as u32);
        let fd = types::Fd(socket.raw());
        let request = match mode {
            RingMode::ReadWrite => opcode::Write::new(fd, start, length).build(),
            RingMode::ZeroCopy => opcode::SendZc::new(fd, start, length).build(),
            RingMode::FixedFiles => opcode::Send::new(types::Fixed(0), start, length).build(),
            RingMode::SendRecv | RingMode::SubmissionQueuePolling | RingMode::ConnectAccept => {
                opcode::Send::new(fd, start, length).build()
            }
        };
        let sent = submit(ring, &request)?;
        socket.count_sent(sent);
        done += sent;
    }
    Ok(())
}

fn receive(ring: &mut IoUring, mode: RingMode, socket: &mut Socket, total: usize) -> ActorResult<()> {
    let mut buffer = vec![0_u8; total];
    let mut done = 0;
    while done < total {
        let (start, length) = (buffer[done..].as_mut_ptr(), (total - done) as u32);
        let fd = types::Fd(socket.raw());
        let request = match mode {
            RingMode::ReadWrite => opcode::Read::new(fd, start, length).build(),
            RingMode::FixedFiles => opcode::Recv::new(types::Fixed(0), start, length).build(),
            _ => opcode::Recv::new(fd, start, length).build(),
        };
        let received = submit(ring, &request)?;
        if received == 0 {
            return Err(ActorError::Failed("the peer ended early".to_owned()));
        }
        socket.count_received(received);
        done += received;
    }
    Ok(())
}
