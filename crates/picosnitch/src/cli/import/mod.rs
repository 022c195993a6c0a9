//! `picosnitch import`: brings over the history, the known programs and the configuration of an original picosnitch.
//! Exit codes: 0 when all was brought over, or was there already; 1 for an error, or if something could not be brought over;
//! 2 for a wrong command line, 77 without the right to it, 78 for a bad configuration of this picosnitch.

mod configuration;
mod files;
mod history;
mod notice;
mod programs;
mod progress;
mod report;

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};

pub(super) use self::notice::{notices, running_notice};
use self::{
    configuration::Configuration,
    files::{Files, find},
    history::Import,
    report::Report,
};
use super::{
    common::{Common, EXIT_CONFIG, EXIT_NO_PERMISSION},
    doctor::{become_owner, log_writer},
    output::print,
};
use ::import::{Settings, Source, running_original};
use config::{Config, layout::Layout};
use daemon::{
    MonitorError,
    monitor::{self, InstanceLock},
};
use model::text::time;
use sandbox::User;
use store::{LogBeforeImport, Reader, StoreError};

const DAY: i64 = 24 * 60 * 60;

#[derive(clap::Args)]
#[command(
    after_help = "picosnitch must be stopped meanwhile. Nothing is changed in PATH, and what was imported before does not come \
                  again, so the command can be repeated, also when it was interrupted or the original has recorded more since.\n\n\
                  Without PATH the files of the original are searched in /etc/picosnitch, /var/lib/picosnitch, \
                  /var/log/picosnitch, and in ~/.config/picosnitch of root and of the user who runs sudo."
)]
pub struct Options {
    /// A directory with files of the original picosnitch, or one of its files: snitch.db, picosnitch.db, record.json, state.json,
    /// config.json, config.toml, conn.log
    path: Option<PathBuf>,
    /// Only say what would be brought over
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The time zone in which the original ran, such as Europe/Vienna, for releases that wrote local time [default: that of this
    /// machine]
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
}

/// Imports, or says what would be imported.
///
/// # Errors
/// picosnitch is running, there is nothing to import, or a file cannot be read or written. Running the command again goes on.
pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let zone = match &options.zone {
        None => calendar::zone(),
        Some(name) => calendar::named_zone(name).with_context(|| {
            format!("this machine knows no time zone {name:?}; write a name such as Europe/Vienna or UTC")
        })?,
    };
    let layout = common.layout();
    if options.path.is_none() && common.base_dir.is_none() && !nix::unistd::geteuid().is_root() {
        eprintln!(
            "picosnitch: only root may import into the log of the system: run `sudo picosnitch import`"
        );
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    }
    refuse_foreign_log(&layout)?;
    let files = find(options.path.as_deref(), &layout)?;
    let configuration = Configuration::read(&files, &layout)?;
    let effective = match configuration.effective(&layout) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    if let Some(pid) = running_original() {
        eprintln!(
            "picosnitch: the original picosnitch is running (process {pid}): what it records from now on is missing. Stop it first \
             (sudo systemctl stop picosnitch, or sudo kill {pid}), or run the command again later: only what is new comes then."
        );
    }
    let now = time::now();
    let cutoff = now - i64::from(effective.log.retention_days) * DAY;
    let settings = Settings { zone, cutoff, now };
    let mut report = match options.dry_run {
        true => preview(&files, &layout, &configuration, settings)?,
        false => match import(&files, &layout, configuration, (&effective, settings)) {
            Err(error) if is_denied(&error) => {
                eprintln!("picosnitch: {error:#}");
                eprintln!("picosnitch: run the command as root: sudo picosnitch import");
                return Ok(ExitCode::from(EXIT_NO_PERMISSION));
            }
            imported => imported?,
        },
    };
    report.retention_days = effective.log.retention_days;
    print(&if options.json { report.json() } else { report.text() })?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_denied(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// Refuses a log of the original at the place of ours.
fn refuse_foreign_log(layout: &Layout) -> anyhow::Result<()> {
    let database = layout.database.display();
    match Reader::open(&layout.database) {
        Err(StoreError::Foreign { .. }) => bail!(
            "{database} is where this picosnitch writes its log, and the file there is another program's, maybe of the original \
             picosnitch: move the files of the original into a directory of their own, and import that directory"
        ),
        _ => Ok(()),
    }
}

/// Says what would be imported.
fn preview(
    files: &Files,
    layout: &Layout,
    configuration: &Configuration,
    mut settings: Settings,
) -> anyhow::Result<Report> {
    let mut report = Report::new(files, true);
    let (known, log) = match Reader::open(&layout.database) {
        Ok(reader) => {
            if let Some(since) = reader.detail_since()? {
                settings.cutoff = settings.cutoff.max(since);
                report.sums_before = Some(since);
            }
            (reader.import_sources()?, Some(LogBeforeImport::open(&layout.database)?))
        }
        Err(StoreError::Missing(_) | StoreError::Empty(_)) => (Vec::new(), None),
        Err(error) => return Err(error.into()),
    };
    report.configuration = configuration.outcome(layout, None);
    for path in &files.known_programs {
        report.known_programs.push(programs::preview(path));
    }
    let sources = open_sources(files, None, &mut report);
    if sources.len() > 1 {
        report.notes.push(
            "What two of these files have in common comes once, but is counted for each here.".to_owned(),
        );
    }
    for mut source in sources {
        history::preview(&mut source, (&known, log.as_ref()), &settings, &mut report);
    }
    Ok(report)
}

/// Opens the logs, with the rights of the user who runs the command. One that cannot be opened is in the report.
fn open_sources(files: &Files, owner: Option<User>, report: &mut Report) -> Vec<Source> {
    let owner = owner.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
    let databases = files.databases.iter().map(|path| (path, Source::open_database(path, owner)));
    let texts = files.text_logs.iter().map(|path| (path, Source::open_text(path)));
    let mut sources = Vec::new();
    for (path, opened) in databases.chain(texts) {
        match opened {
            Ok(source) => sources.push(source),
            Err(error) => report.add_unreadable(path, &error),
        }
    }
    sources
}

fn import(
    files: &Files,
    layout: &Layout,
    configuration: Configuration,
    (effective, settings): (&Config, Settings),
) -> anyhow::Result<Report> {
    prepare_directories(layout)?;
    let _lock = lock(layout)?;
    let mut report = Report::new(files, false);
    // What only the user who runs the command may read is opened before it becomes the owner of the log.
    let owner = log_writer(&layout.database)?;
    if let Some(advice) = owner.as_ref().and_then(User::advice) {
        report.notes.push(advice.to_owned());
    }
    let sources = open_sources(files, owner, &mut report);
    let programs = programs::open(files, &mut report);
    let written = configuration.write(layout)?;
    report.configuration = configuration.outcome(layout, written);
    become_owner(&layout.database)?;
    let mut import = Import::begin(layout, effective, settings)?;
    for source in sources {
        import.add_source(source, &mut report);
    }
    for (path, file) in programs {
        import.add_known_programs(&path, file, &mut report);
    }
    import.finish(&mut report)?;
    Ok(report)
}

/// Makes the directories that are missing, as the daemon does. Those that are there are as the daemon has made them, or it says
/// at its start what to do.
fn prepare_directories(layout: &Layout) -> anyhow::Result<()> {
    if layout.log_directories().iter().all(|directory| directory.is_dir()) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        let directory = layout.database.parent().context("the log has no directory")?;
        return fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()));
    }
    let user = User::of_log(&layout.database).context("cannot look at the directory of the log")?;
    layout.check(user.uid, user.gid)?;
    layout.hand_over_directories(user.gid)?;
    Ok(layout.prepare(user.uid, user.gid)?)
}

fn lock(layout: &Layout) -> anyhow::Result<InstanceLock> {
    match monitor::lock_stopped(layout) {
        Err(MonitorError::AlreadyRunning(pid)) => bail!(
            "picosnitch is recording (process {pid}): stop it (sudo systemctl stop picosnitch), import, and start it again (sudo \
             systemctl start picosnitch)"
        ),
        locked => Ok(locked?),
    }
}
