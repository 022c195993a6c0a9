//! config.toml.
