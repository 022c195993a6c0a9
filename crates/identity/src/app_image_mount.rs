//! The mount of an AppImage, in which all programs are the one file.

use std::rc::Rc;

use crate::running_program::{InImage, Launch, RunningProgram};
use model::Bytes;

/// Where an AppImage is mounted.
#[derive(Debug)]
pub(crate) struct ImageMount {
    pub(crate) device: u32,
    pub(crate) point: Bytes,
    /// The user that has mounted it, and runs the programs in it.
    pub(crate) uid: u32,
    /// The file itself.
    pub(crate) file: Rc<Launch>,
    /// The process that serves the file system, and so runs the file itself.
    pub(crate) server: Option<u32>,
    /// Number among all mounts that were found.
    pub(crate) serial: u64,
    /// Living processes that run a program in it. While there is one, no other file system can get the device number.
    pub(crate) living: usize,
}

impl ImageMount {
    /// Whether a program lies in this mount, and is run by its user.
    pub(crate) fn contains(&self, running: &RunningProgram) -> bool {
        running.executable.device == self.device
            && running.uid == self.uid
            && is_below(&running.program.path, &self.point)
    }

    /// Makes a program the file itself. It keeps name and arguments.
    pub(crate) fn adopt(&self, running: &mut RunningProgram) {
        running.program.path.clone_from(&self.file.path);
        running.executable = self.file.executable;
        running.executable_id = self.file.executable_id;
        running.image = Some(InImage { device: self.device, serial: self.serial, server: self.server });
        running.app = [b"AppImage ".as_slice(), name_of(&self.file.path)].concat();
    }
}

/// The name of an AppImage: that of its file, without the suffix.
fn name_of(path: &[u8]) -> &[u8] {
    const SUFFIX: &[u8] = b".AppImage";
    let name = file_name(path);
    match name.len().checked_sub(SUFFIX.len()) {
        Some(end @ 1..) if name[end..].eq_ignore_ascii_case(SUFFIX) => &name[..end],
        _ => name,
    }
}

/// Whether a path is below a directory.
pub(crate) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The last part of a path.
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_a_mount_becomes_the_file() {
        let file = Rc::new(Launch::new(&RunningProgram::sample("/home/u/Name-1.2.AppImage", 100)));
        let point = b"/tmp/.mount_NameAb".to_vec();
        let mount = ImageMount { device: 44, point, uid: 1000, file, server: None, serial: 1, living: 0 };
        let mut program = RunningProgram::sample("/tmp/.mount_NameAb/AppRun", 3);
        program.program.name = b"AppRun".to_vec();
        assert!(!mount.contains(&program), "of another user");
        program.uid = 1000;
        assert!(mount.contains(&program));
        let beside = RunningProgram { uid: 1000, ..RunningProgram::sample("/tmp/.mount_NameAbc/AppRun", 3) };
        assert!(!mount.contains(&beside));
        mount.adopt(&mut program);
        assert_eq!(program.program.path, b"/home/u/Name-1.2.AppImage");
        assert_eq!((program.executable.inode, program.program.name.as_slice()), (100, &b"AppRun"[..]));
        assert_eq!(program.app, b"AppImage Name-1.2");
        assert_eq!(name_of(b"/x/.AppImage"), b".AppImage");
        assert_eq!(name_of(b"tool"), b"tool");
    }
}
