//! Mountinfo files (proc_pid_mountinfo(5)). Users choose paths in them, so they are bytes, not text.

use crate::Bytes;

/// One line of a mountinfo file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'text> {
    /// The device, in the kernel's encoding.
    pub device: u32,
    /// The directory of the file system that is mounted.
    pub root: Bytes,
    /// Where it is mounted.
    pub point: Bytes,
    /// The type of the file system.
    pub kind: &'text [u8],
    /// What is mounted: a device, or a name that the file system chooses.
    pub source: Bytes,
    /// The options of the file system, separated by commas.
    pub options: &'text [u8],
}

impl<'text> Mount<'text> {
    /// The mounts in a mountinfo file, in its order. Lines that no kernel writes are skipped.
    pub fn parse_all(mountinfo: &'text [u8]) -> impl DoubleEndedIterator<Item = Self> {
        mountinfo.split(|byte| *byte == b'\n').filter_map(Self::parse)
    }

    fn parse(line: &'text [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
        let device = major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?;
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = fields.next()?;
        // The source may be empty.
        let source = unescape(fields.next().unwrap_or_default());
        Some(Self { device, root, point, kind, source, options: fields.next().unwrap_or_default() })
    }
}

/// Reverses `mangle()` of the kernel's fs/proc_namespace.c: a backslash and three octal digits are one byte.
fn unescape(text: &[u8]) -> Bytes {
    let mut bytes = Bytes::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *byte == b'\\' => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = &after[3..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_device_a_root_a_mount_point_and_a_type() {
        let text = b"24 22 8:1 /home /mnt/a\\040\xff rw master:3 propagate_from:2 - ext4 /dev/sda1 rw\n\
                     garbage\n\n\
                     25 22 0:44 / /tmp rw - tmpfs tmpfs rw\n";
        let mounts: Vec<Mount<'_>> = Mount::parse_all(text).collect();
        let home = Mount {
            device: 8 << 20 | 1,
            root: b"/home".to_vec(),
            point: b"/mnt/a \xff".to_vec(),
            kind: b"ext4",
            source: b"/dev/sda1".to_vec(),
            options: b"rw",
        };
        let tmp = Mount {
            device: 44,
            root: b"/".to_vec(),
            point: b"/tmp".to_vec(),
            kind: b"tmpfs",
            source: b"tmpfs".to_vec(),
            options: b"rw",
        };
        assert_eq!(mounts, [home, tmp]);
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(unescape(b"a\\134040"), b"a\\040");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\"), b"\\");
    }
}
