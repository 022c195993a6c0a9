//! Makes the sums of the records on a server ([`SumKind`]), while nothing waits to be sent. On a ClickHouse `flat_sums.rs` makes them.
//!
//! Rows are only added. A claim says that the records of some windows, from one number to another, are in the sums of a kind; it is
//! committed with the sums, and its key is the first window: so the records of a window are in the sums of a kind once or not at
//! all. Whoever asks adds to the sums the records of the windows behind the last claim, and is always exact.

use std::{cell::Cell, convert::Infallible, time::Duration};

use tokio::time::sleep;

use crate::{
    error::ExportError,
    flat_sums,
    sender::overtaken,
    server::{
        OnDuplicate, Server,
        dialect::Dialect,
        rows::Cell as Value,
        tables::{Kind, SUM_CLAIM},
    },
    settings::ServerSettings,
    sink_state::POLL_INTERVAL,
    status::SinkNews,
    sum_kind::SumKind,
};

/// Pause after all sums were made, or could not be made. The shortest ones are of an hour.
const PAUSE: Duration = Duration::from_secs(3600);
/// Records of one claim, but for those of its last window: the statement that adds them up takes a few seconds.
const MAX_RECORDS: i64 = 500_000;
/// Windows of one claim: more than a week has at the default length.
const MAX_WINDOWS: i64 = 100_000;

/// The branch of which the server has all windows, and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub log: i64,
    pub window: i64,
}

/// Makes sums for ever, with a connection of its own, so that no failure of it ends that of the sender. `sent` has a value while
/// nothing waits to be sent.
pub(crate) async fn run(
    settings: &ServerSettings,
    sent: &Cell<Option<Sent>>,
    report: impl Fn(SinkNews),
) -> Infallible {
    let mut told = None;
    loop {
        while sent.get().is_none() {
            sleep(POLL_INTERVAL).await;
        }
        match make_all(settings, sent).await {
            Ok(true) => told = None,
            // The sender has got something to send: once that is done it goes on.
            Ok(false) => continue,
            // Of these the sender tells.
            Err(ExportError::Connect { .. }) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                let sentence = format!(
                    "{}: {}. Records are sent all the same, but questions about long times stay slow.",
                    settings.name,
                    error.sentence().trim_end_matches('.')
                );
                if told.as_ref() != Some(&sentence) {
                    report(SinkNews::Problem(sentence.clone()));
                    told = Some(sentence);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Makes all sums that are due. Returns false if the sender has interrupted it.
async fn make_all(settings: &ServerSettings, sent: &Cell<Option<Sent>>) -> Result<bool, ExportError> {
    let mut server = Server::connect(settings).await?;
    let mut is_done = true;
    if server.has_sums().await? {
        for kind in SumKind::ALL {
            while let Some(sent) = sent.get()
                && match server.dialect() {
                    Dialect::PostgreSql | Dialect::MySql => claim(&mut server, sent, kind).await?,
                    Dialect::ClickHouse => flat_sums::claim(&mut server, sent, kind).await?,
                }
            {}
            is_done &= sent.get().is_some();
        }
    }
    server.close().await;
    Ok(is_done)
}

/// Claims the next windows, and adds up their records. Returns false if none are due.
async fn claim(server: &mut Server, sent: Sent, kind: SumKind) -> Result<bool, ExportError> {
    const DOING: &str = "cannot ask what is in its sums";
    let (number, log) = (kind.number(), sent.log);
    let sql =
        format!("SELECT max(last_window) FROM picosnitch_sum_claim WHERE kind = {number} AND log = {log}");
    let claimed = numbers::<1>(server, &sql, DOING).await?[0].unwrap_or(0);
    if claimed > sent.window {
        return Err(ExportError::ForeignClaim {
            server: server.address().to_owned(),
            claimed,
            sent: sent.window,
        });
    }
    let range = format!("log = {log} AND window_number > {claimed} AND window_number <= {}", sent.window);
    // A claim ends where a window begins another span, and the next window is there: the last such place up to which one statement
    // should add up. A span that is longer is divided, whether it is over or not.
    let start = |time: &str| start(time, kind.seconds());
    let sql = format!(
        "SELECT max(CASE WHEN start <> next_start AND total <= {MAX_RECORDS} THEN window_number END), \
         min(CASE WHEN total >= {MAX_RECORDS} THEN window_number END), count(*), max(window_number) \
         FROM (SELECT window_number, {} AS start, {} AS next_start, total \
         FROM (SELECT window_number, time, lead(time) OVER (ORDER BY window_number) AS next_time, \
         sum(records) OVER (ORDER BY window_number) AS total \
         FROM (SELECT window_number, time, records FROM picosnitch_window WHERE {range} \
         ORDER BY window_number LIMIT {MAX_WINDOWS}) AS w) AS n) AS s",
        start("time"),
        start("next_time")
    );
    let [aligned, full, count, all] = numbers(server, &sql, DOING).await?;
    let all = all.filter(|_| count == Some(MAX_WINDOWS));
    let Some(last) = aligned.or(full).or(all) else { return Ok(false) };
    add_up(server, log, kind, (claimed + 1, last)).await?;
    Ok(true)
}

async fn add_up(
    server: &mut Server,
    log: i64,
    kind: SumKind,
    (first, last): (i64, i64),
) -> Result<(), ExportError> {
    const DOING: &str = "cannot add up records";
    let number = kind.number();
    let empty = server.dialect().empty_bytes();
    let column = |name: &str, none: &'static str| match kind.key() {
        Some(key) if key == name => key.to_owned(),
        _ => none.to_owned(),
    };
    let (context, endpoint) = (column("context", empty), column("endpoint", empty));
    let remote_port = column("remote_port", "0");
    let [connections, sent, received] =
        ["connections", "sent", "received"].map(|column| server.dialect().sum(column));
    let start = start("time", kind.seconds());
    let by = kind.key().map(|key| format!(", {key}")).unwrap_or_default();
    let sql = format!(
        "INSERT INTO picosnitch_sum (kind, start, log, last_window, context, endpoint, remote_port, connections, sent, received, \
         first_time, last_time) \
         SELECT {number}, {start}, {log}, {last}, {context}, {endpoint}, {remote_port}, {connections}, {sent}, {received}, \
         min(time), max(time) FROM picosnitch_record \
         WHERE log = {log} AND window_number BETWEEN {first} AND {last} GROUP BY {start}{by}"
    );
    server.begin().await?;
    let claim = [number, log, first, last].map(Value::from).to_vec();
    server.insert(&SUM_CLAIM, &[claim], OnDuplicate::Refuse, DOING).await.map_err(overtaken)?;
    server.insert_selected(&sql, DOING).await?;
    server.commit().await
}

/// The start of the span of so many seconds that has the time in a column.
pub(crate) fn start(column: &str, seconds: i64) -> String {
    // The remainder has the sign of the dividend.
    format!("{column} - (({column} % {seconds} + {seconds}) % {seconds})")
}

/// The numbers in the first row of an answer.
async fn numbers<const COUNT: usize>(
    server: &mut Server,
    sql: &str,
    doing: &'static str,
) -> Result<[Option<i64>; COUNT], ExportError> {
    let rows = server.select(sql, &[], &[Kind::Integer; COUNT], doing).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    Ok(std::array::from_fn(|at| row.get(at).and_then(Value::integer)))
}
