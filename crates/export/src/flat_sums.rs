//! Makes the sums of the records on a ClickHouse: see `sum_claims.rs` for which of them count.

use crate::{
    error::ExportError,
    repeated::Repeated,
    server::{
        OnDuplicate, Server,
        clickhouse::tables::{FLAT_SUM, FLAT_SUM_CLAIM, endpoint_columns},
        rows::{Cell, Row},
        tables::Kind,
    },
    sum_claims::claimed,
    sum_kind::SumKind,
    sums::{Sent, start},
};

/// Records of one claim, but for those of its last run.
const MAX_RECORDS: i64 = 500_000;
/// No claim is shorter: each question reads all claims of a kind.
const MIN_SECONDS: i64 = 86_400;
/// Age from which windows are added up, seconds: by then a replica of the server has what another one was sent, and the exporter has
/// looked for windows that were sent to both.
const SETTLED: i64 = 2 * 3600;

/// Windows of one span of time, as far as no window of another span lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    windows: (i64, i64),
    times: (i64, i64),
    records: i64,
}

/// Claims the next windows, and adds up their records. Returns false if none are due.
pub(crate) async fn claim(server: &mut Server, sent: Sent, kind: SumKind) -> Result<bool, ExportError> {
    let log = sent.log;
    let claimed = claimed(server, kind, Some(log)).await?.get(&log).map_or(0, |claimed| claimed.last_window);
    if claimed > sent.window {
        return Err(ExportError::ForeignClaim {
            server: server.address().to_owned(),
            claimed,
            sent: sent.window,
        });
    }
    let span = start("time", kind.seconds().max(MIN_SECONDS));
    let sql = format!(
        "SELECT min(window_number), max(window_number), min(time), max(time), sum(records) FROM picosnitch_window FINAL \
         WHERE log = {log} AND window_number > {claimed} AND window_number <= {} GROUP BY {span}",
        sent.window
    );
    let rows = server.select(&sql, &[], &[Kind::Integer; 5], "cannot ask what is to be added up").await?;
    let Some(run) = due(runs(&rows), model::text::time::now()) else { return Ok(false) };
    add_up(server, log, kind, Run { windows: (claimed + 1, run.windows.1), ..run }).await
}

/// The runs in the order of their windows.
fn runs(rows: &[Row]) -> Vec<Run> {
    let run = |row: &Row| match row[..] {
        [
            Cell::Integer(first),
            Cell::Integer(last),
            Cell::Integer(begin),
            Cell::Integer(end),
            Cell::Integer(records),
        ] => Some(Run { windows: (first, last), times: (begin, end), records }),
        _ => None,
    };
    let mut spans: Vec<Run> = rows.iter().filter_map(run).collect();
    spans.sort_unstable_by_key(|span| span.windows);
    let mut runs: Vec<Run> = Vec::new();
    for span in spans {
        match runs.last_mut() {
            // The clock was set, or old history imported in pieces.
            Some(run) if span.windows.0 <= run.windows.1 => *run = run.with(span),
            _ => runs.push(span),
        }
    }
    runs
}

impl Run {
    fn with(self, other: Self) -> Self {
        let both = |one: (i64, i64), other: (i64, i64)| (one.0.min(other.0), one.1.max(other.1));
        Self {
            windows: both(self.windows, other.windows),
            times: both(self.times, other.times),
            records: self.records.saturating_add(other.records),
        }
    }
}

/// The runs of the next claim as one. That of the last window is not over.
fn due(mut runs: Vec<Run>, now: i64) -> Option<Run> {
    runs.pop();
    let is_settled = |run: &Run| !(now - SETTLED..=now).contains(&run.times.1);
    let mut due: Option<Run> = None;
    for run in runs.into_iter().take_while(is_settled) {
        let next = due.map_or(run, |due| due.with(run));
        if due.is_some() && next.records > MAX_RECORDS {
            break;
        }
        due = Some(next);
    }
    due
}

/// Adds up the records of a run, and claims it. Returns false if the server does not have all of them yet, as may be with a replica.
async fn add_up(server: &mut Server, log: i64, kind: SumKind, run: Run) -> Result<bool, ExportError> {
    const DOING: &str = "cannot add up records";
    let ((first, last), (begin, end)) = (run.windows, run.times);
    let keys: Vec<&str> = match kind {
        SumKind::Total => Vec::new(),
        SumKind::Context => vec!["context"],
        SumKind::Endpoint => endpoint_columns().collect(),
        SumKind::Port => vec!["remote_port"],
    };
    let counters = ["connections", "sent", "received"];
    let columns = [&["time"], &counters[..], &keys].concat().join(", ");
    let repeated = Repeated::read(server, (begin, end), Some(log)).await?;
    let parts = repeated.parts(|table, condition| {
        // Records are sorted by time: those of other logs are passed over by these two columns alone.
        let of_log = format!("log = {log} AND window_number BETWEEN {first} AND {last}");
        let clauses = match table.ends_with("FINAL") {
            true => format!("WHERE {of_log} AND"),
            false => format!("PREWHERE {of_log} WHERE"),
        };
        format!("SELECT {columns} FROM {table} {clauses} time BETWEEN {begin} AND {end}{condition}")
    });
    let records = parts.join(" UNION ALL ");
    let there = number(server, &format!("SELECT count() FROM ({records})"), DOING).await?;
    // What is missing may have been dropped, with all that is older.
    let is_complete = there >= Some(run.records)
        || number(server, "SELECT min(time) FROM picosnitch_record", DOING).await? > Some(begin);
    let Some(attempt) = store::random_nonce().filter(|_| is_complete) else { return Ok(false) };
    let start = start("time", kind.seconds());
    let value = |name: &str| match name {
        "log" => log.to_string(),
        "kind" => kind.number().to_string(),
        "start" => start.clone(),
        "last_window" => last.to_string(),
        "attempt" => attempt.to_string(),
        "first_time" => "min(time)".to_owned(),
        "last_time" => "max(time)".to_owned(),
        name if counters.contains(&name) => server.dialect().sum(name),
        name if keys.contains(&name) => name.to_owned(),
        _ => String::new(),
    };
    let values: Vec<String> = FLAT_SUM
        .columns
        .iter()
        .map(|column| match (value(column.name), column.kind) {
            (none, Kind::Integer) if none.is_empty() => "0".to_owned(),
            (none, _) if none.is_empty() => "''".to_owned(),
            (value, _) => value,
        })
        .collect();
    let names: Vec<&str> = FLAT_SUM.columns.iter().map(|column| column.name).collect();
    let by: Vec<&str> = [start.as_str()].into_iter().chain(keys.iter().copied()).collect();
    let sql = format!(
        "INSERT INTO {} ({}) SELECT {} FROM ({records}) GROUP BY {}",
        FLAT_SUM.name,
        names.join(", "),
        values.join(", "),
        by.join(", ")
    );
    server.insert_selected(&sql, DOING).await?;
    let claim = [log, kind.number(), first, last, attempt].map(Cell::from).to_vec();
    server.insert(&FLAT_SUM_CLAIM, &[claim], OnDuplicate::Refuse, DOING).await?;
    Ok(true)
}

async fn number(server: &mut Server, sql: &str, doing: &'static str) -> Result<Option<i64>, ExportError> {
    Ok(server.select(sql, &[], &[Kind::Integer], doing).await?.iter().flatten().find_map(Cell::integer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn row(numbers: [i64; 5]) -> Row {
        numbers.map(Cell::from).to_vec()
    }

    fn run(windows: (i64, i64), times: (i64, i64), records: i64) -> Run {
        Run { windows, times, records }
    }

    #[test]
    fn spans_whose_windows_interlock_are_one_run() {
        let rows = [
            row([8, 9, 3 * DAY, 3 * DAY + 5, 2]),
            row([1, 3, 0, 20, 5]),
            // The clock went back and forth.
            row([4, 7, DAY, DAY + 9, 4]),
            row([5, 6, 2 * DAY, 2 * DAY + 9, 1]),
        ];
        let expected = [
            run((1, 3), (0, 20), 5),
            run((4, 7), (DAY, 2 * DAY + 9), 5),
            run((8, 9), (3 * DAY, 3 * DAY + 5), 2),
        ];
        assert_eq!(runs(&rows), expected);
    }

    #[test]
    fn the_last_run_and_what_is_not_settled_are_not_due() {
        let run = |day: i64, records| run((day, day), (day * DAY, day * DAY + 100), records);
        let now = 5 * DAY + 4000;
        assert_eq!(due(vec![], now), None);
        assert_eq!(due(vec![run(1, 5)], now), None);
        assert_eq!(due(vec![run(1, 5), run(2, 5), run(3, 5)], now), Some(run(1, 5).with(run(2, 5))));
        assert_eq!(due(vec![run(5, 5), run(6, 5)], now), None);
        assert_eq!(due(vec![run(4, 5), run(5, 5), run(6, 5)], now), Some(run(4, 5)));
        // A clock that is ahead holds up nothing.
        assert_eq!(due(vec![run(400, 5), run(4, 5), run(6, 5)], now), Some(run(400, 5).with(run(4, 5))));
        // One run may be larger than a claim should be.
        let large = run(1, MAX_RECORDS + 1);
        assert_eq!(due(vec![large, run(2, 1), run(3, 1)], now), Some(large));
        assert_eq!(due(vec![run(1, 1), run(2, MAX_RECORDS), run(3, 1)], now), Some(run(1, 1)));
    }
}
