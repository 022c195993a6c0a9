//! Where closed windows and known programs are written to.

pub mod record_file;
pub mod sqlite;
pub mod text_log;
