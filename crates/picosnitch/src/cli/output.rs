//! Printing to standard output.

use std::io::{self, Write};

/// Prints to standard output. A reader that closed the pipe (`| head`) is not an error.
///
/// # Errors
/// The errors of write(2).
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    print_more(text.as_bytes()).map(drop)
}

/// Prints to standard output; false when the reader has closed the pipe.
///
/// # Errors
/// The errors of write(2).
pub(crate) fn print_more(text: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write the output")),
    }
}
