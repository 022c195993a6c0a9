//! The tab of events: which of them are shown.

use model::{Event, LossKind, text::sanitize};
use store::{Dimension, Filter, Reader, StoreError, Value};

use super::{list_row::ListRow, query::ScreenQuery};
use model::Consequence;

/// The dimensions whose filters hold for events, too.
const DIMENSIONS: [Dimension; 4] =
    [Dimension::Executable, Dimension::Name, Dimension::Uid, Dimension::Sha256];

/// Whether filters on a dimension hold for events.
pub fn has_dimension(dimension: Dimension) -> bool {
    DIMENSIONS.contains(&dimension)
}

/// The events of a query's period that pass its filters and contain its text, at most `limit`, the latest first.
pub fn load(reader: &Reader, query: &ScreenQuery, limit: usize) -> Result<Vec<ListRow>, StoreError> {
    let filters: Vec<Filter> =
        query.filters.iter().filter(|filter| has_dimension(filter.dimension())).cloned().collect();
    let text = query.event_text.to_lowercase();
    // A limit holds for the events that pass.
    let read = if filters.is_empty() && text.is_empty() { limit as u64 } else { u64::MAX };
    let events = reader.events(query.period.range(), &[], read)?;
    let passes = |event: &Event| {
        Filter::pass(&filters, |dimension| value(event, dimension))
            && (text.is_empty() || contains(event, &text))
    };
    Ok(events.into_iter().filter(passes).take(limit).map(ListRow::from).collect())
}

fn value(event: &Event, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(event.path.clone()),
        Dimension::Name => Value::Bytes(event.name.clone()),
        Dimension::Uid => event.uid.map_or(Value::None, |uid| Value::Integer(uid.into())),
        Dimension::Sha256 => event.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}

/// Whether one of the texts of the event contains `text`, which is in lower case.
fn contains(event: &Event, text: &str) -> bool {
    [event.kind.name().to_owned(), program(event), sentence(event)]
        .iter()
        .any(|part| part.to_lowercase().contains(text))
}

/// The program that an event is about, as safe text: the path, and the name where the path does not end in it.
pub fn program(event: &Event) -> String {
    let path = sanitize::terminal(&event.path);
    let is_in_path = event.path.rsplit(|byte| *byte == b'/').next() == Some(&event.name[..]);
    let name = sanitize::terminal(&event.name);
    match (path.is_empty(), name.is_empty() || is_in_path) {
        (true, _) => name,
        (false, true) => path,
        (false, false) => format!("{path} ({name})"),
    }
}

/// The sentence of an event, or without one its subject, as safe text.
pub fn sentence(event: &Event) -> String {
    let text = if event.text.is_empty() { &event.subject } else { &event.text };
    sanitize::message(text).trim_start().to_owned()
}

/// What a loss means; `None` for any other event.
pub fn consequence(event: &Event) -> Option<Consequence> {
    let is_loss = event.kind == model::EventKind::Loss;
    // A kind of loss that this version does not know may be the worst.
    is_loss.then(|| {
        LossKind::from_name(&event.subject).map_or(Consequence::TrafficMissing, LossKind::consequence)
    })
}
