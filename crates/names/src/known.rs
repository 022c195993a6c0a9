//! Which names stand for an address, for one process or for one network namespace.

use std::{cell::Cell, net::IpAddr, rc::Rc};

use hashlink::LruCache;

use model::{Bytes, DomainSource};

/// Requests for one address that are remembered, and of one scope: of more, the last ones.
const MAX_REQUESTS: usize = 64;
const MAX_OF_SCOPE: usize = 8192;
const SECOND: u64 = 1_000_000_000;
/// After so long the connections that followed a request are known.
const SETTLED: u64 = 10 * SECOND;

/// A name that was asked for, and found.
#[derive(Debug)]
pub struct Request {
    /// The name.
    pub name: Bytes,
    /// When it was found, nanoseconds of boot time.
    pub time: u64,
    /// Until when it holds.
    pub expires: u64,
    /// How it is known.
    pub source: DomainSource,
    /// A connection was opened to one of its addresses: the process has had what it asked for.
    used: Cell<bool>,
}

impl Request {
    /// A name found at `time` that holds for so many seconds.
    pub fn new(name: Bytes, time: u64, seconds: u64, source: DomainSource) -> Rc<Self> {
        let expires = time.saturating_add(seconds.saturating_mul(SECOND));
        Rc::new(Self { name, time, expires, source, used: Cell::new(false) })
    }

    /// A connection was opened because of it.
    pub fn mark_used(&self) {
        self.used.set(true);
    }

    /// Whether no connection was opened because of it.
    pub fn is_unused(&self) -> bool {
        !self.used.get()
    }

    /// Whether this is what the C library asked a name server on behalf of `asked`: the same name with a search domain
    /// (resolv.conf(5)).
    fn is_step_of(&self, asked: &Self) -> bool {
        let rest = self.name.strip_prefix(asked.name.as_slice());
        self.source == DomainSource::Dns
            && asked.source == DomainSource::Resolver
            && self.is_unused()
            && rest.is_some_and(|rest| rest.starts_with(b"."))
    }
}

/// What an address is called.
#[derive(Debug, Default)]
pub enum Answer {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// This name.
    One(Rc<Request>),
    /// This name, but it has expired.
    Expired(Rc<Request>),
    /// One of these: nothing tells which.
    Several(Vec<Rc<Request>>),
}

/// The names of addresses in one scope.
pub struct Scope {
    /// Requests that found the address, in the order of their times.
    addresses: LruCache<IpAddr, Vec<Rc<Request>>>,
    /// All of them.
    count: usize,
}

impl Scope {
    /// Nothing is known; at most so many addresses will be.
    pub fn new(most: usize) -> Self {
        Self { addresses: LruCache::new(most), count: 0 }
    }

    /// Requests that are remembered, counted once for each of their addresses.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Remembers that a request found this address.
    pub fn add(&mut self, address: IpAddr, request: &Rc<Request>) {
        if !self.addresses.contains_key(&address) {
            while self.addresses.len() >= self.addresses.capacity() || self.count >= MAX_OF_SCOPE {
                let Some((_, forgotten)) = self.addresses.remove_lru() else { break };
                self.count -= forgotten.len();
            }
            self.addresses.insert(address, Vec::new());
        }
        let Some(requests) = self.addresses.get_mut(&address) else { return };
        self.count -= requests.len();
        // Connections become known a moment after they were opened, and an earlier request may be theirs.
        let settled = request.time.saturating_sub(SETTLED);
        requests.retain(|known| {
            known.time > settled && !known.is_step_of(request)
                || known.time <= settled && known.name != request.name
        });
        if requests.len() == MAX_REQUESTS {
            let same = requests.iter().position(|known| known.name == request.name);
            requests.remove(same.unwrap_or(0));
        }
        let at = requests.partition_point(|known| known.time <= request.time);
        requests.insert(at, Rc::clone(request));
        self.count += requests.len();
    }

    /// What the address was called at `time`, nanoseconds of boot time.
    ///
    /// Of several names it is the one that was asked for and that no connection was opened for yet. What has expired
    /// counts only when nothing else is there: who keeps an address keeps what it was called.
    pub fn name(&mut self, address: IpAddr, time: u64) -> Answer {
        let earlier = self.latest(address, time);
        let live: Vec<_> = earlier.iter().filter(|request| request.expires >= time).cloned().collect();
        match (live.as_slice(), earlier.as_slice()) {
            ([], []) => return Answer::Unknown,
            ([], [only]) => return Answer::Expired(Rc::clone(only)),
            ([], _) => return Answer::Several(earlier),
            ([only], _) => return Answer::One(Rc::clone(only)),
            _ => {}
        }
        let mut unused = live.iter().filter(|request| request.is_unused());
        match (unused.next(), unused.next()) {
            (Some(only), None) => Answer::One(Rc::clone(only)),
            _ => Answer::Several(live),
        }
    }

    /// The only name that the address had at `time` and that had not expired.
    pub fn certain_name(&mut self, address: IpAddr, time: u64) -> Option<Rc<Request>> {
        let mut live = self.latest(address, time).into_iter().filter(|request| request.expires >= time);
        live.next().filter(|_| live.next().is_none())
    }

    /// The last request for each name that found the address before `time`.
    fn latest(&mut self, address: IpAddr, time: u64) -> Vec<Rc<Request>> {
        let mut latest: Vec<Rc<Request>> = Vec::new();
        let requests = self.addresses.get(&address).map(Vec::as_slice).unwrap_or_default();
        for request in requests.iter().rev().filter(|request| request.time <= time) {
            if !latest.iter().any(|later| later.name == request.name) {
                latest.push(Rc::clone(request));
            }
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn ask(scope: &mut Scope, name: &str, second: u64, seconds: u64, addresses: &[IpAddr]) {
        let request = Request::new(name.into(), second * SECOND, seconds, DomainSource::Dns);
        addresses.iter().for_each(|address| scope.add(*address, &request));
    }

    /// Opens a connection; the names that it may have.
    fn connect(scope: &mut Scope, address: IpAddr, second: u64) -> Vec<String> {
        let text = |request: &Rc<Request>| String::from_utf8(request.name.clone()).unwrap();
        match scope.name(address, second * SECOND) {
            Answer::Unknown => vec![],
            Answer::One(request) | Answer::Expired(request) => {
                request.mark_used();
                vec![text(&request)]
            }
            Answer::Several(requests) => requests.iter().map(text).collect(),
        }
    }

    #[test]
    fn names_of_one_address_are_told_apart_by_what_was_asked_last() {
        let mut scope = Scope::new(8);
        for (second, name) in [(10, "a"), (20, "b"), (30, "c"), (40, "a")] {
            ask(&mut scope, name, second, 300, &[ADDRESS]);
            assert_eq!(connect(&mut scope, ADDRESS, second + 1), [name]);
        }
        // All have had theirs: it may be any.
        assert_eq!(connect(&mut scope, ADDRESS, 50).len(), 3);
        // Asked at once.
        ask(&mut scope, "b", 60, 300, &[ADDRESS]);
        ask(&mut scope, "c", 60, 300, &[ADDRESS]);
        assert_eq!(connect(&mut scope, ADDRESS, 61).len(), 3);
    }

    #[test]
    fn a_request_is_used_by_a_connection_to_any_of_its_addresses() {
        let mut scope = Scope::new(8);
        ask(&mut scope, "a", 10, 300, &[ADDRESS, OTHER]);
        assert_eq!(connect(&mut scope, ADDRESS, 11), ["a"]);
        ask(&mut scope, "b", 20, 300, &[ADDRESS, OTHER]);
        assert_eq!(connect(&mut scope, OTHER, 21), ["b"]);
    }

    #[test]
    fn only_what_was_asked_before_counts() {
        let mut scope = Scope::new(8);
        ask(&mut scope, "a", 10, 300, &[ADDRESS]);
        ask(&mut scope, "b", 20, 300, &[ADDRESS]);
        assert!(connect(&mut scope, ADDRESS, 9).is_empty());
        assert_eq!(connect(&mut scope, ADDRESS, 15), ["a"]);
        assert!(connect(&mut scope, OTHER, 15).is_empty());
    }

    #[test]
    fn what_has_expired_counts_only_when_it_is_all_there_is() {
        let mut scope = Scope::new(8);
        ask(&mut scope, "a", 10, 60, &[ADDRESS]);
        assert_eq!(connect(&mut scope, ADDRESS, 10_000), ["a"]);
        assert!(scope.certain_name(ADDRESS, 10_000 * SECOND).is_none());
        ask(&mut scope, "b", 20_000, 60, &[ADDRESS]);
        assert_eq!(connect(&mut scope, ADDRESS, 20_001), ["b"]);
        assert!(scope.certain_name(ADDRESS, 20_001 * SECOND).is_some());
    }

    #[test]
    fn connections_that_become_known_late_have_what_was_asked_before_them() {
        let mut scope = Scope::new(8);
        let asked = ["a", "b", "c", "a", "b", "c"];
        for (second, name) in (1..).zip(asked) {
            ask(&mut scope, name, second, 300, &[ADDRESS]);
        }
        for (second, name) in (1..).zip(asked) {
            assert_eq!(connect(&mut scope, ADDRESS, second), [name]);
        }
    }

    #[test]
    fn a_search_domain_makes_no_second_name() {
        let mut scope = Scope::new(8);
        ask(&mut scope, "db.corp.example", 1, 60, &[ADDRESS]);
        scope.add(ADDRESS, &Request::new(b"db".to_vec(), 2 * SECOND, 60, DomainSource::Resolver));
        assert_eq!(connect(&mut scope, ADDRESS, 3), ["db"]);
        assert_eq!(scope.len(), 1);
    }

    #[test]
    fn one_name_does_not_push_out_another() {
        let mut scope = Scope::new(8);
        ask(&mut scope, "a", 1, 600, &[ADDRESS]);
        for _ in 0..100 {
            ask(&mut scope, "b", 2, 600, &[ADDRESS]);
        }
        assert_eq!(connect(&mut scope, ADDRESS, 3).len(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut scope = Scope::new(8);
        for number in 0..100_u8 {
            ask(&mut scope, &number.to_string(), 1, 60, &[ADDRESS, [10, 0, 0, number].into()]);
        }
        assert_eq!(scope.addresses.len(), 8);
        assert_eq!(scope.len(), MAX_REQUESTS + 7);
        assert_eq!(connect(&mut scope, ADDRESS, 2).len(), MAX_REQUESTS);
        // Again and again the same.
        for second in 100..1000 {
            ask(&mut scope, "0", second, 60, &[OTHER]);
        }
        assert!(scope.addresses.get(&OTHER).unwrap().len() <= 11);
        let mut scope = Scope::new(4096);
        for number in 0..1000_u32 {
            for second in 0..20 {
                ask(&mut scope, &second.to_string(), second, 60, &[number.to_be_bytes().into()]);
            }
        }
        assert!(scope.len() <= MAX_OF_SCOPE + MAX_REQUESTS);
        let counted: usize = scope.addresses.iter().map(|(_, requests)| requests.len()).sum();
        assert_eq!(scope.len(), counted);
    }
}
