//! DNS messages (RFC 1035; multicast DNS: RFC 6762, LLMNR: RFC 4795), as far as they map names to addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::{
    Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord,
    rdata::{RData, SVCB, SVCParam},
};

use crate::domain_name::normalize_domain;
use model::Bytes;

/// Number of names that are followed from one alias to the next.
const MAX_ALIASES: usize = 16;
/// Number of addresses taken from one message.
const MAX_ADDRESSES: usize = 64;
/// Length of the header of a message, of the smallest question and of the smallest record (RFC 1035, section 4.1).
const HEADER_BYTES: usize = 12;
const MIN_QUESTION_BYTES: usize = 5;
const MIN_RECORD_BYTES: usize = 11;

/// The parts of a message that map a name to addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The id of a query, which its response repeats.
    pub(crate) id: u16,
    pub(crate) is_response: bool,
    /// `None` if the message has no question, as the responses of multicast DNS, or several.
    pub(crate) question: Option<Question>,
    /// Empty for a query and for a response that reports an error.
    pub(crate) addresses: Vec<AddressRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) name: Bytes,
    pub(crate) record_type: u16,
}

/// One address of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressRecord {
    pub(crate) name: Bytes,
    pub(crate) address: IpAddr,
    /// Time to live in seconds.
    pub(crate) ttl: u32,
}

/// Parses a message. `None` for bytes that are no message.
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    // A count of records for which the message is too short would make the parser allocate memory.
    let count = |at: usize| Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let records = count(6)? + count(8)? + count(10)?;
    if bytes.len() < HEADER_BYTES + count(4)? * MIN_QUESTION_BYTES + records * MIN_RECORD_BYTES {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let question = match packet.questions.as_slice() {
        [question] => {
            let QTYPE::TYPE(record_type) = question.qtype else { return None };
            Some(Question { name: domain_of(&question.qname)?, record_type: record_type.into() })
        }
        _ => None,
    };
    let is_response = packet.has_flags(PacketFlag::RESPONSE);
    let mut addresses = Vec::new();
    if is_response && packet.rcode() == RCODE::NoError {
        // The addresses in a response belong to the name in its question. Responses of multicast DNS have no question.
        match packet.questions.as_slice() {
            [question] => add_addresses_of(&question.qname, &packet, &mut addresses),
            [] => packet.answers.iter().for_each(|record| add_record(&record.name, record, &mut addresses)),
            _ => {}
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    Some(Message { id: packet.id(), is_response, question, addresses })
}

/// Adds the addresses of the name in a question, and of the names that its aliases lead to.
fn add_addresses_of(name: &Name<'_>, packet: &Packet<'_>, addresses: &mut Vec<AddressRecord>) {
    let mut aliases = vec![name];
    let mut next = 0;
    while let Some(alias) = aliases.get(next).copied() {
        for record in packet.answers.iter().filter(|record| is_same(&record.name, alias)) {
            let target = match &record.rdata {
                RData::CNAME(target) => Some(&target.0),
                RData::HTTPS(record) => alias_target(&record.0),
                RData::SVCB(record) => alias_target(record),
                _ => None,
            };
            if let Some(target) = target
                && aliases.len() < MAX_ALIASES
                && !aliases.iter().any(|alias| is_same(alias, target))
            {
                aliases.push(target);
            }
            add_record(name, record, addresses);
        }
        next += 1;
    }
}

/// Returns the target of a service binding in alias mode (RFC 9460, section 2.4.2).
fn alias_target<'a>(record: &'a SVCB<'a>) -> Option<&'a Name<'a>> {
    (record.priority == 0 && !record.target.get_labels().is_empty()).then_some(&record.target)
}

/// Adds the addresses in a record as addresses of `name`.
fn add_record(name: &Name<'_>, record: &ResourceRecord<'_>, addresses: &mut Vec<AddressRecord>) {
    let Some(name) = domain_of(name) else { return };
    let mut push = |address| addresses.push(AddressRecord { name: name.clone(), address, ttl: record.ttl });
    match &record.rdata {
        RData::A(record) => push(Ipv4Addr::from(record.address).into()),
        RData::AAAA(record) => push(IpAddr::from(Ipv6Addr::from(record.address)).to_canonical()),
        RData::HTTPS(record) => address_hints(&record.0).for_each(push),
        RData::SVCB(record) => address_hints(record).for_each(push),
        _ => {}
    }
}

/// Returns the addresses in the ipv4hint and ipv6hint parameters of a service binding (RFC 9460, section 7.3).
fn address_hints<'a>(record: &'a SVCB<'a>) -> impl Iterator<Item = IpAddr> + 'a {
    record.iter_params().flat_map(|parameter| -> Vec<IpAddr> {
        match parameter {
            SVCParam::Ipv4Hint(hints) => hints.iter().map(|hint| Ipv4Addr::from(*hint).into()).collect(),
            SVCParam::Ipv6Hint(hints) => {
                hints.iter().map(|hint| IpAddr::from(Ipv6Addr::from(*hint)).to_canonical()).collect()
            }
            _ => Vec::new(),
        }
    })
}

/// Compares names without regard to case (RFC 4343).
fn is_same(one: &Name<'_>, other: &Name<'_>) -> bool {
    let (one, other) = (one.get_labels(), other.get_labels());
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.as_ref().eq_ignore_ascii_case(other.as_ref()))
}

fn domain_of(name: &Name<'_>) -> Option<Bytes> {
    let labels: Vec<&[u8]> = name.as_bytes().collect();
    normalize_domain(&labels.join(&b'.'))
}

#[cfg(test)]
mod tests {
    use simple_dns::{CLASS, Question, TYPE, rdata};

    use super::*;

    fn name(text: &str) -> Name<'_> {
        Name::new_unchecked(text)
    }

    fn record<'a>(owner: &'a str, ttl: u32, rdata: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(name(owner), CLASS::IN, ttl, rdata)
    }

    fn reply<'a>(question: &'a str, kind: TYPE) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Question::new(name(question), kind.into(), CLASS::IN.into(), false));
        packet
    }

    fn addresses(packet: &Packet<'_>) -> Vec<(String, String, u32)> {
        let message = parse(&packet.build_bytes_vec_compressed().unwrap()).unwrap();
        message
            .addresses
            .into_iter()
            .map(|record| (String::from_utf8(record.name).unwrap(), record.address.to_string(), record.ttl))
            .collect()
    }

    #[test]
    fn addresses_behind_a_chain_of_aliases_belong_to_the_name_in_the_question() {
        let mut packet = reply("WWW.Example.com", TYPE::A);
        packet.answers = vec![
            // The records are in no order, and some of them do not belong to the question.
            record("edge.cdn.net", 20, RData::A(rdata::A { address: 0xc000_0201 })),
            record("www.example.com", 300, RData::CNAME(rdata::CNAME(name("x.example.com")))),
            record("x.example.com", 300, RData::CNAME(rdata::CNAME(name("Edge.CDN.net")))),
            record("evil.example.net", 300, RData::A(rdata::A { address: 0x0102_0304 })),
        ];
        assert_eq!(addresses(&packet), [("www.example.com".into(), "192.0.2.1".into(), 20)]);
    }

    #[test]
    fn a_circle_of_aliases_has_no_addresses() {
        let mut packet = reply("a.example", TYPE::A);
        packet.answers = vec![
            record("a.example", 300, RData::CNAME(rdata::CNAME(name("b.example")))),
            record("b.example", 300, RData::CNAME(rdata::CNAME(name("a.example")))),
        ];
        assert!(addresses(&packet).is_empty());
    }

    #[test]
    fn addresses_of_both_families_and_hints_are_read() {
        let mut packet = reply("a.example", TYPE::AAAA);
        packet.answers = vec![record("a.example", 60, RData::AAAA(rdata::AAAA { address: 1 << 112 | 5 }))];
        assert_eq!(addresses(&packet), [("a.example".into(), "1::5".into(), 60)]);
        let mut binding = SVCB::new(1, name(""));
        binding.set_ipv4hint(&[0xc000_0202]);
        binding.set_ipv6hint(&[7]);
        let mut packet = reply("a.example", TYPE::HTTPS);
        packet.answers = vec![record("a.example", 9, RData::HTTPS(rdata::HTTPS(binding)))];
        let hinted = |address: &str| ("a.example".to_owned(), address.to_owned(), 9);
        assert_eq!(addresses(&packet), [hinted("192.0.2.2"), hinted("::7")]);
    }

    #[test]
    fn errors_and_queries_have_no_addresses() {
        let mut packet = reply("a.example", TYPE::A);
        packet.answers = vec![record("a.example", 9, RData::A(rdata::A { address: 1 }))];
        *packet.rcode_mut() = RCODE::NameError;
        assert!(addresses(&packet).is_empty());
        let mut packet = Packet::new_query(3);
        packet.questions.push(Question::new(name("A.Example"), TYPE::A.into(), CLASS::IN.into(), false));
        let message = parse(&packet.build_bytes_vec().unwrap()).unwrap();
        let question = super::Question { name: b"a.example".to_vec(), record_type: 1 };
        assert_eq!((message.is_response, message.question), (false, Some(question)));
    }

    #[test]
    fn multicast_responses_without_a_question_have_addresses() {
        let mut packet = Packet::new_reply(0);
        packet.answers = vec![record("Printer.local", 120, RData::A(rdata::A { address: 0x0a00_0001 }))];
        assert_eq!(addresses(&packet), [("printer.local".into(), "10.0.0.1".into(), 120)]);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&[0; 11]), None);
        // Counts more records than it has.
        let mut miscounted = vec![0; 12];
        miscounted[2] = 0x80;
        miscounted[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(parse(&miscounted), None);
        // A name with a compression pointer to itself.
        let mut circle = vec![0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        circle.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(parse(&circle), None);
    }
}
