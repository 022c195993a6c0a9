//! The user of a TCP socket of this machine, from /proc/net/tcp and tcp6 (proc_net_tcp(5)).

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The state of an established connection and of a listening socket (include/net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// A socket in the table of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TableRow {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    uid: u32,
}

/// The user of the other end of a connection within this machine: of the socket whose local address is `peer` and whose remote
/// address is `own`. `None` if there is none.
pub(crate) fn of_peer(peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let (peer, own) = (canonical(peer), canonical(own));
    find(peer.is_ipv4(), |row| row.state == ESTABLISHED && row.local == peer && row.remote == own)
}

/// The user whose server listens on a port of `localhost`; `None` if there is none.
pub fn of_listener(port: u16) -> Option<u32> {
    let listens = |row: &TableRow| {
        let ip = row.local.ip();
        row.state == LISTEN && row.local.port() == port && (ip.is_loopback() || ip.is_unspecified())
    };
    find(true, listens)
}

/// The users whose servers listen on a port, at whatever address.
pub fn of_listeners(port: u16) -> Vec<u32> {
    let listens = |row: &TableRow| row.state == LISTEN && row.local.port() == port;
    rows(true).filter(listens).map(|row| row.uid).collect()
}

/// Looks in both tables: a socket for both families has the address ::ffff:127.0.0.1 in that of IPv6.
fn find(is_ipv4: bool, is_wanted: impl Fn(&TableRow) -> bool) -> Option<u32> {
    rows(is_ipv4).find(is_wanted).map(|row| row.uid)
}

/// The rows of both tables, those of one family first.
fn rows(is_ipv4_first: bool) -> impl Iterator<Item = TableRow> {
    let mut paths = ["/proc/net/tcp", "/proc/net/tcp6"];
    if !is_ipv4_first {
        paths.reverse();
    }
    let files = paths.into_iter().filter_map(|path| File::open(path).ok());
    let lines = files.flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    lines.filter_map(|line| parse(&line))
}

/// An IPv4 address as such, and nothing but address and port.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads a line of the table; `None` for the heading.
fn parse(line: &str) -> Option<TableRow> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    // Between them: queues, timer, retransmissions.
    let uid = fields.nth(3)?.parse().ok()?;
    Some(TableRow { local, remote, state, uid })
}

/// An address is written as numbers of 32 bits in the byte order of this machine, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = address.as_bytes().chunks(8).map(|digits| {
        let word = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?)),
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_found() {
        let own_uid = nix::unistd::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped {address}: this machine does not have it");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(of_peer(peer, server.local_addr().unwrap()), Some(own_uid));
            assert_eq!(of_listener(listener.local_addr().unwrap().port()), Some(own_uid));
            drop(client);
        }
        let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return };
        let port = listener.local_addr().unwrap().port();
        if let Ok(client) = TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")) {
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(
                of_peer(peer, server.local_addr().unwrap()),
                Some(own_uid),
                "a socket of both families"
            );
            assert_eq!(of_listeners(port), [own_uid]);
            drop(client);
        }
        // The discard port of a host that is not this one.
        assert_eq!(of_peer("192.0.2.1:9".parse().unwrap(), "192.0.2.2:9".parse().unwrap()), None);
    }

    #[test]
    fn a_line_of_the_table_is_understood() {
        let line =
            "   4: 0100007F:13EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1";
        let row = parse(line).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(row.local, "127.0.0.1:5100".parse().unwrap());
        }
        assert_eq!((row.state, row.uid), (LISTEN, 1000));
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue"), None);
    }
}
