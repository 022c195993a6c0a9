//! Chores of the project that need more than cargo.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ask;
mod ask_server;
mod bench;
mod cost;
mod generate;
mod instructions;
mod median;
mod original;
mod package;
mod page;
mod questions;
mod random;
mod random_queries;
mod service;
mod soak;
mod traffic;
mod vm;

#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Measure how long a log takes to answer every query of the screens, or print digests of random answers
    AskDb(ask::Options),
    /// Measure how long a server with copies of logs takes to answer the questions of the pages
    AskServer(ask_server::Options),
    /// Measure what picosnitch costs: each load with and without it, in the same run
    Bench(bench::Options),
    /// Count what picosnitch costs in instructions, on an emulated machine, and compare with the accepted figures
    Cost(cost::Options),
    /// Make a log with months of synthetic records
    GenDb(generate::Options),
    /// Count the instructions that the verifier processes for each BPF program, here and under stock kernels
    Instructions(instructions::Options),
    /// Make a load for `bench --growth`
    #[command(hide = true)]
    Load(bench::growth::Options),
    /// Make a log as a release of the original picosnitch wrote it
    OriginalLog(original::Options),
    /// Make the packages
    Package(package::Options),
    /// Measure how fast `picosnitch dash` answers, one client and many at once
    Page(page::Options),
    /// Ask a log the questions of docs/questions.md, and measure how long the answers take
    Questions(questions::Options),
    /// Test the package and its unit in virtual machines with real systemd
    Service(service::Options),
    /// The part of `service` in the guest
    #[command(hide = true)]
    ServiceGuest(service::guest::Options),
    /// Record many times a desktop's traffic for an hour, and see that memory, descriptors and the log stay as they should
    Soak(soak::Options),
    /// A process that makes the traffic of `soak`
    #[command(hide = true)]
    SoakWorker(soak::WorkerOptions),
    /// Run a command under stock kernels in virtual machines
    Vm(vm::Options),
}

fn main() -> ExitCode {
    // A debug build would measure something else: these run again in a release build.
    if cfg!(debug_assertions)
        && std::env::args_os().nth(1).is_some_and(|chore| {
            ["gen-db", "ask-db", "ask-server", "original-log", "page"].iter().any(|slow| chore == *slow)
        })
    {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut again = std::process::Command::new(cargo);
        again
            .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
            .args(std::env::args_os().skip(1));
        return match again.status() {
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => {
                eprintln!("xtask: cannot run cargo: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let result = match Cli::parse().chore {
        Chore::AskDb(options) => ask::run(&options),
        Chore::AskServer(options) => ask_server::run(&options),
        Chore::GenDb(options) => generate::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Cost(options) => cost::run(&options),
        Chore::Instructions(options) => instructions::run(&options),
        Chore::Load(options) => bench::growth::run(&options),
        Chore::OriginalLog(options) => original::run(&options),
        Chore::Package(options) => package::run(&options),
        Chore::Page(options) => page::run(&options),
        Chore::Questions(options) => questions::run(&options),
        Chore::Service(options) => service::run(&options),
        Chore::ServiceGuest(options) => service::guest::run(&options),
        Chore::Soak(options) => soak::run(&options),
        Chore::SoakWorker(options) => soak::run_worker(&options),
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
