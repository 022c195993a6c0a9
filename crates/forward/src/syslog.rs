//! Messages for a syslog server (RFC 5424): over TCP with octet counting (RFC 6587, section 3.4.1), over TLS (RFC 5425), over UDP
//! (RFC 5426), or to the socket of the local one.

use std::{io, net::Ipv6Addr, sync::Arc};

use calendar::{TimeZone, rfc3339};
use config::{SyslogServer, SyslogTransport};
use http_client::{NoAuthorities, authorities};
use model::EventKind;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket, UnixDatagram, lookup_host},
};
use tokio_rustls::TlsConnector;

use crate::{delivery::in_time, error::ForwardError, item::Item, target::Target};

/// Severities (RFC 5424, section 6.2.1).
pub(crate) const ERROR: u8 = 3;
pub(crate) const WARNING: u8 = 4;
pub(crate) const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;
/// The cookie of JSON in a message, by which receivers know it (rsyslog's mmjsonparse, syslog-ng's json-parser).
const COOKIE: &str = "@cee:";
const PROGRAM: &str = "picosnitch";
/// The severity of an item: what may have been missed is an error, what a user should look at a warning.
pub(crate) fn severity(item: &Item) -> u8 {
    match item.kind {
        Some(EventKind::Error | EventKind::Loss | EventKind::Gap) => ERROR,
        Some(EventKind::Alert | EventKind::Clock) => WARNING,
        Some(_) => NOTICE,
        None => INFORMATIONAL,
    }
}

/// A syslog server.
pub(crate) struct Syslog<'a> {
    address: String,
    server: &'a SyslogServer,
    host: &'a str,
    way: Way,
}

/// The transport, with what it needs.
enum Way {
    Tcp,
    Tls(Arc<ClientConfig>),
    Udp,
    Local,
}

impl<'a> Syslog<'a> {
    pub fn new(target: &Target, server: &'a SyslogServer, host: &'a str) -> Result<Self, ForwardError> {
        let address = target.address();
        let way = match server.transport {
            SyslogTransport::Tcp => Way::Tcp,
            SyslogTransport::Tls => Way::Tls(tls(&address, &target.authority)?),
            SyslogTransport::Udp => Way::Udp,
            SyslogTransport::Local => Way::Local,
        };
        Ok(Self { address, server, host, way })
    }

    /// Sends items; returns when the receiver has taken all of them, as far as the transport tells.
    pub async fn send(&self, items: &[Item]) -> Result<(), ForwardError> {
        let Self { address, server, host, way } = self;
        let (server, host) = (*server, *host);
        let connect_error = |error| ForwardError::Connect(address.clone(), error);
        let send_error = |error| ForwardError::Send(address.clone(), error);
        let end = (server.host.as_str(), server.port);
        match way {
            Way::Tls(config) => {
                let connect = async {
                    let stream = TcpStream::connect(end).await.map_err(connect_error)?;
                    let name = ServerName::try_from(server.host.clone())
                        .map_err(|error| connect_error(io::Error::other(error)))?;
                    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(connect_error)
                };
                let stream = in_time(address, connect).await?;
                send_stream(address, stream, server, host, items).await
            }
            Way::Tcp => {
                let connect = async { TcpStream::connect(end).await.map_err(connect_error) };
                let stream = in_time(address, connect).await?;
                send_stream(address, stream, server, host, items).await
            }
            Way::Udp => {
                let connect = async {
                    let found = lookup_host(end).await.map_err(connect_error)?.next();
                    let peer = found.ok_or_else(|| connect_error(io::ErrorKind::NotFound.into()))?;
                    let bound = match peer.is_ipv4() {
                        true => UdpSocket::bind(("0.0.0.0", 0)).await,
                        false => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
                    };
                    let socket = bound.map_err(connect_error)?;
                    socket.connect(peer).await.map_err(connect_error)?;
                    Ok(socket)
                };
                let socket = in_time(address, connect).await?;
                for item in items {
                    let message = message(server, host, item);
                    let sent = async { socket.send(message.as_bytes()).await.map_err(send_error) };
                    in_time(address, sent).await?;
                }
                Ok(())
            }
            Way::Local => {
                let socket = UnixDatagram::unbound().map_err(connect_error)?;
                socket.connect(&server.path).map_err(connect_error)?;
                for item in items {
                    let message = local_message(server, item);
                    let sent = async { socket.send(message.as_bytes()).await.map_err(send_error) };
                    in_time(address, sent).await?;
                }
                Ok(())
            }
        }
    }
}

/// Sends items in frames with their lengths, and waits until the receiver has read them. A syslog receiver never answers; but when it
/// has read up to the end of the stream, it closes its own end. One that dies before closes it with a reset, since there are bytes
/// that it has not read.
async fn send_stream(
    address: &str,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    server: &SyslogServer,
    host: &str,
    items: &[Item],
) -> Result<(), ForwardError> {
    let error = |error| ForwardError::Send(address.to_owned(), error);
    for item in items {
        let message = message(server, host, item);
        let frame = format!("{} {message}", message.len());
        let sent = async { stream.write_all(frame.as_bytes()).await.map_err(error) };
        in_time(address, sent).await?;
    }
    let closed = async {
        stream.flush().await.map_err(error)?;
        stream.shutdown().await.map_err(error)?;
        let mut buffer = [0; 256];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                // A receiver that sends something is none by the RFC, but does no harm.
                Ok(_) => {}
                // The end of the TCP stream without one of the TLS session.
                Err(broken) if broken.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(broken) => return Err(error(broken)),
            }
        }
    };
    in_time(address, closed).await
}

/// A message: `<PRI>1 TIMESTAMP HOSTNAME picosnitch - MSGID - @cee:JSON` (RFC 5424, section 6).
fn message(server: &SyslogServer, host: &str, item: &Item) -> String {
    let time = rfc3339(item.time, &TimeZone::UTC);
    let message_id = item.kind.map_or("record", EventKind::name);
    format!(
        "<{}>1 {time} {} {PROGRAM} - {message_id} - {COOKIE}{}",
        priority(server, item),
        header_host(host),
        item.json()
    )
}

/// A message as syslog(3) sends it, without a time: the local receiver knows it.
fn local_message(server: &SyslogServer, item: &Item) -> String {
    format!("<{}>{PROGRAM}: {COOKIE}{}", priority(server, item), item.json())
}

/// Facility and severity in one number (RFC 5424, section 6.2.1).
fn priority(server: &SyslogServer, item: &Item) -> u8 {
    server.facility.number() * 8 + severity(item)
}

/// HOSTNAME: at most 255 printable characters of ASCII, or `-` (RFC 5424, section 6.2.4).
fn header_host(host: &str) -> String {
    let name: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// TLS 1.2 and 1.3 with a certificate that must be that of the host.
fn tls(address: &str, authority: &str) -> Result<Arc<ClientConfig>, ForwardError> {
    let none = |source| ForwardError::NoAuthorities(address.to_owned(), source);
    let pem = authorities(authority).map_err(none)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(none(NoAuthorities::Empty));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ForwardError::Tls(address.to_owned(), error))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
