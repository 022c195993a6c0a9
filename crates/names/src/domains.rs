//! The domain of a peer: what the process asked for, or what the connection itself says, or what others in the network
//! namespace asked for, in this order. docs/names.md says why.
//!
//! A name is decided for a connection, once: what was written is never renamed.

use std::{net::IpAddr, rc::Rc};

use hashlink::LruCache;

use super::{
    dns::{self, Message},
    domain,
    framing::Framing,
    greeting::{Greeting, Outcome},
    known::{Answer, Request, Scope},
};
use model::{Address, Bytes, DomainSource, Flow, FlowId, NameObservation, ObservedPayload, ProcessId};

/// Processes and network namespaces of which names are remembered, and addresses of each.
const MAX_PROCESSES: usize = 4096;
const MAX_NAMESPACES: usize = 256;
const PROCESS_ADDRESSES: usize = 512;
const NAMESPACE_ADDRESSES: usize = 4096;
/// Requests of all of them together, counted once for each of their addresses.
const MAX_REQUESTS: usize = 50_000;
/// They are counted whenever so many were learned.
const COUNT_EVERY: usize = 1024;
/// Sockets whose questions to name servers wait for an answer, and questions of one.
const MAX_ASKING: usize = 2048;
const MAX_QUESTIONS: usize = 64;
/// Streams to and from name servers, and connections whose greeting is not complete.
const MAX_STREAMS: usize = 512;
/// Connections whose name is known, or that wait for one.
const MAX_CONNECTIONS: usize = 16_384;

/// Seconds for which an answer of a name server counts, whatever it says.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=86_400;
/// A connection whose greeting, or that of an earlier one, may still be on its way: nanoseconds.
const YOUNG: u64 = 2_000_000_000;
/// Seconds for which an answer of the C library counts, which does not say.
const ASKED_SECONDS: u64 = 600;

const UDP: u16 = 17;
const PORT_DNS: u16 = 53;
const PORT_MDNS: u16 = 5353;
const PORT_LLMNR: u16 = 5355;

/// Which connection: its socket, and the address and port of its other end.
type End = (u64, IpAddr, u16);

/// A network namespace, and whose requests: a user may be deceived by nobody but root, and by oneself.
type Namespace = (u32, u32);

/// The user whose requests count for everybody.
const ROOT: u32 = 0;

/// A domain, and how it is known.
pub type Known = (Bytes, DomainSource);

/// What is known of a connection when its window ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its name.
    Known(Known),
    /// One of several names: which one may become known soon.
    Soon,
    /// Nothing.
    Unknown,
}

/// What was asked through one socket: number, name and type.
type Questions = Vec<(u16, Bytes, u16)>;

/// A connection that waits for its name.
#[derive(Clone, Copy)]
struct Waiting {
    process: ProcessId,
    network_namespace: u32,
    uid: u32,
    /// When it began, nanoseconds of boot time.
    began: u64,
}

/// What is known of names, from what was heard.
pub struct Domains {
    processes: LruCache<ProcessId, Scope>,
    namespaces: LruCache<Namespace, Scope>,
    questions: LruCache<(ProcessId, u64), Questions>,
    streams: LruCache<(ProcessId, u64, bool), Framing>,
    greetings: LruCache<End, Greeting>,
    /// What connections said themselves, before anybody asked for it.
    said: LruCache<End, Known>,
    waiting: LruCache<End, Waiting>,
    decided: LruCache<End, Known>,
    /// Addresses that were learned, ever.
    learned: usize,
}

impl Default for Domains {
    fn default() -> Self {
        Self {
            processes: LruCache::new(MAX_PROCESSES),
            namespaces: LruCache::new(MAX_NAMESPACES),
            questions: LruCache::new(MAX_ASKING),
            streams: LruCache::new(MAX_STREAMS),
            greetings: LruCache::new(MAX_STREAMS),
            said: LruCache::new(MAX_CONNECTIONS),
            waiting: LruCache::new(MAX_CONNECTIONS),
            decided: LruCache::new(MAX_CONNECTIONS),
            learned: 0,
        }
    }
}

impl Domains {
    /// Takes something that was heard. It has to come before the traffic that follows from it.
    pub fn hear(&mut self, heard: &NameObservation) {
        match &heard.payload {
            ObservedPayload::Resolved(name, addresses) => {
                let Some(name) = domain(name) else { return };
                let request = Request::new(name, heard.time, ASKED_SECONDS, DomainSource::Resolver);
                for address in addresses {
                    self.learn(heard, *address, &request);
                }
            }
            ObservedPayload::Sent(bytes, left_out) => {
                if is_name_service(heard.remote_port) {
                    self.name_service(heard, bytes, *left_out, true);
                } else {
                    self.greet(heard, bytes, *left_out);
                }
            }
            ObservedPayload::Received(bytes, left_out) => self.name_service(heard, bytes, *left_out, false),
        }
    }

    /// systemd-resolved has found out for somebody in this network namespace, at `time` (nanoseconds of boot time), that these
    /// are the addresses of a name.
    pub fn resolved(&mut self, network_namespace: u32, time: u64, name: Bytes, addresses: &[IpAddr]) {
        let request = Request::new(name, time, ASKED_SECONDS, DomainSource::Dns);
        for address in addresses {
            self.learn_namespace((network_namespace, ROOT), *address, &request);
        }
    }

    /// Names the peer of a flow, if its name is certain by now; flows should come in the order in which they began. Returns
    /// whether [`Domains::settle`] may know it later.
    pub fn name(&mut self, flow: &mut Flow) -> bool {
        let Some(address) = flow.tuple.remote_address.and_then(Address::ip) else { return false };
        let Ok(port) = u16::try_from(flow.tuple.remote_port) else { return false };
        let end = (flow.id.socket, address, port);
        if let Some((name, source)) = self.decided.get(&end) {
            (flow.tuple.domain, flow.tuple.domain_source) = (name.clone(), *source);
            return false;
        }
        if self.waiting.contains_key(&end) {
            return true;
        }
        // An accepted connection is none that anybody asked a name for.
        if !flow.id.opened || flow.id.socket == 0 {
            return false;
        }
        let FlowId { process, network_namespace, uid, began, .. } = flow.id;
        let waiting = Waiting { process, network_namespace, uid, began };
        // What a connection was opened for already may be said better by the next one itself.
        if let Answer::One(request) = self.asked(&waiting, address)
            && request.is_unused()
        {
            request.mark_used();
            let known = (request.name.clone(), request.source);
            (flow.tuple.domain, flow.tuple.domain_source) = known.clone();
            self.decided.insert(end, known);
            return false;
        }
        self.waiting.insert(end, waiting);
        true
    }

    /// Gives the peer of a flow the name that was decided before. Returns whether [`Domains::settle`] may know it later.
    pub fn recall(&mut self, flow: &mut Flow) -> bool {
        let Some(address) = flow.tuple.remote_address.and_then(Address::ip) else { return false };
        let Ok(port) = u16::try_from(flow.tuple.remote_port) else { return false };
        let end = (flow.id.socket, address, port);
        if let Some((name, source)) = self.decided.get(&end) {
            (flow.tuple.domain, flow.tuple.domain_source) = (name.clone(), *source);
        }
        self.waiting.contains_key(&end)
    }

    /// The name of a connection that waits for one, now (nanoseconds of boot time) that its window ends: what was asked
    /// for, as it is known now, what it said itself, or what others asked for.
    pub fn settle(&mut self, socket: u64, address: IpAddr, port: u16, now: u64) -> Settled {
        let end = (socket, address, port);
        if let Some(known) = self.decided.get(&end) {
            return Settled::Known(known.clone());
        }
        let Some(waiting) = self.waiting.get(&end).copied() else { return Settled::Unknown };
        let answer = self.asked(&waiting, address);
        let said = self.said.get(&end).cloned();
        let is_young = now.saturating_sub(waiting.began) < YOUNG;
        let known = match (answer, said) {
            (Answer::One(request), said) => {
                let known = (request.name.clone(), request.source);
                let is_its_first = request.is_unused();
                request.mark_used();
                said.filter(|(name, _)| *name != known.0 && !is_its_first).unwrap_or(known)
            }
            // One of those that its process asked for: then it is that one.
            (Answer::Several(possible), Some((name, source))) => {
                match possible.iter().find(|request| request.name == name) {
                    Some(request) => {
                        request.mark_used();
                        (name, request.source)
                    }
                    None => (name, source),
                }
            }
            (Answer::Expired(_) | Answer::Unknown, Some(known)) => known,
            (Answer::Several(_), None) if is_young => return Settled::Soon,
            (Answer::Several(_), None) => return Settled::Unknown,
            // Its greeting may be on its way.
            (Answer::Expired(_), None) if is_young => return Settled::Soon,
            (Answer::Expired(request), None) => (request.name.clone(), request.source),
            (Answer::Unknown, None) => match self.asked_by_others(&waiting, address) {
                Some(_) if is_young => return Settled::Soon,
                Some(name) => (name, DomainSource::Namespace),
                None => return Settled::Unknown,
            },
        };
        self.waiting.remove(&end);
        self.said.remove(&end);
        self.decided.insert(end, known.clone());
        Settled::Known(known)
    }

    /// What the process of a connection had asked for when it opened it.
    fn asked(&mut self, waiting: &Waiting, address: IpAddr) -> Answer {
        let scope = self.processes.get_mut(&waiting.process);
        scope.map(|scope| scope.name(address, waiting.began)).unwrap_or_default()
    }

    /// The only name that others of the same user, or root, had found out in the network namespace.
    fn asked_by_others(&mut self, waiting: &Waiting, address: IpAddr) -> Option<Bytes> {
        let mut of = |uid| {
            let scope = self.namespaces.get_mut(&(waiting.network_namespace, uid))?;
            Some(scope.certain_name(address, waiting.began)?.name.clone())
        };
        match (of(waiting.uid), of(ROOT)) {
            (Some(name), Some(other)) => (name == other).then_some(name),
            (name, other) => name.or(other),
        }
    }

    /// The process of `heard` has found out that `address` belongs to a name.
    fn learn(&mut self, heard: &NameObservation, address: IpAddr, request: &Rc<Request>) {
        let scope = self.processes.entry(heard.process).or_insert_with(|| Scope::new(PROCESS_ADDRESSES));
        scope.add(address, request);
        self.learn_namespace((heard.network_namespace, heard.uid), address, request);
    }

    /// Somebody in a network namespace has found out that `address` belongs to a name.
    fn learn_namespace(&mut self, namespace: Namespace, address: IpAddr, request: &Rc<Request>) {
        let scope = self.namespaces.entry(namespace).or_insert_with(|| Scope::new(NAMESPACE_ADDRESSES));
        scope.add(address, request);
        self.learned += 1;
        if self.learned.is_multiple_of(COUNT_EVERY) {
            self.bound();
        }
    }

    /// Forgets whoever has asked nothing for longest, when there is too much.
    fn bound(&mut self) {
        while self.requests() > MAX_REQUESTS {
            if self.processes.len() > 1 {
                self.processes.remove_lru();
            } else if self.namespaces.remove_lru().is_none() {
                return;
            }
        }
    }

    fn requests(&self) -> usize {
        let processes = self.processes.iter().map(|(_, scope)| scope.len());
        processes.chain(self.namespaces.iter().map(|(_, scope)| scope.len())).sum()
    }

    fn name_service(&mut self, heard: &NameObservation, bytes: &[u8], left_out: u32, sent: bool) {
        if heard.protocol == UDP {
            if left_out == 0 {
                self.message(heard, bytes, sent);
            }
            return;
        }
        let stream = (heard.process, heard.socket, sent);
        let framing = self.streams.entry(stream).or_insert_with(Framing::default);
        for message in framing.add(bytes, left_out as usize) {
            self.message(heard, &message, sent);
        }
    }

    fn message(&mut self, heard: &NameObservation, bytes: &[u8], sent: bool) {
        let Some(message) = dns::read(bytes) else { return };
        let asking = (heard.process, heard.socket);
        match (&message.question, message.answer) {
            (Some((name, kind)), false) if sent => {
                let questions = self.questions.entry(asking).or_insert_with(Vec::new);
                if questions.len() >= MAX_QUESTIONS {
                    questions.remove(0);
                }
                questions.push((message.id, name.clone(), *kind));
            }
            (_, true) if !sent && self.is_answer(heard, &message) => {
                // All addresses of a name are one request.
                let mut requests: Vec<Rc<Request>> = Vec::new();
                for named in message.names {
                    let seconds = u64::from(named.seconds).clamp(*SECONDS.start(), *SECONDS.end());
                    let known = requests.iter().find(|request| request.name == named.name).cloned();
                    let request = known.unwrap_or_else(|| {
                        let request = Request::new(named.name, heard.time, seconds, DomainSource::Dns);
                        requests.push(Rc::clone(&request));
                        request
                    });
                    self.learn(heard, named.address, &request);
                }
            }
            _ => {}
        }
    }

    /// Whether this process asked for that, through that socket: whatever else comes, it will not believe either. Multicast
    /// answers come from anybody, so they may only speak of what is theirs.
    fn is_answer(&mut self, heard: &NameObservation, message: &Message) -> bool {
        let only =
            |is_theirs: &dyn Fn(&[u8]) -> bool| message.names.iter().all(|named| is_theirs(&named.name));
        let Some(questions) = self.questions.get(&(heard.process, heard.socket)) else { return false };
        if heard.remote_port == PORT_MDNS {
            let is_asked = |name: &[u8]| questions.iter().any(|(_, asked, _)| asked == name);
            return only(&|name| name.ends_with(b".local") && is_asked(name));
        }
        let asked = questions.iter().any(|(id, name, kind)| {
            *id == message.id
                && message.question.as_ref().is_some_and(|(asked, of)| (asked, of) == (name, kind))
        });
        asked && (heard.remote_port != PORT_LLMNR || only(&|name| !name.contains(&b'.')))
    }

    fn greet(&mut self, heard: &NameObservation, bytes: &[u8], left_out: u32) {
        let Some(address) = heard.remote else { return };
        let end = (heard.socket, address, heard.remote_port);
        if self.said.contains_key(&end) {
            return;
        }
        let greeting = self.greetings.entry(end).or_insert_with(Greeting::default);
        let outcome = if heard.protocol == UDP { greeting.add_datagram(bytes) } else { greeting.add(bytes) };
        match outcome {
            Outcome::More if left_out == 0 => return,
            Outcome::Named(name, source) => {
                self.said.insert(end, (name, source));
            }
            Outcome::More | Outcome::Nothing => {}
        }
        self.greetings.remove(&end);
    }
}

fn is_name_service(port: u16) -> bool {
    [PORT_DNS, PORT_MDNS, PORT_LLMNR].contains(&port)
}

#[cfg(test)]
#[path = "domains_tests.rs"]
mod tests;
