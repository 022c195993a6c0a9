//! Chores of the project that need more than cargo.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod instructions;
mod vm;

#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Measure what picosnitch costs: each load with and without it, in the same run
    Bench(bench::Options),
    /// Count the instructions that the verifier processes for each BPF program, here and under stock kernels
    Instructions(instructions::Options),
    /// Run a command under stock kernels in virtual machines
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Bench(options) => bench::run(&options),
        Chore::Instructions(options) => instructions::run(&options),
        Chore::Vm(options) => vm::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
