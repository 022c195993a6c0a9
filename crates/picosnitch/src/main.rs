//! The `picosnitch` command: what the user types becomes calls of the other crates; see ARCHITECTURE.md.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
