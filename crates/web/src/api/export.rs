//! `/api/v1/export`: all rows of a query as a file, sent in parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use calendar::TimeZone;
use model::text::sanitize;
use question::{Question, csv, json};
use store::{ComparedRow, Query, Row, Source};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Api, body_of,
    parameters::{ListParameters, Parameters, RowParameters, TrafficParameters},
};
use crate::{
    error::{ApiError, ErrorBody, ErrorKind},
    readers::LogFile,
};

/// Files that are sent at the same time: each keeps its rows in memory.
const MAX_EXPORTS: usize = 2;
/// Parts that wait for a slow client, and bytes of each.
const MAX_WAITING: usize = 4;
const PART_BYTES: usize = 64 * 1024;

/// The places for exports.
pub(crate) struct Exports {
    places: Arc<Semaphore>,
    number: AtomicU64,
}

impl Default for Exports {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_EXPORTS)), number: AtomicU64::new(0) }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// The rows of a file.
enum Rows {
    Of(Vec<Row>),
    Compared(Vec<ComparedRow>),
}

/// All rows of a query as a file.
#[utoipa::path(
    get, path = "/api/v1/export",
    params(
        ListParameters, TrafficParameters, RowParameters,
        ("format" = Option<String>, Query, description = "csv (RFC 4180, the default) or json (an array of rows)"),
        ("limit" = Option<u64>, Query, description = "Rows at most. Default: all"),
        ("offset" = Option<u64>, Query, description = "Rows to leave out before the first"),
        ("order" = Option<String>, Query, description = "Of a comparison: difference (the default), or now"),
    ),
    responses(
        (status = 200, description = "The file: text/csv, or application/json with format=json", content_type = "text/csv"),
        (status = 400, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
    security(("token" = [])),
)]
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(text)?;
    let format = match parameters.take("format").as_deref() {
        None | Some("csv") => Format::Csv,
        Some("json") => Format::Json,
        Some(_) => return Err(ApiError::bad_parameter("format", "format: write csv or json")),
    };
    let (asked, now) = parameters.asked(&api)?;
    let question = asked.read(&now)?;
    let place = Arc::clone(&api.exports.places).try_acquire_owned();
    let place = place.map_err(|_| {
        ApiError::new(ErrorKind::Busy, "other files are being sent; try again when they are there")
    })?;
    // Each file has rows of its own, so no two questions are the same.
    let key = format!("export {}", api.exports.number.fetch_add(1, Ordering::Relaxed));
    let (sender, rows) = oneshot::channel();
    let asked = question.clone();
    let work = move |file: &LogFile| {
        let _ = sender.send(read(file, &asked)?);
        Ok(Bytes::new())
    };
    api.readers.answer(key, work).await?;
    let rows =
        rows.await.map_err(|_| ApiError::new(ErrorKind::Busy, "the question was given up; ask again"))?;
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let zone = now.zone.clone();
    let write = move || {
        let _place = place;
        let mut parts = Parts { text: String::new(), sender };
        // An error is that the client has gone.
        let _ = parts.write(format, &question.query, &rows, &zone);
    };
    thread::Builder::new()
        .name("export".to_owned())
        .spawn(write)
        .map_err(|_| ApiError::new(ErrorKind::Busy, "there is no room for another file now; try again"))?;
    let (kind, extension) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Json => ("application/json", "json"),
    };
    let name = format!(
        "attachment; filename=\"picosnitch-{}.{extension}\"",
        calendar::day_text(now.seconds, &now.zone)
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    Ok((headers, body_of(receiver)).into_response())
}

fn read(file: &LogFile, question: &Question) -> Result<Rows, ApiError> {
    Ok(match question.before {
        None => Rows::Of(file.reader.answer(&question.query)?.rows),
        Some(before) => Rows::Compared(
            file.reader.compare(&question.query, question::for_log(before), question.order)?.rows,
        ),
    })
}

/// The client has gone.
struct Gone;

/// Text that is sent in parts.
struct Parts {
    text: String,
    sender: mpsc::Sender<Bytes>,
}

impl Parts {
    fn write(&mut self, format: Format, query: &Query, rows: &Rows, zone: &TimeZone) -> Result<(), Gone> {
        match (format, rows) {
            (Format::Csv, Rows::Of(rows)) => {
                self.add(&(csv::heading(query) + "\r\n"))?;
                rows.iter().try_for_each(|row| self.add(&csv::line(&csv::row(query, row, zone))))?;
            }
            (Format::Csv, Rows::Compared(rows)) => {
                self.add(&(csv::compared_heading(query) + "\r\n"))?;
                rows.iter().try_for_each(|row| self.add(&csv::line(&csv::compared_row(query, row, zone))))?;
            }
            (Format::Json, Rows::Of(rows)) => self.write_array(rows, |row| json::row(query, row, zone))?,
            (Format::Json, Rows::Compared(rows)) => {
                self.write_array(rows, |row| json::compared_row(query, row, zone))?;
            }
        }
        self.send()
    }

    fn write_array<T>(&mut self, rows: &[T], object: impl Fn(&T) -> json::Object) -> Result<(), Gone> {
        let mut separator = "[\n";
        for row in rows {
            let row = serde_json::Value::Object(object(row)).to_string();
            self.add(&format!("{separator}{}", sanitize::json_document(&row)))?;
            separator = ",\n";
        }
        self.add(if rows.is_empty() { "[]\n" } else { "\n]\n" })
    }

    fn add(&mut self, text: &str) -> Result<(), Gone> {
        self.text += text;
        if self.text.len() < PART_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Gone> {
        self.sender.blocking_send(std::mem::take(&mut self.text).into()).map_err(|_| Gone)
    }
}
