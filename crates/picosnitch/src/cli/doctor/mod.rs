//! `picosnitch doctor`: what this machine supports, what stays unseen, and what to do about it; or with `--salvage` what a
//! damaged log still holds.
//! Exit codes: 0 when recording works, 1 when it cannot; with `--salvage` 0 when all could be read, 1 when something is missing.

mod salvage;

pub(super) use self::salvage::{become_owner, log_writer};
use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{common::Common, output::print};
use capture::{Capture, Settings};

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Bring over what can be read of this damaged log; picosnitch must be stopped meanwhile. It can run again: what is there
    /// is not doubled
    #[arg(long, value_name = "FILE")]
    salvage: Option<PathBuf>,
    /// Bring it into this log instead of that of this machine
    #[arg(long, value_name = "LOG", requires = "salvage")]
    into: Option<PathBuf>,
}

/// Traffic that picosnitch sees on no kernel.
const NEVER_SEEN: &[&str] = &[
    "AF_XDP sockets: their frames pass no socket function",
    "frames in AF_PACKET receive rings: that one is in use is reported, its bytes are not counted",
    "when io_uring takes bytes straight from a network card (zero-copy receive): they are counted at the close",
    "traffic of the kernel itself that no process asked for, such as answers to ping",
    "traffic of virtual machines that have a network card of their own",
];

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(damaged) = &options.salvage {
        return salvage::run(&common.layout(), damaged, options.into.as_deref(), options.json);
    }
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("trying what this kernel supports needs root: run `sudo picosnitch doctor`");
    }
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    // Everything is loaded and attached as for recording, and detached when this command ends.
    let mut capture = match Capture::start(&Settings { ring_buffer_pages: 16, hand_over: None }) {
        Ok(capture) => capture,
        Err(error) => {
            let why = model::error_chain(&error);
            if options.json {
                print(&format!("{}\n", json!({"kernel": kernel, "records": false, "why": why})))?;
            } else {
                eprintln!("picosnitch: {why}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    capture.try_return_probes();
    let features = capture.features();
    let means = [
        ("tracepoints that tell every send and receive (6.3 and later)", features.has_length_tracepoints()),
        ("programs attached to kernel functions (ftrace)", features.ftrace),
        ("version 2 cgroup hierarchy", features.cgroup.is_some()),
    ];
    if options.json {
        let unseen: Vec<_> = capture
            .blind_spots()
            .iter()
            .map(|spot| json!({"hook": spot.hook.program(), "unseen": spot.unseen, "why": spot.why}))
            .collect();
        let document = json!({
            "kernel": kernel,
            "records": true,
            "hooks_attached": capture.attached(),
            "length_tracepoints": means[0].1,
            "ftrace": means[1].1,
            "cgroup2": features.cgroup.as_ref().map(|path| path.to_string_lossy()),
            "unseen_here": unseen,
            "unseen_everywhere": NEVER_SEEN,
        });
        print(&format!("{document:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("Linux {kernel}: recording works, {} hooks attached\n\n", capture.attached());
    for (name, has) in means {
        text.push_str(&format!("  {:<3} {name}\n", if has { "yes" } else { "no" }));
    }
    text.push_str("\nNot seen on this kernel:\n");
    if capture.blind_spots().is_empty() {
        text.push_str("  nothing beyond the list below\n");
    }
    for spot in capture.unseen() {
        text.push_str(&format!("  {}\n      because {}\n", spot.unseen, spot.why));
    }
    text.push_str("\nNot seen on any kernel:\n");
    for unseen in NEVER_SEEN {
        text.push_str(&format!("  {unseen}\n"));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
