//! PTR records of addresses, looked up by the C library if the user wants that (`names.reverse_dns`). Each question tells a
//! name server which address is monitored. The recorder keeps [`ReverseNames`]; the exporter, which has the network, calls
//! [`look_up_address`].

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use hashlink::LruCache;

use crate::domain_name::normalize_domain;
use model::Bytes;

/// Number of addresses whose lookups are cached.
const MAX_CACHED: usize = 4096;
/// Number of addresses that wait for their lookup.
const MAX_QUEUED: usize = 256;
/// Number of addresses that are looked up at a time.
const MAX_ASKED: usize = 16;
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

/// Which addresses are to be looked up, and a cache of what was found.
pub struct ReverseNames {
    lookups: LruCache<IpAddr, Lookup>,
    queue: VecDeque<IpAddr>,
    /// The addresses that are being looked up.
    asked: Vec<IpAddr>,
}

impl Default for ReverseNames {
    fn default() -> Self {
        Self { lookups: LruCache::new(MAX_CACHED), queue: VecDeque::new(), asked: Vec::new() }
    }
}

impl ReverseNames {
    /// Queues the lookup of an address, unless its name is cached or the queue is full.
    pub fn request(&mut self, address: IpAddr) {
        let previous = match self.lookups.get(&address) {
            Some(Lookup::Queued { .. }) => return,
            Some(Lookup::Done { expires, .. }) if *expires > Instant::now() => return,
            Some(Lookup::Done { name, .. }) => name.clone(),
            None => None,
        };
        if self.queue.len() < MAX_QUEUED {
            self.queue.push_back(address);
            self.lookups.insert(address, Lookup::Queued { previous });
        }
    }

    /// The next address to look up; `None` while there is none, or while enough of them are being looked up.
    pub fn take_next(&mut self) -> Option<IpAddr> {
        if self.asked.len() >= MAX_ASKED {
            return None;
        }
        let address = self.queue.pop_front()?;
        self.asked.push(address);
        Some(address)
    }

    /// Takes the result of a lookup. Those that were not asked for are ignored.
    pub fn set_name(&mut self, address: IpAddr, name: Option<&[u8]>) {
        let Some(at) = self.asked.iter().position(|asked| *asked == address) else { return };
        self.asked.swap_remove(at);
        let name = name.and_then(normalize_domain);
        let lifetime = if name.is_some() { NAME_LIFETIME } else { FAILURE_LIFETIME };
        self.lookups.insert(address, Lookup::Done { name, expires: Instant::now() + lifetime });
    }

    /// Takes note that nobody looks up addresses any more: those that were asked for come first when somebody does.
    pub fn ask_again(&mut self) {
        for address in self.asked.drain(..).rev() {
            self.queue.push_front(address);
        }
    }

    /// Returns the name of an address if its lookup is done.
    pub fn name(&mut self, address: IpAddr) -> Option<Bytes> {
        match self.lookups.get(&address)? {
            Lookup::Queued { previous: name } | Lookup::Done { name, .. } => name.clone(),
        }
    }
}

/// Looks up an address with the C library, which may take as long as its configuration allows (resolv.conf(5)).
pub fn look_up_address(address: IpAddr) -> Option<Bytes> {
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
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn each_address_is_looked_up_once_and_a_name_holds_while_it_is_looked_up_again() {
        let mut names = ReverseNames::default();
        let [named, nameless] = [address(1), address(2)];
        for address in [named, nameless, named] {
            names.request(address);
            assert_eq!(names.name(address), None);
        }
        assert_eq!(
            (names.take_next(), names.take_next(), names.take_next()),
            (Some(named), Some(nameless), None)
        );
        names.set_name(named, Some(b"Owner.Example"));
        names.set_name(nameless, None);
        assert_eq!(names.name(named), Some(b"owner.example".to_vec()));
        names.request(named);
        names.request(nameless);
        assert_eq!((names.take_next(), names.name(nameless)), (None, None));
        let expired = Lookup::Done { name: Some(b"owner.example".to_vec()), expires: Instant::now() };
        names.lookups.insert(named, expired);
        names.request(named);
        assert_eq!(names.name(named), Some(b"owner.example".to_vec()));
        assert_eq!(names.take_next(), Some(named));
        names.set_name(named, None);
        assert_eq!(names.name(named), None);
    }

    #[test]
    fn lookups_are_bounded_and_asked_again_when_the_exporter_is_gone() {
        let mut names = ReverseNames::default();
        (0..=255).for_each(|last| names.request(address(last)));
        names.request([192, 0, 3, 1].into());
        assert_eq!(names.queue.len(), MAX_QUEUED);
        let asked: Vec<IpAddr> = std::iter::from_fn(|| names.take_next()).collect();
        assert_eq!(asked.len(), MAX_ASKED);
        names.set_name([192, 0, 2, 200].into(), Some(b"not.asked"));
        assert_eq!(names.name(address(200)), None);
        names.ask_again();
        assert_eq!(std::iter::from_fn(|| names.take_next()).collect::<Vec<_>>(), asked);
    }
}
