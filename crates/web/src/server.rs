//! The server: takes connections, bounds their number and their time, and gives requests to the API.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::OnceCell,
    task::AbortHandle,
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::socket_owner;

/// Connections at the same time. A browser has six.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take for the head of a request, or for the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer. Then its connection ends, and with it the stream or file that it was sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to agree on a key.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the head of a request, and number of its header lines.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long to wait after an error of accept(2), most likely a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection, whether it has shown that it may read, and how to end it.
struct Connection {
    is_known: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The connections, the oldest first.
#[derive(Default)]
struct Connections(Mutex<VecDeque<Connection>>);

impl Connections {
    /// Makes room for one more: ends the oldest that has not shown that it may read, so that clients which only take room lock
    /// nobody out. Returns false if all of them may.
    fn make_room(&self) -> bool {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() < MAX_CONNECTIONS {
            return true;
        }
        connections.retain(|connection| !connection.task.is_finished());
        if connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let oldest = connections.iter().position(|connection| !connection.is_known.load(Ordering::Relaxed));
        let Some(connection) = oldest.and_then(|at| connections.remove(at)) else { return false };
        connection.task.abort();
        true
    }

    fn add(&self, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
    }
}

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    address: SocketAddr,
    own_address: SocketAddr,
    user: Arc<OnceCell<u32>>,
    is_known: Arc<AtomicBool>,
}

impl Peer {
    /// The address of the client.
    pub fn ip(&self) -> std::net::IpAddr {
        self.address.ip()
    }

    /// The user of its program; `None` if it is not of this machine. It is looked up once, and only when somebody asks: the table of
    /// sockets may be long. It changes while it is read, so that a socket may be missed: then the next request looks again.
    pub async fn user(&self) -> Option<u32> {
        let (address, own_address) = (self.address, self.own_address);
        let look_up = || async move {
            let user = tokio::task::spawn_blocking(move || socket_owner::of_peer(address, own_address));
            user.await.ok().flatten().ok_or(())
        };
        self.user.get_or_try_init(look_up).await.ok().copied()
    }

    /// Notes that it has shown that it may read.
    pub fn set_known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }
}

/// Takes connections from all listeners, for ever.
pub(crate) async fn serve(listeners: Vec<TcpListener>, router: Router, tls: Option<TlsAcceptor>) {
    let connections = Arc::new(Connections::default());
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(listener, router.clone(), tls.clone(), Arc::clone(&connections)));
    }
    tasks.join_all().await;
}

async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    connections: Arc<Connections>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !connections.make_room() {
            continue;
        }
        let _ = stream.set_nodelay(true);
        let (router, tls) = (router.clone(), tls.clone());
        let own_address = stream.local_addr().unwrap_or(address);
        let is_known = Arc::new(AtomicBool::new(false));
        let peer = Peer { address, own_address, user: Arc::default(), is_known: Arc::clone(&is_known) };
        let task = tokio::spawn(async move {
            match tls {
                None => serve_connection(stream, router, peer).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
                        serve_connection(stream, router, peer).await;
                    }
                }
            }
        });
        connections.add(Connection { is_known, task: task.abort_handle() });
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    peer: Peer,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let stream = TokioIo::new(Box::pin(stream));
    // An error here is the client's: it went away, took nothing for too long, or wrote no HTTP.
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let _ = builder.serve_connection(stream, TowerToHyperService::new(service)).await;
}

/// Binds the addresses. `localhost` is both 127.0.0.1 and ::1: a browser may try either, and another user's server must not be
/// found there.
///
/// # Errors
/// See bind(2); the address that failed is told.
pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, (SocketAddr, io::Error)> {
    let mut listeners = Vec::new();
    for address in addresses {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(|error| (*address, error))?;
                listeners.push(listener);
            }
            // A machine without IPv6 has no ::1, and nobody else can have it either.
            Err(error)
                if address.is_ipv6()
                    && !listeners.is_empty()
                    && matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => {}
            Err(error) => return Err((*address, error)),
        }
    }
    Ok(listeners)
}
