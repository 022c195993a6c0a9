use std::net::Ipv4Addr;

use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE, rdata};

use super::*;
use model::{Counters, FlowTuple};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const SECOND: u64 = 1_000_000_000;

fn process(number: u32) -> ProcessId {
    ProcessId { start: 1, tgid: number, exec: 0 }
}

fn heard(process_number: u32, second: u64, said: ObservedPayload) -> NameObservation {
    NameObservation {
        time: second * SECOND,
        process: process(process_number),
        network_namespace: 7,
        uid: 1000,
        socket: 50,
        remote: Some("192.0.2.53".parse().unwrap()),
        remote_port: 53,
        protocol: UDP,
        payload: said,
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(9);
    packet.questions.push(Question::new(Name::new_unchecked(name), TYPE::A.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

fn answer(name: &str, seconds: u32, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = Packet::new_reply(9);
    let name = Name::new_unchecked(name);
    packet.questions.push(Question::new(name.clone(), TYPE::A.into(), CLASS::IN.into(), false));
    let address = rdata::RData::A(rdata::A { address: address.into() });
    packet.answers.push(ResourceRecord::new(name, CLASS::IN, seconds, address));
    packet.build_bytes_vec().unwrap()
}

/// The process asks a name server and gets this address.
fn resolve(domains: &mut Domains, process: u32, second: u64, name: &str, seconds: u32) {
    domains.hear(&heard(process, second, ObservedPayload::Sent(query(name), 0)));
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    domains.hear(&heard(process, second, ObservedPayload::Received(answer(name, seconds, address), 0)));
}

fn ask(domains: &mut Domains, process: u32, second: u64, name: &str) {
    domains.hear(&heard(process, second, ObservedPayload::Resolved(name.into(), vec![ADDRESS])));
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

/// The name of a connection at the end of its window.
fn name(domains: &mut Domains, mut flow: Flow) -> Option<(String, DomainSource)> {
    let known = match domains.name(&mut flow) {
        true => match domains.settle(flow.id.socket, ADDRESS, 443, u64::MAX) {
            Settled::Known(known) => Some(known),
            _ => None,
        },
        false => Some((flow.tuple.domain, flow.tuple.domain_source)).filter(|(name, _)| !name.is_empty()),
    };
    known.map(|(name, source)| (String::from_utf8(name).unwrap(), source))
}

/// The connection begins with TLS and names this host.
fn greet(domains: &mut Domains, socket: u64, host: &str) {
    let message = crate::tls::tests::message(host, 3000);
    let mut records = vec![22, 3, 1];
    records.extend((message.len() as u16).to_be_bytes());
    records.extend(message);
    for piece in records.chunks(1000) {
        domains.hear(&NameObservation {
            socket,
            remote: Some(ADDRESS.into()),
            remote_port: 443,
            protocol: 6,
            ..heard(1, 1, ObservedPayload::Sent(piece.to_vec(), 0))
        });
    }
}

fn is(name: &str, source: DomainSource) -> Option<(String, DomainSource)> {
    Some((name.to_owned(), source))
}

#[test]
fn what_the_process_asked_comes_before_all_else() {
    let mut domains = Domains::default();
    ask(&mut domains, 1, 10, "asked.example");
    greet(&mut domains, 100, "front.example");
    assert_eq!(name(&mut domains, flow(1, 100, 11)), is("asked.example", DomainSource::Resolver));
    resolve(&mut domains, 2, 10, "Resolved.Example", 300);
    greet(&mut domains, 101, "front.example");
    assert_eq!(name(&mut domains, flow(2, 101, 11)), is("resolved.example", DomainSource::Dns));
}

#[test]
fn ten_names_of_one_address_are_told_apart_by_what_connections_say() {
    let mut domains = Domains::default();
    let names: Vec<String> = (0..10).map(|number| format!("n{number}.example")).collect();
    names.iter().for_each(|name| resolve(&mut domains, 1, 10, name, 300));
    let mut flows: Vec<Flow> = (0..10).map(|number| flow(1, 100 + number, 11)).collect();
    for flow in &mut flows {
        assert!(domains.name(flow), "it may be any");
    }
    let now = flows[0].id.began;
    assert_eq!(domains.settle(100, ADDRESS, 443, now), Settled::Soon);
    for (flow, name) in flows.iter().zip(&names) {
        greet(&mut domains, flow.id.socket, name);
    }
    for (flow, asked) in flows.into_iter().zip(&names) {
        assert_eq!(name(&mut domains, flow), is(asked, DomainSource::Dns));
    }
    // One that says nothing has no name rather than a wrong one.
    assert_eq!(name(&mut domains, flow(1, 200, 12)), None);
}

#[test]
fn a_connection_keeps_its_name() {
    let mut domains = Domains::default();
    ask(&mut domains, 1, 10, "a.example");
    assert_eq!(name(&mut domains, flow(1, 100, 11)), is("a.example", DomainSource::Resolver));
    ask(&mut domains, 1, 20, "b.example");
    assert_eq!(name(&mut domains, flow(1, 100, 11)), is("a.example", DomainSource::Resolver));
    // Also for another process that uses it.
    let inherited = Flow { id: model::FlowId { opened: false, ..flow(2, 100, 21).id }, ..flow(2, 100, 21) };
    assert_eq!(name(&mut domains, inherited), is("a.example", DomainSource::Resolver));
    assert_eq!(name(&mut domains, flow(1, 101, 21)), is("b.example", DomainSource::Resolver));
}

#[test]
fn others_in_the_namespace_count_last_and_other_namespaces_not_at_all() {
    let mut domains = Domains::default();
    resolve(&mut domains, 1, 10, "a.example", 300);
    assert_eq!(name(&mut domains, flow(2, 100, 11)), is("a.example", DomainSource::Namespace));
    let mut elsewhere = flow(2, 101, 11);
    elsewhere.id.network_namespace = 8;
    assert_eq!(name(&mut domains, elsewhere), None);
    // Before it was asked, and after it has expired.
    assert_eq!(name(&mut domains, flow(2, 102, 9)), None);
    assert_eq!(name(&mut domains, flow(2, 103, 311)), None);
    greet(&mut domains, 104, "b.example");
    assert_eq!(name(&mut domains, flow(2, 104, 11)), is("b.example", DomainSource::Tls));
    // Another user, who might lie; root does not.
    let mut of_another = flow(4, 110, 11);
    of_another.id.uid = 1001;
    assert_eq!(name(&mut domains, of_another), None);
    let of_root = |said| NameObservation { uid: 0, ..heard(9, 10, said) };
    domains.hear(&of_root(ObservedPayload::Resolved(b"r.example".to_vec(), vec![OTHER])));
    let mut to_other = flow(4, 111, 11);
    to_other.tuple.remote_address = Some(OTHER.into());
    assert!(domains.name(&mut to_other));
    let known = domains.settle(111, OTHER, 443, u64::MAX);
    assert_eq!(known, Settled::Known((b"r.example".to_vec(), DomainSource::Namespace)));
    // Two names: it may be either.
    resolve(&mut domains, 3, 12, "c.example", 300);
    assert_eq!(name(&mut domains, flow(2, 105, 13)), None);
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_believed() {
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let mut domains = Domains::default();
    let spoofed = |name: &str| ObservedPayload::Received(answer(name, 300, address), 0);
    domains.hear(&heard(1, 10, spoofed("evil.example")));
    domains.hear(&heard(1, 10, ObservedPayload::Sent(query("asked.example"), 0)));
    domains.hear(&heard(1, 10, spoofed("evil.example")));
    let mut wrong_number = answer("asked.example", 300, address);
    wrong_number[1] ^= 1;
    domains.hear(&heard(1, 10, ObservedPayload::Received(wrong_number, 0)));
    // Through another socket.
    domains.hear(&NameObservation { socket: 51, ..heard(1, 10, spoofed("asked.example")) });
    // What it sent itself is no answer.
    domains.hear(&heard(1, 10, ObservedPayload::Sent(answer("asked.example", 300, address), 0)));
    assert_eq!(name(&mut domains, flow(1, 100, 11)), None);
    domains.hear(&heard(1, 10, spoofed("asked.example")));
    assert_eq!(name(&mut domains, flow(1, 101, 11)), is("asked.example", DomainSource::Dns));
}

#[test]
fn multicast_speaks_of_local_names_only() {
    let mut domains = Domains::default();
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let multicast = |name: &str| {
        let mut packet = Packet::new_reply(0);
        let address = rdata::RData::A(rdata::A { address: address.into() });
        packet.answers.push(ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 120, address));
        let said = ObservedPayload::Received(packet.build_bytes_vec().unwrap(), 0);
        NameObservation { remote_port: PORT_MDNS, ..heard(1, 10, said) }
    };
    domains.hear(&multicast("bank.example"));
    assert_eq!(name(&mut domains, flow(1, 100, 11)), None);
    domains.hear(&multicast("Printer.local"));
    assert_eq!(name(&mut domains, flow(1, 102, 11)), None, "nobody asked");
    domains.hear(&NameObservation {
        remote_port: PORT_MDNS,
        ..heard(1, 10, ObservedPayload::Sent(query("printer.local"), 0))
    });
    domains.hear(&multicast("Printer.local"));
    assert_eq!(name(&mut domains, flow(1, 101, 11)), is("printer.local", DomainSource::Dns));
}

#[test]
fn streams_to_name_servers_are_read() {
    let mut domains = Domains::default();
    let IpAddr::V4(address) = ADDRESS else { unreachable!() };
    let framed = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let stream = |said| NameObservation { protocol: 6, ..heard(1, 10, said) };
    framed(query("a.example"))
        .chunks(2)
        .for_each(|piece| domains.hear(&stream(ObservedPayload::Sent(piece.to_vec(), 0))));
    let reply = framed(answer("a.example", 300, address));
    reply.chunks(7).for_each(|piece| domains.hear(&stream(ObservedPayload::Received(piece.to_vec(), 0))));
    assert_eq!(name(&mut domains, flow(1, 100, 11)), is("a.example", DomainSource::Dns));
}

#[test]
fn what_has_expired_gives_way_to_what_the_connection_says() {
    let mut domains = Domains::default();
    resolve(&mut domains, 1, 10, "a.example", 1);
    greet(&mut domains, 100, "b.example");
    assert_eq!(name(&mut domains, flow(1, 100, 10_000)), is("b.example", DomainSource::Tls));
    assert_eq!(name(&mut domains, flow(1, 101, 10_000)), is("a.example", DomainSource::Dns));
}

#[test]
fn a_second_connection_may_say_better_what_it_is_for() {
    let mut domains = Domains::default();
    ask(&mut domains, 1, 10, "a.example");
    assert_eq!(name(&mut domains, flow(1, 100, 11)), is("a.example", DomainSource::Resolver));
    // What it looked up since nobody has heard.
    greet(&mut domains, 101, "b.example");
    assert_eq!(name(&mut domains, flow(1, 101, 12)), is("b.example", DomainSource::Tls));
    assert_eq!(name(&mut domains, flow(1, 102, 13)), is("a.example", DomainSource::Resolver));
}

#[test]
fn accepted_connections_have_no_domain() {
    let mut domains = Domains::default();
    ask(&mut domains, 1, 10, "a.example");
    let mut accepted = flow(1, 100, 11);
    accepted.id.opened = false;
    assert_eq!(name(&mut domains, accepted), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut domains = Domains::default();
    for number in 0..200_000_u32 {
        let said = ObservedPayload::Resolved(b"a.example".to_vec(), vec![Ipv4Addr::from(number).into()]);
        domains.hear(&heard(number % 1000, 10, said));
    }
    assert!(domains.requests() <= MAX_REQUESTS + COUNT_EVERY * 2, "{}", domains.requests());
    for socket in 1..50_000 {
        domains.name(&mut flow(5000, socket, 11));
        domains
            .hear(&NameObservation { socket, ..heard(1, 10, ObservedPayload::Sent(query("a.example"), 0)) });
    }
    // (Room is made before the next one comes.)
    assert!(domains.waiting.len() <= MAX_CONNECTIONS + 1 && domains.questions.len() <= MAX_ASKING + 1);
}
