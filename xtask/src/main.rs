//! Chores of the project that need more than cargo: kernels in VMs, benchmarks, instruction counts.

use clap::Parser;

mod bench;

#[derive(Parser)]
#[command(about = "Chores of the picosnitch project")]
enum Task {
    /// Measure what picosnitch costs: each figure with and without it, in the same run
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(options) => bench::run(&options),
    }
}
