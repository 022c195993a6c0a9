//! A FUSE file system with one program in it, which only its user may see: what an AppImage is to the kernel.
//! The protocol is that of include/uapi/linux/fuse.h, version 7.19 and later.

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

const ROOT: u64 = 1;
const NODE: u64 = 2;
const HEADER: usize = 40;
/// What the kernel may ask for at a time, and the room for a request.
const MAX_READ: usize = 128 * 1024;
const REQUEST: usize = 64 * 1024;

/// Operations (`enum fuse_opcode`).
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

/// A mounted file system; gone when dropped.
pub struct Fuse<'a> {
    at: &'a Path,
}

impl<'a> Fuse<'a> {
    /// Mounts it for one user and group, and answers the kernel from a thread of its own.
    ///
    /// # Errors
    /// `ENOENT`, `ENODEV` or `ENXIO` where the kernel has no FUSE.
    pub fn mount(at: &'a Path, program: Vec<u8>, (user, group): (u32, u32)) -> io::Result<Self> {
        let device = device(at)?;
        let options = format!("fd={},rootmode=40000,user_id={user},group_id={group}", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("picosnitch"), at, Some("fuse"), flags, Some(options.as_str()))?;
        let mounted = Self { at };
        let server = Server { device, program, user, group };
        // Ends when the file system is unmounted: then reading says ENODEV.
        thread::Builder::new().name("fuse".into()).spawn(move || server.serve())?;
        Ok(mounted)
    }
}

/// The device, even where nobody has made its node: opening one makes the kernel load what is behind it.
fn device(at: &Path) -> io::Result<File> {
    let open = |path: &Path| File::options().read(true).write(true).open(path);
    match open(Path::new("/dev/fuse")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let node = at.with_extension("device");
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

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.at, MntFlags::MNT_DETACH);
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
        let mut request = vec![0; REQUEST + MAX_READ];
        while let Ok(length) = self.device.read(&mut request) {
            let Some(request) = request.get(..length).filter(|request| request.len() >= HEADER) else {
                continue;
            };
            let number = |at: usize| {
                request
                    .get(at..at + 4)
                    .map_or(0, |bytes| bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
            };
            let long = |at: usize| u64::from(number(at + 4)) << 32 | u64::from(number(at));
            let (opcode, unique, node) = (number(4), &request[8..16], long(16));
            let answer = match opcode {
                operation::FORGET | operation::BATCH_FORGET => continue,
                operation::INIT => Ok(self.init(number(HEADER + 4).min(31))),
                operation::LOOKUP if request[HEADER..].strip_suffix(b"\0") == Some(PROGRAM.as_bytes()) => {
                    Ok(self.entry())
                }
                operation::LOOKUP => Err(libc::ENOENT),
                operation::GETATTR => Ok(self.attributes(node)),
                operation::OPEN => Ok(vec![0; 16]),
                operation::READ => Ok(self.part(long(HEADER + 8), number(HEADER + 16) as usize)),
                operation::RELEASE | operation::FLUSH => Ok(Vec::new()),
                _ => Err(libc::ENOSYS),
            };
            let (error, body) = match answer {
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

    /// `struct fuse_init_out`.
    fn init(&self, minor: u32) -> Vec<u8> {
        let mut out = Vec::new();
        // Version; read ahead; flags.
        [7, minor, MAX_READ as u32, 0].iter().for_each(|number: &u32| out.extend(number.to_ne_bytes()));
        out.extend([0; 4]);
        out.extend((MAX_READ as u32).to_ne_bytes());
        out.resize(64, 0);
        out
    }

    /// `struct fuse_entry_out`: the program, valid for a minute.
    fn entry(&self) -> Vec<u8> {
        let mut out = Vec::new();
        [NODE, 1, 60, 60, 0].iter().for_each(|number: &u64| out.extend(number.to_ne_bytes()));
        out.extend(self.attribute(NODE));
        out
    }

    /// `struct fuse_attr_out`.
    fn attributes(&self, node: u64) -> Vec<u8> {
        let mut out = Vec::new();
        [60, 0].iter().for_each(|number: &u64| out.extend(number.to_ne_bytes()));
        out.extend(self.attribute(node));
        out
    }

    /// `struct fuse_attr`.
    fn attribute(&self, node: u64) -> Vec<u8> {
        let (mode, size) = match node {
            ROOT => (libc::S_IFDIR | 0o755, 0),
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

    fn part(&self, offset: u64, size: usize) -> Vec<u8> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.program.len());
        self.program[from..(from + size).min(self.program.len())].to_vec()
    }
}
