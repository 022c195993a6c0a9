use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn prepare(base: &Path) -> Result<(), LayoutError> {
    Layout::new(Some(base), None).prepare(Uid::current(), Gid::current())
}

/// Others would be refused at the first start.
#[test]
fn packages_make_the_directories_with_their_modes() {
    for directory in ["/var/lib/picosnitch", "/var/log/picosnitch"] {
        let line = format!("d {directory} {LOG_MODE:04o} root picosnitch -");
        assert!(include_str!("../../../../packaging/systemd/picosnitch.tmpfiles").contains(&line), "{line}");
    }
    let made = format!(
        "install --directory --mode={LOG_MODE:04o} --group=picosnitch /var/lib/picosnitch /var/log/picosnitch"
    );
    assert!(include_str!("../../../../packaging/container/Containerfile").contains(&made), "{made}");
}

#[test]
fn missing_directories_are_made_with_their_modes() {
    let temporary = tempfile::tempdir().unwrap();
    let base = temporary.path().join("a/b");
    prepare(&base).unwrap();
    assert_eq!(mode(&temporary.path().join("a")), 0o755);
    assert_eq!(mode(&base), 0o1770);
    assert_eq!(mode(&base.join("run")), 0o755);
}

#[test]
fn a_directory_that_was_there_keeps_its_mode() {
    let temporary = tempfile::tempdir().unwrap();
    let base = temporary.path().join("base");
    fs::create_dir(&base).unwrap();
    for expected in [0o755, 0o700, 0o750, 0o1770] {
        set_mode(&base, expected);
        prepare(&base).unwrap();
        assert_eq!(mode(&base), expected);
    }
    set_mode(&base.join("run"), 0o711);
    prepare(&base).unwrap();
    assert_eq!(mode(&base.join("run")), 0o711);
}

#[test]
fn unsafe_directories_are_refused_and_nothing_is_made() {
    let temporary = tempfile::tempdir().unwrap();
    let base = temporary.path().join("base");
    fs::create_dir(&base).unwrap();
    for (unsafe_mode, remedy) in
        [(0o777, "chmod o-w"), (0o1777, "chmod o-w"), (0o757, "chmod o-w"), (0o775, "chmod g-w")]
    {
        set_mode(&base, unsafe_mode);
        let error = prepare(&base).unwrap_err().to_string();
        assert!(error.contains(remedy) && error.contains("/base"), "{unsafe_mode:o}: {error}");
        assert_eq!((mode(&base), base.join("run").exists()), (unsafe_mode, false));
    }
    set_mode(&base, 0o755);
    fs::create_dir(base.join("run")).unwrap();
    set_mode(&base.join("run"), 0o777);
    assert!(matches!(prepare(&base), Err(LayoutError::WorldWritable(path)) if path.ends_with("run")));
}

#[test]
fn what_is_no_directory_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let (file, link) = (temporary.path().join("file"), temporary.path().join("link"));
    fs::write(&file, "").unwrap();
    assert!(matches!(prepare(&file), Err(LayoutError::NotADirectory(_))));
    let error = prepare(&file.join("below")).unwrap_err().to_string();
    assert!(error.contains("a part of the path is a file"), "{error}");
    symlink("/nowhere/at/all", &link).unwrap();
    for base in [&link, &link.join("below")] {
        assert!(matches!(prepare(base), Err(LayoutError::DanglingLink(path)) if path == link));
    }
    let long = temporary.path().join("x".repeat(100));
    assert!(matches!(prepare(&long), Err(LayoutError::TooLong(_))));
    let relative = Layout { run_dir: "run".into(), ..Layout::new(Some(&temporary.path().join("x")), None) };
    let error = relative.prepare(Uid::current(), Gid::current()).unwrap_err();
    assert!(matches!(error, LayoutError::NoWorkingDirectory(_)), "{error}");
}

#[test]
fn directories_of_others_are_refused() {
    if !Uid::current().is_root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let base = temporary.path().join("base");
    fs::create_dir(&base).unwrap();
    std::os::unix::fs::chown(&base, Some(4242), None).unwrap();
    let error = prepare(&base).unwrap_err().to_string();
    assert!(error.contains("belongs to user 4242") && error.contains("chown root"), "{error}");
    // A log directory of its own may belong to the user that writes it.
    let layout =
        Layout { database: base.join("snitch.db"), ..Layout::new(Some(&temporary.path().join("x")), None) };
    layout.prepare(Uid::from_raw(4242), Gid::from_raw(4242)).unwrap();
    assert!(layout.prepare(Uid::from_raw(4343), Gid::from_raw(4242)).is_err());
}

#[test]
fn what_was_made_for_nobody_goes_to_the_user_that_writes_the_log() {
    if !Uid::current().is_root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let layout = Layout::new(Some(&temporary.path().join("base")), None);
    let (nobody, user) = ((Uid::from_raw(NOBODY), Gid::from_raw(NOBODY)), (4242.into(), 4343.into()));
    layout.prepare(nobody.0, nobody.1).unwrap();
    fs::write(&layout.database, "").unwrap();
    layout.hand_over(nobody.0, nobody.1).unwrap();
    layout.check(user.0, user.1).unwrap();
    layout.hand_over_directories(user.1).unwrap();
    layout.hand_over(user.0, user.1).unwrap();
    let owners = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    let base = temporary.path().join("base");
    assert_eq!((owners(&base), owners(&layout.database)), ((0, 4343), (4242, 4343)));
    // A directory of another mode was not made by picosnitch.
    std::os::unix::fs::chown(&base, None, Some(NOBODY)).unwrap();
    set_mode(&base, 0o1775);
    let error = layout.check(user.0, user.1).unwrap_err().to_string();
    assert!(error.contains("chown root:4343") && error.contains("chmod 1770"), "{error}");
}

#[test]
fn a_directory_that_only_the_group_of_root_may_write_is_used() {
    let temporary = tempfile::tempdir().unwrap();
    set_mode(temporary.path(), 0o775);
    let layout = Layout::new(Some(temporary.path()), None);
    let is_used = |group: u32| layout.check(4242.into(), group.into()).is_ok();
    assert_eq!((is_used(4343), is_used(0)), (Uid::current().is_root(), false));
}

#[test]
fn files_without_a_usable_mode_get_one() {
    let temporary = tempfile::tempdir().unwrap();
    let layout = Layout::new(Some(temporary.path()), None);
    for file in [&layout.error_log, &layout.database] {
        fs::write(file, "").unwrap();
    }
    set_mode(&layout.error_log, 0o400);
    set_mode(&layout.database, 0o604);
    layout.hand_over(Uid::current(), Gid::current()).unwrap();
    assert_eq!((mode(&layout.error_log), mode(&layout.database)), (0o640, 0o604));
    assert_eq!(layout.existing_log_files(), [layout.database, layout.error_log]);
}
