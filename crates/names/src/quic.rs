//! The server name in the first packets of a QUIC connection. They are encrypted with keys that everybody can derive from
//! the packet itself (RFC 9001, section 5.2; version 2: RFC 9369).

use std::collections::BTreeMap;

use ring::{
    aead::{self, quic::HeaderProtectionKey},
    hkdf,
};

use super::{greeting::Outcome, tls};
use model::DomainSource;

/// Bytes of the greeting that are waited for, and pieces.
const MAX_BYTES: usize = 16 * 1024;
const MAX_PIECES: usize = 64;
/// Bytes of the tag of AES-GCM, of the sample for the header's protection (RFC 9001, section 5.4.2).
const TAG: usize = 16;
const SAMPLE: usize = 16;
/// The longest connection id (RFC 9000, section 17.2).
const MAX_ID: usize = 20;

/// A version of QUIC.
struct Version {
    number: u32,
    /// Salt of the keys of initial packets.
    salt: [u8; 20],
    /// What the labels of keys begin with.
    label: &'static str,
    /// Bits of the first byte that mean an initial packet.
    initial: u8,
}

const VERSIONS: [Version; 2] = [
    Version {
        number: 1,
        salt: [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
            0xcc, 0xbb, 0x7f, 0x0a,
        ],
        label: "quic ",
        initial: 0,
    },
    Version {
        number: 0x6b33_43cf,
        salt: [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
            0xf9, 0xbd, 0x2e, 0xd9,
        ],
        label: "quicv2 ",
        initial: 0x10,
    },
];

/// Initial packets of one connection, as they come.
#[derive(Debug, Default)]
pub struct Initials {
    /// Pieces of the greeting by their offset.
    pieces: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Initials {
    /// The next datagram.
    pub fn add(&mut self, datagram: &[u8]) -> Outcome {
        let mut rest = datagram;
        let mut any = false;
        while let Some((packet, after)) = split(rest) {
            rest = after;
            let Some(plain) = packet.and_then(decrypt) else { continue };
            any = true;
            if self.take_frames(&plain).is_none() {
                return Outcome::Nothing;
            }
        }
        if !any && self.pieces.is_empty() {
            return Outcome::Nothing;
        }
        if self.bytes > MAX_BYTES || self.pieces.len() > MAX_PIECES {
            return Outcome::Nothing;
        }
        tls::client_hello(&self.joined(), DomainSource::Quic)
    }

    /// Takes the pieces of the greeting out of the frames of a packet (RFC 9000, sections 12.4 and 19); `None` for frames that
    /// such a packet cannot have.
    fn take_frames(&mut self, plain: &[u8]) -> Option<()> {
        let mut rest = plain;
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            match kind {
                // PADDING, PING
                0 | 1 => {}
                // ACK, with and without counts of ECN
                2 | 3 => {
                    number(&mut rest)?;
                    number(&mut rest)?;
                    let ranges = number(&mut rest)?;
                    number(&mut rest)?;
                    for _ in 0..ranges.checked_mul(2)? + if *kind == 3 { 3 } else { 0 } {
                        number(&mut rest)?;
                    }
                }
                // CRYPTO
                6 => {
                    let offset = number(&mut rest)?;
                    let length = usize::try_from(number(&mut rest)?).ok()?;
                    let (piece, after) = rest.split_at_checked(length)?;
                    rest = after;
                    self.bytes += piece.len();
                    if self.bytes <= MAX_BYTES && self.pieces.len() < MAX_PIECES {
                        self.pieces.insert(offset, piece.to_vec());
                    }
                }
                // CONNECTION_CLOSE, or no frame of an initial packet
                _ => return None,
            }
        }
        Some(())
    }

    /// The beginning of the greeting, as far as it is there without a gap.
    fn joined(&self) -> Vec<u8> {
        let mut joined = Vec::new();
        for (offset, piece) in &self.pieces {
            let Ok(offset) = usize::try_from(*offset) else { break };
            let Some(known) = joined.len().checked_sub(offset) else { break };
            joined.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        joined
    }
}

/// An initial packet: which bytes its keys come from, where its number is.
struct Packet<'a> {
    version: &'static Version,
    id: &'a [u8],
    bytes: &'a [u8],
    number_at: usize,
}

/// Cuts off the first packet of a datagram (RFC 9000, section 12.2), `None` in its place if it is another kind of packet;
/// `None` when there is none.
fn split(datagram: &[u8]) -> Option<(Option<Packet<'_>>, &[u8])> {
    let (first, rest) = datagram.split_first()?;
    // What fills a datagram up, and packets with a short header, which come last.
    if first & 0xc0 != 0xc0 {
        return None;
    }
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let version = VERSIONS.iter().find(|known| known.number == u32::from_be_bytes(*version))?;
    let mut rest = rest;
    let mut id = || {
        let (length, after) = rest.split_first()?;
        let (id, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        (id.len() <= MAX_ID).then_some(id)
    };
    let destination = id()?;
    id()?;
    let is_initial = first & 0x30 == version.initial;
    if is_initial {
        let length = usize::try_from(number(&mut rest)?).ok()?;
        rest = rest.get(length..)?; // the token
    }
    // (A Retry packet has no length, but only servers send it.)
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let number_at = datagram.len() - rest.len();
    let end = number_at.checked_add(length)?;
    let bytes = datagram.get(..end)?;
    let packet = is_initial.then_some(Packet { version, id: destination, bytes, number_at });
    Some((packet, &datagram[end..]))
}

/// A number of variable length (RFC 9000, section 16).
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, _) = bytes.split_first()?;
    let (value, after) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = after;
    Some(
        value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            & (u64::MAX >> (66 - 8 * value.len())),
    )
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without context (RFC 8446, section 7.1).
fn expand<const LENGTH: usize>(secret: &hkdf::Prk, label: &str) -> Option<[u8; LENGTH]> {
    let length = u16::try_from(LENGTH).ok()?.to_be_bytes();
    let label_length = [u8::try_from(label.len() + 6).ok()?];
    let info = [&length[..], &label_length, b"tls13 ", label.as_bytes(), &[0]];
    let mut key = [0; LENGTH];
    secret.expand(&info, Length(LENGTH)).ok()?.fill(&mut key).ok()?;
    Some(key)
}

/// The frames of a packet that a client sent (RFC 9001, sections 5.3 and 5.4).
fn decrypt(packet: Packet<'_>) -> Option<Vec<u8>> {
    let Packet { version, id, bytes, number_at } = packet;
    // Nothing that a fuzzer makes up would pass.
    if cfg!(fuzzing) {
        return bytes.get(number_at..).map(<[u8]>::to_vec);
    }
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &version.salt).extract(id);
    let secret: [u8; 32] = expand(&secret, "client in")?;
    let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
    let label = |name: &str| format!("{}{name}", version.label);
    let key: [u8; 16] = expand(&secret, &label("key"))?;
    let mut nonce: [u8; 12] = expand(&secret, &label("iv"))?;
    let header: [u8; 16] = expand(&secret, &label("hp"))?;

    let header = HeaderProtectionKey::new(&aead::quic::AES_128, &header).ok()?;
    // As if the packet's number had four bytes.
    let mask = header.new_mask(bytes.get(number_at + 4..number_at + 4 + SAMPLE)?).ok()?;
    let mut associated = bytes.get(..number_at + 4)?.to_vec();
    associated[0] ^= mask[0] & 0x0f;
    let number_length = usize::from(associated[0] & 3) + 1;
    associated.truncate(number_at + number_length);
    for (byte, mask) in associated[number_at..].iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
    let number = associated[number_at..].iter().rev();
    for (byte, number) in nonce.iter_mut().rev().zip(number) {
        *byte ^= number;
    }
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?);
    let mut sealed = bytes.get(number_at + number_length..)?.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let length = key.open_in_place(nonce, aead::Aad::from(associated), &mut sealed).ok()?.len();
    debug_assert_eq!(length + TAG, sealed.len());
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What RFC 9001, appendix A.2, and RFC 9369, appendix A.2, show: the client's first packet, and its frames.
    const SAMPLES: [&str; 2] = [
        include_str!("../tests/data/quic_initial_v1.hex"),
        include_str!("../tests/data/quic_initial_v2.hex"),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn the_packets_of_the_standards_are_read() {
        for sample in SAMPLES {
            let mut initials = Initials::default();
            assert_eq!(
                initials.add(&bytes(sample)),
                Outcome::Named(b"example.com".to_vec(), DomainSource::Quic)
            );
        }
    }

    #[test]
    fn a_changed_packet_is_nothing() {
        let sample = bytes(SAMPLES[0]);
        for at in [0, 3, 6, 15, 40, 900, 1199] {
            let mut changed = sample.clone();
            changed[at] ^= 0x41;
            assert_eq!(Initials::default().add(&changed), Outcome::Nothing, "byte {at}");
        }
        for length in 0..sample.len() {
            assert_eq!(Initials::default().add(&sample[..length]), Outcome::Nothing, "{length} bytes");
        }
    }

    #[test]
    fn a_greeting_in_shuffled_pieces_is_put_together() {
        let message = tls::tests::message("quic.example", 2500);
        let mut frames: Vec<Vec<u8>> = message
            .chunks(700)
            .enumerate()
            .map(|(at, piece)| {
                let mut frame = vec![0, 1, 6];
                frame.extend((0x4000_u16 | (at * 700) as u16).to_be_bytes());
                frame.extend((0x4000_u16 | piece.len() as u16).to_be_bytes());
                frame.extend(piece);
                frame
            })
            .collect();
        frames.reverse();
        let mut initials = Initials::default();
        for frame in &frames {
            initials.take_frames(frame).unwrap();
        }
        let outcome = tls::client_hello(&initials.joined(), DomainSource::Quic);
        assert_eq!(outcome, Outcome::Named(b"quic.example".to_vec(), DomainSource::Quic));
        assert_eq!(initials.take_frames(&[6, 0, 0x40]), None, "cut");
        assert_eq!(initials.take_frames(&[2, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 0]), None);
        assert_eq!(initials.take_frames(&[0x1c]), None, "the end of the connection");
    }
}
