//! conn.log of the original: a line of comma-separated values for each record, of 16 fields or (2.x) of 25.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
};

use crate::{
    cell::{Cell, of_field},
    contexts::Contexts,
    error::ImportError,
    fields::{Fields, ReadRow, RowTime},
    oddity::Oddities,
    source::Format,
};

/// A longer line is none.
const MAX_LINE: u64 = 1 << 20;
const FIELDS: usize = 16;
const FIELDS_OF_2: usize = 25;

/// A text log.
pub(crate) struct ConnLog {
    path: PathBuf,
    file: BufReader<File>,
    /// Lines that were read.
    line: i64,
    pub format: Format,
}

impl ConnLog {
    pub fn new(path: &Path, file: File) -> Result<Self, ImportError> {
        let mut log = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            line: 0,
            format: Format::ConnLog(FIELDS),
        };
        let mut first = Vec::new();
        if let Err(source) = log.next_line(&mut first) {
            return Err(log.fail(source));
        }
        log.format = match first.split(|byte| *byte == b',').count() {
            FIELDS_OF_2 => Format::ConnLog(FIELDS_OF_2),
            _ => Format::ConnLog(FIELDS),
        };
        // The next reading begins at the first line.
        log.line = i64::MAX;
        Ok(log)
    }

    fn fail(&self, source: io::Error) -> ImportError {
        ImportError::ReadText { path: self.path.clone(), source }
    }

    /// Reads the next line without its end; false at the end, also in an unfinished line.
    fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        (&mut self.file).take(MAX_LINE).read_until(b'\n', line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            self.line += 1;
            return Ok(true);
        }
        if (line.len() as u64) < MAX_LINE {
            return Ok(false);
        }
        line.clear();
        self.line += 1;
        Ok(self.file.skip_until(b'\n')? > 0)
    }

    /// The number of lines.
    pub fn last_row(&mut self) -> Result<i64, ImportError> {
        let mut count = || -> io::Result<i64> {
            self.file.rewind()?;
            let mut lines = 0;
            while self.file.skip_until(b'\n')? > 0 {
                lines += 1;
            }
            self.file.rewind()?;
            self.line = 0;
            Ok(lines)
        };
        count().map_err(|source| self.fail(source))
    }

    /// Reads the lines after one, at most `limit`.
    pub fn read(
        &mut self,
        (after, limit): (i64, usize),
        contexts: &mut Contexts,
        found: &mut Vec<ReadRow>,
    ) -> Result<(), ImportError> {
        let mut read = || -> io::Result<()> {
            let mut line = Vec::new();
            if after < self.line {
                self.file.rewind()?;
                self.line = 0;
            }
            while self.line < after {
                if !self.next_line(&mut line)? {
                    return Ok(());
                }
            }
            while found.len() < limit && self.next_line(&mut line)? {
                found.push(read_line(self.line, &line, contexts));
            }
            // What an unfinished line has so far is read again.
            if found.len() < limit {
                self.line = i64::MAX;
            }
            Ok(())
        };
        read().map_err(|source| self.fail(source))
    }
}

/// A line as a row; one with another number of fields has no time.
fn read_line(number: i64, line: &[u8], contexts: &mut Contexts) -> ReadRow {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b',').collect();
    let text = |at: usize| Cell::Text(parts[at]);
    let value = |at: usize| of_field(parts[at]);
    let mut odd = Oddities::default();
    let none = contexts.program([Cell::None; 4], &mut odd);
    let mut program = |first: usize| {
        contexts.program([text(first), text(first + 1), text(first + 2), text(first + 3)], &mut odd)
    };
    let fields = match parts.len() {
        FIELDS => Fields {
            number,
            programs: [program(0), program(9), none],
            time: text(4),
            domain: text(5),
            remote_address: text(6),
            remote_port: value(7),
            uid: value(8),
            connections: value(13),
            sent: value(14),
            received: value(15),
            ..Fields::default()
        },
        FIELDS_OF_2 => Fields {
            number,
            time: text(0),
            sent: value(1),
            received: value(2),
            connections: Cell::None,
            programs: [program(4), program(8), program(12)],
            uid: value(16),
            family: value(17),
            protocol: value(18),
            local_port: value(19),
            remote_port: value(20),
            local_address: text(21),
            remote_address: text(22),
            domain: text(23),
            network_namespace: value(24),
        },
        _ => {
            let row = Fields { number, ..Fields::default() }.read(Oddities::default(), contexts);
            return ReadRow { time: RowTime::None, ..row };
        }
    };
    fields.read(odd, contexts)
}
