# Everything here does its own set-up: a machine with Rust is enough (Debian and Ubuntu: packages are
# installed if they are missing; elsewhere you are told which).
# The targets have time budgets on two cores: CONTRIBUTING.md.

.PHONY: build run install uninstall package check test test-kernels test-packages lint audit setup setup-check setup-test setup-package

build: setup
	cargo build --release

# Records in the background (with sudo) and says how to look at it.
run: build
	scripts/run

# Installs what `make build` has built, below PREFIX (/usr/local), before which DESTDIR is put; as root, without Cargo.
BINARY ?= $(or $(CARGO_TARGET_DIR),target)/release/picosnitch

install:
	@test -x '$(BINARY)' || { echo "make install: $(BINARY) is missing; run make build first" >&2; exit 1; }
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install-tree '$(BINARY)'
	@test "$(DESTDIR)" || echo "To make the user and start: sudo $(or $(PREFIX),/usr/local)/bin/picosnitch systemd"

# Configuration and log stay.
uninstall:
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install-tree --remove

# All packages, in target/package.
package: setup-package
	cargo xtask package

# What needs no root and no virtual machine: style, lints, documentation, licences, unit and snapshot tests.
check: lint
	cargo test --workspace

# Everything that must hold before a commit: `check`, the tests that need root, this kernel, the page in a browser, the .deb, Debian 12's
# kernel in a virtual machine, the unit under systemd, and what recording costs, counted in instructions.
test: setup-test lint
	scripts/timed cargo build --release
	scripts/timed cargo test --workspace
	scripts/timed scripts/cargo-as-root test -p picosnitch -p virustotal -- --ignored
	scripts/timed scripts/as-root "$$(scripts/release-binary)" selftest --timeout 3000
	scripts/timed scripts/as-root scripts/test-page "$$(scripts/release-binary)"
	scripts/timed cargo xtask vm --binary "$$(scripts/release-binary)" --kernel 6.1 -- picosnitch selftest --timeout 3000
	scripts/timed cargo xtask package deb --binary "$$(scripts/release-binary)" --output target/package-test
	scripts/timed scripts/as-root env PACKAGES=target/package-test SUITES=trixie scripts/test-packages deb
	scripts/timed cargo xtask service --suite trixie --essential --binary "$$(scripts/release-binary)"
	scripts/timed cargo xtask cost --binary "$$(scripts/release-binary)"

# The same proof under every kernel we support, three times in a row each, and the tests that need root. The lab of names
# needs compilers, the screens need tmux, and copies and receivers need servers, which the guests do not have; `test` runs those on
# this machine.
test-kernels: setup-test
	cargo xtask vm --tests --memory 4G --timeout 7200 -- sh -c \
		'for n in 1 2 3; do picosnitch selftest --timeout 3000 || exit; done; \
		picosnitch-test-daemon --include-ignored --skip names::connections_ --skip on_the_screen --skip view:: --skip servers:: --skip of_every_kind'

# Makes all packages and installs each as its users do: in roots of Debian and others, with rpm, pip and makepkg.
test-packages: setup-package
	cargo xtask package
	scripts/as-root env "PATH=$$PATH" "CARGO_HOME=$${CARGO_HOME:-$$HOME/.cargo}" scripts/test-packages

# The package and its unit under real systemd, in virtual machines of two Debian releases: from its installation to its purge,
# with more kills than `test`, a suspend, the watchdog, and mounts.
test-service: setup-test
	cargo xtask service --binary "$$(scripts/release-binary)"

# An hour at 50 times a desktop's traffic: memory, descriptors, the size of the log, and nothing missing.
soak: setup
	scripts/cargo-as-root xtask soak --binary "$$(scripts/release-binary)"

lint: setup-check
	cargo fmt --all --check
	clang-format --dry-run --Werror crates/capture/bpf/*.[ch] xtask/cost/*.[ch]
	scripts/timed cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items --quiet
	scripts/check-page
	scripts/timed scripts/cargo-deny check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities in what we depend on; needs the network, so it is not part of `test`.
audit: setup-check
	scripts/cargo-deny check advisories

setup:
	scripts/setup build

setup-check:
	scripts/setup build check

setup-test:
	scripts/timed scripts/setup build check test

setup-package:
	scripts/setup build package
