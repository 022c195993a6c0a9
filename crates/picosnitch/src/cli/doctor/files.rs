//! The files: configuration, log, room on the disk, countries; who may read them, and who is notified.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use nix::unistd::{Group, Uid, User};

use super::check::{Check, Rating};
use config::{Config, layout::Layout};
use daemon::monitor::max_log_bytes;
use model::text::units::ByteUnit;
use store::{Reader, StoreError};

const UNIT: ByteUnit = ByteUnit::Decimal;
/// Less room on the disk is little.
const LITTLE_ROOM: u64 = 200_000_000;
/// A larger log is not read as a whole.
const MAX_CHECKED_BYTES: u64 = 300_000_000;
/// Countries change slowly.
const OLD: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// The group that may read the log.
const GROUP: &str = "picosnitch";

/// The checks of the files of a layout.
pub(super) fn checks(layout: &Layout, is_recording: bool) -> Vec<Check> {
    let (configuration, config) = configuration(layout);
    let mut checks = vec![configuration];
    checks.extend(log(layout, &config, is_recording));
    checks.extend(room(layout));
    checks.extend([countries(&config), notifications(&config)]);
    checks.extend(group());
    checks
}

fn configuration(layout: &Layout) -> (Check, Config) {
    const NAME: &str = "configuration";
    match Config::load(layout) {
        Ok(loaded) => {
            let sentences = loaded.config.without_effect();
            let text = format!("the configuration is right: {}", loaded.source);
            let check = match sentences.len() {
                0 => Check::good(NAME, text, "good"),
                count => {
                    let text = format!("{text}; {count} of its keys have no effect");
                    Check::new(NAME, Rating::Minor, text, "some keys without effect")
                        .advise("picosnitch check-config")
                }
            };
            (check, loaded.config)
        }
        Err(errors) if errors.is_unreadable => {
            (Check::needs_root(NAME, "what is configured"), Config::default())
        }
        Err(errors) => {
            let text =
                format!("the configuration has {} problems: the next start will fail", errors.problems.len());
            (
                Check::new(NAME, Rating::Matters, text, "bad").advise("picosnitch check-config"),
                Config::default(),
            )
        }
    }
}

fn log(layout: &Layout, config: &Config, is_recording: bool) -> Vec<Check> {
    const NAME: &str = "log";
    if !config.log.sqlite {
        let text = "log.sqlite is false: there is no history to look at";
        return vec![Check::new(NAME, Rating::Minor, text, "off")];
    }
    let reader = match Reader::open(&layout.database) {
        Ok(reader) => reader,
        Err(StoreError::Missing(_) | StoreError::Empty(_)) => {
            return vec![Check::new(NAME, Rating::Informational, "there is no log yet", "none")];
        }
        Err(error) => {
            let text = model::error_chain(&error);
            let is_denied = text.contains("ermission denied");
            if is_denied && !Uid::effective().is_root() {
                return vec![Check::needs_root(NAME, "the log")];
            }
            let rating = if is_recording { Rating::Matters } else { Rating::Minor };
            return vec![Check::new(NAME, rating, text, "not readable")];
        }
    };
    let mut checks = Vec::new();
    let used = reader.used_bytes().unwrap_or(0);
    let limit = max_log_bytes(config.log.retention_megabytes, &layout.database);
    let of_limit =
        limit.map_or("any size allowed".to_owned(), |limit| format!("{} allowed", UNIT.write(limit)));
    let text = format!("the log has {}, {of_limit}", UNIT.write(used));
    let check = Check::good(NAME, text.clone(), text.clone());
    checks.push(match reader.detail_since() {
        Ok(Some(since)) => Check::new(
            NAME,
            Rating::Informational,
            format!("{text}: before {} it has sums only", model::text::time::local(since)),
            format!("{text}, old detail deleted"),
        )
        .advise("raise log.retention_megabytes to keep more"),
        _ => check,
    });
    if used <= MAX_CHECKED_BYTES {
        checks.push(match reader.quick_check() {
            Ok(None) => Check::good("log_integrity", "the log is sound", "sound"),
            Ok(Some(damage)) => Check::new("log_integrity", Rating::Matters, format!("the log is damaged: {damage}"), "damaged")
                .advise("stop picosnitch, move the log away, start it, and run: sudo picosnitch doctor --salvage FILE"),
            Err(error) => {
                Check::new("log_integrity", Rating::Minor, model::error_chain(&error), "not checked")
            }
        });
    }
    checks
}

fn room(layout: &Layout) -> Option<Check> {
    let directory = layout.database.parent().filter(|directory| directory.exists())?;
    let disk = nix::sys::statvfs::statvfs(directory).ok()?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let text = format!("{} free for the log", UNIT.write(free));
    Some(match free < LITTLE_ROOM {
        true => {
            Check::new("disk", Rating::Matters, format!("only {text}: soon nothing can be written"), text)
                .advise("make room, or lower log.retention_megabytes")
        }
        false => Check::good("disk", text.clone(), text),
    })
}

fn countries(config: &Config) -> Check {
    const NAME: &str = "countries";
    let Some(path) = config.names.country_file.clone().or_else(names::packaged_country_file) else {
        return Check::new(NAME, Rating::Minor, "there is no file of countries: they are unknown", "none")
            .advise("install picosnitch's package or run `sudo make install`: they bring one; or set names.country_file");
    };
    let age = fs::metadata(&path)
        .and_then(|found| found.modified())
        .map(|modified| SystemTime::now().duration_since(modified).unwrap_or_default());
    match age {
        Err(error) => Check::new(
            NAME,
            Rating::Minor,
            format!("the file of countries {} cannot be used: {error}", path.display()),
            "not readable",
        ),
        Ok(age) if age > OLD => {
            let days = age.as_secs() / 86_400;
            Check::new(
                NAME,
                Rating::Minor,
                format!("the file of countries is {days} days old"),
                format!("{days} days"),
            )
            .advise("install a newer version, or set names.country_file to a newer file")
        }
        Ok(age) => {
            let days = age.as_secs() / 86_400;
            Check::good(NAME, format!("the file of countries is {days} days old"), format!("{days} days"))
        }
    }
}

/// Whether there is a session bus of a user who is logged in to a desktop.
fn notifications(config: &Config) -> Check {
    const NAME: &str = "notifications";
    if !config.notifications.desktop {
        return Check::new(NAME, Rating::Informational, "desktop notifications are off", "off");
    }
    let sessions = fs::read_dir("/run/user").into_iter().flatten().flatten();
    let users = sessions.filter(|user| user.file_name() != "0" && has_bus(&user.path())).count();
    let hidden = fs::read_dir("/run/user").into_iter().flatten().flatten().count();
    match (users, hidden, Uid::effective().is_root()) {
        (0, 1.., false) => Check::needs_root(NAME, "which users have a session bus"),
        (0, ..) => Check::new(
            NAME,
            Rating::Informational,
            "no user is logged in to a desktop: notifications are in exe.log, and come when one logs in",
            "no session",
        ),
        (users, ..) => {
            Check::good(NAME, format!("{users} users have a session bus for notifications"), "session bus")
        }
    }
}

fn has_bus(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join("bus")).is_ok()
}

/// Whether the user who runs the command may read the log.
fn group() -> Option<Check> {
    const NAME: &str = "group";
    let group = Group::from_name(GROUP).ok().flatten();
    let name = std::env::var("SUDO_USER").ok();
    let user = match name {
        Some(name) => User::from_name(&name),
        None => User::from_uid(Uid::current()),
    };
    let user = user.ok().flatten().filter(|user| !user.uid.is_root());
    let Some(group) = group else {
        return Some(
            Check::new(
                NAME,
                Rating::Minor,
                "there is no group picosnitch: only root may look at the log, and the recorder runs as nobody",
                "no group",
            )
            .advise("install picosnitch's package, which makes one, or run: sudo useradd --system --no-create-home --shell /usr/sbin/nologin picosnitch"),
        );
    };
    let user = user?;
    let is_member = user.gid == group.gid || group.mem.contains(&user.name);
    Some(match is_member {
        true => Check::good(NAME, "you are in the group picosnitch", "member"),
        false => Check::new(
            NAME,
            Rating::Informational,
            "you are not in the group picosnitch: view, top, query and dash need sudo",
            "no member",
        )
        .advise(format!("sudo usermod --append --groups picosnitch {}, and log in again", user.name)),
    })
}
