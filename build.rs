//! Compiles the kernel half and generates its skeleton: loader and Rust structs of what both sides share.

use std::{env, ffi::OsStr, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("picosnitch.skel.rs");
    // The headers of the libbpf that libbpf-sys built (its Cargo metadata, `links = "bpf"`).
    let headers = env::var_os("DEP_BPF_INCLUDE").expect("libbpf-sys tells where its headers are");
    // cpu v3 (32-bit arithmetic and jumps) is the newest that Linux 5.10 knows.
    let result = SkeletonBuilder::new()
        .source("bpf/picosnitch.bpf.c")
        .clang_args([OsStr::new("-mcpu=v3"), "-Wall".as_ref(), "-Werror".as_ref(), "-I".as_ref(), &headers])
        .build_and_generate(&out);
    if let Err(error) = result {
        panic!("the BPF object cannot be built (are clang and llvm installed?): {error:#}");
    }
    println!("cargo::rerun-if-changed=bpf");
}
