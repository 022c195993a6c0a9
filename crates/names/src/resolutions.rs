//! All names that were resolved on this machine: by process, and by user and network namespace.

use std::{net::IpAddr, rc::Rc};

use hashlink::LruCache;

use crate::address_cache::{AddressCache, AddressMatch, Resolution};
use model::{Bytes, NameObservation, ProcessId};

const MAX_PROCESSES: usize = 4096;
const MAX_NAMESPACES: usize = 256;
const MAX_PROCESS_ADDRESSES: usize = 512;
const MAX_NAMESPACE_ADDRESSES: usize = 4096;
/// Number of resolutions in all caches together, each counted once for each of its addresses.
pub(crate) const MAX_RESOLUTIONS: usize = 50_000;
/// The resolutions are counted, and the bound is enforced, each time that so many addresses were added.
pub(crate) const COUNT_INTERVAL: usize = 1024;

/// The user whose resolutions count for every user of a network namespace.
const ROOT: u32 = 0;

/// A user in a network namespace. Users are kept apart so that none but root can deceive another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct NamespaceUser {
    network_namespace: u32,
    uid: u32,
}

/// The caches of all processes, users and network namespaces.
pub(crate) struct Resolutions {
    processes: LruCache<ProcessId, AddressCache>,
    namespaces: LruCache<NamespaceUser, AddressCache>,
    /// Number of addresses that were added since the start.
    added: usize,
}

impl Default for Resolutions {
    fn default() -> Self {
        Self { processes: LruCache::new(MAX_PROCESSES), namespaces: LruCache::new(MAX_NAMESPACES), added: 0 }
    }
}

impl Resolutions {
    /// Adds an address that the observed process got for a name.
    pub(crate) fn add(
        &mut self,
        observation: &NameObservation,
        address: IpAddr,
        resolution: &Rc<Resolution>,
    ) {
        let NameObservation { process, network_namespace, uid, .. } = *observation;
        let cache = self.processes.entry(process).or_insert_with(|| AddressCache::new(MAX_PROCESS_ADDRESSES));
        cache.add(address, resolution);
        self.add_to_namespace(NamespaceUser { network_namespace, uid }, address, resolution);
    }

    /// Adds an address that a service of the system got for a name, on behalf of any process in the network namespace.
    pub(crate) fn add_for_all_users(
        &mut self,
        network_namespace: u32,
        address: IpAddr,
        resolution: &Rc<Resolution>,
    ) {
        self.add_to_namespace(NamespaceUser { network_namespace, uid: ROOT }, address, resolution);
    }

    fn add_to_namespace(&mut self, user: NamespaceUser, address: IpAddr, resolution: &Rc<Resolution>) {
        let cache = self.namespaces.entry(user).or_insert_with(|| AddressCache::new(MAX_NAMESPACE_ADDRESSES));
        cache.add(address, resolution);
        self.added += 1;
        if self.added.is_multiple_of(COUNT_INTERVAL) {
            self.enforce_bound();
        }
    }

    /// Finds the resolution of the process itself to which a connection that it opened at `time` belongs.
    pub(crate) fn find_of_process(&mut self, process: ProcessId, address: IpAddr, time: u64) -> AddressMatch {
        self.processes.get_mut(&process).map(|cache| cache.find(address, time)).unwrap_or_default()
    }

    /// Finds the only name that processes of the user, or of root, in the network namespace had resolved to the address at
    /// `time`. `None` if there are several.
    pub(crate) fn find_in_namespace(
        &mut self,
        network_namespace: u32,
        uid: u32,
        address: IpAddr,
        time: u64,
    ) -> Option<Bytes> {
        let mut name_of = |uid| {
            let cache = self.namespaces.get_mut(&NamespaceUser { network_namespace, uid })?;
            Some(cache.find_unique(address, time)?.name.clone())
        };
        match (name_of(uid), name_of(ROOT)) {
            (Some(name), Some(name_of_root)) => (name == name_of_root).then_some(name),
            (name, name_of_root) => name.or(name_of_root),
        }
    }

    /// Number of resolutions in all caches, each counted once for each of its addresses.
    pub(crate) fn count(&self) -> usize {
        let processes = self.processes.iter().map(|(_, cache)| cache.resolution_count());
        processes.chain(self.namespaces.iter().map(|(_, cache)| cache.resolution_count())).sum()
    }

    /// Removes the processes, then the namespaces, that were used least recently, while there are too many resolutions.
    fn enforce_bound(&mut self) {
        while self.count() > MAX_RESOLUTIONS {
            if self.processes.len() > 1 {
                self.processes.remove_lru();
            } else if self.namespaces.remove_lru().is_none() {
                return;
            }
        }
    }
}
