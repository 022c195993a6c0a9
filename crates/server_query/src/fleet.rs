//! Questions about all machines: those of `picosnitch fleet` and of the page.

use std::collections::{HashMap, HashSet};

use calendar::TimeZone;
use model::{Bytes, text::lossless};
use question::{Asked, DefaultRange, json};
use store::{Dimension, Query, Value};

use crate::{
    error::ServerQueryError,
    reader::ServerReader,
    sighting::{HostSight, Sighting},
};

/// What is asked about all machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetQuestion {
    /// Which hosts run a program with this digest (or first digits), and as which file.
    Digest(Bytes),
    /// Which hosts have this program, the first one first, with the digests that it has there.
    First(Bytes),
    /// Which hosts talk to this domain; with a dot in front also to its sub-domains.
    Domain(Bytes),
    /// Which programs were seen on one host only.
    Unique,
    /// Which hosts have sent neither a window nor a heartbeat for so many minutes.
    Silent(u32),
}

/// The answer to a question about all machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetAnswer {
    /// Groups of records, the one that was seen first first.
    Sightings(Vec<Sighting>),
    /// Hosts, the longest silence first.
    Silent(Vec<HostSight>),
}

impl FleetQuestion {
    /// The question to the records; that of silence has none. `base` has its range, and filters besides.
    pub fn asked(&self, base: Asked) -> Asked {
        let wanted = |name: &str, value: &[u8]| [name.as_bytes(), b"=", value].concat();
        let (second, value) = match self {
            Self::Digest(digest) => (Dimension::Executable, Some(wanted("sha256", digest))),
            Self::First(path) => (Dimension::Sha256, Some(wanted("exe", path))),
            Self::Domain(name) => (Dimension::Domain, Some(wanted("domain", name))),
            Self::Unique | Self::Silent(_) => (Dimension::Executable, None),
        };
        let mut asked = Asked {
            group_by: vec![Dimension::Host, second],
            default_range: DefaultRange::All,
            is_of_server: true,
            ..base
        };
        asked.wanted.extend(value);
        asked
    }

    /// Answers it. `query` is [`FleetQuestion::asked`], read; `now` the present, unix seconds UTC.
    ///
    /// # Errors
    /// The server cannot answer.
    pub fn answer(
        &self,
        reader: &ServerReader,
        query: &Query,
        now: i64,
    ) -> Result<FleetAnswer, ServerQueryError> {
        if let Self::Silent(minutes) = self {
            let before = now.saturating_sub(60 * i64::from(*minutes));
            let hosts = reader.hosts()?.into_iter().filter(|host| host.last < before);
            return Ok(FleetAnswer::Silent(hosts.collect()));
        }
        let mut rows = reader.sightings(query)?;
        if *self == Self::Unique {
            keep_of_one_host(&mut rows);
        }
        Ok(FleetAnswer::Sightings(rows))
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

impl FleetAnswer {
    /// The rows as JSON.
    pub fn json(&self, query: &Query, now: i64, zone: &TimeZone) -> Vec<json::Object> {
        let sighting = |row: &Sighting| {
            let mut object = json::Object::new();
            json::add_values(&mut object, &query.group_by, &row.values, zone);
            json::add_point(&mut object, "first", Some(row.first), zone);
            json::add_point(&mut object, "last", Some(row.last), zone);
            object.extend(json::counters(row.counters));
            object
        };
        let silent = |host: &HostSight| {
            let mut object = json::Object::new();
            object.insert("host".to_owned(), lossless::to_text(&host.host).into());
            json::add_point(&mut object, "last", Some(host.last), zone);
            object.insert("silent_seconds".to_owned(), now.saturating_sub(host.last).into());
            object
        };
        match self {
            Self::Sightings(rows) => rows.iter().map(sighting).collect(),
            Self::Silent(hosts) => hosts.iter().map(silent).collect(),
        }
    }
}
