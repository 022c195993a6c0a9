//! The `picosnitch` command. Everything lives in the library; see ARCHITECTURE.md.
use std::process::ExitCode;

fn main() -> ExitCode {
    picosnitch::cli::main()
}
