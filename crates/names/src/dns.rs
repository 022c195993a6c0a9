//! Messages of name servers (RFC 1035; multicast: RFC 6762, LLMNR: RFC 4795), as far as they tell names of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::{
    Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord,
    rdata::{RData, SVCB, SVCParam},
};

use super::domain;
use model::Bytes;

/// Names that one answer leads through at most: CNAME after CNAME.
const MAX_ALIASES: usize = 16;
/// Addresses taken from one message.
const MAX_ADDRESSES: usize = 64;
/// Bytes of the header, of the smallest question and of the smallest record (RFC 1035, section 4.1).
const HEADER: usize = 12;
const QUESTION: usize = 5;
const RECORD: usize = 11;

/// A message, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of the question, which its answer repeats.
    pub id: u16,
    /// It is an answer.
    pub answer: bool,
    /// Name and type asked for, if it is one name; a question of multicast DNS comes without it in the answer.
    pub question: Option<(Bytes, u16)>,
    /// Names of addresses, and seconds for which they hold.
    pub names: Vec<Named>,
}

/// An address of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: Bytes,
    /// Its address.
    pub address: IpAddr,
    /// Seconds for which this holds.
    pub seconds: u32,
}

/// Reads a message; `None` for what is none.
pub fn read(bytes: &[u8]) -> Option<Message> {
    // Numbers of records that cannot be there would cost memory.
    let count = |at: usize| Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let records = count(6)? + count(8)? + count(10)?;
    if bytes.len() < HEADER + count(4)? * QUESTION + records * RECORD {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let question = match packet.questions.as_slice() {
        [question] => {
            let QTYPE::TYPE(kind) = question.qtype else { return None };
            Some((text(&question.qname)?, kind.into()))
        }
        _ => None,
    };
    let answer = packet.has_flags(PacketFlag::RESPONSE);
    let mut names = Vec::new();
    if answer && packet.rcode() == RCODE::NoError {
        // A question has one asked name, and what comes back are its addresses. Multicast answers come unasked.
        match packet.questions.as_slice() {
            [question] => follow(&question.qname, &packet, &mut names),
            [] => packet.answers.iter().for_each(|record| add(&record.name, record, &mut names)),
            _ => {}
        }
    }
    names.truncate(MAX_ADDRESSES);
    Some(Message { id: packet.id(), answer, question, names })
}

/// What the answers say of the name that was asked for, and of those that stand for it.
fn follow(asked: &Name<'_>, packet: &Packet<'_>, names: &mut Vec<Named>) {
    let mut aliases = vec![asked];
    let mut next = 0;
    while let Some(alias) = aliases.get(next).copied() {
        for record in packet.answers.iter().filter(|record| is_same(&record.name, alias)) {
            let stands_for = match &record.rdata {
                RData::CNAME(target) => Some(&target.0),
                RData::HTTPS(record) => alias_of(&record.0),
                RData::SVCB(record) => alias_of(record),
                _ => None,
            };
            if let Some(target) = stands_for
                && aliases.len() < MAX_ALIASES
                && !aliases.iter().any(|known| is_same(known, target))
            {
                aliases.push(target);
            }
            add(asked, record, names);
        }
        next += 1;
    }
}

/// The name that a service binding in alias mode stands for (RFC 9460, section 2.4.2).
fn alias_of<'a>(record: &'a SVCB<'a>) -> Option<&'a Name<'a>> {
    (record.priority == 0 && !record.target.get_labels().is_empty()).then_some(&record.target)
}

/// Adds the addresses in a record as those of `name`.
fn add(name: &Name<'_>, record: &ResourceRecord<'_>, names: &mut Vec<Named>) {
    let Some(name) = text(name) else { return };
    let mut push = |address| names.push(Named { name: name.clone(), address, seconds: record.ttl });
    match &record.rdata {
        RData::A(record) => push(Ipv4Addr::from(record.address).into()),
        RData::AAAA(record) => push(IpAddr::from(Ipv6Addr::from(record.address)).to_canonical()),
        RData::HTTPS(record) => hints(&record.0).for_each(push),
        RData::SVCB(record) => hints(record).for_each(push),
        _ => {}
    }
}

/// Addresses that a service binding hints at (RFC 9460, section 7.3).
fn hints<'a>(record: &'a SVCB<'a>) -> impl Iterator<Item = IpAddr> + 'a {
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

/// Upper and lower case are the same (RFC 4343).
fn is_same(one: &Name<'_>, other: &Name<'_>) -> bool {
    let (one, other) = (one.get_labels(), other.get_labels());
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.as_ref().eq_ignore_ascii_case(other.as_ref()))
}

/// The name as people write it.
fn text(name: &Name<'_>) -> Option<Bytes> {
    let labels: Vec<&[u8]> = name.as_bytes().collect();
    domain(&labels.join(&b'.'))
}

#[cfg(test)]
mod tests {
    use simple_dns::{CLASS, Question, TYPE, rdata};

    use super::*;

    fn name(text: &str) -> Name<'_> {
        Name::new_unchecked(text)
    }

    fn record<'a>(owner: &'a str, seconds: u32, rdata: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(name(owner), CLASS::IN, seconds, rdata)
    }

    fn reply<'a>(asked: &'a str, kind: TYPE) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Question::new(name(asked), kind.into(), CLASS::IN.into(), false));
        packet
    }

    fn pairs(packet: &Packet<'_>) -> Vec<(String, String, u32)> {
        let message = read(&packet.build_bytes_vec_compressed().unwrap()).unwrap();
        message
            .names
            .into_iter()
            .map(|named| (String::from_utf8(named.name).unwrap(), named.address.to_string(), named.seconds))
            .collect()
    }

    #[test]
    fn a_chain_of_aliases_gives_the_asked_name() {
        let mut packet = reply("WWW.Example.com", TYPE::A);
        packet.answers = vec![
            // In any order, and with what nobody asked for.
            record("edge.cdn.net", 20, RData::A(rdata::A { address: 0xc000_0201 })),
            record("www.example.com", 300, RData::CNAME(rdata::CNAME(name("x.example.com")))),
            record("x.example.com", 300, RData::CNAME(rdata::CNAME(name("Edge.CDN.net")))),
            record("evil.example.net", 300, RData::A(rdata::A { address: 0x0102_0304 })),
        ];
        assert_eq!(pairs(&packet), [("www.example.com".into(), "192.0.2.1".into(), 20)]);
    }

    #[test]
    fn aliases_that_run_in_circles_end() {
        let mut packet = reply("a.example", TYPE::A);
        packet.answers = vec![
            record("a.example", 300, RData::CNAME(rdata::CNAME(name("b.example")))),
            record("b.example", 300, RData::CNAME(rdata::CNAME(name("a.example")))),
        ];
        assert!(pairs(&packet).is_empty());
    }

    #[test]
    fn addresses_of_both_kinds_and_hints_are_taken() {
        let mut packet = reply("a.example", TYPE::AAAA);
        packet.answers = vec![record("a.example", 60, RData::AAAA(rdata::AAAA { address: 1 << 112 | 5 }))];
        assert_eq!(pairs(&packet), [("a.example".into(), "1::5".into(), 60)]);
        let mut binding = SVCB::new(1, name(""));
        binding.set_ipv4hint(&[0xc000_0202]);
        binding.set_ipv6hint(&[7]);
        let mut packet = reply("a.example", TYPE::HTTPS);
        packet.answers = vec![record("a.example", 9, RData::HTTPS(rdata::HTTPS(binding)))];
        let hinted = |address: &str| ("a.example".to_owned(), address.to_owned(), 9);
        assert_eq!(pairs(&packet), [hinted("192.0.2.2"), hinted("::7")]);
    }

    #[test]
    fn failures_and_questions_name_nothing() {
        let mut packet = reply("a.example", TYPE::A);
        packet.answers = vec![record("a.example", 9, RData::A(rdata::A { address: 1 }))];
        *packet.rcode_mut() = RCODE::NameError;
        assert!(pairs(&packet).is_empty());
        let mut packet = Packet::new_query(3);
        packet.questions.push(Question::new(name("A.Example"), TYPE::A.into(), CLASS::IN.into(), false));
        let message = read(&packet.build_bytes_vec().unwrap()).unwrap();
        assert_eq!((message.answer, message.question), (false, Some((b"a.example".to_vec(), 1))));
    }

    #[test]
    fn multicast_answers_name_their_owners() {
        let mut packet = Packet::new_reply(0);
        packet.answers = vec![record("Printer.local", 120, RData::A(rdata::A { address: 0x0a00_0001 }))];
        assert_eq!(pairs(&packet), [("printer.local".into(), "10.0.0.1".into(), 120)]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(read(b""), None);
        assert_eq!(read(&[0; 11]), None);
        // Records that are not there.
        let mut lie = vec![0; 12];
        lie[2] = 0x80;
        lie[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(read(&lie), None);
        // A pointer to itself.
        let mut circle = vec![0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        circle.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(read(&circle), None);
    }
}
