//! Clients and servers that exchange requests and replies of known length, one after the other, so that nothing is ever on its
//! way that nobody takes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Amounts;

/// The first byte of the last request: the server ends after it.
const LAST: u8 = 1;
/// Longest wait for a reply, also while a virtual machine is suspended.
const PATIENCE: Duration = Duration::from_secs(300);

/// Bytes of a request and its reply.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub request: usize,
    pub reply: usize,
}

impl Exchange {
    /// What so many exchanges over so many connections have moved, as the client sees it.
    pub fn times(self, connections: u64, exchanges: u64) -> Amounts {
        Amounts {
            connections,
            sent: exchanges * self.request as u64,
            received: exchanges * self.reply as u64,
        }
    }

    fn request(self, is_last: bool) -> Vec<u8> {
        let mut bytes = vec![0; self.request];
        bytes[0] = if is_last { LAST } else { 0 };
        bytes
    }

    /// Sends a request and takes its reply.
    fn ask(self, connection: &mut TcpStream, is_last: bool) -> io::Result<()> {
        connection.write_all(&self.request(is_last))?;
        connection.read_exact(&mut vec![0; self.reply])
    }
}

/// Answers the requests of a connection until its end. Returns whether one of them was the last.
pub(super) fn serve(mut connection: TcpStream, exchange: Exchange) -> io::Result<bool> {
    let mut request = vec![0; exchange.request];
    let reply = vec![0; exchange.reply];
    let mut is_last = false;
    while connection.read_exact(&mut request).is_ok() {
        is_last |= request[0] == LAST;
        connection.write_all(&reply)?;
    }
    Ok(is_last)
}

/// Serves one connection after the other until the last request.
pub(super) fn serve_until_last(server: &TcpListener, exchange: Exchange) {
    for connection in server.incoming().flatten() {
        if serve(connection, exchange).unwrap_or(false) {
            return;
        }
    }
}

fn connect(to: (Ipv4Addr, u16)) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// Makes one connection with one exchange.
pub(super) fn connect_once(to: (Ipv4Addr, u16), exchange: Exchange, is_last: bool) -> io::Result<()> {
    exchange.ask(&mut connect(to)?, is_last)
}

/// Keeps a connection open, with one exchange after the other, while the load goes on.
pub(super) fn stream(
    to: (Ipv4Addr, u16),
    exchange: Exchange,
    goes_on: impl Fn() -> bool,
) -> io::Result<Amounts> {
    let mut connection = connect(to)?;
    let mut exchanges = 1;
    exchange.ask(&mut connection, false)?;
    while goes_on() {
        exchange.ask(&mut connection, false)?;
        exchanges += 1;
    }
    Ok(exchange.times(1, exchanges))
}

/// Exchanges datagrams on two sockets while the load goes on.
pub(super) fn datagrams(
    port: u16,
    exchange: Exchange,
    goes_on: impl Fn() -> bool + Send + 'static,
) -> io::Result<JoinHandle<io::Result<Amounts>>> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    thread::spawn(move || -> io::Result<()> {
        let mut request = vec![0; exchange.request];
        loop {
            let (_, from) = server.recv_from(&mut request)?;
            server.send_to(&vec![0; exchange.reply], from)?;
            if request[0] == LAST {
                return Ok(());
            }
        }
    });
    Ok(thread::spawn(move || {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect((Ipv4Addr::LOCALHOST, port))?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut exchanges = 0;
        loop {
            let is_last = !goes_on();
            client.send(&exchange.request(is_last))?;
            client.recv(&mut vec![0; exchange.reply])?;
            exchanges += 1;
            if is_last {
                return Ok(exchange.times(1, exchanges));
            }
        }
    }))
}
