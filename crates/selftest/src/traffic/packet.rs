//! AF_PACKET sockets: frames with and without their header, and rings in shared memory.

use std::{mem, os::fd::AsRawFd, time::Duration};

use super::feature::require;
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{INTERFACE, LabNamespace},
    netlink,
    scenario::{ExtraCheck, Scenario},
    socket::Socket,
    system_error::{SystemError, check},
};

/// "Local Experimental EtherType 1" of IEEE 802.
const ETHER_TYPE: u16 = 0x88b5;
const ETHERNET_HEADER_BYTES: usize = 14;
const FRAMES: usize = 20;
const PAYLOAD_BYTES: usize = 500;
// `PACKET_RX_RING` and `PACKET_TX_RING`, linux/if_packet.h.
const PACKET_RX_RING: i32 = 5;
const PACKET_TX_RING: i32 = 13;
/// Length of the slot of a frame in a ring; two fit into a block.
const SLOT_BYTES: usize = 2048;
/// Length of a block of a ring: one page.
const BLOCK_BYTES: usize = 4096;
// `TP_STATUS_USER`, `TP_STATUS_SEND_REQUEST`, linux/if_packet.h (`TPACKET_V1`).
const STATUS_USER: usize = 1;
const STATUS_SEND_REQUEST: usize = 1;
/// `TPACKET_HDRLEN` minus `sizeof(struct sockaddr_ll)`: offset of a frame to send in its slot (`TPACKET_V1`).
const DATA_OFFSET: usize = 32;

// `struct tpacket_req`, linux/if_packet.h.
#[repr(C)]
struct RingRequest {
    block_size: u32,
    block_count: u32,
    frame_size: u32,
    frame_count: u32,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let receiver = |kind| move |actor: &ActorProcess| receive(actor, kind);
    let sender = |kind| move |actor: &ActorProcess| send(actor, kind);
    vec![
        Scenario::new("packet-raw").actor("server", LabNamespace::Second, receiver(libc::SOCK_RAW)).actor(
            "client",
            LabNamespace::First,
            sender(libc::SOCK_RAW),
        ),
        Scenario::new("packet-dgram")
            .actor("server", LabNamespace::Second, receiver(libc::SOCK_DGRAM))
            .actor("client", LabNamespace::First, sender(libc::SOCK_DGRAM)),
        Scenario::new("packet-tx-ring")
            .actor("server", LabNamespace::Second, receiver(libc::SOCK_RAW))
            .actor("client", LabNamespace::First, send_ring),
        Scenario::new("packet-rx-ring")
            .actor("server", LabNamespace::Second, receive_ring)
            .actor("client", LabNamespace::First, sender(libc::SOCK_RAW))
            .with_check(ExtraCheck::RingReported("server")),
    ]
}

/// Opens a socket on the lab's interface that receives frames of this protocol; with protocol 0 it receives none.
fn open(kind: i32, protocol: u16) -> ActorResult<Socket> {
    let socket = require(Socket::open(libc::AF_PACKET, kind, 0), "AF_PACKET")?;
    bind(&socket, protocol)?;
    Ok(socket)
}

fn bind(socket: &Socket, protocol: u16) -> ActorResult<()> {
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

/// Returns the broadcast address of the lab's interface.
fn address(protocol: u16) -> ActorResult<libc::sockaddr_ll> {
    Ok(libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: netlink::interface_index(INTERFACE)? as i32,
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
    frame.resize(ETHERNET_HEADER_BYTES + PAYLOAD_BYTES, 0x21);
    frame
}

fn receive(actor: &ActorProcess, kind: i32) -> ActorResult<()> {
    let mut socket = open(kind, ETHER_TYPE)?;
    actor.barrier("")?;
    for _ in 0..FRAMES {
        // A frame comes from a hardware address, so that the flow has no remote address.
        socket.recv(&mut [0; 2000], 0)?;
    }
    Ok(socket.report_flows()?)
}

fn send(actor: &ActorProcess, kind: i32) -> ActorResult<()> {
    let mut socket = open(kind, 0)?;
    actor.barrier("")?;
    let address = address(ETHER_TYPE)?;
    let bytes = if kind == libc::SOCK_RAW { frame() } else { frame().split_off(ETHERNET_HEADER_BYTES) };
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
    Ok(socket.report_flows()?)
}

/// A ring of frames in memory that is shared with the kernel.
struct Ring {
    start: *mut u8,
    length: usize,
}

impl Ring {
    fn new(socket: &Socket, option: i32) -> ActorResult<Self> {
        let frames = FRAMES.next_multiple_of(BLOCK_BYTES / SLOT_BYTES);
        let length = frames * SLOT_BYTES;
        let request = RingRequest {
            block_size: BLOCK_BYTES as u32,
            block_count: (length / BLOCK_BYTES) as u32,
            frame_size: SLOT_BYTES as u32,
            frame_count: frames as u32,
        };
        require(socket.set_option(libc::SOL_PACKET, option, &request), "packet rings")?;
        // SAFETY: the kernel chooses the address; the length is that of the ring.
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

    /// Returns the slot of a frame. It begins with the status and the length (`struct tpacket_hdr`).
    fn slot(&self, number: usize) -> *mut u8 {
        debug_assert!((number + 1) * SLOT_BYTES <= self.length);
        // SAFETY: the slot lies within the ring.
        unsafe { self.start.add(number * SLOT_BYTES) }
    }

    fn status(&self, number: usize) -> usize {
        // SAFETY: a slot begins with an aligned `unsigned long`, which the kernel may change at any time.
        unsafe { self.slot(number).cast::<usize>().read_volatile() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: no pointer into the mapping is used any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Receives frames in shared memory. No system call moves them, so that they cannot be counted.
fn receive_ring(actor: &ActorProcess) -> ActorResult<()> {
    let socket = require(Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0), "AF_PACKET")?;
    let ring = Ring::new(&socket, PACKET_RX_RING)?;
    bind(&socket, ETHER_TYPE)?;
    actor.barrier("")?;
    for number in 0..FRAMES {
        while ring.status(number) & STATUS_USER == 0 {
            socket.wait(libc::POLLIN, 100)?;
        }
    }
    // If the kernel's functions cannot be hooked, the recorder looks for rings once in each window, which has one second here.
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// Puts frames into shared memory and sends them with one empty send(2), which returns the number of bytes sent.
fn send_ring(actor: &ActorProcess) -> ActorResult<()> {
    let mut socket = require(Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0), "AF_PACKET")?;
    let ring = Ring::new(&socket, PACKET_TX_RING)?;
    bind(&socket, ETHER_TYPE)?;
    actor.barrier("")?;
    let frame = frame();
    for number in 0..FRAMES {
        let slot = ring.slot(number);
        // SAFETY: header (status, length) and frame fit into the slot. The status is written last.
        unsafe {
            std::ptr::copy_nonoverlapping(frame.as_ptr(), slot.add(DATA_OFFSET), frame.len());
            slot.add(mem::size_of::<usize>()).cast::<u32>().write_volatile(frame.len() as u32);
            slot.cast::<usize>().write_volatile(STATUS_SEND_REQUEST);
        }
    }
    // SAFETY: the buffer may be null, because its length is 0; the bytes are in the ring.
    let returned = unsafe { libc::send(socket.raw(), std::ptr::null(), 0, 0) };
    let sent = check("send", returned)?;
    if sent != FRAMES * frame.len() {
        return Err(ActorError::Failed(format!("the kernel took {sent} bytes out of the ring")));
    }
    socket.count_sent(sent);
    Ok(socket.report_flows()?)
}
