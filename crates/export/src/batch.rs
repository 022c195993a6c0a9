//! A batch: windows of the log as rows of the tables on a server.

use std::collections::BTreeMap;

use model::{
    Address, Bytes, DomainSource, Event, FlowTuple, GeoInfo, MANY, ProcessContext, Program,
    text::{command_line, lossless},
};
use store::{NumberedRecord, WholeWindow};

use crate::{
    content_digest::{ContentDigest, ContentHasher},
    server::{
        rows::{Cell, Row},
        tables::{CONTEXT, ENDPOINT, PROGRAM},
    },
};

/// The rows of some windows.
#[derive(Default)]
pub(crate) struct Batch {
    /// Rows of other tables to which the records refer, by their digests.
    pub programs: BTreeMap<ContentDigest, Row>,
    pub contexts: BTreeMap<ContentDigest, Row>,
    pub endpoints: BTreeMap<ContentDigest, Row>,
    pub windows: Vec<Row>,
    pub records: Vec<Row>,
    pub events: Vec<Row>,
}

impl Batch {
    /// Makes the rows of windows of the branch with the id `log`.
    pub fn new(log: i64, windows: &[WholeWindow]) -> Self {
        let mut batch = Self::default();
        let mut contexts = ContextDigests::default();
        for window in windows {
            let mark = window.mark;
            batch.windows.push(vec![
                log.into(),
                mark.number.into(),
                mark.time.into(),
                lossless::to_column(window.boot_id.as_bytes()).into(),
                mark.uptime.into(),
                mark.first_sequence.into(),
                mark.nonce.into(),
                (window.records.len() as u64).into(),
                window.deleted.into(),
            ]);
            for record in &window.records {
                let context = contexts.digest(&mut batch, record);
                let endpoint = batch.endpoint(&record.record.tuple, &record.record.geo);
                batch.records.push(record_row([log, mark.number, mark.time], record, &context, &endpoint));
            }
            for (number, event) in (0_i64..).zip(&window.events) {
                batch.events.push(event_row([log, mark.number, number], event));
            }
        }
        batch
    }

    fn program(&mut self, program: &Program) -> ContentDigest {
        let mut hasher = ContentHasher::new(PROGRAM.name);
        hasher.bytes(&program.path).bytes(&program.name).bytes(&program.command_line);
        hasher.bytes(program.sha256.as_ref().map_or(&[], |digest| &digest.0));
        let digest = hasher.finish();
        self.programs.entry(digest).or_insert_with(|| {
            vec![
                digest[..].into(),
                text(&program.path),
                text(&program.name),
                text(&command_line::quote(&program.command_line)),
                program.sha256.as_ref().map(|digest| &digest.0[..]).into(),
            ]
        });
        digest
    }

    fn context(&mut self, context: &ProcessContext) -> ContentDigest {
        let [program, parent, grandparent] =
            [&context.program, &context.parent, &context.grandparent].map(|program| self.program(program));
        let cgroup = &context.cgroup;
        let mut hasher = ContentHasher::new(CONTEXT.name);
        hasher.bytes(&program).bytes(&parent).bytes(&grandparent);
        hasher.number(context.uid.into()).number(context.network_namespace.into());
        hasher.bytes(&cgroup.path).bytes(&cgroup.unit).bytes(&cgroup.container).bytes(&cgroup.app);
        let digest = hasher.finish();
        self.contexts.entry(digest).or_insert_with(|| {
            vec![
                digest[..].into(),
                program[..].into(),
                parent[..].into(),
                grandparent[..].into(),
                context.uid.into(),
                context.network_namespace.into(),
                text(&cgroup.path),
                text(&cgroup.unit),
                text(&cgroup.container),
                text(&cgroup.app),
            ]
        });
        digest
    }

    fn endpoint(&mut self, tuple: &FlowTuple, geo: &GeoInfo) -> ContentDigest {
        let domain: Bytes = match tuple.domain_source {
            DomainSource::Many => MANY.into(),
            _ => tuple.domain.clone(),
        };
        let [remote, local] = [tuple.remote_address, tuple.local_address].map(address);
        let mut hasher = ContentHasher::new(ENDPOINT.name);
        hasher.bytes(remote.as_bytes()).bytes(local.as_bytes());
        hasher.bytes(&domain).number(tuple.domain_source as i64);
        hasher.number(tuple.family.into()).number(tuple.protocol.into());
        hasher.bytes(geo.country.as_bytes());
        hasher.number(geo.network_number.into()).bytes(geo.network.as_bytes());
        let digest = hasher.finish();
        self.endpoints.entry(digest).or_insert_with(|| {
            vec![
                digest[..].into(),
                remote.into(),
                local.into(),
                text(&domain),
                tuple.domain_source.name().to_owned().into(),
                i64::from(tuple.family).into(),
                i64::from(tuple.protocol).into(),
                text(geo.country.as_bytes()),
                geo.network_number.into(),
                text(geo.network.as_bytes()),
            ]
        });
        digest
    }
}

/// The digest of the context of the record before: records share contexts, and neighbours mostly the same one.
#[derive(Default)]
struct ContextDigests(std::collections::HashMap<*const ProcessContext, ContentDigest>);

impl ContextDigests {
    fn digest(&mut self, batch: &mut Batch, record: &NumberedRecord) -> ContentDigest {
        let context = &record.record.context;
        // The windows keep all contexts as long as this lives, so that no two have one address.
        let pointer = std::sync::Arc::as_ptr(context);
        *self.0.entry(pointer).or_insert_with(|| batch.context(context))
    }
}

fn record_row(
    [log, window, time]: [i64; 3],
    numbered: &NumberedRecord,
    context: &ContentDigest,
    endpoint: &ContentDigest,
) -> Row {
    let record = &numbered.record;
    vec![
        log.into(),
        window.into(),
        numbered.sequence.into(),
        time.into(),
        context[..].into(),
        endpoint[..].into(),
        record.tuple.local_port.into(),
        record.tuple.remote_port.into(),
        record.counters.connections.into(),
        record.counters.sent.into(),
        record.counters.received.into(),
        record.folded.into(),
    ]
}

fn event_row([log, window, number]: [i64; 3], event: &Event) -> Row {
    let writer = event.writer.as_ref();
    vec![
        log.into(),
        window.into(),
        number.into(),
        event.time.into(),
        event.begin.into(),
        event.kind.name().to_owned().into(),
        text(event.subject.as_bytes()),
        event.uid.into(),
        text(&event.path),
        text(&event.name),
        event.sha256.as_ref().map(|digest| &digest.0[..]).into(),
        event.count.into(),
        text(event.text.as_bytes()),
        writer.map(|writer| writer.pid).into(),
        text(writer.map_or(&[], |writer| &writer.path)),
        text(writer.map_or(&[], |writer| &writer.name)),
        writer.and_then(|writer| writer.uid).into(),
    ]
}

fn text(bytes: &[u8]) -> Cell {
    Cell::Text(lossless::to_column(bytes))
}

/// An address as text; empty if there is none.
fn address(address: Option<Address>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Counters, EventKind, PORT_MANY, Record};
    use store::WindowMark;

    use super::*;
    use crate::server::tables::{EVENT, RECORD, TABLES, Table, WINDOW};

    fn window(number: i64, context: &Arc<ProcessContext>, domain: &[u8]) -> WholeWindow {
        let tuple = FlowTuple {
            remote_address: Some("192.0.2.1".parse().unwrap()),
            remote_port: PORT_MANY,
            domain: domain.to_vec(),
            ..FlowTuple::default()
        };
        let record = Record {
            context: Arc::clone(context),
            geo: GeoInfo::default(),
            tuple,
            counters: Counters { connections: 1, sent: u64::MAX, received: 2 },
            opened: false,
            folded: 0,
        };
        WholeWindow {
            mark: WindowMark { number, time: 10 * number, uptime: 1, first_sequence: 0, nonce: Some(-5) },
            boot_id: "boot".into(),
            deleted: 3,
            records: vec![NumberedRecord { sequence: 7, record }],
            events: vec![Event::new(EventKind::Error, 5, "a\0b")],
        }
    }

    #[test]
    fn rows_have_the_columns_of_their_tables_and_are_shared() {
        let mut context = ProcessContext::default();
        context.program.path = b"/\xff".to_vec();
        context.program.command_line = b"bash\0-c\0a b\0\xfe".to_vec();
        let context = Arc::new(context);
        let batch = Batch::new(42, &[window(1, &context, b"a\0"), window(2, &context, b"b")]);
        let rows = |rows: &BTreeMap<ContentDigest, Row>| rows.values().cloned().collect::<Vec<Row>>();
        let all: [(&Table, Vec<Row>, usize); 6] = [
            (&PROGRAM, rows(&batch.programs), 2),
            (&CONTEXT, rows(&batch.contexts), 1),
            (&ENDPOINT, rows(&batch.endpoints), 2),
            (&WINDOW, batch.windows.clone(), 2),
            (&RECORD, batch.records.clone(), 2),
            (&EVENT, batch.events.clone(), 2),
        ];
        for (table, rows, count) in &all {
            assert!(TABLES.iter().any(|known| known.name == table.name));
            assert_eq!(rows.len(), *count, "{}", table.name);
            for row in rows {
                assert_eq!(row.len(), table.columns.len(), "{}", table.name);
                for (cell, column) in row.iter().zip(table.columns) {
                    let is_right = match cell {
                        Cell::Integer(_) => column.kind == crate::server::tables::Kind::Integer,
                        Cell::Text(text) => {
                            column.kind == crate::server::tables::Kind::Text && !text.contains('\0')
                        }
                        Cell::Bytes(_) => column.kind == crate::server::tables::Kind::Bytes,
                        Cell::Null => column.is_optional,
                    };
                    assert!(is_right, "{}.{}: {cell:?}", table.name, column.name);
                }
            }
        }
        let programs = rows(&batch.programs);
        let program = programs.iter().find(|row| row[1] == Cell::Text("/\\xff".into())).unwrap();
        assert_eq!(program[3], Cell::Text("bash -c 'a b' '\\xfe'".into()));
        assert_eq!(batch.records[0][9], Cell::Integer(i64::MAX));
        assert_eq!(batch.records[0][..3], [42, 1, 7].map(Cell::Integer));
        assert_eq!(batch.events[1][..3], [42, 2, 0].map(Cell::Integer));
    }

    #[test]
    fn what_differs_in_any_column_has_another_digest() {
        let mut batch = Batch::default();
        let tuple = FlowTuple { domain: b"a".to_vec(), ..FlowTuple::default() };
        let mut tuples = vec![tuple.clone(); 6];
        tuples[1].domain_source = DomainSource::Tls;
        tuples[2].family = 2;
        tuples[3].protocol = 6;
        tuples[4].local_address = Some("192.0.2.1".parse().unwrap());
        tuples[5].remote_address = Some("192.0.2.1".parse().unwrap());
        for tuple in &tuples {
            batch.endpoint(tuple, &GeoInfo::default());
        }
        let geo = GeoInfo { network_number: 1, ..GeoInfo::default() };
        batch.endpoint(&tuple, &geo);
        batch.endpoint(&tuple, &GeoInfo { country: "NL".into(), ..GeoInfo::default() });
        assert_eq!(batch.endpoints.len(), 8);
    }
}
