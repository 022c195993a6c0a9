//! Compiles the kernel half and generates its skeleton: the loader, and the Rust types of the structs that both halves share.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo has not set OUT_DIR")?);
    let (object, skeleton) = (directory.join("picosnitch.bpf.o"), directory.join("picosnitch.skel.rs"));
    // The headers of the libbpf that libbpf-sys has built, from its Cargo metadata (`links = "bpf"`).
    let headers = env::var_os("DEP_BPF_INCLUDE").ok_or("libbpf-sys has not set DEP_BPF_INCLUDE")?;
    // v3 (32-bit arithmetic and jumps) is the newest instruction set that Linux 5.10 accepts.
    SkeletonBuilder::new()
        .source("bpf/picosnitch.bpf.c")
        .obj(&object)
        .clang_args([OsStr::new("-mcpu=v3"), "-Wall".as_ref(), "-Werror".as_ref(), "-I".as_ref(), &headers])
        .build_and_generate(&skeleton)
        .map_err(|error| {
            format!("the BPF object cannot be built (are clang and llvm installed?): {error:#}")
        })?;
    // Only a run with the same object can take over what an earlier one has left in the kernel.
    let mut hasher = DefaultHasher::new();
    fs::read(&object)?.hash(&mut hasher);
    println!("cargo::rustc-env=BPF_OBJECT={:016x}", hasher.finish());
    println!("cargo::rerun-if-changed=bpf");
    Ok(())
}
