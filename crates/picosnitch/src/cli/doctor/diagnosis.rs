//! The verdict, with everything that it follows from.

use serde_json::{Value, json};

use super::{
    blind_spots::{self, BlindSpots, NEVER_SEEN},
    check::{Check, Rating},
    files, machine, process,
    state::{self, Found, State},
};
use capture::{Capture, Settings, check_machine};
use config::layout::Layout;
use model::text::sanitize;

/// Exit codes besides 0, those of `status` where they mean the same.
const NOT_RECORDING: u8 = 3;
const NOT_KNOWN: u8 = 4;
const BLIND_SPOTS: u8 = 5;

/// What the kernel half could do here, by trying it.
#[derive(Clone, Debug)]
struct Tried {
    hooks_attached: usize,
    length_tracepoints: bool,
    ftrace: bool,
    cgroup2: Option<String>,
}

/// The verdict and what it follows from.
pub(super) struct Diagnosis {
    state: State,
    /// `None` without root, or if nothing can be loaded.
    tried: Option<Tried>,
    /// Why nothing can be recorded on this machine; `None` if it can, or if it was not tried.
    refused: Option<String>,
    blind_spots: Vec<BlindSpots>,
    /// Neither a daemon nor an attempt has told what is unseen.
    is_unknown_what_is_unseen: bool,
    checks: Vec<Check>,
}

impl Diagnosis {
    /// Looks at the machine, and at the daemon if it runs.
    pub fn make(layout: &Layout) -> Self {
        let Found { state, daemon, hidden } = state::find(layout);
        let (mut tried, mut refused, mut spots) = (None, None, Vec::new());
        let mut checks = machine::checks(daemon.as_ref().map(|daemon| daemon.monitor));
        if nix::unistd::geteuid().is_root() {
            match try_capture() {
                Ok((found, unseen)) => (tried, spots) = (Some(found), unseen),
                Err(why) => refused = Some(why),
            }
        } else if daemon.is_none() {
            checks.push(Check::needs_root("hooks", "what this kernel supports"));
        }
        if let Some(daemon) = &daemon
            && tried.is_none()
        {
            spots = blind_spots::of_daemon(&daemon.unseen);
        }
        let state = state::with_reason(state, refused.as_deref(), &checks);
        checks.extend(hidden);
        checks.extend(process::checks(daemon.as_ref()));
        checks.extend(files::checks(layout, daemon.is_some()));
        let is_unknown_what_is_unseen = tried.is_none() && daemon.is_none();
        Self { state, tried, refused, blind_spots: spots, is_unknown_what_is_unseen, checks }
    }

    /// Things that matter: blind spots and results of checks.
    fn count_that_matter(&self) -> usize {
        let checks = self.checks.iter().filter(|check| check.rating <= Rating::Matters);
        blind_spots::count_that_matter(&self.blind_spots) + checks.count()
    }

    pub fn exit_code(&self) -> u8 {
        match (&self.state, self.count_that_matter()) {
            (State::NotRecording(_), _) => NOT_RECORDING,
            (State::NotKnown(_), _) => NOT_KNOWN,
            (State::Recording, 0) => 0,
            (State::Recording, _) => BLIND_SPOTS,
        }
    }

    fn verdict(&self) -> String {
        match (&self.state, self.count_that_matter()) {
            (State::NotRecording(why), _) => format!("Not recording: {}", sanitize::message(why)),
            (State::NotKnown(why), _) => {
                format!("Not known whether anything is recorded: {}", sanitize::message(why))
            }
            (State::Recording, 0) => "Recording, and complete.".to_owned(),
            (State::Recording, count) => format!("Recording, with {}.", of_blind_spots(count)),
        }
    }

    const fn verdict_name(&self) -> &'static str {
        match self.state {
            State::NotRecording(_) => "not_recording",
            State::NotKnown(_) => "not_known",
            State::Recording => "recording",
        }
    }

    pub fn text(&self) -> String {
        let mut lines = vec![self.verdict()];
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.sort_by_key(|check| check.rating);
        let to_do: Vec<&&Check> = checks.iter().filter(|check| check.advice.is_some()).collect();
        if !to_do.is_empty() {
            lines.push("\nWhat to do:".to_owned());
        }
        for check in to_do {
            let advice = check.advice.as_deref().unwrap_or_default();
            lines.push(format!("  {} {}", check.rating.mark(), sanitize::message(&check.text)));
            lines.push(format!("       {}", sanitize::message(advice)));
        }
        if self.is_unknown_what_is_unseen {
            lines.push("\nNot seen on this kernel: sudo picosnitch doctor finds out".to_owned());
        } else if self.blind_spots.is_empty() {
            lines.push("\nNot seen on this kernel: nothing beyond the list below".to_owned());
        } else {
            lines.push("\nNot seen on this kernel:".to_owned());
            lines.extend(self.blind_spots.iter().flat_map(BlindSpots::lines));
        }
        lines.push("\nNot seen on any kernel:".to_owned());
        lines.extend(NEVER_SEEN.iter().map(|unseen| format!("  {unseen}")));
        lines.push("\nLooked at:".to_owned());
        if let Some(tried) = &self.tried {
            lines.push(format!("  ok {} hooks can be attached", tried.hooks_attached));
        }
        let others = checks.iter().filter(|check| check.advice.is_none());
        lines.extend(
            others.map(|check| format!("  {} {}", check.rating.mark(), sanitize::message(&check.text))),
        );
        lines.join("\n") + "\n"
    }

    pub fn json(&self) -> String {
        let why = match &self.state {
            State::Recording => self.refused.as_deref(),
            State::NotRecording(why) | State::NotKnown(why) => Some(why.as_str()),
        };
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "rating": check.rating.name(),
                    "text": check.text,
                    "advice": check.advice,
                })
            })
            .collect();
        let unseen_here: Vec<Value> = self
            .blind_spots
            .iter()
            .flat_map(|group| {
                group.unseen.iter().map(
                    |(weight, unseen)| json!({"unseen": unseen, "why": group.why, "weight": weight.name()}),
                )
            })
            .collect();
        let tried = self.tried.as_ref();
        let document = json!({
            "verdict": self.verdict_name(),
            "text": self.verdict(),
            "that_matter": self.count_that_matter(),
            "why": why,
            "kernel": self.checks.iter().find(|check| check.name == "kernel").map(|check| &check.fact),
            // Whether recording works here; null if it was not tried.
            "records": if tried.is_some() { Some(true) } else { self.refused.as_ref().map(|_| false) },
            "hooks_attached": tried.map(|tried| tried.hooks_attached),
            "length_tracepoints": tried.map(|tried| tried.length_tracepoints),
            "ftrace": tried.map(|tried| tried.ftrace),
            "cgroup2": tried.and_then(|tried| tried.cgroup2.as_ref()),
            "unseen_here": unseen_here,
            "blind_spots": self.blind_spots.iter().map(BlindSpots::json).collect::<Vec<_>>(),
            "unseen_everywhere": NEVER_SEEN,
            "checks": checks,
        });
        format!("{}\n", sanitize::json_document(&format!("{document:#}")))
    }

    /// A text for a report of a bug.
    pub fn report(&self) -> String {
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let of_os = |key: &str| {
            let value = os.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown");
            value.trim_matches('"').to_owned()
        };
        let mut lines = vec![
            format!("picosnitch {}", env!("CARGO_PKG_VERSION")),
            format!("system: {} {}, {}", of_os("ID="), of_os("VERSION_ID="), std::env::consts::ARCH),
            format!("verdict: {}, {} that matter", self.verdict_name(), self.count_that_matter()),
        ];
        lines.extend(self.refused.iter().map(|why| format!("refused: {}", without_names(why))));
        if let Some(Tried { hooks_attached, length_tracepoints, ftrace, .. }) = &self.tried {
            lines.push(format!(
                "hooks: {hooks_attached} attached, length tracepoints {length_tracepoints}, ftrace {ftrace}"
            ));
        }
        for check in &self.checks {
            lines.push(format!("{} ({}): {}", check.name, check.rating.name(), without_names(&check.fact)));
        }
        for group in &self.blind_spots {
            for (weight, unseen) in &group.unseen {
                lines.push(format!("unseen ({}): {unseen}; {}", weight.name(), without_names(&group.why)));
            }
        }
        lines.join("\n") + "\n"
    }
}

/// A text without words that may be paths or addresses.
fn without_names(text: &str) -> String {
    let is_private = |word: &str| {
        let word =
            word.trim_matches(|character: char| !character.is_ascii_alphanumeric() && character != '/');
        word.starts_with('/') || word.parse::<std::net::IpAddr>().is_ok() || word.contains('@')
    };
    let words = text.split(' ').map(|word| if is_private(word) { "..." } else { word });
    sanitize::message(&words.collect::<Vec<_>>().join(" "))
}

/// `1 blind spot that matters`, `2 blind spots that matter`.
fn of_blind_spots(count: usize) -> String {
    match count {
        1 => "1 blind spot that matters".to_owned(),
        count => format!("{count} blind spots that matter"),
    }
}

/// Loads and attaches everything as for recording; it is detached when this returns.
fn try_capture() -> Result<(Tried, Vec<BlindSpots>), String> {
    check_machine().map_err(|error| model::error_chain(&error))?;
    let settings = Settings { ring_buffer_pages: 16, hand_over: None };
    let mut capture = Capture::start(&settings).map_err(|error| model::error_chain(&error))?;
    capture.try_return_probes();
    let features = capture.features();
    let tried = Tried {
        hooks_attached: capture.attached(),
        length_tracepoints: features.has_length_tracepoints(),
        ftrace: features.ftrace,
        cgroup2: features.cgroup.as_ref().map(|path| path.to_string_lossy().into_owned()),
    };
    Ok((tried, blind_spots::of_capture(&capture)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(state: State, checks: Vec<Check>) -> Diagnosis {
        let unseen = |text: &str| (text.to_owned(), "no /home/me/kernel".to_owned());
        let blind_spots = blind_spots::group([unseen("processes that change their name")]);
        Diagnosis { state, tried: None, refused: None, blind_spots, is_unknown_what_is_unseen: false, checks }
    }

    #[test]
    fn the_verdict_comes_first_and_follows_from_what_matters() {
        let good = Check::good("disk", "room", "room");
        let bad = Check::new("disk", Rating::Matters, "no room in /home/me", "no room").advise("make room");
        for (state, checks, code, verdict) in [
            (State::Recording, vec![good.clone()], 0, "Recording, and complete."),
            (State::Recording, vec![good, bad.clone()], 5, "Recording, with 1 blind spot that matters."),
            (
                State::Recording,
                vec![bad.clone(), bad.clone()],
                5,
                "Recording, with 2 blind spots that matter.",
            ),
            (State::NotRecording("it is off".into()), vec![bad.clone()], 3, "Not recording: it is off"),
            (State::NotKnown("x".into()), vec![], 4, "Not known whether anything is recorded: x"),
        ] {
            let diagnosis = diagnosis(state, checks);
            assert_eq!(diagnosis.exit_code(), code);
            assert_eq!(diagnosis.text().lines().next().unwrap(), verdict);
            let json: Value = serde_json::from_str(&diagnosis.json()).unwrap();
            assert_eq!(json["text"], verdict);
        }
        let text = diagnosis(State::Recording, vec![bad.clone()]).text();
        assert!(text.contains("What to do:\n  !! no room in /home/me\n       make room\n"), "{text}");
        let report = diagnosis(State::Recording, vec![bad]).report();
        assert!(!report.contains("/home/me") && report.contains("disk (matters): no room"), "{report}");
    }

    #[test]
    fn a_report_has_no_paths_and_addresses() {
        let text = "cannot open '/home/me/x': 192.0.2.1 and (2001:db8::1) of me@host";
        assert_eq!(without_names(text), "cannot open ... ... and ... of ...");
    }
}
