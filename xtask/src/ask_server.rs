//! `cargo xtask ask-server`: measures how long a server with copies of logs takes to answer the questions of the pages, by its sums
//! and by its records; and how fast it is filled.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use calendar::TimeZone;
use export::{Kind as CellKind, Server, ServerSettings, SinkNews, SumKind};
use server_query::{ServerReader, server_at};
use store::{Answer, CompareOrder, Dimension, Filter, Query, Range, Sort, Source, WindowReader};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const RANGES: [(&str, i64); 5] =
    [("1h", HOUR), ("1d", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY), ("1y", 365 * DAY)];
/// Rows of an answer, as on the pages.
const ROWS: u64 = 10;
/// Parts of a chart at most, and its groups.
const PARTS: usize = 98;
const GROUPS: usize = 8;

/// Options of `cargo xtask ask-server`.
#[derive(clap::Args)]
pub struct Options {
    /// First send this log, as the exporter does, and add up its sums
    #[arg(long, value_name = "LOG")]
    send: Option<PathBuf>,
    /// Do not wait for the sums of the log that is sent
    #[arg(long, requires = "send")]
    no_sums: bool,
    /// Times that each question is asked, each time for another end of the range
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Seconds that 19 of 20 answers must not exceed by the sums
    #[arg(long, default_value_t = 3.0)]
    most: f64,
    /// The time zone of days and hours
    #[arg(long, default_value = "Europe/Berlin")]
    zone: String,
    /// Ask by the sums only, not by the records as well
    #[arg(long)]
    sums_only: bool,
    /// The server, as for `picosnitch query --source`; the password is in PGPASSWORD or MYSQL_PWD
    server: String,
}

/// A question of the pages.
struct Question {
    name: &'static str,
    group_by: Vec<Dimension>,
    filters: Vec<Filter>,
    kind: Kind,
}

/// How a question is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rows,
    /// With the same time before.
    Comparison,
    /// Sums over time, of all and of the largest groups.
    Chart,
}

/// Sends, asks and prints the times.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let settings = server_at(&options.server, None, |name| std::env::var(name).ok())
        .context("the server must be an address as postgres://USER@HOST/DATABASE")??;
    if let Some(log) = &options.send {
        send(&settings, log, !options.no_sums)?;
    }
    let zone = calendar::named_zone(&options.zone).context("there is no such time zone")?;
    let by_sums = ServerReader::connect(settings.clone())?;
    let by_records = ServerReader::connect(ServerSettings { asks_sums: false, ..settings })?;
    let questions = questions(&by_sums)?;
    let mut is_slow = false;
    let sources = [("sums", &by_sums), ("records", &by_records)];
    let sources = if options.sums_only { &sources[..1] } else { &sources };
    println!(
        "| question | range | rows | {} |",
        sources
            .iter()
            .map(|(name, _)| format!("by {name}: median ms | 95 % ms"))
            .collect::<Vec<_>>()
            .join(" | ")
    );
    println!("| --- | --- | --- {}|", "| --- | --- ".repeat(sources.len()));
    let mut all: Vec<Vec<Duration>> = vec![Vec::new(); sources.len()];
    for question in &questions {
        for (range, seconds) in RANGES {
            let mut cells = String::new();
            let mut rows = 0;
            for ((_, reader), all) in sources.iter().zip(&mut all) {
                let mut times = Vec::new();
                for turn in 0..options.turns {
                    let begin = Instant::now();
                    rows = ask(reader, question, seconds, turn, &zone)?;
                    times.push(begin.elapsed());
                }
                all.extend(&times);
                cells += &format!(" {} | {} |", percentile(&mut times, 50), percentile(&mut times, 95));
            }
            println!("| {} | {range} | {rows} |{cells}", question.name);
        }
    }
    for ((name, _), times) in sources.iter().zip(&mut all) {
        let (median, most) = (percentile(times, 50), percentile(times, 95));
        println!("by {name}: {} answers, median {median} ms, 95 % within {most} ms", times.len());
        is_slow |= *name == "sums" && most as f64 > options.most * 1000.0;
    }
    Ok(if is_slow { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn questions(reader: &ServerReader) -> anyhow::Result<Vec<Question>> {
    let question = |name, group_by: &[Dimension]| Question {
        name,
        group_by: group_by.to_vec(),
        filters: Vec::new(),
        kind: Kind::Rows,
    };
    let (_, last) = reader.extent()?.context("the server has no records")?;
    let top = |dimension| -> anyhow::Result<Filter> {
        let range = Range { since: Some(last - 7 * DAY), until: None };
        let query = Query { group_by: vec![dimension], limit: Some(1), range, ..Query::default() };
        let row = reader.query(&query)?.pop().context("there is no record in the last week")?;
        Ok(Filter::equal(dimension, row.values[0].clone(), false))
    };
    let (program, user) = (top(Dimension::Executable)?, top(Dimension::Uid)?);
    Ok(vec![
        question("total", &[]),
        question("exe", &[Dimension::Executable]),
        question("domain", &[Dimension::Domain]),
        question("country", &[Dimension::Country]),
        question("uid", &[Dimension::Uid]),
        question("port", &[Dimension::Port]),
        question("host", &[Dimension::Host]),
        question("hour", &[Dimension::Hour]),
        question("day", &[Dimension::Day]),
        question("week and exe", &[Dimension::Week, Dimension::Executable]),
        Question { kind: Kind::Comparison, ..question("exe, compared", &[Dimension::Executable]) },
        Question { kind: Kind::Chart, ..question("chart", &[]) },
        Question { kind: Kind::Chart, ..question("chart by exe", &[Dimension::Executable]) },
        Question { filters: vec![program.clone()], ..question("user of a program", &[Dimension::Uid]) },
        Question { filters: vec![user], ..question("exe of a user", &[Dimension::Executable]) },
    ])
}

fn ask(
    reader: &ServerReader,
    question: &Question,
    seconds: i64,
    turn: u32,
    zone: &TimeZone,
) -> anyhow::Result<usize> {
    let (_, last) = reader.extent()?.context("the server has no records")?;
    // Ranges that end with the records, and earlier ones at odd seconds, as "now" is one.
    let until = last - i64::from(turn) * 100_003;
    let range = Range { since: Some(until - seconds + 1), until: Some(until) };
    let query = Query {
        group_by: question.group_by.clone(),
        filters: question.filters.clone(),
        range,
        zone: Some(zone.clone()),
        sort: Sort::Total,
        limit: Some(ROWS),
        ..Query::default()
    };
    Ok(match question.kind {
        Kind::Rows => {
            let Answer { rows, .. } = reader.answer(&query)?;
            rows.len()
        }
        Kind::Comparison => {
            let before = Range { since: Some(until - 2 * seconds + 1), until: Some(until - seconds) };
            reader.compare(&query, before, CompareOrder::Difference)?.rows.len()
        }
        Kind::Chart => {
            let edges = calendar::divide(until - seconds + 1, until + 1, PARTS, zone);
            let query = Query { limit: None, ..query };
            match query.group_by[..] {
                [] => reader.series(&query, &edges)?.len(),
                _ => reader.series_by(&query, &edges, GROUPS)?.groups.len(),
            }
        }
    })
}

/// A percentile of times, milliseconds; sorts them.
fn percentile(times: &mut [Duration], percent: usize) -> u128 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0, Duration::as_millis)
}

/// Sends a log, and waits until it is there, and if wanted its sums.
fn send(settings: &ServerSettings, log: &Path, with_sums: bool) -> anyhow::Result<()> {
    ensure!(log.exists(), "there is no {}", log.display());
    let last = WindowReader::open(log)?.state()?.last_window;
    let settings = ServerSettings {
        backfill: true,
        name: "ask-server".into(),
        view: "connections".into(),
        ..settings.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begin = Instant::now();
    let (problem, records, sent) = (RefCell::new(None), Cell::new(0), Cell::new(None));
    let report = |news| match news {
        SinkNews::Status(status) => {
            records.set(status.sent_records);
            if status.last_window == last && sent.get().is_none() {
                sent.set(Some(begin.elapsed()));
            }
        }
        SinkNews::Problem(text) => *problem.borrow_mut() = Some(text),
        _ => {}
    };
    let watched = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if problem.borrow().is_some() || sent.get().is_some() && !with_sums {
                return Ok(());
            }
            if sent.get().is_some() {
                return wait_for_sums(&settings).await;
            }
        }
    };
    runtime.block_on(async {
        tokio::select! {
            never = export::run(&settings, log.to_owned(), "host", report) => match never {},
            result = watched => result,
        }
    })?;
    if let Some(problem) = problem.take() {
        bail!("{problem}");
    }
    let seconds = sent.get().unwrap_or_default().as_secs_f64();
    println!(
        "{} records sent in {seconds:.1} s: {:.0} a second",
        records.get(),
        records.get() as f64 / seconds
    );
    if with_sums {
        println!("their sums were made in {:.1} s more", begin.elapsed().as_secs_f64() - seconds);
    }
    Ok(())
}

/// Waits until the sums of all times that are over are there.
async fn wait_for_sums(settings: &ServerSettings) -> anyhow::Result<()> {
    let mut server = Server::connect(settings).await?;
    for kind in SumKind::ALL {
        let seconds = kind.seconds();
        let due = format!(
            "SELECT max(w.window_number) FROM picosnitch_window w JOIN (SELECT max(time) AS time FROM picosnitch_window) l \
             ON w.time - w.time % {seconds} < l.time - l.time % {seconds}"
        );
        let claimed =
            format!("SELECT max(last_window) FROM picosnitch_sum_claim WHERE kind = {}", kind.number());
        let due = number(&mut server, &due).await?;
        while number(&mut server, &claimed).await? != due {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn number(server: &mut Server, sql: &str) -> anyhow::Result<Option<i64>> {
    let rows = server.select(sql, &[], &[CellKind::Integer], "cannot ask for a number").await?;
    Ok(rows.first().and_then(|row| row.first()?.integer()))
}
