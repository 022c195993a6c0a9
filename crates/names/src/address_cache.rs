//! A cache of the names that stand for an address: for one process, or for one user in one network namespace.

use std::{cell::Cell, net::IpAddr, rc::Rc};

use hashlink::LruCache;

use model::{Bytes, DomainSource};

/// Number of resolutions that are kept for one address; beyond it an older one goes.
const MAX_RESOLUTIONS_PER_ADDRESS: usize = 64;
/// Number of resolutions that are kept in one cache; beyond it the address that was used least recently goes.
const MAX_RESOLUTIONS: usize = 8192;
const SECOND: u64 = 1_000_000_000;
/// Nanoseconds after a resolution by which the connections that followed it have been attributed.
const MAX_ATTRIBUTION_DELAY: u64 = 10 * SECOND;

/// A name that was resolved successfully.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) name: Bytes,
    /// Time of the answer, nanoseconds of boot time.
    pub(crate) time: u64,
    /// End of its validity, nanoseconds of boot time.
    pub(crate) expires: u64,
    pub(crate) source: DomainSource,
    /// A connection to one of its addresses has been attributed to it.
    is_used: Cell<bool>,
}

impl Resolution {
    /// Makes a resolution that was answered at `time` (nanoseconds of boot time) and is valid for `ttl` seconds.
    pub(crate) fn new(name: Bytes, time: u64, ttl: u64, source: DomainSource) -> Rc<Self> {
        let expires = time.saturating_add(ttl.saturating_mul(SECOND));
        Rc::new(Self { name, time, expires, source, is_used: Cell::new(false) })
    }

    /// Records that a connection has been attributed to this resolution.
    pub(crate) fn mark_used(&self) {
        self.is_used.set(true);
    }

    /// Whether no connection has been attributed to this resolution.
    pub(crate) fn is_unused(&self) -> bool {
        !self.is_used.get()
    }

    /// Whether this is the DNS query that the C library sent on behalf of `resolver`: for the same name with a search domain
    /// (resolv.conf(5)).
    fn is_query_of(&self, resolver: &Self) -> bool {
        let suffix = self.name.strip_prefix(resolver.name.as_slice());
        self.source == DomainSource::Dns
            && resolver.source == DomainSource::Resolver
            && self.is_unused()
            && suffix.is_some_and(|suffix| suffix.starts_with(b"."))
    }
}

/// The resolutions that fit an address at some time.
#[derive(Debug, Default)]
pub(crate) enum AddressMatch {
    /// No name was resolved to the address.
    #[default]
    None,
    One(Rc<Resolution>),
    /// One name was resolved to the address, but is not valid any more.
    Expired(Rc<Resolution>),
    /// Several names fit equally well.
    Ambiguous(Vec<Rc<Resolution>>),
}

/// The resolutions of one process, or of one user in one network namespace, by address.
pub(crate) struct AddressCache {
    /// Resolutions to each address, in the order of their times.
    addresses: LruCache<IpAddr, Vec<Rc<Resolution>>>,
    /// Sum of the lengths of all lists in `addresses`.
    resolution_count: usize,
}

impl AddressCache {
    /// Makes an empty cache for at most `max_addresses`.
    pub(crate) fn new(max_addresses: usize) -> Self {
        Self { addresses: LruCache::new(max_addresses), resolution_count: 0 }
    }

    /// Number of resolutions, each counted once for each of its addresses.
    pub(crate) fn resolution_count(&self) -> usize {
        self.resolution_count
    }

    /// Adds a resolution to one of its addresses.
    pub(crate) fn add(&mut self, address: IpAddr, resolution: &Rc<Resolution>) {
        if !self.addresses.contains_key(&address) {
            while self.addresses.len() >= self.addresses.capacity()
                || self.resolution_count >= MAX_RESOLUTIONS
            {
                let Some((_, removed)) = self.addresses.remove_lru() else { break };
                self.resolution_count -= removed.len();
            }
            self.addresses.insert(address, Vec::new());
        }
        let Some(resolutions) = self.addresses.get_mut(&address) else { return };
        self.resolution_count -= resolutions.len();
        // A connection is attributed a moment after it was opened, and may belong to an earlier resolution.
        let attributed = resolution.time.saturating_sub(MAX_ATTRIBUTION_DELAY);
        resolutions.retain(|earlier| {
            earlier.time > attributed && !earlier.is_query_of(resolution)
                || earlier.time <= attributed && earlier.name != resolution.name
        });
        if resolutions.len() == MAX_RESOLUTIONS_PER_ADDRESS {
            let same_name = resolutions.iter().position(|earlier| earlier.name == resolution.name);
            resolutions.remove(same_name.unwrap_or(0));
        }
        let at = resolutions.partition_point(|earlier| earlier.time <= resolution.time);
        resolutions.insert(at, Rc::clone(resolution));
        self.resolution_count += resolutions.len();
    }

    /// Finds the resolution to which a connection that was opened to `address` at `time` (nanoseconds of boot time) belongs.
    ///
    /// Of several names it is the only one that no connection has been attributed to yet. A resolution that has expired
    /// counts only if there is no other: a program that keeps an address means the name that it resolved.
    pub(crate) fn find(&mut self, address: IpAddr, time: u64) -> AddressMatch {
        let earlier = self.latest_of_each_name(address, time);
        let valid: Vec<_> = earlier.iter().filter(|resolution| resolution.expires >= time).cloned().collect();
        match (valid.as_slice(), earlier.as_slice()) {
            ([], []) => return AddressMatch::None,
            ([], [only]) => return AddressMatch::Expired(Rc::clone(only)),
            ([], _) => return AddressMatch::Ambiguous(earlier),
            ([only], _) => return AddressMatch::One(Rc::clone(only)),
            _ => {}
        }
        let mut unused = valid.iter().filter(|resolution| resolution.is_unused());
        match (unused.next(), unused.next()) {
            (Some(only), None) => AddressMatch::One(Rc::clone(only)),
            _ => AddressMatch::Ambiguous(valid),
        }
    }

    /// Finds the only name that was resolved to the address and valid at `time`. `None` if there are several.
    pub(crate) fn find_unique(&mut self, address: IpAddr, time: u64) -> Option<Rc<Resolution>> {
        let mut valid = self
            .latest_of_each_name(address, time)
            .into_iter()
            .filter(|resolution| resolution.expires >= time);
        valid.next().filter(|_| valid.next().is_none())
    }

    /// Returns the last resolution of each name that was resolved to the address before `time`.
    fn latest_of_each_name(&mut self, address: IpAddr, time: u64) -> Vec<Rc<Resolution>> {
        let mut latest: Vec<Rc<Resolution>> = Vec::new();
        let resolutions = self.addresses.get(&address).map(Vec::as_slice).unwrap_or_default();
        for resolution in resolutions.iter().rev().filter(|resolution| resolution.time <= time) {
            if !latest.iter().any(|later| later.name == resolution.name) {
                latest.push(Rc::clone(resolution));
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

    fn resolve(cache: &mut AddressCache, name: &str, second: u64, ttl: u64, addresses: &[IpAddr]) {
        let resolution = Resolution::new(name.into(), second * SECOND, ttl, DomainSource::Dns);
        addresses.iter().for_each(|address| cache.add(*address, &resolution));
    }

    /// Attributes a connection and returns the names that it may have.
    fn connect(cache: &mut AddressCache, address: IpAddr, second: u64) -> Vec<String> {
        let text = |resolution: &Rc<Resolution>| String::from_utf8(resolution.name.clone()).unwrap();
        match cache.find(address, second * SECOND) {
            AddressMatch::None => vec![],
            AddressMatch::One(resolution) | AddressMatch::Expired(resolution) => {
                resolution.mark_used();
                vec![text(&resolution)]
            }
            AddressMatch::Ambiguous(resolutions) => resolutions.iter().map(text).collect(),
        }
    }

    #[test]
    fn a_connection_belongs_to_the_name_that_was_resolved_last() {
        let mut cache = AddressCache::new(8);
        for (second, name) in [(10, "a"), (20, "b"), (30, "c"), (40, "a")] {
            resolve(&mut cache, name, second, 300, &[ADDRESS]);
            assert_eq!(connect(&mut cache, ADDRESS, second + 1), [name]);
        }
        // Each name has had its connection, so that any of them fits.
        assert_eq!(connect(&mut cache, ADDRESS, 50).len(), 3);
        // Two names are resolved at once.
        resolve(&mut cache, "b", 60, 300, &[ADDRESS]);
        resolve(&mut cache, "c", 60, 300, &[ADDRESS]);
        assert_eq!(connect(&mut cache, ADDRESS, 61).len(), 3);
    }

    #[test]
    fn a_connection_to_any_address_uses_the_resolution() {
        let mut cache = AddressCache::new(8);
        resolve(&mut cache, "a", 10, 300, &[ADDRESS, OTHER]);
        assert_eq!(connect(&mut cache, ADDRESS, 11), ["a"]);
        resolve(&mut cache, "b", 20, 300, &[ADDRESS, OTHER]);
        assert_eq!(connect(&mut cache, OTHER, 21), ["b"]);
    }

    #[test]
    fn a_later_resolution_does_not_count() {
        let mut cache = AddressCache::new(8);
        resolve(&mut cache, "a", 10, 300, &[ADDRESS]);
        resolve(&mut cache, "b", 20, 300, &[ADDRESS]);
        assert!(connect(&mut cache, ADDRESS, 9).is_empty());
        assert_eq!(connect(&mut cache, ADDRESS, 15), ["a"]);
        assert!(connect(&mut cache, OTHER, 15).is_empty());
    }

    #[test]
    fn an_expired_resolution_counts_only_if_there_is_no_other() {
        let mut cache = AddressCache::new(8);
        resolve(&mut cache, "a", 10, 60, &[ADDRESS]);
        assert_eq!(connect(&mut cache, ADDRESS, 10_000), ["a"]);
        assert!(cache.find_unique(ADDRESS, 10_000 * SECOND).is_none());
        resolve(&mut cache, "b", 20_000, 60, &[ADDRESS]);
        assert_eq!(connect(&mut cache, ADDRESS, 20_001), ["b"]);
        assert!(cache.find_unique(ADDRESS, 20_001 * SECOND).is_some());
    }

    #[test]
    fn a_connection_that_is_attributed_late_has_the_name_resolved_before_it() {
        let mut cache = AddressCache::new(8);
        let names = ["a", "b", "c", "a", "b", "c"];
        for (second, name) in (1..).zip(names) {
            resolve(&mut cache, name, second, 300, &[ADDRESS]);
        }
        for (second, name) in (1..).zip(names) {
            assert_eq!(connect(&mut cache, ADDRESS, second), [name]);
        }
    }

    #[test]
    fn a_search_domain_adds_no_second_name() {
        let mut cache = AddressCache::new(8);
        resolve(&mut cache, "db.corp.example", 1, 60, &[ADDRESS]);
        cache.add(ADDRESS, &Resolution::new(b"db".to_vec(), 2 * SECOND, 60, DomainSource::Resolver));
        assert_eq!(connect(&mut cache, ADDRESS, 3), ["db"]);
        assert_eq!(cache.resolution_count(), 1);
    }

    #[test]
    fn one_name_does_not_evict_another() {
        let mut cache = AddressCache::new(8);
        resolve(&mut cache, "a", 1, 600, &[ADDRESS]);
        for _ in 0..100 {
            resolve(&mut cache, "b", 2, 600, &[ADDRESS]);
        }
        assert_eq!(connect(&mut cache, ADDRESS, 3).len(), 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = AddressCache::new(8);
        for number in 0..100_u8 {
            resolve(&mut cache, &number.to_string(), 1, 60, &[ADDRESS, [10, 0, 0, number].into()]);
        }
        assert_eq!(cache.addresses.len(), 8);
        assert_eq!(cache.resolution_count(), MAX_RESOLUTIONS_PER_ADDRESS + 7);
        assert_eq!(connect(&mut cache, ADDRESS, 2).len(), MAX_RESOLUTIONS_PER_ADDRESS);
        // The same name, resolved again and again.
        for second in 100..1000 {
            resolve(&mut cache, "0", second, 60, &[OTHER]);
        }
        assert!(cache.addresses.get(&OTHER).unwrap().len() <= 11);
        let mut cache = AddressCache::new(4096);
        for number in 0..1000_u32 {
            for second in 0..20 {
                resolve(&mut cache, &second.to_string(), second, 60, &[number.to_be_bytes().into()]);
            }
        }
        assert!(cache.resolution_count() <= MAX_RESOLUTIONS + MAX_RESOLUTIONS_PER_ADDRESS);
        let counted: usize = cache.addresses.iter().map(|(_, resolutions)| resolutions.len()).sum();
        assert_eq!(cache.resolution_count(), counted);
    }
}
