//! CHANGELOG.md as the packages want it. The version is that of the workspace.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, ensure};

/// The version that the packages get.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAINTAINER: &str = env!("CARGO_PKG_AUTHORS");
/// As long as a line of a Debian changelog may be.
const WIDTH: usize = 78;

/// The changes of the version that is packaged.
pub struct Changelog {
    /// What changed, one sentence or more each, without the marks of lists.
    changes: Vec<String>,
    /// The time of the version in seconds.
    pub epoch: String,
}

impl Changelog {
    /// Reads the newest section. `epoch` is the time of the last commit, in seconds.
    ///
    /// # Errors
    /// The file cannot be read, or its newest version is not that of the workspace.
    pub fn read(path: &Path, epoch: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { changes: changes(&text)?, epoch: epoch.to_owned() })
    }

    /// The changelog of a Debian package of this revision.
    ///
    /// # Errors
    /// date(1) cannot write the time.
    pub fn debian(&self, revision: u32) -> anyhow::Result<String> {
        let date = Command::new("date").args(["--utc", "-R", "-d", &format!("@{}", self.epoch)]).output();
        let date = String::from_utf8(date.context("cannot run date")?.stdout)?;
        let mut text = format!("picosnitch ({VERSION}-{revision}) unstable; urgency=medium\n\n");
        for change in &self.changes {
            let mut line = "  *".to_owned();
            for word in change.split_whitespace() {
                if line.len() + 1 + word.len() > WIDTH {
                    writeln!(text, "{line}")?;
                    line = "   ".to_owned();
                }
                line = line + " " + word;
            }
            writeln!(text, "{line}")?;
        }
        write!(text, "\n -- {MAINTAINER}  {date}")?;
        Ok(text)
    }
}

/// The changes below the first heading: those that are not released yet, or those of the version of the workspace.
fn changes(text: &str) -> anyhow::Result<Vec<String>> {
    let mut sections = text.split("\n## ").skip(1);
    let newest = sections.next().context("CHANGELOG.md has no section")?;
    let (heading, body) = newest.split_once('\n').unwrap_or((newest, ""));
    let version = heading.split_whitespace().next().unwrap_or_default();
    ensure!(
        version == "Unreleased" || version == VERSION,
        "the newest section of CHANGELOG.md is {version}, but Cargo.toml has version {VERSION}: they must agree"
    );
    let mut changes: Vec<String> = Vec::new();
    for line in body.lines() {
        if let Some(change) = line.strip_prefix("- ") {
            changes.push(change.to_owned());
        } else if let (Some(last), true) = (changes.last_mut(), line.starts_with("  ")) {
            *last += " ";
            *last += line.trim();
        }
    }
    ensure!(!changes.is_empty(), "the newest section of CHANGELOG.md, {version}, lists no change");
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_agrees_with_the_version_of_the_workspace() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../CHANGELOG.md");
        assert!(!Changelog::read(&path, "0").unwrap().changes.is_empty());
    }

    #[test]
    fn another_version_is_refused() {
        let error = changes("# Changelog\n\n## 99.1.0 - 2030-01-01\n- x\n").unwrap_err().to_string();
        assert!(error.contains("99.1.0") && error.contains(VERSION), "{error}");
        assert!(changes("# Changelog\n\n## Unreleased\n\n## 0.0.1\n- x\n").is_err());
    }

    #[test]
    fn a_debian_changelog_has_wrapped_lines_of_the_newest_section_only() {
        let long = "word ".repeat(40);
        let text =
            format!("# Changelog\n\n## Unreleased\n\n### Added\n- {long}\n  end\n- two\n\n## 0.0.1\n- old\n");
        let changelog = Changelog { changes: changes(&text).unwrap(), epoch: "86400".to_owned() };
        let debian = changelog.debian(3).unwrap();
        assert!(
            debian.starts_with(&format!("picosnitch ({VERSION}-3) unstable; urgency=medium\n\n  * word"))
        );
        assert!(
            debian.contains("word end\n  * two\n\n -- picosnitch") && !debian.contains("old"),
            "{debian}"
        );
        assert!(debian.ends_with(">  Fri, 02 Jan 1970 00:00:00 +0000\n"), "{debian}");
        assert!(debian.lines().all(|line| line.len() <= WIDTH || line.starts_with(" --")), "{debian}");
    }
}
