//! A FUSE file system with one program, which only its user may read, as with an AppImage. The protocol is that of
//! include/uapi/linux/fuse.h, version 7.19 and later.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::Path,
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag},
};

/// The name of the program in the file system.
pub const PROGRAM: &str = "program";

const ROOT_NODE: u64 = 1;
const PROGRAM_NODE: u64 = 2;
/// Length of the header of a request (`struct fuse_in_header`).
const HEADER_BYTES: usize = 40;
/// The longest read that the kernel may request.
const MAX_READ_BYTES: usize = 128 * 1024;
/// Length of the buffer for a request, in addition to [`MAX_READ_BYTES`].
const REQUEST_BYTES: usize = 64 * 1024;

/// The operations that the server handles (`enum fuse_opcode`).
mod operation {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const RELEASE: u32 = 18;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const BATCH_FORGET: u32 = 42;
}

/// A mounted file system, which is unmounted when this is dropped.
pub struct FuseMount<'a> {
    mount_point: &'a Path,
}

impl<'a> FuseMount<'a> {
    /// Mounts a file system of this name, with `program`, for one user and group. A thread serves the requests of the kernel.
    ///
    /// # Errors
    /// `ENOENT`, `ENODEV` or `ENXIO` if the kernel has no FUSE.
    pub fn mount(
        mount_point: &'a Path,
        name: &str,
        program: Vec<u8>,
        user: u32,
        group: u32,
    ) -> io::Result<Self> {
        let device = open_device(mount_point)?;
        let options = format!("fd={},rootmode=40000,user_id={user},group_id={group}", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(name), mount_point, Some("fuse"), flags, Some(options.as_str()))?;
        let mounted = Self { mount_point };
        let server = Server { device, program, user, group };
        // The thread ends when the file system is unmounted, because read(2) then fails with ENODEV.
        thread::Builder::new().name("fuse".into()).spawn(move || server.serve())?;
        Ok(mounted)
    }
}

/// Opens the FUSE device. If its node is missing, a temporary one is made, and opening it makes the kernel load its module.
fn open_device(mount_point: &Path) -> io::Result<File> {
    let open = |path: &Path| File::options().read(true).write(true).open(path);
    match open(Path::new("/dev/fuse")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let node = mount_point.with_extension("device");
            // FUSE_MINOR of include/linux/miscdevice.h.
            let number = nix::sys::stat::makedev(10, 229);
            nix::sys::stat::mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, number)?;
            let device = open(&node);
            std::fs::remove_file(&node)?;
            device
        }
        device => device,
    }
}

impl Drop for FuseMount<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.mount_point, MntFlags::MNT_DETACH);
    }
}

struct Server {
    device: File,
    program: Vec<u8>,
    user: u32,
    group: u32,
}

impl Server {
    fn serve(mut self) {
        let mut request = vec![0; REQUEST_BYTES + MAX_READ_BYTES];
        while let Ok(length) = self.device.read(&mut request) {
            let Some(request) = request.get(..length).filter(|request| request.len() >= HEADER_BYTES) else {
                continue;
            };
            let number = |at: usize| {
                request
                    .get(at..at + 4)
                    .map_or(0, |bytes| bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
            };
            let long = |at: usize| u64::from(number(at + 4)) << 32 | u64::from(number(at));
            let (opcode, unique, node) = (number(4), &request[8..16], long(16));
            let response = match opcode {
                operation::FORGET | operation::BATCH_FORGET => continue,
                operation::INIT => Ok(self.init_reply(number(HEADER_BYTES + 4).min(31))),
                operation::LOOKUP
                    if request[HEADER_BYTES..].strip_suffix(b"\0") == Some(PROGRAM.as_bytes()) =>
                {
                    Ok(self.entry_reply())
                }
                operation::LOOKUP => Err(libc::ENOENT),
                operation::GETATTR => Ok(self.attribute_reply(node)),
                operation::OPEN => Ok(vec![0; 16]),
                operation::READ => {
                    Ok(self.program_bytes(long(HEADER_BYTES + 8), number(HEADER_BYTES + 16) as usize))
                }
                operation::RELEASE | operation::FLUSH => Ok(Vec::new()),
                _ => Err(libc::ENOSYS),
            };
            let (error, body) = match response {
                Ok(body) => (0, body),
                Err(code) => (-code, Vec::new()),
            };
            let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
            message.extend(error.to_ne_bytes());
            message.extend(unique);
            message.extend(body);
            if self.device.write_all(&message).is_err() {
                return;
            }
        }
    }

    /// Makes the reply to `INIT` (`struct fuse_init_out`).
    fn init_reply(&self, minor: u32) -> Vec<u8> {
        let mut out = Vec::new();
        // Version; read ahead; flags.
        [7, minor, MAX_READ_BYTES as u32, 0].iter().for_each(|number: &u32| out.extend(number.to_ne_bytes()));
        out.extend([0; 4]);
        out.extend((MAX_READ_BYTES as u32).to_ne_bytes());
        out.resize(64, 0);
        out
    }

    /// Makes a `struct fuse_entry_out` for the program, valid for a minute.
    fn entry_reply(&self) -> Vec<u8> {
        let mut out = Vec::new();
        [PROGRAM_NODE, 1, 60, 60, 0].iter().for_each(|number: &u64| out.extend(number.to_ne_bytes()));
        out.extend(self.attribute(PROGRAM_NODE));
        out
    }

    /// Makes a `struct fuse_attr_out`, valid for a minute.
    fn attribute_reply(&self, node: u64) -> Vec<u8> {
        let mut out = Vec::new();
        [60, 0].iter().for_each(|number: &u64| out.extend(number.to_ne_bytes()));
        out.extend(self.attribute(node));
        out
    }

    /// Makes the attributes of a node (`struct fuse_attr`).
    fn attribute(&self, node: u64) -> Vec<u8> {
        let (mode, size) = match node {
            ROOT_NODE => (libc::S_IFDIR | 0o755, 0),
            _ => (libc::S_IFREG | 0o755, self.program.len() as u64),
        };
        let mut out = Vec::new();
        // Inode, size, blocks, three times.
        [node, size, size.div_ceil(512), 1, 1, 1].iter().for_each(|number| out.extend(number.to_ne_bytes()));
        // Nanoseconds three times, mode, links, owner, device, block size, flags.
        [0, 0, 0, mode, 1, self.user, self.group, 0, 4096, 0]
            .iter()
            .for_each(|number: &u32| out.extend(number.to_ne_bytes()));
        out
    }

    fn program_bytes(&self, offset: u64, size: usize) -> Vec<u8> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.program.len());
        self.program[from..(from + size).min(self.program.len())].to_vec()
    }
}
