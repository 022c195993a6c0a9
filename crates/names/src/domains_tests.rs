use std::net::Ipv4Addr;

use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE, rdata};

use super::*;
use crate::{
    dns_exchange::{MAX_QUERYING_SOCKETS, PORT_MDNS},
    resolutions::{COUNT_INTERVAL, MAX_RESOLUTIONS},
};
use model::{Counters, FlowTuple};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const SECOND: u64 = 1_000_000_000;

fn process(number: u32) -> ProcessId {
    ProcessId { start: 1, tgid: number, exec: 0 }
}

fn observation(process_number: u32, second: u64, payload: ObservedPayload) -> NameObservation {
    NameObservation {
        time: second * SECOND,
        process: process(process_number),
        network_namespace: 7,
        uid: 1000,
        socket: 50,
        remote: Some("192.0.2.53".parse().unwrap()),
        remote_port: 53,
        protocol: PROTOCOL_UDP,
        payload,
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(9);
    packet.questions.push(Question::new(Name::new_unchecked(name), TYPE::A.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

fn response(name: &str, ttl: u32, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = Packet::new_reply(9);
    let name = Name::new_unchecked(name);
    packet.questions.push(Question::new(name.clone(), TYPE::A.into(), CLASS::IN.into(), false));
    let address = rdata::RData::A(rdata::A { address: address.into() });
    packet.answers.push(ResourceRecord::new(name, CLASS::IN, ttl, address));
    packet.build_bytes_vec().unwrap()
}

/// The process sends a DNS query and gets `ADDRESS`.
fn query_dns(domains: &mut Domains, process: u32, second: u64, name: &str, ttl: u32) {
    domains.observe(&observation(process, second, ObservedPayload::Sent(query(name), 0)));
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    domains.observe(&observation(
        process,
        second,
        ObservedPayload::Received(response(name, ttl, address), 0),
    ));
}

/// The process resolves a name with its C library and gets `ADDRESS`.
fn call_getaddrinfo(domains: &mut Domains, process: u32, second: u64, name: &str) {
    domains.observe(&observation(process, second, ObservedPayload::Resolved(name.into(), vec![ADDRESS])));
}

fn flow(process_number: u32, socket: u64, second: u64) -> Flow {
    Flow {
        context: 0,
        id: model::FlowId {
            process: process(process_number),
            socket,
            network_namespace: 7,
            uid: 1000,
            began: second * SECOND,
            opened: true,
            ended: false,
        },
        tuple: FlowTuple {
            protocol: 6,
            remote_address: Some(ADDRESS.into()),
            remote_port: 443,
            ..FlowTuple::default()
        },
        counters: Counters::default(),
    }
}

fn endpoint(socket: u64, address: IpAddr) -> RemoteEndpoint {
    RemoteEndpoint { socket, address, port: 443 }
}

/// Returns the domain of a connection at the end of its window.
fn domain_of(domains: &mut Domains, mut flow: Flow) -> Option<(String, DomainSource)> {
    let domain = match domains.name_flow(&mut flow) {
        true => match domains.decide(endpoint(flow.id.socket, ADDRESS), u64::MAX) {
            DomainDecision::Decided(domain) => Some(domain),
            _ => None,
        },
        false => Some((flow.tuple.domain, flow.tuple.domain_source)).filter(|(name, _)| !name.is_empty()),
    };
    domain.map(|(name, source)| (String::from_utf8(name).unwrap(), source))
}

/// The connection begins with a TLS handshake that names this host.
fn start_tls(domains: &mut Domains, socket: u64, host: &str) {
    let message = crate::tls::tests::client_hello(host, 3000);
    let mut records = vec![22, 3, 1];
    records.extend((message.len() as u16).to_be_bytes());
    records.extend(message);
    for piece in records.chunks(1000) {
        domains.observe(&NameObservation {
            socket,
            remote: Some(ADDRESS),
            remote_port: 443,
            protocol: 6,
            ..observation(1, 1, ObservedPayload::Sent(piece.to_vec(), 0))
        });
    }
}

fn domain(name: &str, source: DomainSource) -> Option<(String, DomainSource)> {
    Some((name.to_owned(), source))
}

#[test]
fn a_name_that_the_process_resolved_comes_first() {
    let mut domains = Domains::default();
    call_getaddrinfo(&mut domains, 1, 10, "libc.example");
    start_tls(&mut domains, 100, "front.example");
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), domain("libc.example", DomainSource::Resolver));
    query_dns(&mut domains, 2, 10, "Resolved.Example", 300);
    start_tls(&mut domains, 101, "front.example");
    assert_eq!(domain_of(&mut domains, flow(2, 101, 11)), domain("resolved.example", DomainSource::Dns));
}

#[test]
fn handshakes_decide_between_ten_names_of_one_address() {
    let mut domains = Domains::default();
    let names: Vec<String> = (0..10).map(|number| format!("n{number}.example")).collect();
    names.iter().for_each(|name| query_dns(&mut domains, 1, 10, name, 300));
    let mut flows: Vec<Flow> = (0..10).map(|number| flow(1, 100 + number, 11)).collect();
    for flow in &mut flows {
        assert!(domains.name_flow(flow), "any of the names fits");
    }
    let now = flows[0].id.began;
    assert_eq!(domains.decide(endpoint(100, ADDRESS), now), DomainDecision::Pending);
    for (flow, name) in flows.iter().zip(&names) {
        start_tls(&mut domains, flow.id.socket, name);
    }
    for (flow, name) in flows.into_iter().zip(&names) {
        assert_eq!(domain_of(&mut domains, flow), domain(name, DomainSource::Dns));
    }
    // Without a handshake there is no domain rather than a wrong one.
    assert_eq!(domain_of(&mut domains, flow(1, 200, 12)), None);
}

#[test]
fn a_connection_keeps_its_domain() {
    let mut domains = Domains::default();
    call_getaddrinfo(&mut domains, 1, 10, "a.example");
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), domain("a.example", DomainSource::Resolver));
    call_getaddrinfo(&mut domains, 1, 20, "b.example");
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), domain("a.example", DomainSource::Resolver));
    // Also when another process uses the connection.
    let inherited = Flow { id: model::FlowId { opened: false, ..flow(2, 100, 21).id }, ..flow(2, 100, 21) };
    assert_eq!(domain_of(&mut domains, inherited), domain("a.example", DomainSource::Resolver));
    assert_eq!(domain_of(&mut domains, flow(1, 101, 21)), domain("b.example", DomainSource::Resolver));
}

#[test]
fn other_processes_in_the_namespace_come_last_and_other_namespaces_do_not_count() {
    let mut domains = Domains::default();
    query_dns(&mut domains, 1, 10, "a.example", 300);
    assert_eq!(domain_of(&mut domains, flow(2, 100, 11)), domain("a.example", DomainSource::Namespace));
    let mut elsewhere = flow(2, 101, 11);
    elsewhere.id.network_namespace = 8;
    assert_eq!(domain_of(&mut domains, elsewhere), None);
    // Before the name was resolved, and after it has expired.
    assert_eq!(domain_of(&mut domains, flow(2, 102, 9)), None);
    assert_eq!(domain_of(&mut domains, flow(2, 103, 311)), None);
    start_tls(&mut domains, 104, "b.example");
    assert_eq!(domain_of(&mut domains, flow(2, 104, 11)), domain("b.example", DomainSource::Tls));
    // Another user is not trusted, root is.
    let mut of_another = flow(4, 110, 11);
    of_another.id.uid = 1001;
    assert_eq!(domain_of(&mut domains, of_another), None);
    let of_root = |payload| NameObservation { uid: 0, ..observation(9, 10, payload) };
    domains.observe(&of_root(ObservedPayload::Resolved(b"r.example".to_vec(), vec![OTHER])));
    let mut to_other = flow(4, 111, 11);
    to_other.tuple.remote_address = Some(OTHER.into());
    assert!(domains.name_flow(&mut to_other));
    let decision = domains.decide(endpoint(111, OTHER), u64::MAX);
    assert_eq!(decision, DomainDecision::Decided((b"r.example".to_vec(), DomainSource::Namespace)));
    // Both names fit.
    query_dns(&mut domains, 3, 12, "c.example", 300);
    assert_eq!(domain_of(&mut domains, flow(2, 105, 13)), None);
}

#[test]
fn a_response_without_a_query_is_ignored() {
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let mut domains = Domains::default();
    let spoofed = |name: &str| ObservedPayload::Received(response(name, 300, address), 0);
    domains.observe(&observation(1, 10, spoofed("evil.example")));
    domains.observe(&observation(1, 10, ObservedPayload::Sent(query("queried.example"), 0)));
    domains.observe(&observation(1, 10, spoofed("evil.example")));
    let mut wrong_id = response("queried.example", 300, address);
    wrong_id[1] ^= 1;
    domains.observe(&observation(1, 10, ObservedPayload::Received(wrong_id, 0)));
    // Received through another socket.
    domains.observe(&NameObservation { socket: 51, ..observation(1, 10, spoofed("queried.example")) });
    // Sent by the process itself.
    domains.observe(&observation(1, 10, ObservedPayload::Sent(response("queried.example", 300, address), 0)));
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), None);
    domains.observe(&observation(1, 10, spoofed("queried.example")));
    assert_eq!(domain_of(&mut domains, flow(1, 101, 11)), domain("queried.example", DomainSource::Dns));
}

#[test]
fn multicast_responses_count_for_local_names_only() {
    let mut domains = Domains::default();
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let multicast = |name: &str| {
        let mut packet = Packet::new_reply(0);
        let address = rdata::RData::A(rdata::A { address: address.into() });
        packet.answers.push(ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 120, address));
        let payload = ObservedPayload::Received(packet.build_bytes_vec().unwrap(), 0);
        NameObservation { remote_port: PORT_MDNS, ..observation(1, 10, payload) }
    };
    domains.observe(&multicast("bank.example"));
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), None);
    domains.observe(&multicast("Printer.local"));
    assert_eq!(domain_of(&mut domains, flow(1, 102, 11)), None, "no query was sent");
    domains.observe(&NameObservation {
        remote_port: PORT_MDNS,
        ..observation(1, 10, ObservedPayload::Sent(query("printer.local"), 0))
    });
    domains.observe(&multicast("Printer.local"));
    assert_eq!(domain_of(&mut domains, flow(1, 101, 11)), domain("printer.local", DomainSource::Dns));
}

#[test]
fn dns_over_tcp_is_read() {
    let mut domains = Domains::default();
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let framed = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let stream = |payload| NameObservation { protocol: 6, ..observation(1, 10, payload) };
    framed(query("a.example"))
        .chunks(2)
        .for_each(|piece| domains.observe(&stream(ObservedPayload::Sent(piece.to_vec(), 0))));
    let reply = framed(response("a.example", 300, address));
    reply.chunks(7).for_each(|piece| domains.observe(&stream(ObservedPayload::Received(piece.to_vec(), 0))));
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), domain("a.example", DomainSource::Dns));
}

#[test]
fn a_handshake_comes_before_an_expired_resolution() {
    let mut domains = Domains::default();
    query_dns(&mut domains, 1, 10, "a.example", 1);
    start_tls(&mut domains, 100, "b.example");
    assert_eq!(domain_of(&mut domains, flow(1, 100, 10_000)), domain("b.example", DomainSource::Tls));
    assert_eq!(domain_of(&mut domains, flow(1, 101, 10_000)), domain("a.example", DomainSource::Dns));
}

#[test]
fn the_handshake_of_a_second_connection_comes_before_the_used_resolution() {
    let mut domains = Domains::default();
    call_getaddrinfo(&mut domains, 1, 10, "a.example");
    assert_eq!(domain_of(&mut domains, flow(1, 100, 11)), domain("a.example", DomainSource::Resolver));
    // The name that the process resolved in between was not observed.
    start_tls(&mut domains, 101, "b.example");
    assert_eq!(domain_of(&mut domains, flow(1, 101, 12)), domain("b.example", DomainSource::Tls));
    assert_eq!(domain_of(&mut domains, flow(1, 102, 13)), domain("a.example", DomainSource::Resolver));
}

#[test]
fn an_accepted_connection_has_no_domain() {
    let mut domains = Domains::default();
    call_getaddrinfo(&mut domains, 1, 10, "a.example");
    let mut accepted = flow(1, 100, 11);
    accepted.id.opened = false;
    assert_eq!(domain_of(&mut domains, accepted), None);
}

#[test]
fn all_state_is_bounded() {
    let mut domains = Domains::default();
    for number in 0..200_000_u32 {
        let payload = ObservedPayload::Resolved(b"a.example".to_vec(), vec![Ipv4Addr::from(number).into()]);
        domains.observe(&observation(number % 1000, 10, payload));
    }
    assert!(
        domains.resolutions.count() <= MAX_RESOLUTIONS + COUNT_INTERVAL * 2,
        "{}",
        domains.resolutions.count()
    );
    for socket in 1..50_000 {
        domains.name_flow(&mut flow(5000, socket, 11));
        domains.observe(&NameObservation {
            socket,
            ..observation(1, 10, ObservedPayload::Sent(query("a.example"), 0))
        });
    }
    // The caches drop their oldest entry just before the next one is added.
    assert!(domains.undecided.len() <= MAX_CONNECTIONS + 1);
    assert!(domains.dns.querying_socket_count() <= MAX_QUERYING_SOCKETS + 1);
}
