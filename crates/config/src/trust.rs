//! Whether a configuration file or a program can be trusted: the daemon runs as root and obeys it, so that nobody but root may
//! have written it, or be able to replace it.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::unistd::Uid;

/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;
const GROUP_WRITABLE: u32 = 0o020;
const WORLD_WRITABLE: u32 = 0o002;

/// Checks the owner and the mode of an open configuration file, and of every directory and symbolic link on the way to it.
/// Returns the sentence that says what is wrong and what to do.
pub(crate) fn check(path: &Path, file: &Metadata) -> Result<(), String> {
    let name = path.display();
    // `check-config` needs no root: the user who runs the command may have written it.
    check_owner("it", file, Uid::effective())
        .map_err(|what| format!("{what}; if you trust its content, run `sudo chown root '{name}'`"))?;
    if is_writable_by_others(file) {
        return Err(format!(
            "it can be written by {} (mode {:04o}), and picosnitch, which runs as root, would obey; if you trust its content, \
             run `sudo chmod go-w '{name}'`",
            if file.mode() & WORLD_WRITABLE != 0 { "every user" } else { "its group" },
            file.mode() & 0o7777
        ));
    }
    let found = walk(path, Uid::effective())?;
    if (found.dev(), found.ino()) != (file.dev(), file.ino()) {
        return Err("it was replaced while it was read; run the command again".to_owned());
    }
    Ok(())
}

/// Checks that nobody but root may write to a program that root is to run, or replace it: the program, and every directory and
/// symbolic link on the way to it.
///
/// # Errors
/// The sentence that says what is wrong and what to do.
pub fn check_program(path: &Path) -> Result<(), String> {
    let found = walk(path, Uid::from_raw(0))?;
    let name = path.display();
    check_owner("it", &found, Uid::from_raw(0)).map_err(|what| {
        format!("{what}; install it again as root, in a directory of root such as /usr/local/bin")
    })?;
    if is_writable_by_others(&found) {
        return Err(format!(
            "it can be written by others than root (mode {:04o}); run `sudo chmod go-w '{name}'`",
            found.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Goes the way from the root to the file as the kernel does, and checks every directory and every symbolic link on it, which may
/// belong to root or `user`. Returns the properties of what is at its end.
fn walk(path: &Path, user: Uid) -> Result<Metadata, String> {
    let fail = |error: io::Error| format!("its owner and mode cannot be read: {error}");
    let mut left = parts_of(&std::path::absolute(path).map_err(fail)?);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut found = fs::symlink_metadata(&at).map_err(fail)?;
    while let Some(part) = left.pop() {
        check_directory(&at, &found, user)?;
        match part {
            Part::Root => at = PathBuf::from("/"),
            Part::Up => _ = at.pop(),
            Part::Name(name) => {
                let next = at.join(name);
                found = fs::symlink_metadata(&next).map_err(fail)?;
                if !found.is_symlink() {
                    at = next;
                    continue;
                }
                let what =
                    if next == path { "the symbolic link of that name" } else { "a symbolic link to it" };
                check_owner(what, &found, user)
                    .map_err(|what| format!("{what}; remove {}, or make it again as root", next.display()))?;
                links += 1;
                if links > MAX_LINKS {
                    return Err("there are too many symbolic links to it".to_owned());
                }
                left.extend(parts_of(&fs::read_link(&next).map_err(fail)?));
            }
        }
        found = fs::symlink_metadata(&at).map_err(fail)?;
    }
    Ok(found)
}

/// A step on the way to a file.
enum Part {
    Root,
    Up,
    Name(OsString),
}

/// The steps of a path, the last one first.
fn parts_of(path: &Path) -> Vec<Part> {
    let part = |component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(part).collect()
}

fn check_directory(directory: &Path, found: &Metadata, user: Uid) -> Result<(), String> {
    let name = directory.display();
    check_owner(&format!("its directory {name}"), found, user)
        .map_err(|what| format!("{what} and could replace the file; run `sudo chown root '{name}'`"))?;
    if is_writable_by_others(found) && found.mode() & STICKY == 0 {
        return Err(format!(
            "other users may write to its directory {name} (mode {:04o}) and could replace the file; run `sudo chmod go-w \
             '{name}'`",
            found.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Whether anybody but the owner and the group of root may write.
fn is_writable_by_others(found: &Metadata) -> bool {
    found.mode() & WORLD_WRITABLE != 0 || (found.mode() & GROUP_WRITABLE != 0 && found.gid() != 0)
}

/// The owner must be root or `user`.
fn check_owner(what: &str, found: &Metadata, user: Uid) -> Result<(), String> {
    let owner = Uid::from_raw(found.uid());
    if owner.is_root() || owner == user {
        return Ok(());
    }
    Err(format!("{what} belongs to user {owner}, not to root"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.file(), "").unwrap();
            place.mode(&place.file(), 0o640);
            place
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("config.toml")
        }

        fn mode(&self, path: &Path, mode: u32) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn check(&self, path: &Path) -> Result<(), String> {
            check(path, &fs::metadata(path).unwrap())
        }

        fn refuses(&self, path: &Path, expected: &str) {
            let why = self.check(path).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn modes_that_let_others_write_are_refused() {
        let place = Place::new();
        let file = place.file();
        for mode in [0o600, 0o644, 0o444] {
            place.mode(&file, mode);
            place.check(&file).unwrap();
        }
        if Uid::current().is_root() {
            place.mode(&file, 0o664);
            place.mode(place.0.path(), 0o775);
            place.check(&file).unwrap();
            for path in [&file, place.0.path()] {
                chown(path, None, Some(4242)).unwrap();
            }
        }
        place.mode(&file, 0o660);
        place.refuses(&file, "its group (mode 0660)");
        place.mode(&file, 0o646);
        place.refuses(&file, "every user");
        place.mode(&file, 0o644);
        for mode in [0o770, 0o757, 0o777] {
            place.mode(place.0.path(), mode);
            place.refuses(&file, "could replace the file");
        }
        for mode in [0o1770, 0o1777, 0o755] {
            place.mode(place.0.path(), mode);
            place.check(&file).unwrap();
        }
    }

    #[test]
    fn every_directory_and_link_on_the_way_is_checked() {
        let place = Place::new();
        let (above, below) = (place.0.path().join("above"), place.0.path().join("above/below"));
        fs::create_dir_all(&below).unwrap();
        let (file, link) = (below.join("config.toml"), place.0.path().join("link"));
        fs::write(&file, "").unwrap();
        place.mode(&file, 0o640);
        symlink("above/../above/./below", &link).unwrap();
        let ways = [file.clone(), link.join("config.toml"), link.join("../below/config.toml")];
        ways.iter().for_each(|way| place.check(way).unwrap());
        place.mode(&above, 0o777);
        ways.iter().for_each(|way| place.refuses(way, "above (mode 0777) and could replace"));
        place.mode(&above, 0o755);
        symlink("loop", place.0.path().join("loop")).unwrap();
        assert!(walk(&place.0.path().join("loop"), Uid::effective()).unwrap_err().contains("too many"));
        let other = fs::metadata(place.file()).unwrap();
        assert!(check(&file, &other).unwrap_err().contains("replaced"));
        if Uid::current().is_root() {
            std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
            place.refuses(&ways[1], "a symbolic link to it belongs to user 4242");
            std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
            chown(&above, Some(4242), None).unwrap();
            ways.iter().for_each(|way| place.refuses(way, "belongs to user 4242, not to root and could"));
        }
    }

    #[test]
    fn a_program_that_others_could_replace_is_refused() {
        let place = Place::new();
        let file = place.file();
        place.mode(&file, 0o755);
        if !Uid::current().is_root() {
            assert!(check_program(&file).unwrap_err().contains("not to root"));
            return;
        }
        check_program(&file).unwrap();
        place.mode(&file, 0o757);
        assert!(check_program(&file).unwrap_err().contains("chmod go-w"));
        place.mode(&file, 0o755);
        place.mode(place.0.path(), 0o777);
        assert!(check_program(&file).unwrap_err().contains("could replace the file"));
        place.mode(place.0.path(), 0o755);
        chown(&file, Some(4242), None).unwrap();
        assert!(check_program(&file).unwrap_err().contains("belongs to user 4242"));
    }

    #[test]
    fn files_links_and_directories_of_another_user_are_refused() {
        if !Uid::current().is_root() {
            return;
        }
        let place = Place::new();
        let (file, link) = (place.file(), place.0.path().join("link"));
        symlink(&file, &link).unwrap();
        place.check(&link).unwrap();
        std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
        place.refuses(&link, "the symbolic link of that name belongs to user 4242");
        place.check(&file).unwrap();
        chown(&file, Some(4242), None).unwrap();
        place.refuses(&file, "chown root");
        chown(&file, Some(0), None).unwrap();
        chown(place.0.path(), Some(4242), None).unwrap();
        place.refuses(&file, "belongs to user 4242, not to root and could replace");
    }
}
