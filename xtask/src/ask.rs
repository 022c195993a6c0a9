//! `cargo xtask ask-db`: how long `view` waits for its rows, and for its chart: every tab, every range, some filters.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use store::{Dimension, Filter, Query, Reader, Sort};
use tui::view::{
    calendar,
    period::LENGTHS,
    query::{self, ScreenQuery},
};

/// Columns of the chart: those of a wide terminal.
const COLUMNS: usize = 200;

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
            for range in &LENGTHS {
                let mut times = Vec::new();
                let mut rows = 0;
                for turn in 0..options.turns {
                    // The newest, and others all over the log; odd ends, as "now" is one.
                    let back = (last - first - range.seconds).max(0) / options.turns as i64 * turn as i64 / 4;
                    let question = ScreenQuery {
                        dimension: dimension.unwrap_or(Dimension::Executable),
                        period: range.last(last - back),
                        now: last,
                        filters: filters.clone(),
                        sort: Sort::Total,
                        chart_columns: COLUMNS,
                        zone: calendar::zone(),
                    };
                    let begin = Instant::now();
                    rows = match dimension {
                        Some(_) => query::rows(&reader, &question)?.rows.len(),
                        None => query::series(&reader, &question, COLUMNS)?.sums.len(),
                    };
                    times.push(begin.elapsed());
                }
                let name = dimension.map_or("series", Dimension::name);
                results.push((
                    name,
                    *filter,
                    range.name,
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
        LENGTHS.iter().for_each(|range| print!("{:>9}", range.name));
        for line in results.chunks(LENGTHS.len()) {
            print!("\n{:<10} {:<13}", line[0].0, line[0].1);
            line.iter().for_each(|result| print!("{:>9.1}", result.3));
        }
        println!();
    }
    let count = results.iter().filter(slow).count();
    eprintln!("{} questions, {count} with more than {} ms at p95", results.len(), options.most);
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
