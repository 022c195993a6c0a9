//! PTR records of addresses, looked up by the C library if the user wants that (`names.reverse_dns`). Each question tells a
//! name server which address is monitored.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use hashlink::LruCache;

use crate::domain_name::normalize_domain;
use model::Bytes;

/// Number of addresses whose lookups are cached.
const MAX_CACHED: usize = 4096;
/// Number of addresses that wait for their lookup.
const MAX_QUEUED: usize = 256;
/// Time for which a name is not looked up again.
const NAME_LIFETIME: Duration = Duration::from_secs(3600);
/// Time for which an address without a name is not looked up again.
const FAILURE_LIFETIME: Duration = Duration::from_secs(300);

/// The state of the lookup of one address.
enum Lookup {
    /// It waits; until it is done, the name of the look-up before it holds.
    Queued { previous: Option<Bytes> },
    /// The name, or `None` if the lookup failed.
    Done { name: Option<Bytes>, expires: Instant },
}

/// A thread that looks up addresses, and the cache of what it found.
pub struct ReverseDns {
    lookups: Arc<Mutex<LruCache<IpAddr, Lookup>>>,
    queue: SyncSender<IpAddr>,
}

impl ReverseDns {
    /// Starts the thread that looks up addresses.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::start_with(look_up)
    }

    fn start_with(look_up: impl Fn(IpAddr) -> Option<Bytes> + Send + 'static) -> io::Result<Self> {
        let lookups = Arc::new(Mutex::new(LruCache::new(MAX_CACHED)));
        let (queue, queued) = sync_channel::<IpAddr>(MAX_QUEUED);
        let shared = Arc::clone(&lookups);
        thread::Builder::new().name("reverse".into()).spawn(move || {
            for address in queued {
                let name = look_up(address);
                let lifetime = if name.is_some() { NAME_LIFETIME } else { FAILURE_LIFETIME };
                let mut lookups = shared.lock().unwrap_or_else(PoisonError::into_inner);
                lookups.insert(address, Lookup::Done { name, expires: Instant::now() + lifetime });
            }
        })?;
        Ok(Self { lookups, queue })
    }

    /// Queues the lookup of an address, unless its name is cached or the queue is full. Never waits.
    pub fn request(&self, address: IpAddr) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = match lookups.get(&address) {
            Some(Lookup::Queued { .. }) => return,
            Some(Lookup::Done { expires, .. }) if *expires > Instant::now() => return,
            Some(Lookup::Done { name, .. }) => name.clone(),
            None => None,
        };
        if self.queue.try_send(address).is_ok() {
            lookups.insert(address, Lookup::Queued { previous });
        }
    }

    /// Returns the name of an address if its lookup is done.
    pub fn name(&self, address: IpAddr) -> Option<Bytes> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        match lookups.get(&address)? {
            Lookup::Queued { previous: name } | Lookup::Done { name, .. } => name.clone(),
        }
    }
}

/// Looks up an address with the C library, which may take as long as its configuration allows (resolv.conf(5)).
fn look_up(address: IpAddr) -> Option<Bytes> {
    let address = nix::sys::socket::SockaddrStorage::from(std::net::SocketAddr::new(address, 0));
    let mut name = [0_u8; libc::NI_MAXHOST as usize];
    // SAFETY: the pointer to the address comes with the length of that address, and the pointer to the buffer with the
    // length of the buffer.
    let failed = unsafe {
        libc::getnameinfo(
            nix::sys::socket::SockaddrLike::as_ptr(&address),
            nix::sys::socket::SockaddrLike::len(&address),
            name.as_mut_ptr().cast(),
            libc::NI_MAXHOST,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if failed != 0 {
        return None;
    }
    normalize_domain(name.split(|byte| *byte == 0).next()?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn each_address_is_looked_up_once_and_nothing_waits_for_it() {
        let (asked, questions) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let reverse_dns = ReverseDns::start_with(move |address| {
            asked.send(address).unwrap();
            answers.recv().unwrap()
        })
        .unwrap();
        let [named, nameless] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        for address in [named, nameless, named] {
            reverse_dns.request(address);
            assert_eq!(reverse_dns.name(address), None);
        }
        answer.send(Some(b"owner.example".to_vec())).unwrap();
        answer.send(None).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while reverse_dns.name(named).is_none() {
            assert!(Instant::now() < until, "the thread has the answer");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(reverse_dns.name(named), Some(b"owner.example".to_vec()));
        reverse_dns.request(named);
        reverse_dns.request(nameless);
        assert_eq!(reverse_dns.name(nameless), None);
        // A name holds while it is looked up again.
        let expired = Lookup::Done { name: Some(b"owner.example".to_vec()), expires: Instant::now() };
        reverse_dns.lookups.lock().unwrap().insert(named, expired);
        reverse_dns.request(named);
        assert_eq!(reverse_dns.name(named), Some(b"owner.example".to_vec()));
        answer.send(None).unwrap();
        while reverse_dns.name(named).is_some() {
            assert!(Instant::now() < until, "the thread has the answer");
            thread::sleep(Duration::from_millis(1));
        }
        drop(reverse_dns);
        assert_eq!(questions.iter().collect::<Vec<_>>(), [named, nameless, named]);
    }
}
