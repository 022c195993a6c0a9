//! DNS queries and responses of processes. Only a response to a query that the same process sent through the same socket is
//! accepted.

use hashlink::LruCache;

use crate::{
    dns_message::{self, Message, Question},
    dns_stream::DnsStream,
};
use model::{NameObservation, ProcessId};

/// Number of sockets whose queries are kept, to compare responses with them.
pub(crate) const MAX_QUERYING_SOCKETS: usize = 2048;
/// Number of queries that are kept for one socket; beyond it the oldest one goes.
const MAX_QUERIES_PER_SOCKET: usize = 64;
/// Number of directions of TCP streams whose incomplete messages are kept.
const MAX_STREAMS: usize = 512;

pub(crate) const PROTOCOL_UDP: u16 = 17;
const PORT_DNS: u16 = 53;
pub(crate) const PORT_MDNS: u16 = 5353;
const PORT_LLMNR: u16 = 5355;

/// Direction of a payload, seen from the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Sent,
    Received,
}

/// A use of a socket by a process.
type ProcessSocket = (ProcessId, u64);

#[derive(Debug)]
struct Query {
    id: u16,
    question: Question,
}

/// The queries that processes sent, and the streams of which messages are incomplete.
pub(crate) struct DnsExchanges {
    queries: LruCache<ProcessSocket, Vec<Query>>,
    streams: LruCache<(ProcessSocket, Direction), DnsStream>,
}

impl Default for DnsExchanges {
    fn default() -> Self {
        Self { queries: LruCache::new(MAX_QUERYING_SOCKETS), streams: LruCache::new(MAX_STREAMS) }
    }
}

impl DnsExchanges {
    /// Adds one payload, of which `uncaptured` bytes are missing at the end. Returns the responses that are complete and that
    /// answer a query.
    pub(crate) fn observe(
        &mut self,
        observation: &NameObservation,
        direction: Direction,
        bytes: &[u8],
        uncaptured: u32,
    ) -> Vec<Message> {
        if observation.protocol == PROTOCOL_UDP {
            // A truncated datagram is not parsed.
            let response = (uncaptured == 0).then(|| self.observe_message(observation, direction, bytes));
            return response.flatten().into_iter().collect();
        }
        let stream = ((observation.process, observation.socket), direction);
        let stream = self.streams.entry(stream).or_insert_with(DnsStream::default);
        let messages = stream.add(bytes, uncaptured as usize);
        messages.iter().filter_map(|bytes| self.observe_message(observation, direction, bytes)).collect()
    }

    #[cfg(test)]
    pub(crate) fn querying_socket_count(&self) -> usize {
        self.queries.len()
    }

    /// Keeps a query; returns a response if it is accepted.
    fn observe_message(
        &mut self,
        observation: &NameObservation,
        direction: Direction,
        bytes: &[u8],
    ) -> Option<Message> {
        let message = dns_message::parse(bytes)?;
        match (message.is_response, direction) {
            (false, Direction::Sent) => {
                let Message { id, question, .. } = message;
                let question = question?;
                let socket = (observation.process, observation.socket);
                let queries = self.queries.entry(socket).or_insert_with(Vec::new);
                if queries.len() >= MAX_QUERIES_PER_SOCKET {
                    queries.remove(0);
                }
                queries.push(Query { id, question });
                None
            }
            (true, Direction::Received) => self.is_accepted(observation, &message).then_some(message),
            _ => None,
        }
    }

    /// Whether the process sent the query that this response answers through the same socket; a resolver accepts no other
    /// response either. Any host of the local network can send a multicast response, so that these may only contain names
    /// of their own domain.
    fn is_accepted(&mut self, observation: &NameObservation, response: &Message) -> bool {
        let all_names = |is_allowed: &dyn Fn(&[u8]) -> bool| {
            response.addresses.iter().all(|record| is_allowed(&record.name))
        };
        let Some(queries) = self.queries.get(&(observation.process, observation.socket)) else {
            return false;
        };
        if observation.remote_port == PORT_MDNS {
            let is_queried = |name: &[u8]| queries.iter().any(|query| query.question.name == name);
            return all_names(&|name| name.ends_with(b".local") && is_queried(name));
        }
        let is_queried = queries
            .iter()
            .any(|query| query.id == response.id && response.question.as_ref() == Some(&query.question));
        is_queried && (observation.remote_port != PORT_LLMNR || all_names(&|name| !name.contains(&b'.')))
    }
}

/// Whether a port belongs to a name service whose messages are DNS messages.
pub(crate) fn is_name_service_port(port: u16) -> bool {
    [PORT_DNS, PORT_MDNS, PORT_LLMNR].contains(&port)
}
