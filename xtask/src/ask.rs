//! `cargo xtask ask-db`: how long every question of the screens takes.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use picosnitch::store::{Dimension, Filter, Query, Range, Reader, Sort};
use serde_json::json;

/// Name and seconds of the ranges that `view` offers; 0 is all.
const RANGES: [(&str, i64); 16] = [
    ("1min", 60),
    ("3min", 180),
    ("5min", 300),
    ("10min", 600),
    ("15min", 900),
    ("30min", 1800),
    ("1h", 3600),
    ("3h", 10_800),
    ("6h", 21_600),
    ("12h", 43_200),
    ("1d", 86_400),
    ("3d", 259_200),
    ("7d", 604_800),
    ("30d", 2_592_000),
    ("365d", 31_536_000),
    ("all", 0),
];

/// Points of a chart over a range.
const POINTS: i64 = 60;

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Times that each question is asked, each time for another end of the range
    #[arg(long, default_value_t = 20)]
    turns: usize,
    /// Only dimensions whose name is this
    #[arg(long, value_name = "DIMENSION")]
    only: Option<Dimension>,
    /// Milliseconds that 19 of 20 answers must not exceed
    #[arg(long, default_value_t = 100.0)]
    most: f64,
    /// The log, as `gen-db` makes it
    file: PathBuf,
}

/// Asks everything and prints the times.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(&options.file)?;
    let (first, last) = reader.extent()?.context("the log is empty")?;
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
    let mut results = Vec::new();
    for (filter, filters) in &filters {
        for dimension in Dimension::ALL.map(Some).into_iter().chain([None]) {
            if options.only.is_some() && options.only != dimension {
                continue;
            }
            for (range, seconds) in RANGES {
                let mut times = Vec::new();
                let mut rows = 0;
                for turn in 0..options.turns {
                    // The newest, and others all over the log; odd ends, as "now" is one.
                    let back = if seconds == 0 {
                        0
                    } else {
                        (last - first - seconds).max(0) / options.turns as i64 * turn as i64
                    };
                    let until = last - back / 4;
                    let since = if seconds == 0 { first } else { until - seconds + 1 };
                    let begin = Instant::now();
                    rows = match dimension {
                        Some(dimension) => {
                            let query = Query {
                                range: if seconds == 0 {
                                    Range::default()
                                } else {
                                    Range { since: Some(since), until: Some(until) }
                                },
                                group_by: vec![dimension],
                                filters: filters.clone(),
                                ..Query::default()
                            };
                            reader.query(&query)?.len()
                        }
                        None => reader.series(filters, &edges(since, until))?.len(),
                    };
                    times.push(begin.elapsed());
                }
                let name = dimension.map_or("series", Dimension::name);
                results.push((
                    name,
                    *filter,
                    range,
                    percentile(&mut times, 95),
                    percentile(&mut times, 50),
                    rows,
                ));
            }
        }
    }
    let slow = |result: &&(_, _, _, f64, f64, usize)| result.3 > options.most;
    if options.json {
        let rows: Vec<_> = results
            .iter()
            .map(|(name, filter, range, p95, median, rows)| {
                json!({"group_by": name, "where": filter, "range": range, "p95_ms": p95, "median_ms": median, "rows": rows})
            })
            .collect();
        println!("{}", json!({"turns": options.turns, "most_ms": options.most, "questions": rows}));
    } else {
        print!("{:<10} {:<13}", "p95 ms", "where");
        RANGES.iter().for_each(|(range, _)| print!("{range:>7}"));
        for line in results.chunks(RANGES.len()) {
            print!("\n{:<10} {:<13}", line[0].0, line[0].1);
            line.iter().for_each(|result| print!("{:>7.1}", result.3));
        }
        println!();
    }
    let count = results.iter().filter(slow).count();
    eprintln!("{} questions, {count} with more than {} ms at p95", results.len(), options.most);
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Edges of a chart: whole steps of a size that people like.
fn edges(since: i64, until: i64) -> Vec<i64> {
    const STEPS: [i64; 12] = [1, 5, 10, 30, 60, 300, 900, 3600, 10_800, 21_600, 86_400, 604_800];
    let step = STEPS.into_iter().find(|step| (until - since) / step < POINTS).unwrap_or(604_800);
    let first = since.div_euclid(step) * step;
    (0..).map(|number| first + number * step).take_while(|edge| *edge <= until + step).collect()
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
