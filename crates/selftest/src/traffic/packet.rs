//! AF_PACKET: whole frames and frames without their header, and the rings that are shared memory.

use std::{mem, os::fd::AsRawFd, time::Duration};

use super::skip;
use crate::{
    actor::{Outcome, Stage, Stop},
    lab::INTERFACE,
    netlink,
    scenario::{Extra, Place, Scenario},
    socket::{Socket, SystemError, check},
};

/// For local experiments (IEEE 802, "Local Experimental EtherType 1").
const ETHER_TYPE: u16 = 0x88b5;
const ETHERNET_HEADER: usize = 14;
const FRAMES: usize = 20;
const PAYLOAD: usize = 500;
/// `PACKET_RX_RING` and `PACKET_TX_RING`, linux/if_packet.h.
const PACKET_RX_RING: i32 = 5;
const PACKET_TX_RING: i32 = 13;
/// Each frame of a ring has a slot of this many bytes; two fit into a page.
const SLOT: usize = 2048;
const BLOCK: usize = 4096;
/// `TP_STATUS_USER`, `TP_STATUS_SEND_REQUEST`, linux/if_packet.h (`TPACKET_V1`).
const STATUS_USER: usize = 1;
const STATUS_SEND_REQUEST: usize = 1;
/// `TPACKET_HDRLEN` minus `sizeof(struct sockaddr_ll)`: where a frame to send begins in its slot (`TPACKET_V1`).
const DATA_OFFSET: usize = 32;

/// `struct tpacket_req`, linux/if_packet.h.
#[repr(C)]
struct RingRequest {
    block_size: u32,
    block_count: u32,
    frame_size: u32,
    frame_count: u32,
}

pub fn scenarios() -> Vec<Scenario> {
    let receiver = |kind| move |stage: &Stage| receive(stage, kind);
    let sender = |kind| move |stage: &Stage| send(stage, kind);
    vec![
        Scenario::new("packet-raw").actor("server", Place::There, receiver(libc::SOCK_RAW)).actor(
            "client",
            Place::Here,
            sender(libc::SOCK_RAW),
        ),
        Scenario::new("packet-dgram").actor("server", Place::There, receiver(libc::SOCK_DGRAM)).actor(
            "client",
            Place::Here,
            sender(libc::SOCK_DGRAM),
        ),
        Scenario::new("packet-tx-ring").actor("server", Place::There, receiver(libc::SOCK_RAW)).actor(
            "client",
            Place::Here,
            send_ring,
        ),
        Scenario::new("packet-rx-ring")
            .actor("server", Place::There, receive_ring)
            .actor("client", Place::Here, sender(libc::SOCK_RAW))
            .also(Extra::RingReported("server")),
    ]
}

/// A socket for our frames on the lab's interface. Protocol 0 takes no frames.
fn open(kind: i32, protocol: u16) -> Outcome<Socket> {
    let socket = skip(Socket::open(libc::AF_PACKET, kind, 0), "AF_PACKET")?;
    bind(&socket, protocol)?;
    Ok(socket)
}

fn bind(socket: &Socket, protocol: u16) -> Outcome<()> {
    let address = address(protocol)?;
    // SAFETY: the pointer and the length describe `address`.
    let returned = unsafe {
        libc::bind(
            socket.raw(),
            (&raw const address).cast(),
            mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Ok(check("bind", returned as isize).map(drop)?)
}

/// The lab's interface; frames go to everybody there.
fn address(protocol: u16) -> Outcome<libc::sockaddr_ll> {
    Ok(libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: netlink::index(INTERFACE)? as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    })
}

fn frame() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame.extend_from_slice(&ETHER_TYPE.to_be_bytes());
    frame.resize(ETHERNET_HEADER + PAYLOAD, 0x21);
    frame
}

fn receive(stage: &Stage, kind: i32) -> Outcome<()> {
    let mut socket = open(kind, ETHER_TYPE)?;
    stage.meet("")?;
    for _ in 0..FRAMES {
        // A frame comes from a hardware address: there is no peer that could be named.
        socket.recv(&mut [0; 2000], 0)?;
    }
    Ok(socket.publish()?)
}

fn send(stage: &Stage, kind: i32) -> Outcome<()> {
    let mut socket = open(kind, 0)?;
    stage.meet("")?;
    let address = address(ETHER_TYPE)?;
    let bytes = if kind == libc::SOCK_RAW { frame() } else { frame().split_off(ETHERNET_HEADER) };
    for _ in 0..FRAMES {
        // SAFETY: both pointers are described by the lengths beside them.
        let returned = unsafe {
            libc::sendto(
                socket.raw(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        let sent = check("sendto", returned)?;
        socket.count_sent(sent);
    }
    Ok(socket.publish()?)
}

/// Memory shared with the kernel.
struct Ring {
    start: *mut u8,
    length: usize,
}

impl Ring {
    fn new(socket: &Socket, option: i32) -> Outcome<Self> {
        let frames = FRAMES.next_multiple_of(BLOCK / SLOT);
        let length = frames * SLOT;
        let request = RingRequest {
            block_size: BLOCK as u32,
            block_count: (length / BLOCK) as u32,
            frame_size: SLOT as u32,
            frame_count: frames as u32,
        };
        skip(socket.set_option(libc::SOL_PACKET, option, &request), "packet rings")?;
        // SAFETY: the kernel chooses where; the length is the one that the ring has.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.raw().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(SystemError::last("mmap").into());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// The slot of a frame: its first word is the status (`struct tpacket_hdr`), then the length.
    fn slot(&self, number: usize) -> *mut u8 {
        debug_assert!((number + 1) * SLOT <= self.length);
        // SAFETY: the slot lies within the ring.
        unsafe { self.start.add(number * SLOT) }
    }

    fn status(&self, number: usize) -> usize {
        // SAFETY: a slot begins with an aligned `unsigned long`, which the kernel may change at any time.
        unsafe { self.slot(number).cast::<usize>().read_volatile() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: nothing points into the mapping any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Takes frames out of shared memory: no system call moves them, so that nobody can count them.
fn receive_ring(stage: &Stage) -> Outcome<()> {
    let socket = skip(Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0), "AF_PACKET")?;
    let ring = Ring::new(&socket, PACKET_RX_RING)?;
    bind(&socket, ETHER_TYPE)?;
    stage.meet("")?;
    for number in 0..FRAMES {
        while ring.status(number) & STATUS_USER == 0 {
            socket.wait(libc::POLLIN, 100)?;
        }
    }
    // A kernel whose functions cannot be watched is asked for rings once a window (of one second here).
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// Puts frames into shared memory and tells the kernel with one empty send, which returns what it took.
fn send_ring(stage: &Stage) -> Outcome<()> {
    let mut socket = skip(Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0), "AF_PACKET")?;
    let ring = Ring::new(&socket, PACKET_TX_RING)?;
    bind(&socket, ETHER_TYPE)?;
    stage.meet("")?;
    let frame = frame();
    for number in 0..FRAMES {
        let slot = ring.slot(number);
        // SAFETY: header (status, length) and frame fit into the slot; the status is written last.
        unsafe {
            std::ptr::copy_nonoverlapping(frame.as_ptr(), slot.add(DATA_OFFSET), frame.len());
            slot.add(mem::size_of::<usize>()).cast::<u32>().write_volatile(frame.len() as u32);
            slot.cast::<usize>().write_volatile(STATUS_SEND_REQUEST);
        }
    }
    // SAFETY: nothing is passed: the bytes are in the ring.
    let returned = unsafe { libc::send(socket.raw(), std::ptr::null(), 0, 0) };
    let sent = check("send", returned)?;
    if sent != FRAMES * frame.len() {
        return Err(Stop::Failed(format!("the kernel took {sent} bytes out of the ring")));
    }
    socket.count_sent(sent);
    Ok(socket.publish()?)
}
