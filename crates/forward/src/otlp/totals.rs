//! Sums that only grow, as metrics: traffic and connections by program, events and losses by kind.

use std::collections::BTreeMap;

use calendar::TimeZone;
use model::{Counters, PORT_EXECUTION, Record, text::sanitize};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, Sum, metric::Data, number_data_point::Value,
    },
};
use store::{Dimension, LogName, WholeWindow, record_value, values};

use super::{NANOSECONDS, attribute, text};

/// Programs with sums of their own; those that come later have the sums of [`OTHERS`] together, so that a program with many names does
/// not fill the receiver. As in /metrics of the page.
const MAX_PROGRAMS: usize = 200;
const OTHERS: &str = "(others)";
/// A program without a path, as of a record whose process was gone.
const UNKNOWN: &str = "(unknown)";
/// Characters of a path.
const MAX_PATH: usize = 300;
/// Seconds of a window (`log.write_limit_seconds` is not known here): the sums begin so long before the first one if no other window
/// is before it.
const WINDOW: i64 = 10;

/// The sums of a log since this process began to send it.
#[derive(Clone)]
pub(crate) struct Totals {
    log: LogName,
    /// The time from which on the sums count, unix seconds UTC.
    start: i64,
    /// The time up to which they count; it grows with each addition, also if the clock was set back.
    end: i64,
    programs: BTreeMap<String, Counters>,
    events: BTreeMap<&'static str, u64>,
    losses: BTreeMap<String, u64>,
}

impl Totals {
    /// Adds windows to sums, or to none if those are of another log. `begin` is the end of the window before the first of them, unix
    /// seconds UTC, or 0.
    pub fn with(before: Option<&Self>, log: LogName, begin: i64, windows: &[WholeWindow]) -> Self {
        let first = windows.first().map_or(begin, |window| window.mark.time);
        let start = if (1..first).contains(&begin) { begin } else { first - WINDOW };
        let mut totals = before.filter(|totals| totals.log == log).cloned().unwrap_or_else(|| Self {
            log,
            start,
            end: start,
            programs: BTreeMap::new(),
            events: BTreeMap::new(),
            losses: BTreeMap::new(),
        });
        totals.end += 1;
        // Imported windows, which have no random number, are of another time.
        for window in windows.iter().filter(|window| window.mark.nonce.is_some()) {
            totals.end = totals.end.max(window.mark.time);
            window.records.iter().for_each(|numbered| totals.add_record(&numbered.record));
            for event in &window.events {
                *totals.events.entry(event.kind.name()).or_default() += 1;
                if let Some(loss) = event.loss() {
                    *totals.losses.entry(loss.kind.name()).or_default() += loss.count;
                }
            }
        }
        totals
    }

    fn add_record(&mut self, record: &Record) {
        if record.tuple.remote_port == PORT_EXECUTION {
            return;
        }
        let path = record_value(record, 0, Dimension::Executable, &TimeZone::UTC);
        let path = sanitize::terminal(&values::bytes(Dimension::Executable, &path));
        let name = if path.is_empty() { UNKNOWN.to_owned() } else { sanitize::shorten(&path, MAX_PATH) };
        let is_full = self.programs.len() >= MAX_PROGRAMS && !self.programs.contains_key(&name);
        let name = if is_full { OTHERS.to_owned() } else { name };
        *self.programs.entry(name).or_default() += record.counters;
    }

    /// The UUID of the log.
    pub fn log(&self) -> String {
        hex::encode(self.log.uuid)
    }

    /// The sums as metrics, none without data points.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let (mut bytes, mut connections) = (Vec::new(), Vec::new());
        for (path, counters) in &self.programs {
            let exe = || attribute("process.executable.path", text(path));
            let direction = |name| attribute("network.io.direction", text(name));
            bytes.push(self.point(vec![exe(), direction("receive")], counters.received));
            bytes.push(self.point(vec![exe(), direction("transmit")], counters.sent));
            connections.push(self.point(vec![exe()], counters.connections));
        }
        let by_kind = |key, (kind, count): (&str, &u64)| self.point(vec![attribute(key, text(kind))], *count);
        let events = self.events.iter().map(|(kind, count)| by_kind("picosnitch.event.kind", (kind, count)));
        let losses = self.losses.iter().map(|(kind, count)| by_kind("picosnitch.loss.kind", (kind, count)));
        let metrics = [
            ("picosnitch.network.io", "By", "Application bytes that programs received and sent.", bytes),
            (
                "picosnitch.network.connections",
                "{connection}",
                "Connections that programs opened.",
                connections,
            ),
            ("picosnitch.events", "{event}", "Events of the log.", events.collect()),
            (
                "picosnitch.losses",
                "{item}",
                "What was not seen, or not stored, in the unit of its kind.",
                losses.collect(),
            ),
        ];
        metrics
            .into_iter()
            .filter(|(.., points)| !points.is_empty())
            .map(|(name, unit, description, data_points)| Metric {
                name: name.into(),
                unit: unit.into(),
                description: description.into(),
                data: Some(Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                })),
                ..Metric::default()
            })
            .collect()
    }

    fn point(&self, attributes: Vec<KeyValue>, value: u64) -> NumberDataPoint {
        let nanoseconds = |seconds| u64::try_from(seconds).unwrap_or(0).saturating_mul(NANOSECONDS);
        NumberDataPoint {
            attributes,
            start_time_unix_nano: nanoseconds(self.start),
            time_unix_nano: nanoseconds(self.end),
            value: Some(Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))),
            ..NumberDataPoint::default()
        }
    }
}

/// The number of data points of a metric.
pub(super) fn data_points(metric: &Metric) -> u64 {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len() as u64,
        _ => 0,
    }
}
