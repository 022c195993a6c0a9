# Everything here does its own set-up: a machine with Rust is enough (Debian and Ubuntu: packages are
# installed if they are missing; elsewhere you are told which).

.PHONY: build run test test-kernels lint audit setup setup-test

build: setup
	cargo build --release

# Records in the background (with sudo) and says how to look at it.
run: build
	scripts/run

# What must hold before a commit: style, lints, licences, tests, this kernel, and Debian 12's in a VM.
test: lint
	cargo test --workspace
	cargo build --release
	scripts/as-root target/release/picosnitch selftest --timeout 3000
	cargo xtask vm --kernel 6.1 -- picosnitch selftest --timeout 3000

# The same proof under every kernel we support, three times in a row each, and the tests that need root.
test-kernels: setup-test
	cargo xtask vm --tests --memory 4G --timeout 7200 -- sh -c \
		'for n in 1 2 3; do picosnitch selftest --timeout 3000 || exit; done; picosnitch-test-daemon'

lint: setup-test
	cargo fmt --all --check
	clang-format --dry-run --Werror crates/capture/bpf/*.c crates/capture/bpf/*.h
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/cargo-deny check bans licenses sources

# Known vulnerabilities in what we depend on; needs the network, so it is not part of `test`.
audit: setup-test
	scripts/cargo-deny check advisories

setup:
	scripts/setup build

setup-test:
	scripts/setup build test
