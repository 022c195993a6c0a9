//! conn.log: a line of comma-separated values for each record, which other programs may follow.

use std::{io, path::PathBuf};

use crate::log_file::LogFile;
use model::{
    DomainSource, MANY, PORT_MANY, Program, Record, Window,
    text::{command_line, sanitize::conn_log_field},
};

/// conn.log becomes conn.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of one write(2). Each has whole lines, so that a follower never sees half a line.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct ConnLog {
    file: LogFile,
}

/// Records that could not be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingRecords {
    pub(super) records: usize,
    pub(super) why: String,
}

impl ConnLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { file: LogFile::new(path, MAX_BYTES) }
    }

    /// Opens the file again at the next window.
    pub(super) fn reopen(&mut self) {
        self.file.reopen();
    }

    /// Whether the file was removed while it was open, since the last call.
    pub(super) fn take_removed(&mut self) -> bool {
        self.file.take_removed()
    }

    /// Writes the records of a window, in whole lines.
    ///
    /// # Errors
    /// The records that could not be written. The next window may be written again.
    pub(super) fn write(&mut self, window: &Window) -> Result<(), MissingRecords> {
        let mut missing: Option<(usize, io::Error)> = None;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut lines = 0;
        let mut records = window.records.iter().peekable();
        while let Some(record) = records.next() {
            chunk.extend_from_slice(line(window.time, record).as_bytes());
            lines += 1;
            if chunk.len() < CHUNK_BYTES && records.peek().is_some() {
                continue;
            }
            if let Err(error) = self.file.append(&chunk) {
                let before = missing.take().map_or(0, |(count, _)| count);
                missing = Some((before + lines, error));
            }
            (lines, chunk) = (0, Vec::with_capacity(CHUNK_BYTES));
        }
        missing.map_or(Ok(()), |(records, error)| Err(MissingRecords { records, why: error.to_string() }))
    }
}

/// The line of a record, with the columns that the original picosnitch writes:
/// `executable,name,cmdline,sha256,time,domain,ip,port,uid,parent_exe,parent_name,parent_cmdline,parent_sha256,conns,sent,received`.
fn line(time: i64, record: &Record) -> String {
    let (context, tuple, counters) = (&record.context, &record.tuple, &record.counters);
    let program = |program: &Program| {
        [&program.path, &program.name, &*command_line::quote(&program.command_line)]
            .map(conn_log_field)
            .join(",")
            + ","
            + &program.sha256.map(|digest| digest.to_hex()).unwrap_or_default()
    };
    let address = tuple.remote_address.map(|address| address.to_string()).unwrap_or_default();
    let domain = match tuple.domain_source {
        DomainSource::Many => MANY.to_owned(),
        _ => conn_log_field(&tuple.domain),
    };
    let port = if tuple.remote_port == PORT_MANY { MANY.to_owned() } else { tuple.remote_port.to_string() };
    format!(
        "{},{},{},{},{},{},{},{},{},{}\n",
        program(&context.program),
        time,
        domain,
        address,
        port,
        context.uid,
        program(&context.parent),
        counters.connections,
        counters.sent,
        counters.received
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Sha256};

    fn record(name: &[u8]) -> Record {
        let program = |path: &[u8]| Program {
            path: path.to_vec(),
            name: name.to_vec(),
            command_line: b"a,b\nc\0d e".to_vec(),
            sha256: Some(Sha256([0xab; 32])),
        };
        let context = ProcessContext {
            program: program(b"/bin/x"),
            parent: program(b"/bin/p"),
            uid: 7,
            ..ProcessContext::default()
        };
        let tuple = FlowTuple {
            remote_address: Some("2001:db8::1".parse().unwrap()),
            remote_port: 443,
            domain: b"example.com".to_vec(),
            ..FlowTuple::default()
        };
        let counters = Counters { connections: 1, sent: 2, received: 3 };
        Record {
            context: Arc::new(context),
            geo: GeoInfo::default(),
            tuple,
            counters,
            opened: false,
            folded: 0,
        }
    }

    #[test]
    fn a_line_has_the_columns_of_the_original() {
        let digest = "ab".repeat(32);
        let expected = format!(
            "/bin/x,evil\\xff,'abc' 'd e',{digest},1700000000,example.com,2001:db8::1,443,7,/bin/p,evil\\xff,'abc' 'd e',{digest},\
             1,2,3\n"
        );
        assert_eq!(line(1_700_000_000, &record(b"ev,i\r\n\0l\x1b\xff")), expected);
    }

    #[test]
    fn a_window_is_written_in_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conn.log");
        let mut log = ConnLog::new(path.clone());
        let window = Window { records: vec![record(b"x"); 5000], ..Window::default() };
        log.write(&window).unwrap();
        log.write(&Window::default()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5000);
        assert!(text.lines().all(|line| line.split(',').count() == 16));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(log.write(&window).unwrap_err().records, 5000);
    }

    #[test]
    fn what_differs_in_a_folded_record_is_many() {
        let mut folded = record(b"/x");
        folded.tuple.remote_address = Some(model::Address::Many);
        (folded.tuple.remote_port, folded.tuple.domain_source) = (PORT_MANY, DomainSource::Many);
        folded.tuple.domain = Vec::new();
        let line = line(100, &folded);
        assert!(line.contains(",100,many,many,many,"), "{line}");
    }
}
