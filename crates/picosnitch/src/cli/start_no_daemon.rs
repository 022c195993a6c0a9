//! `picosnitch start-no-daemon`: records in the foreground until SIGTERM or SIGINT. SIGHUP opens its logs again and reads
//! its configuration anew.
//! Exit codes: 0 after a signal, 78 (`EX_CONFIG`) for a bad configuration, 1 when nothing can be recorded.

use std::{
    io::ErrorKind,
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context;

use super::{
    common::{Common, EXIT_CONFIG},
    import::notices,
};
use capture::Capture;
use config::{Config, Source, layout::Layout};
use daemon::{
    monitor::{self, RunOptions, ServiceManager},
    problems::print_to_stderr,
};

#[derive(clap::Args)]
pub struct Options {
    /// Let the BPF programs go on counting for the next start, after SIGTERM and SIGUSR2 and if picosnitch is killed: a restart
    /// is no gap then. `picosnitch stop` removes them
    #[arg(long)]
    keep_hooks: bool,
    /// Leave look-ups at VirusTotal and of names to `picosnitch exporter`, which a service of its own runs
    #[arg(long)]
    no_exporter: bool,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    // Relative paths are resolved before the working directory changes.
    let layout = common.layout();
    sandbox::reset_inherited().context("the daemon cannot leave what it was started with")?;
    // After the step before, which closes all descriptors.
    let service = ServiceManager::take_from_environment();
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("recording needs root: run `sudo picosnitch start-no-daemon`");
    }
    let loaded = match Config::load(&layout) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    monitor::prepare(&layout)?;
    end_interrupted_forget(common, &layout)?;
    if let Source::Defaults(path) = &loaded.source {
        match Config::write_default(path) {
            // Without its directory, which could not be made.
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound) => {
                print_to_stderr(&format!(
                    "{} cannot be written, because its file system is read-only; the defaults are used.",
                    path.display()
                ))
            }
            written => written.with_context(|| format!("cannot write {}", path.display()))?,
        }
    }
    for notice in notices(&layout) {
        print_to_stderr(&notice);
    }
    for sentence in loaded.config.without_effect() {
        print_to_stderr(&sentence);
    }
    let options = RunOptions { keeps_hooks: options.keep_hooks, with_exporter: !options.no_exporter };
    monitor::run(&layout, &loaded.config, service, options, report_start)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends a `picosnitch forget` that was interrupted, in a process of its own, since it works as the owner of the log. If it cannot
/// be ended, [`monitor::run`] says so.
fn end_interrupted_forget(common: &Common, layout: &Layout) -> anyhow::Result<()> {
    if !monitor::forget_request(layout).exists() {
        return Ok(());
    }
    print_to_stderr("a picosnitch forget was interrupted: it is ended first");
    let mut forget = Command::new("/proc/self/exe");
    forget.args(common.arguments()).arg("forget").stdin(Stdio::null());
    forget.status().context("cannot run picosnitch forget")?;
    Ok(())
}

/// Prints what stays unseen and that recording has begun. Scripts and tests wait for the last line.
fn report_start(capture: &Capture) {
    if let Some(blind_spots) = capture::blind_spots_in_short(capture.unseen().iter().map(|spot| spot.unseen))
    {
        print_to_stderr(&blind_spots);
    }
    for wall in sandbox::missing_walls() {
        print_to_stderr(&format!("not enforced on this kernel: {wall}"));
    }
    print_to_stderr("recording");
}
