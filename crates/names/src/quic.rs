//! The server name in the Initial packets of a QUIC connection. They are encrypted with keys that are derived from the packet
//! itself (RFC 9001, section 5.2; version 2: RFC 9369).

use std::collections::BTreeMap;

use ring::{
    aead::{self, quic::HeaderProtectionKey},
    hkdf,
};

use crate::{server_name::ServerName, tls};
use model::DomainSource;

/// The longest handshake that is buffered; a longer one names no server.
const MAX_BYTES: usize = 16 * 1024;
/// Number of fragments of a handshake that are buffered; a handshake with more names no server.
const MAX_FRAGMENTS: usize = 64;
/// Length of the authentication tag of AES-GCM.
const TAG_BYTES: usize = 16;
/// Length of the sample for header protection (RFC 9001, section 5.4.2).
const SAMPLE_BYTES: usize = 16;
/// The longest connection id (RFC 9000, section 17.2).
const MAX_CONNECTION_ID_BYTES: usize = 20;

/// The constants in which the versions of QUIC differ.
struct Version {
    number: u32,
    /// Salt from which the keys of Initial packets are derived.
    salt: [u8; 20],
    /// Prefix of the labels of keys.
    label_prefix: &'static str,
    /// Type bits of an Initial packet in its first byte.
    initial_type: u8,
}

const VERSIONS: [Version; 2] = [
    Version {
        number: 1,
        salt: [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
            0xcc, 0xbb, 0x7f, 0x0a,
        ],
        label_prefix: "quic ",
        initial_type: 0,
    },
    Version {
        number: 0x6b33_43cf,
        salt: [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
            0xf9, 0xbd, 0x2e, 0xd9,
        ],
        label_prefix: "quicv2 ",
        initial_type: 0x10,
    },
];

/// The handshake of one connection, put together from its Initial packets in any order.
#[derive(Debug, Default)]
pub(crate) struct InitialPackets {
    /// Fragments of the handshake by their offset.
    fragments: BTreeMap<u64, Vec<u8>>,
    /// Bytes of all fragments that came, also of those that were too many.
    bytes: usize,
}

impl InitialPackets {
    /// Adds the next datagram, or several in a row.
    pub(crate) fn add(&mut self, datagram: &[u8]) -> ServerName {
        let mut rest = datagram;
        let mut is_any_decrypted = false;
        while let Some((packet, after)) = split_first_packet(rest) {
            rest = after;
            let Some(frames) = packet.and_then(decrypt) else { continue };
            is_any_decrypted = true;
            if self.add_frames(&frames).is_none() {
                return ServerName::Absent;
            }
        }
        if !is_any_decrypted && self.fragments.is_empty() {
            return ServerName::Absent;
        }
        if self.bytes > MAX_BYTES || self.fragments.len() > MAX_FRAGMENTS {
            return ServerName::Absent;
        }
        tls::read_client_hello(&self.contiguous_bytes(), DomainSource::Quic)
    }

    /// Adds the fragments of the handshake in the frames of a packet (RFC 9000, sections 12.4 and 19). `None` for frames that an
    /// Initial packet cannot have.
    fn add_frames(&mut self, frames: &[u8]) -> Option<()> {
        let mut rest = frames;
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            match kind {
                // PADDING, PING
                0 | 1 => {}
                // ACK, without and with ECN counts
                2 | 3 => {
                    read_varint(&mut rest)?;
                    read_varint(&mut rest)?;
                    let ranges = read_varint(&mut rest)?;
                    read_varint(&mut rest)?;
                    for _ in 0..ranges.checked_mul(2)? + if *kind == 3 { 3 } else { 0 } {
                        read_varint(&mut rest)?;
                    }
                }
                // CRYPTO
                6 => {
                    let offset = read_varint(&mut rest)?;
                    let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                    let (fragment, after) = rest.split_at_checked(length)?;
                    rest = after;
                    self.bytes += fragment.len();
                    if self.bytes <= MAX_BYTES && self.fragments.len() < MAX_FRAGMENTS {
                        self.fragments.insert(offset, fragment.to_vec());
                    }
                }
                // CONNECTION_CLOSE, or a frame that an Initial packet cannot have
                _ => return None,
            }
        }
        Some(())
    }

    /// Returns the beginning of the handshake up to the first gap.
    fn contiguous_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, fragment) in &self.fragments {
            let Ok(offset) = usize::try_from(*offset) else { break };
            let Some(overlap) = bytes.len().checked_sub(offset) else { break };
            bytes.extend_from_slice(fragment.get(overlap..).unwrap_or_default());
        }
        bytes
    }
}

struct InitialPacket<'a> {
    version: &'static Version,
    /// Destination connection id, from which the keys are derived.
    destination_id: &'a [u8],
    bytes: &'a [u8],
    /// Offset of the packet number in `bytes`.
    number_offset: usize,
}

/// Splits the first packet from a datagram (RFC 9000, section 12.2). The packet is `None` if it is not an Initial packet; the
/// result is `None` if the datagram holds no further packet that can be split.
fn split_first_packet(datagram: &[u8]) -> Option<(Option<InitialPacket<'_>>, &[u8])> {
    let (first, rest) = datagram.split_first()?;
    // Padding of the datagram, or a packet with a short header, which is always the last one.
    if first & 0xc0 != 0xc0 {
        return None;
    }
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let version = VERSIONS.iter().find(|supported| supported.number == u32::from_be_bytes(*version))?;
    let mut rest = rest;
    let mut next_connection_id = || {
        let (length, after) = rest.split_first()?;
        let (id, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        (id.len() <= MAX_CONNECTION_ID_BYTES).then_some(id)
    };
    let destination_id = next_connection_id()?;
    next_connection_id()?; // the source
    let is_initial = first & 0x30 == version.initial_type;
    if is_initial {
        let length = usize::try_from(read_varint(&mut rest)?).ok()?;
        rest = rest.get(length..)?; // the token
    }
    // A Retry packet has no length, but only servers send it.
    let length = usize::try_from(read_varint(&mut rest)?).ok()?;
    let number_offset = datagram.len() - rest.len();
    let end = number_offset.checked_add(length)?;
    let bytes = datagram.get(..end)?;
    let packet = is_initial.then_some(InitialPacket { version, destination_id, bytes, number_offset });
    Some((packet, &datagram[end..]))
}

/// Reads an integer of variable length (RFC 9000, section 16) from the front of `bytes`.
fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, _) = bytes.split_first()?;
    let (value, after) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = after;
    Some(
        value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            & (u64::MAX >> (66 - 8 * value.len())),
    )
}

struct KeyLength(usize);

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without context (RFC 8446, section 7.1).
fn expand_label<const LENGTH: usize>(secret: &hkdf::Prk, label: &str) -> Option<[u8; LENGTH]> {
    let length = u16::try_from(LENGTH).ok()?.to_be_bytes();
    let label_length = [u8::try_from(label.len() + 6).ok()?];
    let info = [&length[..], &label_length, b"tls13 ", label.as_bytes(), &[0]];
    let mut key = [0; LENGTH];
    secret.expand(&info, KeyLength(LENGTH)).ok()?.fill(&mut key).ok()?;
    Some(key)
}

/// Decrypts the frames of a packet that a client sent (RFC 9001, sections 5.3 and 5.4).
fn decrypt(packet: InitialPacket<'_>) -> Option<Vec<u8>> {
    let InitialPacket { version, destination_id, bytes, number_offset } = packet;
    // The input of a fuzzer would never pass authentication.
    if cfg!(fuzzing) {
        return bytes.get(number_offset..).map(<[u8]>::to_vec);
    }
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &version.salt).extract(destination_id);
    let secret: [u8; 32] = expand_label(&secret, "client in")?;
    let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
    let label = |name: &str| format!("{}{name}", version.label_prefix);
    let key: [u8; 16] = expand_label(&secret, &label("key"))?;
    let mut nonce: [u8; 12] = expand_label(&secret, &label("iv"))?;
    let header: [u8; 16] = expand_label(&secret, &label("hp"))?;

    let header = HeaderProtectionKey::new(&aead::quic::AES_128, &header).ok()?;
    // The sample begins where it would if the packet number had four bytes.
    let mask = header.new_mask(bytes.get(number_offset + 4..number_offset + 4 + SAMPLE_BYTES)?).ok()?;
    let mut associated = bytes.get(..number_offset + 4)?.to_vec();
    associated[0] ^= mask[0] & 0x0f;
    let number_length = usize::from(associated[0] & 3) + 1;
    associated.truncate(number_offset + number_length);
    for (byte, mask) in associated[number_offset..].iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
    let number = associated[number_offset..].iter().rev();
    for (byte, number) in nonce.iter_mut().rev().zip(number) {
        *byte ^= number;
    }
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?);
    let mut sealed = bytes.get(number_offset + number_length..)?.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let length = key.open_in_place(nonce, aead::Aad::from(associated), &mut sealed).ok()?.len();
    debug_assert_eq!(length + TAG_BYTES, sealed.len());
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's first packets of RFC 9001, appendix A.2, and RFC 9369, appendix A.2.
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
    fn the_sample_packets_of_the_rfcs_are_read() {
        for sample in SAMPLES {
            let mut packets = InitialPackets::default();
            assert_eq!(
                packets.add(&bytes(sample)),
                ServerName::Found(b"example.com".to_vec(), DomainSource::Quic)
            );
        }
    }

    #[test]
    fn a_damaged_packet_names_no_server() {
        let sample = bytes(SAMPLES[0]);
        for at in [0, 3, 6, 15, 40, 900, 1199] {
            let mut changed = sample.clone();
            changed[at] ^= 0x41;
            assert_eq!(InitialPackets::default().add(&changed), ServerName::Absent, "byte {at}");
        }
        for length in 0..sample.len() {
            assert_eq!(
                InitialPackets::default().add(&sample[..length]),
                ServerName::Absent,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_handshake_in_reversed_fragments_is_put_together() {
        let message = tls::tests::client_hello("quic.example", 2500);
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
        let mut packets = InitialPackets::default();
        for frame in &frames {
            packets.add_frames(frame).unwrap();
        }
        let server_name = tls::read_client_hello(&packets.contiguous_bytes(), DomainSource::Quic);
        assert_eq!(server_name, ServerName::Found(b"quic.example".to_vec(), DomainSource::Quic));
        assert_eq!(packets.add_frames(&[6, 0, 0x40]), None, "truncated");
        assert_eq!(packets.add_frames(&[2, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 0]), None);
        assert_eq!(packets.add_frames(&[0x1c]), None, "CONNECTION_CLOSE");
    }
}
