//! Chores of the project that need more than cargo: kernels in VMs, benchmarks, instruction counts.
fn main() {}
