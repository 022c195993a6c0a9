//! What the owner of an address calls it: PTR records, asked for by the C library, if the user wants that
//! (`names.reverse_dns`). Every question tells the name server what is watched.

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

use super::domain;
use model::Bytes;

/// Addresses that are remembered, and that may wait to be asked for.
const MAX_KNOWN: usize = 4096;
const MAX_WAITING: usize = 256;
/// How long an answer holds, and a failure.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
const FAILED_FOR: Duration = Duration::from_secs(300);

/// An answer, or `None` for a failure, and until when it holds; without a time it is on its way.
type Answer = (Option<Bytes>, Option<Instant>);

/// The thread that asks, and what it has found out.
pub struct Reverse {
    answers: Arc<Mutex<LruCache<IpAddr, Answer>>>,
    questions: SyncSender<IpAddr>,
}

impl Reverse {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        let answers = Arc::new(Mutex::new(LruCache::new(MAX_KNOWN)));
        let (questions, waiting) = sync_channel::<IpAddr>(MAX_WAITING);
        let found = Arc::clone(&answers);
        thread::Builder::new().name("reverse".into()).spawn(move || {
            for address in waiting {
                let name = ask(address);
                let holds = if name.is_some() { KNOWN_FOR } else { FAILED_FOR };
                let mut answers = found.lock().unwrap_or_else(PoisonError::into_inner);
                answers.insert(address, (name, Some(Instant::now() + holds)));
            }
        })?;
        Ok(Self { answers, questions })
    }

    /// Sees to it that [`Reverse::name`] knows this address soon.
    pub fn want(&self, address: IpAddr) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = answers.get(&address);
        if known.is_some_and(|(_, until)| until.is_none_or(|until| until > Instant::now())) {
            return;
        }
        if self.questions.try_send(address).is_ok() {
            answers.insert(address, (None, None));
        }
    }

    /// The name of an address, if it is known by now.
    pub fn name(&self, address: IpAddr) -> Option<Bytes> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&address).and_then(|(name, _)| name.clone())
    }
}

/// Asks the C library, which asks what it is configured to ask; that may take its time.
fn ask(address: IpAddr) -> Option<Bytes> {
    let address = nix::sys::socket::SockaddrStorage::from(std::net::SocketAddr::new(address, 0));
    let mut name = [0_u8; libc::NI_MAXHOST as usize];
    // SAFETY: the address is one of the length that goes with it, the buffer has the length that is told.
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
    domain(name.split(|byte| *byte == 0).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_has_its_name() {
        let reverse = Reverse::start().unwrap();
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(reverse.name(address), None);
        reverse.want(address);
        let until = Instant::now() + Duration::from_secs(20);
        while reverse.name(address).is_none() {
            assert!(Instant::now() < until, "/etc/hosts names it");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(reverse.name(address), Some(b"localhost".to_vec()));
    }
}
