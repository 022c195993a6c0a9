//! `cargo xtask ask-db`: measures how long `view` waits for its rows and its chart: every tab, every range, some filters.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;
use server_query::SourceReader;
use store::{Dimension, Filter, Query, Reader, Sort, Source, Writer};
use tui::view::{
    period::{LENGTHS, PeriodLength},
    query::{self, Only, ScreenQuery},
};

use crate::random_queries;

/// Columns of the chart: those of a wide terminal.
const COLUMNS: usize = 200;
/// Seconds of an hour.
const HOUR: i64 = 60 * 60;

/// Options of `cargo xtask ask-db`.
#[derive(clap::Args)]
pub struct Options {
    /// Print the times as one JSON object
    #[arg(long)]
    json: bool,
    /// Times that each query is sent, each time for another end of the range
    #[arg(long, default_value_t = 20)]
    turns: usize,
    /// Only dimensions whose name is this
    #[arg(long, value_name = "DIMENSION")]
    only: Option<Dimension>,
    /// Only the sums of each hour
    #[arg(long, conflicts_with = "only")]
    hours: bool,
    /// Milliseconds that 19 of 20 answers must not exceed
    #[arg(long, default_value_t = 100.0)]
    most: f64,
    /// Instead print digests of the answers to this number of random queries: two builds that print the same lines for
    /// the same seed answer alike
    #[arg(long, value_name = "NUMBER")]
    random: Option<u64>,
    /// The same seed makes the same random queries
    #[arg(long, default_value_t = 1, requires = "random")]
    seed: u64,
    /// Print the answers to the random queries, too
    #[arg(long, requires = "random")]
    print: bool,
    /// First bring the log to the schema version of this build, as the daemon does when it starts
    #[arg(long)]
    migrate: bool,
    /// The log, as `gen-db` makes it
    file: PathBuf,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The rows of a tab.
    Rows(Dimension),
    /// The chart.
    Chart,
    /// The sum of each hour.
    Hours,
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Rows(dimension) => dimension.name(),
            Self::Chart => "series",
            Self::Hours => "by hour",
        }
    }
}

/// The times of one query.
struct Measurement {
    dimension: &'static str,
    filter: &'static str,
    range: &'static str,
    /// The 95th percentile of its times, milliseconds.
    p95: f64,
    /// The median of its times, milliseconds.
    median: f64,
    rows: usize,
}

/// Sends every query and prints the times.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.migrate {
        ensure!(options.file.exists(), "there is no {}", options.file.display());
        Writer::open(&options.file)?.checkpoint()?;
    }
    let reader = Reader::open(&options.file)?;
    if let Some(count) = options.random {
        random_queries::run(&reader, count, options.seed, options.print)?;
        return Ok(ExitCode::SUCCESS);
    }
    let top = |dimension| -> anyhow::Result<Filter> {
        let query =
            Query { group_by: vec![dimension], sort: Sort::Total, limit: Some(1), ..Query::default() };
        let row = reader.query(&query)?.pop().context("the log is empty")?;
        Ok(Filter::equal(dimension, row.values[0].clone(), false))
    };
    let filters = [
        ("", vec![]),
        ("exe", vec![top(Dimension::Executable)?]),
        ("domain", vec![top(Dimension::Domain)?]),
        ("exe and port", vec![top(Dimension::Executable)?, top(Dimension::Port)?]),
    ];
    let source = SourceReader::Log(Reader::open(&options.file)?);
    let mut measurements = Vec::new();
    for (name, filters) in &filters {
        for asked in Dimension::ALL.map(Question::Rows).into_iter().chain([Question::Chart, Question::Hours])
        {
            if options.only.is_some_and(|only| Question::Rows(only) != asked)
                || options.hours && asked != Question::Hours
            {
                continue;
            }
            for length in 0..LENGTHS.len() {
                let mut measurement = measure(&source, options.turns, asked, length, filters)?;
                measurement.filter = name;
                measurements.push(measurement);
            }
        }
    }
    if options.json {
        print_json(&measurements, options);
    } else {
        print_table(&measurements);
    }
    let count = measurements.iter().filter(|measurement| measurement.p95 > options.most).count();
    eprintln!("{} queries, {count} with more than {} ms at p95", measurements.len(), options.most);
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures one question and one of [`LENGTHS`].
fn measure(
    reader: &SourceReader,
    turns: usize,
    asked: Question,
    length: usize,
    filters: &[Filter],
) -> anyhow::Result<Measurement> {
    let PeriodLength { name, seconds, .. } = LENGTHS[length];
    let (first, last) = reader.extent()?.context("the log is empty")?;
    let mut times = Vec::new();
    let mut rows = 0;
    for turn in 0..turns {
        // Ranges that end with the log, and earlier ones at odd seconds, as "now" is one.
        let back = (last - first - seconds).max(0) / turns as i64 * turn as i64 / 4;
        let dimension = match asked {
            Question::Rows(dimension) => dimension,
            Question::Chart | Question::Hours => Dimension::Executable,
        };
        let question = ScreenQuery {
            dimension: Some(dimension),
            period: LENGTHS[length].last(last - back),
            now: last,
            filters: filters.to_vec(),
            find: None,
            event_text: String::new(),
            only: Only::All,
            before: None,
            sort: Sort::Total,
            chart_columns: COLUMNS,
            zone: calendar::zone(),
        };
        let begin = Instant::now();
        rows = match asked {
            Question::Rows(_) => query::rows(reader, &question)?.rows.len(),
            Question::Chart => {
                query::series(reader, &question, Some((first, last)), None, COLUMNS)?.sums.len()
            }
            Question::Hours => {
                let end = last - back;
                let begin = if seconds > 0 { (end - seconds).max(first) } else { first } / HOUR * HOUR;
                let edges: Vec<i64> =
                    (0..=(end - begin) / HOUR + 1).map(|hour| begin + hour * HOUR).collect();
                let query = Query { filters: filters.to_vec(), ..Query::default() };
                reader.series(&query, &edges)?.len()
            }
        };
        times.push(begin.elapsed());
    }
    Ok(Measurement {
        dimension: asked.name(),
        filter: "",
        range: name,
        p95: percentile(&mut times, 95),
        median: percentile(&mut times, 50),
        rows,
    })
}

fn print_json(measurements: &[Measurement], options: &Options) {
    let rows: Vec<_> = measurements
        .iter()
        .map(|Measurement { dimension, filter, range, p95, median, rows }| {
            json!({"group_by": dimension, "where": filter, "range": range, "p95_ms": p95, "median_ms": median, "rows": rows})
        })
        .collect();
    println!("{}", json!({"turns": options.turns, "most_ms": options.most, "questions": rows}));
}

fn print_table(measurements: &[Measurement]) {
    print!("{:<10} {:<13}", "p95 ms", "where");
    LENGTHS.iter().for_each(|range| print!("{:>9}", range.name));
    for line in measurements.chunks(LENGTHS.len()) {
        print!("\n{:<10} {:<13}", line[0].dimension, line[0].filter);
        line.iter().for_each(|measurement| print!("{:>9.1}", measurement.p95));
    }
    println!();
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
