//! The file with the request: written before anything is deleted, removed at the end. A command that was killed is ended by
//! the next one, and the daemon does not start before.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use config::layout::Layout;
use daemon::monitor::forget_request;
use store::Forget;

/// A longer file is not ours.
const MAX_BYTES: u64 = 64 * 1024;

pub(super) struct Request {
    path: PathBuf,
}

impl Request {
    pub fn of(layout: &Layout) -> Self {
        Self { path: forget_request(layout) }
    }

    /// The request that waits: `None` without a file; the inner `None` if the file is not complete, so that nothing was begun.
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::option_option, reason = "a file without a whole request is there, too")]
    pub fn read(&self) -> anyhow::Result<Option<Option<Forget>>> {
        let file = match open(File::options().read(true), &self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(Some(Forget::from_bytes(&bytes)))
    }

    /// Writes the request. It is on the disk then.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn write(&self, what: &Forget) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let mut file = open(File::options().write(true).create_new(true).mode(0o600), &self.path)?;
            file.write_all(&what.to_bytes())?;
            file.sync_all()?;
            sync_directory(&self.path)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Overwrites the request, which has what is forgotten, and removes it.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn remove(&self) -> anyhow::Result<()> {
        let remove = || -> io::Result<()> {
            let file = open(File::options().write(true), &self.path)?;
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
            file.write_all_at(&vec![b'\n'; length], 0)?;
            file.sync_all()?;
            fs::remove_file(&self.path)?;
            sync_directory(&self.path)
        };
        remove().with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// Opens a file, but no link.
fn open(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags((nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_CLOEXEC).bits()).open(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use store::{Dimension, Filter, Range};

    #[test]
    fn a_request_is_read_back_and_a_half_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(directory.path()), None);
        let request = Request::of(&layout);
        assert_eq!(request.read().unwrap(), None);
        let of = |dimension, value: &[u8]| {
            let filters = Filter::parse(dimension, value, false, &calendar::TimeZone::UTC).unwrap();
            Forget::of_filter(&filters[0]).unwrap()
        };
        for what in [
            of(Dimension::Executable, b"/bin/x \xff\n"),
            of(Dimension::Domain, b"example.com"),
            of(Dimension::Address, b"2001:db8::1"),
            of(Dimension::Address, b"vsock:3"),
            of(Dimension::Address, b"10.0.0.0/8"),
            Forget::of_time(Range { since: Some(-5), until: None }).unwrap(),
            Forget::of_time(Range { since: None, until: Some(7) }).unwrap(),
        ] {
            request.write(&what).unwrap();
            assert!(request.write(&what).is_err());
            assert_eq!(request.read().unwrap(), Some(Some(what.clone())));
            let bytes = fs::read(&request.path).unwrap();
            for length in 0..bytes.len() {
                fs::write(&request.path, &bytes[..length]).unwrap();
                assert_eq!(request.read().unwrap(), Some(None), "{length}");
            }
            request.remove().unwrap();
            assert_eq!(request.read().unwrap(), None);
        }
        assert_eq!(request.path, directory.path().join("snitch.forget"));
    }
}
