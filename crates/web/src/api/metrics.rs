//! `/metrics`: traffic by program and the health of picosnitch, for Prometheus (OpenMetrics text).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use live::protocol::HelloLine;
use model::{Counters, text::lossless};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use server_query::SourceReader;
use store::{Dimension, Query, Range, Source, Value};

use super::Api;
use crate::{
    error::{ApiError, ErrorBody, ErrorKind},
    process::usage,
    readers::LogFile,
};

/// Programs with counters of their own; the others have those of [`OTHERS`] together, so that a program with many names does not
/// fill the memory of Prometheus.
const MAX_PROGRAMS: usize = 200;
const OTHERS: &str = "(others)";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What programs have moved since this server was asked first: counters that only grow, whatever is deleted from the log.
#[derive(Default)]
pub(crate) struct Traffic(Mutex<TrafficState>);

#[derive(Default)]
struct TrafficState {
    /// The log, and the end of its last window that was added.
    until: Option<(String, i64)>,
    programs: BTreeMap<String, Counters>,
}

impl Traffic {
    /// Adds the windows that came since the last call.
    fn update(&self, file: &LogFile) -> Result<(), ApiError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = file.reader.extent()?.map_or(i64::MIN, |(_, last)| last);
        // Counters begin where this server begins to look, and again in another log or after the clock was set back.
        let until = match &state.until {
            Some((id, until)) if *id == file.id && *until <= last => *until,
            _ => last,
        };
        // What cannot be added now is left out: a longer range would be refused the next time as well.
        state.until = Some((file.id.clone(), last));
        if last == until {
            return Ok(());
        }
        let range = Range { since: Some(until.saturating_add(1)), until: Some(last) };
        let query = Query { range, group_by: vec![Dimension::Executable], ..Query::default() };
        for row in file.reader.query(&query)? {
            let name = match row.values.first() {
                Some(Value::Bytes(path)) => lossless::to_text(path),
                _ => OTHERS.to_owned(),
            };
            let is_full = state.programs.len() >= MAX_PROGRAMS && !state.programs.contains_key(&name);
            let name = if is_full { OTHERS.to_owned() } else { name };
            *state.programs.entry(name).or_default() += row.counters;
        }
        Ok(())
    }

    /// The sums by program.
    fn programs(&self) -> BTreeMap<String, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).programs.clone()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TrafficLabels {
    exe: String,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProgramLabels {
    exe: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProcessLabels {
    process: &'static str,
}

/// Traffic by program and the health of picosnitch, for Prometheus. Traffic is counted from the first request on.
#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text"), (status = 401, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    api.source.only_of_own_log("/metrics")?;
    let status = api.daemon.now().await.ok();
    api.record_count.renew(&api);
    let (shared, of_daemon) = (Arc::clone(&api), status.clone());
    let work = move |file: &LogFile| {
        shared.traffic.update(file)?;
        text(&shared, Some(file), of_daemon.as_ref())
    };
    let body = match api.readers.answer("metrics".to_owned(), work).await {
        Ok(body) => body,
        // What is wrong with the log is no reason to hide what is known without it.
        Err(_) => text(&api, None, status.as_ref())?,
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], body).into_response())
}

/// All metrics, those of the log if it can be read.
fn text(api: &Api, file: Option<&LogFile>, status: Option<&HelloLine>) -> Result<Bytes, ApiError> {
    let mut registry = Registry::with_prefix("picosnitch");
    let bytes = Family::<TrafficLabels, Counter>::default();
    let connections = Family::<ProgramLabels, Counter>::default();
    for (exe, sum) in api.traffic.programs() {
        for (direction, amount) in [("received", sum.received), ("sent", sum.sent)] {
            bytes.get_or_create(&TrafficLabels { exe: exe.clone(), direction }).inc_by(amount);
        }
        connections.get_or_create(&ProgramLabels { exe }).inc_by(sum.connections);
    }
    registry.register_with_unit("traffic", "What programs moved", Unit::Bytes, bytes);
    registry.register("connections", "Connections that programs opened or accepted", connections);
    add_daemon(&mut registry, status);
    registry.register("log_readable", "1 while the log can be read", gauge(file.is_some().into()));
    if let Some(file) = file {
        add_log(&mut registry, api, file)?;
    }
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|fmt::Error| ApiError::new(ErrorKind::Log, "the metrics cannot be written"))?;
    Ok(text.into())
}

fn gauge(value: u64) -> Gauge<i64> {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

/// Adds what the log says of itself.
fn add_log(registry: &mut Registry, api: &Api, file: &LogFile) -> Result<(), ApiError> {
    let SourceReader::Log(reader) = &file.reader else { return Ok(()) };
    let (used, extent) = (reader.used_bytes()?, reader.extent()?);
    registry.register_with_unit("log", "Bytes of the log that are in use", Unit::Bytes, gauge(used));
    if let Some(records) = api.record_count.known(&file.id) {
        registry.register("log_records", "Records of the log", gauge(records));
    }
    let last = extent.map_or(0, |(_, last)| last.unsigned_abs());
    registry.register(
        "last_window_timestamp",
        "End of the last window of the log, unix seconds",
        gauge(last),
    );
    Ok(())
}

/// Adds what the daemon says of itself, and what the processes use.
fn add_daemon(registry: &mut Registry, status: Option<&HelloLine>) {
    let up = Gauge::<i64>::default();
    up.set(i64::from(status.is_some()));
    registry.register("up", "1 while picosnitch records", up);
    let mut processes = vec![("dash", std::process::id())];
    if let Some(status) = status {
        registry.register("build", "Version of the daemon", Info::new([("version", status.version.clone())]));
        let counter = |amount: u64| {
            let counter = Counter::<u64, AtomicU64>::default();
            counter.inc_by(amount);
            counter
        };
        registry.register("alerts", "Alerts since the start of the daemon", counter(status.alerts));
        registry.register("errors", "Errors since the start of the daemon", counter(status.errors));
        let losses = Family::<KindLabels, Counter>::default();
        for (kind, count) in &status.losses {
            losses.get_or_create(&KindLabels { kind: kind.clone() }).inc_by(*count);
        }
        registry.register(
            "losses",
            "What was not seen or not kept since the start of the daemon, by kind",
            losses,
        );
        processes.extend([("monitor", status.monitor), ("recorder", status.recorder)]);
    }
    let cpu = Family::<ProcessLabels, Counter<f64, AtomicU64>>::default();
    let memory = Family::<ProcessLabels, Gauge>::default();
    for (process, pid) in processes {
        if let Some(used) = usage(process, pid) {
            cpu.get_or_create(&ProcessLabels { process }).inc_by(used.cpu_seconds);
            let bytes = i64::try_from(used.resident_bytes).unwrap_or(i64::MAX);
            memory.get_or_create(&ProcessLabels { process }).set(bytes);
        }
    }
    registry.register_with_unit("process_cpu", "Processor time", Unit::Seconds, cpu);
    registry.register_with_unit("process_resident_memory", "Memory that is resident", Unit::Bytes, memory);
}
