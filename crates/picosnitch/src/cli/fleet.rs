//! `picosnitch fleet`: questions about all machines whose logs are copied to a server. Exit codes: 0, also without rows; 1 for an error;
//! 2 for an option that does not exist.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, process::ExitCode};

use anyhow::bail;
use model::text::{sanitize, units};
use question::{Asked, Now, csv};
use serde_json::Value as Json;
use server_query::{FleetAnswer, FleetQuestion, HostSight, LogSource, ServerReader, Sighting};
use store::Query;

use super::{
    common::Common,
    output::print,
    query::{
        json_text,
        labels::{Labels, kind, seen_text},
        records::counter_cells,
        wrong_option,
    },
    source,
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
    /// Which hosts have sent neither a window nor a heartbeat for some time
    Silent {
        /// For how long, minutes
        #[arg(long)]
        minutes: u32,
    },
}

impl Question {
    fn asked(&self) -> FleetQuestion {
        let bytes = |text: &OsString| text.clone().into_vec();
        match self {
            Self::Digest { sha256 } => FleetQuestion::Digest(bytes(sha256)),
            Self::First { path } => FleetQuestion::First(bytes(path)),
            Self::Domain { name } => FleetQuestion::Domain(bytes(name)),
            Self::Unique => FleetQuestion::Unique,
            Self::Silent { minutes } => FleetQuestion::Silent(*minutes),
        }
    }
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let now = Now::read();
    let asked = options.question.asked();
    let base = Asked { range: Some(options.range.clone()), ..Asked::default() };
    let query = asked.asked(base).read(&now).map_err(wrong_option)?.query;
    let LogSource::Server(settings) =
        source::read(common, Some(&options.source), options.password_file.as_deref())?
    else {
        bail!("--source {}: a log has one machine only; name a server", options.source);
    };
    let answer = asked.answer(&ServerReader::connect(*settings)?, &query, now.seconds)?;
    let is_empty = match &answer {
        FleetAnswer::Sightings(rows) => rows.is_empty(),
        FleetAnswer::Silent(hosts) => hosts.is_empty(),
    };
    match asked {
        FleetQuestion::Silent(_) if is_empty => {
            eprintln!("picosnitch: no host on the server has been silent for so long");
        }
        _ if is_empty => eprintln!("picosnitch: no host on the server has such a record"),
        _ => {}
    }
    let text = match &answer {
        _ if options.json => {
            let rows = answer.json(&query, now.seconds, &now.zone);
            json_text(&rows.into_iter().map(Json::Object).collect())?
        }
        FleetAnswer::Sightings(rows) => sightings(rows, options, &query, &now),
        FleetAnswer::Silent(hosts) => silent(hosts, options, &now),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn sightings(rows: &[Sighting], options: &Options, query: &Query, now: &Now) -> String {
    let group_by = &query.group_by;
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
        return csv::document(&heading, rows.iter().map(row));
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
    table::render(&columns, &rows, None, width)
}

/// The hosts that are silent.
fn silent(hosts: &[HostSight], options: &Options, now: &Now) -> String {
    let silent_for = |host: &HostSight| now.seconds.saturating_sub(host.last);
    if options.csv {
        let row = |host: &HostSight| {
            let mut cells = vec![sanitize::csv_field(&host.host)];
            cells.extend(csv::point(Some(host.last), &now.zone));
            cells.push(silent_for(host).to_string());
            cells
        };
        return csv::document("host,last,last_iso,silent_seconds", hosts.iter().map(row));
    }
    let columns = [
        Column::new("host", Kind::Text),
        Column::new("last heard", Kind::Word),
        Column::new("minutes", Kind::Number),
    ];
    let width = table::output_width(options.full);
    let time = seen_text(hosts.iter().map(|host| host.last), width, now);
    let row = |host: &HostSight| {
        let minutes = u64::try_from(silent_for(host) / 60).unwrap_or(0);
        vec![sanitize::terminal(&host.host), time(host.last), units::grouped(minutes)]
    };
    let rows: Vec<Vec<String>> = hosts.iter().map(row).collect();
    table::render(&columns, &rows, None, width)
}
