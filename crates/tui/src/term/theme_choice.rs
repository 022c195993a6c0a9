//! The colours that the user has chosen, and the file that remembers them for the next start.

use std::{
    env, fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes of the file that are read.
const MAX_BYTES: u64 = 64;

/// What the user says about colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    /// The terminal and the environment decide.
    #[default]
    Auto,
    /// Colours for a dark background.
    Dark,
    /// Colours for a light background.
    Light,
    /// No colours.
    None,
}

impl ThemeChoice {
    /// Every choice, in the order of the key that goes through them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Dark, Self::Light, Self::None];

    /// The name on the command line and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
            Self::None => "none",
        }
    }

    /// The choice with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

impl fmt::Display for ThemeChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The file of the choice: `picosnitch/theme` in the user's directory for state (XDG Base Directory Specification).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceFile {
    /// A directory that must belong to the user: under sudo, it may be that of another one.
    home: PathBuf,
    path: PathBuf,
    uid: u32,
}

impl ChoiceFile {
    /// The file of the user of this process; `None` if there is no such directory.
    pub fn of_user() -> Option<Self> {
        let directory = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let uid = nix::unistd::geteuid().as_raw();
        match directory("XDG_STATE_HOME") {
            Some(state) => Some(Self::new(state.clone(), state, uid)),
            None => directory("HOME").map(|home| Self::new(home.clone(), home.join(".local/state"), uid)),
        }
    }

    fn new(home: PathBuf, state: PathBuf, uid: u32) -> Self {
        Self { home, path: state.join("picosnitch/theme"), uid }
    }

    /// Whether every directory on the way from the home directory to the file that exists belongs to the user: neither a
    /// file of root in the directory of another user, nor anything of another user, is right.
    fn is_own(&self) -> bool {
        let directories = self.path.ancestors().skip(1).take_while(|path| path.starts_with(&self.home));
        let is_own = |directory: &Path| {
            // A link, for example to another disk, and what it leads to.
            let own = |found: &fs::Metadata| found.uid() == self.uid;
            fs::symlink_metadata(directory).is_ok_and(|found| own(&found))
                && fs::metadata(directory).is_ok_and(|found| found.is_dir() && own(&found))
        };
        let mut existing = directories.filter(|directory| fs::symlink_metadata(directory).is_ok());
        self.home.is_dir() && existing.all(is_own)
    }

    /// The remembered choice; `Auto` without one.
    pub fn read(&self) -> ThemeChoice {
        let open = || {
            let file = fs::File::options()
                .read(true)
                .custom_flags(libc_flags())
                .open(&self.path)
                .ok()
                .filter(|_| self.is_own())?;
            let found = file.metadata().ok()?;
            let mut text = String::new();
            (found.is_file() && found.uid() == self.uid).then_some(())?;
            file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
            ThemeChoice::from_name(text.trim())
        };
        open().unwrap_or_default()
    }

    /// Remembers a choice. Nothing depends on it, so that a directory that cannot be written to is no error.
    pub fn write(&self, choice: ThemeChoice) {
        let _ = self.try_write(choice);
    }

    fn try_write(&self, choice: ThemeChoice) -> io::Result<()> {
        let Some(directory) = self.path.parent().filter(|_| self.is_own()) else { return Ok(()) };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let new = directory.join(format!("theme.{}", std::process::id()));
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc_flags())
            .open(&new)?;
        let written = writeln!(file, "{choice}").and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// Follows no link and waits for no FIFO.
fn libc_flags() -> i32 {
    (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(home: &Path, uid: u32) -> ChoiceFile {
        ChoiceFile::new(home.to_owned(), home.join(".local/state"), uid)
    }

    fn own_uid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn a_choice_is_remembered() {
        let home = tempfile::tempdir().unwrap();
        let file = file(home.path(), own_uid());
        assert_eq!(file.read(), ThemeChoice::Auto);
        for choice in ThemeChoice::ALL {
            file.write(choice);
            assert_eq!(file.read(), choice);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(file.path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        for content in ["", "purple\n", &"x".repeat(1 << 20)] {
            fs::write(&file.path, content).unwrap();
            assert_eq!(file.read(), ThemeChoice::Auto);
        }
    }

    #[test]
    fn the_directory_of_another_user_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        file(home.path(), own_uid()).write(ThemeChoice::Light);
        let of_another = file(home.path(), own_uid() + 1);
        of_another.write(ThemeChoice::Dark);
        assert_eq!(
            (of_another.read(), file(home.path(), own_uid()).read()),
            (ThemeChoice::Auto, ThemeChoice::Light)
        );
        let empty = tempfile::tempdir().unwrap();
        file(empty.path(), own_uid() + 1).write(ThemeChoice::Dark);
        assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_is_no_choice_and_no_error() {
        let home = tempfile::tempdir().unwrap();
        let file = file(home.path(), own_uid());
        fs::create_dir_all(file.path.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&file.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(file.read(), ThemeChoice::Auto);
        fs::remove_file(&file.path).unwrap();
        let target = home.path().join("target");
        fs::write(&target, "dark").unwrap();
        std::os::unix::fs::symlink(&target, &file.path).unwrap();
        assert_eq!(file.read(), ThemeChoice::Auto);
        file.write(ThemeChoice::Light);
        assert_eq!((file.read(), &*fs::read_to_string(target).unwrap()), (ThemeChoice::Light, "dark"));
        // A file where a directory should be.
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join(".local"), "").unwrap();
        self::file(other.path(), own_uid()).write(ThemeChoice::Dark);
    }
}
