//! The configuration: every key with its type, default and range, from `config.toml` or from the original picosnitch's
//! `config.json`; the rules of the log that follow from it; and where the files of picosnitch are.
//!
//! Both formats become one tree (`node`), from which `table_reader` takes typed values. All problems of a file are collected
//! before it is rejected, so that the user can correct them at once.

mod addresses;
mod directories;
mod forward;
mod from_original;
mod ignore;
mod json;
pub mod layout;
mod live_keys;
mod load;
pub mod log_rules;
mod node;
mod original;
mod problem;
mod ranges;
mod secret;
mod sections;
mod server;
mod table_reader;
mod toml;
mod trust;
mod write_toml;

#[cfg(test)]
mod tests;

pub use directories::LayoutError;
pub use forward::{
    Compression, Destination, Facility, ForwardSection, HookMethod, HookUrl, Otlp, SyslogServer,
    SyslogTransport, Webhook,
};
pub use from_original::{KeyFate, OriginalConfig, OriginalKey, is_original_toml, value_text};
pub use ignore::IgnoreRule;
pub use live_keys::SECTION_OF_DASH;
pub use load::{Loaded, Source};
pub use problem::{ConfigErrors, Problem};
pub use secret::Secret;
pub use sections::{Config, Log, Monitor, Names, Notifications, VirusTotal, Web};
pub use server::{ExportSection, ServerKind, SqlServer, TlsMode};
pub use trust::check_program;
