//! `picosnitch generate`: writes the manual pages and the completions, which are made of the definition of the command line; the
//! packages and `make install` hold them.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap_complete::Shell;

#[derive(clap::Args)]
pub struct Options {
    /// What to write
    kind: Kind,
    /// The directory; it is made if it is missing. Completions lie in it as they do below /usr/share
    directory: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A manual page of each command
    Man,
    /// Completions for bash, fish and zsh
    Completions,
}

/// Writes the files. `command` is the definition of the command line.
///
/// # Errors
/// The files cannot be written.
pub fn run(options: &Options, command: clap::Command) -> anyhow::Result<ExitCode> {
    let directory = &options.directory;
    let fail = || format!("cannot write into {}", directory.display());
    match options.kind {
        Kind::Man => {
            fs::create_dir_all(directory).with_context(fail)?;
            clap_mangen::generate_to(command, directory).with_context(fail)?;
        }
        Kind::Completions => {
            let mut command = without_hidden(&command);
            // Each shell looks for a name of its own.
            let places = [
                (Shell::Bash, "bash-completion/completions/picosnitch"),
                (Shell::Fish, "fish/vendor_completions.d/picosnitch.fish"),
                (Shell::Zsh, "zsh/site-functions/_picosnitch"),
            ];
            for (shell, place) in places {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut command, "picosnitch", &mut text);
                let path = directory.join(place);
                fs::create_dir_all(path.parent().unwrap_or(directory)).with_context(fail)?;
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The same definition without the commands that are not for people: completions would offer them.
fn without_hidden(command: &clap::Command) -> clap::Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("picosnitch").version("").args(command.get_arguments().cloned()).subcommands(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_for_people_has_a_page_and_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        for kind in [Kind::Man, Kind::Completions] {
            let options = Options { kind, directory: directory.path().to_owned() };
            run(&options, super::super::Cli::command()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let bash = read("bash-completion/completions/picosnitch");
        let zsh = read("zsh/site-functions/_picosnitch");
        for command in super::super::Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = directory.path().join(format!("picosnitch-{name}.1"));
            let is_shown = !command.is_hide_set();
            assert_eq!(page.exists(), is_shown, "{name}");
            assert_eq!(zsh.contains(&format!("\n'{name}:")), is_shown, "{name}");
            assert_eq!(bash.contains(&format!("picosnitch,{name})")), is_shown, "{name}");
        }
        assert!(read("picosnitch.1").contains("picosnitch\\-query(1)"));
        assert!(read("fish/vendor_completions.d/picosnitch.fish").contains("-a \"query\""));
    }
}
