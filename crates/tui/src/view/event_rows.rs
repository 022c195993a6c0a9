//! The tab of events: which of them are shown.

use model::{Event, LossKind};
use server_query::{SourceError, SourceReader};
use store::{Dimension, EVENT_DIMENSIONS, Filter, HostEvent, Source};

use super::{list_row::ListRow, query::ScreenQuery};
use model::{Consequence, text::sanitize};

/// Whether filters on a dimension hold for events.
pub fn has_dimension(dimension: Dimension) -> bool {
    dimension == Dimension::Host || EVENT_DIMENSIONS.contains(&dimension)
}

/// The events of a query's period that pass its filters and contain its text, at most `limit`, the latest first.
pub fn load(reader: &SourceReader, query: &ScreenQuery, limit: usize) -> Result<Vec<ListRow>, SourceError> {
    let filters: Vec<Filter> =
        query.filters.iter().filter(|filter| has_dimension(filter.dimension())).cloned().collect();
    let text = query.event_text.to_lowercase();
    let passes = |event: &HostEvent| {
        Filter::pass(&filters, |dimension| event.value(dimension))
            && (text.is_empty() || contains(event, &text))
    };
    let events = reader.events(query.period.range(), &[], limit as u64, &passes)?;
    Ok(events.into_iter().map(ListRow::from).collect())
}

/// Whether one of the texts of the event contains `text`, which is in lower case.
fn contains(HostEvent { host, event }: &HostEvent, text: &str) -> bool {
    [event.kind.name().to_owned(), event.program_text(), event.sentence(), sanitize::terminal(host)]
        .iter()
        .any(|part| part.to_lowercase().contains(text))
}

/// What a loss means; `None` for any other event.
pub fn consequence(event: &Event) -> Option<Consequence> {
    let is_loss = event.kind == model::EventKind::Loss;
    // A kind of loss that this version does not know may be the worst.
    is_loss.then(|| {
        LossKind::from_name(&event.subject).map_or(Consequence::TrafficMissing, LossKind::consequence)
    })
}
