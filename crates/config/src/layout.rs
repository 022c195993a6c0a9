//! The paths of all files: those of the system, or all in one directory.

use std::path::{Path, PathBuf};

/// The path of every file that picosnitch reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The configuration: `config.toml`, or the file given with `--config`.
    pub config: PathBuf,
    /// The user gave the configuration file with `--config`, so it must exist.
    pub config_given: bool,
    /// `config.json` of the original picosnitch, which is read if there is no `config.toml`; only with a base directory.
    pub config_json: Option<PathBuf>,
    /// The connection log (SQLite), `snitch.db`.
    pub database: PathBuf,
    /// The file of known programs, `record.json`.
    pub record_json: PathBuf,
    /// The history of alerts, `exe.log`.
    pub exe_log: PathBuf,
    /// The log of errors, `error.log`.
    pub error_log: PathBuf,
    /// The connection log as text, `conn.log`.
    pub conn_log: PathBuf,
    /// What the daemon prints when `picosnitch start` has started it, `daemon.log`.
    pub daemon_log: PathBuf,
    /// The directory of the pid file and the live socket.
    pub run_dir: PathBuf,
}

impl Layout {
    /// The layout below `base_dir`, or that of the system without it; `config` replaces the configuration file.
    ///
    /// Relative paths become absolute now, so that a later `chdir` does not change them.
    pub fn new(base_dir: Option<&Path>, config: Option<&Path>) -> Self {
        let mut layout = match base_dir {
            Some(directory) => {
                let directory = absolute(directory);
                Self {
                    config: directory.join("config.toml"),
                    config_given: false,
                    config_json: Some(directory.join("config.json")),
                    database: directory.join("snitch.db"),
                    record_json: directory.join("record.json"),
                    exe_log: directory.join("exe.log"),
                    error_log: directory.join("error.log"),
                    conn_log: directory.join("conn.log"),
                    daemon_log: directory.join("daemon.log"),
                    run_dir: directory.join("run"),
                }
            }
            None => Self {
                config: "/etc/picosnitch/config.toml".into(),
                config_given: false,
                config_json: None,
                database: "/var/lib/picosnitch/snitch.db".into(),
                record_json: "/var/lib/picosnitch/record.json".into(),
                exe_log: "/var/log/picosnitch/exe.log".into(),
                error_log: "/var/log/picosnitch/error.log".into(),
                conn_log: "/var/log/picosnitch/conn.log".into(),
                daemon_log: "/var/log/picosnitch/daemon.log".into(),
                run_dir: "/run/picosnitch".into(),
            },
        };
        if let Some(config) = config {
            layout.config = absolute(config);
            layout.config_given = true;
            layout.config_json = None;
        }
        layout
    }

    /// The file with the id of the process that records.
    pub fn pid_file(&self) -> PathBuf {
        self.run_dir.join("picosnitch.pid")
    }

    /// The file that says why the daemon has ended; there is none while it runs, nor after it was stopped.
    pub fn end_reason(&self) -> PathBuf {
        self.run_dir.join("ended")
    }

    /// The directories of the log, of which each is listed once: the recorder makes files in them.
    pub fn log_directories(&self) -> Vec<&Path> {
        let mut directories: Vec<&Path> = self.log_files().into_iter().filter_map(Path::parent).collect();
        directories.sort_unstable();
        directories.dedup();
        directories
    }

    /// The files that the recorder writes, but for those that SQLite makes beside the log.
    pub(crate) fn log_files(&self) -> [&Path; 5] {
        [&self.database, &self.record_json, &self.exe_log, &self.error_log, &self.conn_log]
            .map(|path| &**path)
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_layout_has_no_config_json() {
        let layout = Layout::new(None, None);
        assert_eq!(layout.config, Path::new("/etc/picosnitch/config.toml"));
        assert_eq!(layout.config_json, None);
        assert_eq!(layout.database, Path::new("/var/lib/picosnitch/snitch.db"));
    }

    #[test]
    fn a_given_configuration_replaces_both_files_of_the_base_directory() {
        let layout = Layout::new(Some(Path::new("/base")), Some(Path::new("/elsewhere/config.json")));
        assert_eq!(layout.config, Path::new("/elsewhere/config.json"));
        assert_eq!(layout.config_json, None);
        assert_eq!(layout.run_dir, Path::new("/base/run"));
        assert_eq!(layout.log_directories(), [Path::new("/base")]);
    }
}
