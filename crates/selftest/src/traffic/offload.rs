//! Several datagrams in a system call, segmentation offload, TCP Fast Open, kernel TLS, peeking, and failing calls.

use std::{mem, net::SocketAddr, ptr};

use super::{
    datagram::{client_socket, exchange_addresses, server_socket},
    feature::require,
    stream_socket::{
        accept_one, connect_one, finish_stream, listener, receive_exactly, receive_to_end, send_all,
    },
};
use crate::{
    actor_process::{ActorError, ActorProcess, ActorResult},
    lab::{LabNamespace, Link},
    scenario::Scenario,
    socket::Socket,
    socket_address::{from_kernel, to_kernel},
    system_error::{SystemError, check},
};

const TCP: i32 = libc::IPPROTO_TCP;
const UDP: i32 = libc::IPPROTO_UDP;
// `UDP_SEGMENT` and `UDP_GRO`, linux/udp.h.
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
// `TCP_FASTOPEN` and `TCP_ULP`, linux/tcp.h.
const TCP_FASTOPEN: i32 = 23;
const TCP_ULP: i32 = 31;
// `TLS_TX` and `TLS_RX`, linux/tls.h.
const TLS_TX: i32 = 1;
const TLS_RX: i32 = 2;
// `SOL_TLS`, linux/socket.h.
const SOL_TLS: i32 = 282;
/// Datagrams of one sendmmsg(2) or recvmmsg(2).
const BATCH: usize = 8;
const SEGMENT_BYTES: usize = 1000;
/// Number of segments in one send.
const SEGMENTS: usize = 10;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        multiple_messages(Link::Ipv4),
        multiple_messages(Link::Ipv6),
        segmentation("udp-gso", Link::Ipv4, false),
        segmentation("udp-gro", Link::Loopback4, true),
        fast_open(Link::Ipv4),
        fast_open(Link::Ipv6),
        kernel_tls(),
        peeking(),
        failing_calls(),
    ]
}

/// Sends with sendmmsg(2) and receives with recvmmsg(2).
fn multiple_messages(link: Link) -> Scenario {
    const CALLS: usize = 6;
    Scenario::new(format!("udp-mmsg-{}", link.name()))
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = server_socket(link, UDP)?;
            exchange_addresses(actor, link, &socket)?;
            let mut left = CALLS * BATCH;
            while left > 0 {
                left -= receive_batch(&mut socket)?;
            }
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = client_socket(link, UDP)?;
            let (server, _) = exchange_addresses(actor, link, &socket)?;
            socket.connect(server)?;
            for call in 0..CALLS {
                send_batch(&mut socket, 100 * (call + 1))?;
            }
            Ok(socket.report_flows()?)
        })
}

fn send_batch(socket: &mut Socket, bytes: usize) -> ActorResult<()> {
    let datagram = vec![0x77; bytes];
    let mut parts: Vec<_> = (0..BATCH)
        .map(|number| libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: bytes - number })
        .collect();
    let mut headers: Vec<_> = parts.iter_mut().map(|part| message_header(part, ptr::null_mut())).collect();
    // SAFETY: each header describes one buffer, and each buffer lies within `datagram`.
    let sent = unsafe { libc::sendmmsg(socket.raw(), headers.as_mut_ptr(), BATCH as u32, 0) };
    let sent = check("sendmmsg", sent as isize)?;
    if sent != BATCH {
        return Err(ActorError::Failed(format!("sendmmsg took {sent} datagrams")));
    }
    headers.iter().for_each(|header| socket.count_sent(header.msg_len as usize));
    Ok(())
}

fn receive_batch(socket: &mut Socket) -> ActorResult<usize> {
    let mut buffers = vec![[0_u8; 2000]; BATCH];
    // SAFETY: all zeros is a valid address storage.
    let mut addresses: Vec<libc::sockaddr_storage> = vec![unsafe { mem::zeroed() }; BATCH];
    let mut parts: Vec<_> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    let mut headers: Vec<_> =
        parts.iter_mut().zip(&mut addresses).map(|(part, address)| message_header(part, address)).collect();
    // SAFETY: each header describes one buffer and one address; the timeout may be null.
    let received = unsafe {
        libc::recvmmsg(
            socket.raw(),
            headers.as_mut_ptr(),
            BATCH as u32,
            libc::MSG_WAITFORONE as _,
            ptr::null_mut(),
        )
    };
    let received = check("recvmmsg", received as isize)?;
    for (header, address) in headers.iter().zip(&addresses).take(received) {
        socket.count_received_from(from_kernel(address), header.msg_len as usize);
    }
    Ok(received)
}

fn message_header(part: &mut libc::iovec, address: *mut libc::sockaddr_storage) -> libc::mmsghdr {
    // SAFETY: all zeros is a valid header.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    if !address.is_null() {
        header.msg_hdr.msg_name = address.cast();
        header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }
    header
}

/// Sends many datagrams with one call (UDP_SEGMENT). With `gro`, one call also receives many (UDP_GRO).
fn segmentation(id: &str, link: Link, gro: bool) -> Scenario {
    const CALLS: usize = 5;
    Scenario::new(id)
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = server_socket(link, UDP)?;
            if gro {
                require(socket.set_option(libc::SOL_UDP, UDP_GRO, &1_i32), "UDP GRO")?;
            }
            exchange_addresses(actor, link, &socket)?;
            for _ in 0..CALLS {
                let mut left = SEGMENTS * SEGMENT_BYTES;
                while left > 0 {
                    left -= socket.recv_from(&mut vec![0; 65_536], 0)?.0;
                }
                actor.barrier("next")?;
            }
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = client_socket(link, UDP)?;
            require(socket.set_option(libc::SOL_UDP, UDP_SEGMENT, &(SEGMENT_BYTES as i32)), "UDP GSO")?;
            let (server, _) = exchange_addresses(actor, link, &socket)?;
            for _ in 0..CALLS {
                socket.send_to(&[0x12; SEGMENTS * SEGMENT_BYTES], server)?;
                actor.barrier("next")?;
            }
            Ok(socket.report_flows()?)
        })
}

/// The first connection fetches a cookie; the second one has data in its first packet.
fn fast_open(link: Link) -> Scenario {
    const CONNECTIONS: usize = 2;
    Scenario::new(format!("tcp-fastopen-{}", link.name()))
        .actor("server", link.server_namespace(), move |actor| {
            let listener = listener(link, TCP)?;
            require(listener.set_option(TCP, TCP_FASTOPEN, &16_i32), "TCP Fast Open")?;
            actor.publish_port(listener.local()?)?;
            for _ in 0..CONNECTIONS {
                let mut socket = listener.accept()?;
                receive_to_end(&mut socket)?;
                send_all(&mut socket, 2001)?;
                socket.report_flows()?;
            }
            Ok(())
        })
        .actor("client", LabNamespace::First, move |actor| {
            let server = actor.server(link)?;
            for _ in 0..CONNECTIONS {
                let mut socket = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
                let (storage, length) = to_kernel(server);
                socket.set_peer(server);
                socket.count_connection();
                // SAFETY: each pointer is described by the length that follows it.
                let returned = unsafe {
                    libc::sendto(
                        socket.raw(),
                        [0x13_u8; 700].as_ptr().cast(),
                        700,
                        libc::MSG_FASTOPEN,
                        (&raw const storage).cast(),
                        length,
                    )
                };
                let sent = require(check("sendto", returned), "TCP Fast Open")?;
                socket.note_local();
                socket.count_sent(sent);
                send_all(&mut socket, 801)?;
                socket.end_sending()?;
                receive_exactly(&mut socket, 2001)?;
                socket.report_flows()?;
            }
            Ok(())
        })
}

// `struct tls12_crypto_info_aes_gcm_128`, linux/tls.h.
#[repr(C)]
struct TlsKeys {
    version: u16,
    cipher: u16,
    iv: [u8; 8],
    key: [u8; 16],
    salt: [u8; 4],
    sequence: [u8; 8],
}

fn kernel_tls() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("ktls")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, link, TCP)?;
            encrypt(actor, &socket)?;
            receive_exactly(&mut socket, 200_003)?;
            send_all(&mut socket, 100_001)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            encrypt(actor, &socket)?;
            send_all(&mut socket, 200_003)?;
            receive_exactly(&mut socket, 100_001)?;
            Ok(socket.report_flows()?)
        })
}

/// Enables kernel TLS in both directions, with fixed keys, since only the number of bytes matters.
fn encrypt(actor: &ActorProcess, socket: &Socket) -> ActorResult<()> {
    require(socket.set_option(TCP, TCP_ULP, b"tls\0"), "kernel TLS")?;
    let keys = TlsKeys {
        version: 0x0303, // TLS_1_2_VERSION, linux/tls.h
        cipher: 51,      // TLS_CIPHER_AES_GCM_128, linux/tls.h
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        sequence: [0; 8],
    };
    for direction in [TLS_TX, TLS_RX] {
        require(socket.set_option(SOL_TLS, direction, &keys), "kernel TLS with AES-128-GCM")?;
    }
    // Neither end may receive before both have set their keys.
    actor.barrier("keys")?;
    Ok(())
}

/// Bytes that are peeked at stay in the kernel and must not be counted.
fn peeking() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("msg-peek")
        .actor("server", link.server_namespace(), move |actor| {
            let mut datagrams = server_socket(link, UDP)?;
            let listener = listener(link, TCP)?;
            let ports = format!("{} {}", datagrams.local()?.port(), listener.local()?.port());
            actor.barrier(&ports)?;
            let mut stream = listener.accept()?;
            let mut buffer = [0; 4000];
            for flags in [libc::MSG_PEEK, libc::MSG_PEEK, 0] {
                datagrams.recv_from(&mut buffer, flags)?;
                stream.recv(&mut buffer, flags | libc::MSG_WAITALL)?;
            }
            datagrams.report_flows()?;
            Ok(stream.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let values = actor.barrier("")?;
            let ports: Vec<u16> = values
                .get("server")
                .map(|value| value.split(' ').filter_map(|port| port.parse().ok()).collect())
                .unwrap_or_default();
            let [datagrams_port, stream_port] = ports[..] else {
                return Err(ActorError::Failed("the server did not pass two ports".to_owned()));
            };
            let mut datagrams = client_socket(link, UDP)?;
            datagrams.send_to(&[1; 1500], SocketAddr::new(link.server_address(), datagrams_port))?;
            let mut stream = Socket::open(link.family(), libc::SOCK_STREAM, TCP)?;
            stream.connect(SocketAddr::new(link.server_address(), stream_port))?;
            send_all(&mut stream, 4000)?;
            finish_stream(&mut stream)?;
            datagrams.report_flows()?;
            Ok(stream.report_flows()?)
        })
}

/// Calls that fail move no bytes. The same sockets move bytes before or after them.
fn failing_calls() -> Scenario {
    let link = Link::Ipv4;
    Scenario::new("failing-calls")
        .actor("server", link.server_namespace(), move |actor| {
            let mut socket = accept_one(actor, link, TCP)?;
            expect_errno(socket.recv(&mut [0; 10], libc::MSG_DONTWAIT), libc::EAGAIN)?;
            actor.barrier("nothing sent yet")?;
            receive_exactly(&mut socket, 3000)?;
            finish_stream(&mut socket)?;
            expect_errno(socket.send(&[0; 10], 0), libc::EPIPE)?;
            Ok(socket.report_flows()?)
        })
        .actor("client", LabNamespace::First, move |actor| {
            let mut socket = connect_one(actor, link, TCP)?;
            actor.barrier("nothing sent yet")?;
            send_all(&mut socket, 3000)?;
            finish_stream(&mut socket)?;
            expect_errno(socket.send(&[0; 10], 0), libc::EPIPE)?;
            socket.report_flows()?;
            // To a socket of this process, which is not read. The datagram that is too long fails, the other one is sent.
            let target = client_socket(link, UDP)?;
            let mut datagrams = client_socket(link, UDP)?;
            datagrams.connect(target.local()?)?;
            expect_errno(datagrams.recv(&mut [0; 10], libc::MSG_DONTWAIT), libc::EAGAIN)?;
            expect_errno(datagrams.send(&[0; 70_000], 0), libc::EMSGSIZE)?;
            datagrams.send(&[0; 600], 0)?;
            Ok(datagrams.report_flows()?)
        })
}

fn expect_errno(result: Result<usize, SystemError>, errno: i32) -> ActorResult<()> {
    match result {
        Err(error) if error.is(errno) => Ok(()),
        other => Err(ActorError::Failed(format!("expected errno {errno}, not {other:?}"))),
    }
}
