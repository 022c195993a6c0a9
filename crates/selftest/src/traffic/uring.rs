//! io_uring: the kernel moves the bytes, with or without a system call of the process.

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::{accept_one, connect_one, listener};
use crate::{
    actor::{Outcome, Stage, Stop},
    lab::Link,
    scenario::{Place, Scenario},
    socket::{self, Socket},
};

const TCP: i32 = libc::IPPROTO_TCP;
const ROUNDS: usize = 12;
const QUESTION: usize = 9000;
const ANSWER: usize = 7000;

/// How the ring is used.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Send and Recv.
    SendRecv,
    /// Write and Read.
    ReadWrite,
    /// SendZc and Recv.
    ZeroCopy,
    /// A kernel thread takes the requests.
    Polled,
    /// The socket is known to the ring by a number.
    FixedFiles,
    /// Connect and Accept too.
    ConnectAccept,
}

pub fn scenarios() -> Vec<Scenario> {
    [
        ("send-recv", Way::SendRecv),
        ("read-write", Way::ReadWrite),
        ("send-zc", Way::ZeroCopy),
        ("sqpoll", Way::Polled),
        ("fixed-files", Way::FixedFiles),
        ("connect-accept", Way::ConnectAccept),
    ]
    .into_iter()
    .map(|(name, way)| {
        let link = Link::Ipv4;
        Scenario::new(format!("io-uring-{name}"))
            .actor("server", link.server_place(), move |stage| serve(stage, link, way))
            .actor("client", Place::Here, move |stage| ask(stage, link, way))
    })
    .collect()
}

fn serve(stage: &Stage, link: Link, way: Way) -> Outcome<()> {
    let (mut ring, mut socket) = if way == Way::ConnectAccept {
        let mut ring = open_ring(way)?;
        let listener = listener(link, TCP)?;
        stage.offer(listener.local()?)?;
        let request =
            opcode::Accept::new(types::Fd(listener.raw()), std::ptr::null_mut(), std::ptr::null_mut());
        let fd = submit(&mut ring, &request.build())?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as i32) };
        let mut socket = Socket::adopt(fd, link.family(), libc::SOCK_STREAM, TCP);
        socket.count_connection();
        (ring, socket)
    } else {
        let ring = open_ring(way)?;
        (ring, accept_one(stage, link, TCP)?)
    };
    register(&ring, way, &socket)?;
    for _ in 0..ROUNDS {
        receive(&mut ring, way, &mut socket, QUESTION)?;
        send(&mut ring, way, &mut socket, ANSWER)?;
    }
    Ok(socket.publish()?)
}

fn ask(stage: &Stage, link: Link, way: Way) -> Outcome<()> {
    let mut ring = open_ring(way)?;
    let mut socket = if way == Way::ConnectAccept {
        let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
        let server = stage.server(link)?;
        let (address, length) = socket::to_kernel(server);
        socket.set_peer(server);
        socket.count_connection();
        let request = opcode::Connect::new(types::Fd(socket.raw()), (&raw const address).cast(), length);
        submit(&mut ring, &request.build())?;
        socket.note_local();
        socket
    } else {
        connect_one(stage, link, TCP)?
    };
    register(&ring, way, &socket)?;
    for _ in 0..ROUNDS {
        send(&mut ring, way, &mut socket, QUESTION)?;
        receive(&mut ring, way, &mut socket, ANSWER)?;
    }
    Ok(socket.publish()?)
}

fn open_ring(way: Way) -> Outcome<IoUring> {
    let mut builder = IoUring::builder();
    if way == Way::Polled {
        builder.setup_sqpoll(50);
    }
    let ring = builder.build(8).map_err(|error| Stop::Skipped(format!("no io_uring here ({error})")))?;
    let mut probe = Probe::new();
    let needed: &[u8] = match way {
        Way::ReadWrite => &[opcode::Read::CODE, opcode::Write::CODE],
        Way::ZeroCopy => &[opcode::SendZc::CODE, opcode::Recv::CODE],
        Way::ConnectAccept => &[opcode::Connect::CODE, opcode::Accept::CODE],
        Way::SendRecv | Way::Polled | Way::FixedFiles => &[opcode::Send::CODE, opcode::Recv::CODE],
    };
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| Stop::Skipped(format!("this io_uring cannot be asked what it knows ({error})")))?;
    match needed.iter().all(|code| probe.is_supported(*code)) {
        true => Ok(ring),
        false => Err(Stop::Skipped("this kernel's io_uring does not know the request".to_owned())),
    }
}

fn register(ring: &IoUring, way: Way, socket: &Socket) -> Outcome<()> {
    if way == Way::FixedFiles {
        ring.submitter()
            .register_files(&[socket.raw()])
            .map_err(|error| Stop::Skipped(format!("no fixed files ({error})")))?;
    }
    Ok(())
}

/// Gives one request to the ring and waits for its result.
fn submit(ring: &mut IoUring, request: &squeue::Entry) -> Outcome<usize> {
    // SAFETY: what the request points to outlives this call, which waits for its end (and for the notification
    // that the kernel no longer needs the buffer).
    unsafe { ring.submission().push(request) }
        .map_err(|_| Stop::Failed("the submission queue is full".to_owned()))?;
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

fn send(ring: &mut IoUring, way: Way, socket: &mut Socket, total: usize) -> Outcome<()> {
    let bytes = vec![0x55_u8; total];
    let mut done = 0;
    while done < total {
        let (start, length) = (bytes[done..].as_ptr(), (total - done) as u32);
        let fd = types::Fd(socket.raw());
        let request = match way {
            Way::ReadWrite => opcode::Write::new(fd, start, length).build(),
            Way::ZeroCopy => opcode::SendZc::new(fd, start, length).build(),
            Way::FixedFiles => opcode::Send::new(types::Fixed(0), start, length).build(),
            Way::SendRecv | Way::Polled | Way::ConnectAccept => opcode::Send::new(fd, start, length).build(),
        };
        let sent = submit(ring, &request)?;
        socket.count_sent(sent);
        done += sent;
    }
    Ok(())
}

fn receive(ring: &mut IoUring, way: Way, socket: &mut Socket, total: usize) -> Outcome<()> {
    let mut buffer = vec![0_u8; total];
    let mut done = 0;
    while done < total {
        let (start, length) = (buffer[done..].as_mut_ptr(), (total - done) as u32);
        let fd = types::Fd(socket.raw());
        let request = match way {
            Way::ReadWrite => opcode::Read::new(fd, start, length).build(),
            Way::FixedFiles => opcode::Recv::new(types::Fixed(0), start, length).build(),
            _ => opcode::Recv::new(fd, start, length).build(),
        };
        let received = submit(ring, &request)?;
        if received == 0 {
            return Err(Stop::Failed("the peer ended early".to_owned()));
        }
        socket.count_received(received);
        done += received;
    }
    Ok(())
}
