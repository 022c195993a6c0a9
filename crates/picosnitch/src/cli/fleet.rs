//! `picosnitch fleet`: questions about all machines whose logs are copied to a server. Exit codes: 0, also without rows; 1 for an error;
//! 2 for an option that does not exist.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use model::text::{lossless, sanitize, units};
use question::{Asked, DefaultRange, Now, csv, json};
use serde_json::{Map, Value as Json};
use server_query::{HostSight, ServerReader, Sighting};
use store::{Dimension, Query, Value};

use super::{
    common::Common,
    output::print,
    query::{
        json_text,
        labels::{Labels, kind, seen_text},
        records::counter_cells,
        wrong_option,
    },
    source::{Place, connect},
    table::{self, Column, Kind},
};

#[derive(clap::Args)]
pub struct Options {
    /// The server: postgres://USER@HOST/DATABASE, mysql://, mariadb://, or one of the configuration (log.server, export.NAME)
    #[arg(long, value_name = "SERVER", default_value = "log.server", global = true)]
    source: String,
    /// The file with the password of that server; otherwise it is in the environment (PGPASSWORD, MYSQL_PWD)
    #[arg(long, value_name = "FILE", global = true)]
    password_file: Option<PathBuf>,
    /// Only what was recorded in this time, written as for `query`; not for `silent`
    #[arg(long, value_name = "RANGE", default_value = "all", global = true)]
    range: String,
    /// Print a JSON array
    #[arg(long, conflicts_with = "csv", global = true)]
    json: bool,
    /// Print comma-separated values with a heading (RFC 4180)
    #[arg(long, global = true)]
    csv: bool,
    /// Shorten nothing to fit the terminal
    #[arg(long, global = true)]
    full: bool,
    #[command(subcommand)]
    question: Question,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Which hosts run a program with this digest (SHA-256, or its first digits), and as which file
    Digest {
        /// The digest
        sha256: OsString,
    },
    /// Where this program appeared first: the hosts that have it, the first one first, with the digests that it has there
    First {
        /// The path of the program, or the name of its file
        path: OsString,
    },
    /// Which hosts talk to this domain
    Domain {
        /// The domain; with a dot in front also its sub-domains
        name: OsString,
    },
    /// Which programs were seen on one host only, the newest last
    Unique,
    /// Which hosts have sent no window for some time
    Silent {
        /// For how long, minutes
        #[arg(long)]
        minutes: u32,
    },
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = Now::read();
    let asked = asked(options);
    let question = asked.read(&now).map_err(wrong_option)?;
    let place = Place::new(common, Some(&options.source), options.password_file.as_deref())?;
    let Place::Server(settings) = place else {
        bail!("--source {}: a log has one machine only; name a server", options.source);
    };
    let reader = connect(*settings)?;
    let text = match options.question {
        Question::Silent { minutes } => silent(&reader, options, i64::from(minutes), &now)?,
        _ => {
            let mut rows = reader.sightings(&question.query)?;
            if matches!(options.question, Question::Unique) {
                keep_of_one_host(&mut rows);
            }
            if rows.is_empty() {
                eprintln!("picosnitch: no host on the server has such a record");
            }
            sightings(&rows, options, &question.query, &now)?
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The question to the records.
fn asked(options: &Options) -> Asked {
    let wanted = |name: &str, value: &OsStr| vec![[name.as_bytes(), b"=", value.as_bytes()].concat()];
    let (second, wanted) = match &options.question {
        Question::Digest { sha256 } => (Dimension::Executable, wanted("sha256", sha256)),
        Question::First { path } => (Dimension::Sha256, wanted("exe", path)),
        Question::Domain { name } => (Dimension::Domain, wanted("domain", name)),
        Question::Unique | Question::Silent { .. } => (Dimension::Executable, Vec::new()),
    };
    Asked {
        range: Some(options.range.clone()),
        default_range: DefaultRange::All,
        group_by: vec![Dimension::Host, second],
        wanted,
        is_of_server: true,
        ..Asked::default()
    }
}

/// Keeps the rows whose program no other host has. Their values are a host and a program; sums of many programs are none.
fn keep_of_one_host(rows: &mut Vec<Sighting>) {
    let mut hosts: HashMap<Option<Value>, HashSet<Option<Value>>> = HashMap::new();
    for row in rows.iter() {
        hosts.entry(row.values.get(1).cloned()).or_default().insert(row.values.first().cloned());
    }
    rows.retain(|row| {
        let program = row.values.get(1).cloned();
        program != Some(Value::Many) && hosts.get(&program).is_some_and(|hosts| hosts.len() == 1)
    });
}

fn sightings(rows: &[Sighting], options: &Options, query: &Query, now: &Now) -> anyhow::Result<String> {
    let group_by = &query.group_by;
    if options.json {
        let row = |row: &Sighting| {
            let mut object = Map::new();
            json::add_values(&mut object, group_by, &row.values, &now.zone);
            json::add_point(&mut object, "first", Some(row.first), &now.zone);
            json::add_point(&mut object, "last", Some(row.last), &now.zone);
            object.extend(json::counters(row.counters));
            Json::Object(object)
        };
        return json_text(&rows.iter().map(row).collect());
    }
    if options.csv {
        let times = ["first", "first_iso", "last", "last_iso"].map(str::to_owned);
        let counters = ["conns", "received", "sent"].map(str::to_owned);
        let heading = [csv::names(group_by), times.to_vec(), counters.to_vec()].concat().join(",");
        let row = |row: &Sighting| {
            let mut cells = Vec::new();
            csv::add_values(&mut cells, group_by, &row.values, &now.zone);
            cells.extend(csv::point(Some(row.first), &now.zone));
            cells.extend(csv::point(Some(row.last), &now.zone));
            cells.extend(csv::counters(row.counters));
            cells
        };
        return Ok(csv::document(&heading, rows.iter().map(row)));
    }
    let mut columns: Vec<Column> =
        group_by.iter().map(|dimension| Column::new(dimension.name(), kind(*dimension))).collect();
    columns.extend(["first seen", "last seen"].map(|name| Column::new(name, Kind::Word)));
    columns.extend(["conns", "received", "sent"].map(|name| Column::new(name, Kind::Number)));
    let width = table::output_width(options.full);
    let labels = Labels::new(rows.iter().map(|row| &row.values[..]), group_by, &now.zone);
    let time = seen_text(rows.iter().flat_map(|row| [row.first, row.last]), width, now);
    let cells = |row: &Sighting| {
        let values = group_by.iter().zip(&row.values);
        let mut cells: Vec<String> =
            values.map(|(dimension, value)| labels.cell(*dimension, value)).collect();
        cells.extend([time(row.first), time(row.last)]);
        cells.extend(counter_cells(row.counters));
        cells
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    Ok(table::render(&columns, &rows, None, width))
}

/// The hosts that are silent.
fn silent(reader: &ServerReader, options: &Options, minutes: i64, now: &Now) -> anyhow::Result<String> {
    let before = now.seconds.saturating_sub(60 * minutes);
    let hosts: Vec<HostSight> = reader.hosts()?.into_iter().filter(|host| host.last < before).collect();
    let silent_for = |host: &HostSight| now.seconds.saturating_sub(host.last);
    if hosts.is_empty() {
        eprintln!("picosnitch: no host on the server has been silent for so long");
    }
    if options.json {
        let row = |host: &HostSight| {
            let mut object = Map::new();
            object.insert("host".to_owned(), lossless::to_text(&host.host).into());
            json::add_point(&mut object, "last", Some(host.last), &now.zone);
            object.insert("silent_seconds".to_owned(), silent_for(host).into());
            Json::Object(object)
        };
        return json_text(&hosts.iter().map(row).collect());
    }
    if options.csv {
        let row = |host: &HostSight| {
            let mut cells = vec![sanitize::csv_field(&host.host)];
            cells.extend(csv::point(Some(host.last), &now.zone));
            cells.push(silent_for(host).to_string());
            cells
        };
        return Ok(csv::document("host,last,last_iso,silent_seconds", hosts.iter().map(row)));
    }
    let columns = [
        Column::new("host", Kind::Text),
        Column::new("last window", Kind::Word),
        Column::new("minutes", Kind::Number),
    ];
    let width = table::output_width(options.full);
    let time = seen_text(hosts.iter().map(|host| host.last), width, now);
    let row = |host: &HostSight| {
        let minutes = u64::try_from(silent_for(host) / 60).unwrap_or(0);
        vec![sanitize::terminal(&host.host), time(host.last), units::grouped(minutes)]
    };
    let rows: Vec<Vec<String>> = hosts.iter().map(row).collect();
    Ok(table::render(&columns, &rows, None, width))
}
