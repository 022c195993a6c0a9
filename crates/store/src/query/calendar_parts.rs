//! Grouping and filtering by parts of the calendar in local time: hours, days, days of the week.
//!
//! The range is divided where a part begins, so that whole parts come from rollups. Parts with equal values share a slot.

use std::collections::{BTreeMap, HashMap};

use calendar::{Step, TimeZone, after, floor};

use super::{dimension::Dimension, filter::Filter, value::Value};

/// The number of a set of values of the calendar's dimensions.
pub(crate) type Slot = i64;

/// How the values of the calendar's dimensions depend on time.
pub(super) struct CalendarParts {
    /// Unix seconds, ascending. Interval `n` is from edge `n` to the second before edge `n + 1`.
    pub edges: Vec<i64>,
    /// The slot of each interval; `None` if the filters exclude it.
    pub slots: Vec<Option<Slot>>,
    dimensions: Vec<Dimension>,
    /// By slot the values of `dimensions`.
    values: Vec<Vec<i64>>,
}

impl CalendarParts {
    /// Divides the time from `start` to the second before `end` for these dimensions and filters; others are ignored.
    pub fn new(
        (start, end): (i64, i64),
        group_by: &[Dimension],
        filters: &[Filter],
        zone: &TimeZone,
    ) -> Self {
        let dimensions: Vec<Dimension> =
            group_by.iter().copied().filter(|dimension| dimension.is_calendar()).collect();
        let filters = calendar_filters(filters);
        let step = common_step(dimensions.iter().copied().chain(filters.iter().map(Filter::dimension)));
        let mut parts = Self { edges: vec![start], slots: Vec::new(), dimensions, values: Vec::new() };
        let mut slots = HashMap::new();
        let mut next = after(step, floor(step, start, zone), zone);
        while let Some(begin) = parts.edges.last().copied().filter(|begin| *begin < end) {
            let slot = parts.slot(begin, &filters, zone, &mut slots);
            parts.slots.push(slot);
            parts.edges.push(next.min(end));
            next = after(step, next, zone);
        }
        parts
    }

    /// The slot of the interval that begins at `begin`.
    fn slot(
        &mut self,
        begin: i64,
        filters: &[Filter],
        zone: &TimeZone,
        slots: &mut HashMap<Vec<i64>, Slot>,
    ) -> Option<Slot> {
        if !passes(filters, begin, zone) {
            return None;
        }
        let values: Vec<i64> =
            self.dimensions.iter().map(|dimension| calendar_value(*dimension, begin, zone)).collect();
        let next = slots.len() as Slot;
        let slot = *slots.entry(values.clone()).or_insert(next);
        if slot == next {
            self.values.push(values);
        }
        Some(slot)
    }

    /// Whether the groups distinguish parts of the calendar, and not only the filters.
    pub fn is_grouped(&self) -> bool {
        !self.dimensions.is_empty()
    }

    /// By slot the value of one of the dimensions.
    pub fn values_of(&self, dimension: Dimension) -> BTreeMap<Slot, i64> {
        let Some(at) = self.dimensions.iter().position(|other| *other == dimension) else {
            return BTreeMap::new();
        };
        self.values.iter().enumerate().map(|(slot, values)| (slot as Slot, values[at])).collect()
    }
}

/// Those of the filters that are on the calendar's dimensions.
pub(super) fn calendar_filters(filters: &[Filter]) -> Vec<Filter> {
    filters.iter().filter(|filter| filter.dimension().is_calendar()).cloned().collect()
}

/// Whether a point of time passes filters that are all on the calendar's dimensions.
pub(super) fn passes(calendar_filters: &[Filter], point: i64, zone: &TimeZone) -> bool {
    Filter::pass(calendar_filters, |dimension| Value::Integer(calendar_value(dimension, point, zone)))
}

/// The value of one of the calendar's dimensions ([`Dimension::is_calendar`]) at a point of time, unix seconds UTC.
pub fn calendar_value(dimension: Dimension, point: i64, zone: &TimeZone) -> i64 {
    match dimension {
        Dimension::Weekday => calendar::weekday(point, zone),
        Dimension::HourOfDay => calendar::hour_of_day(point, zone),
        _ => floor(calendar_step(dimension), point, zone),
    }
}

/// The division of the calendar in whose parts the values of one of the calendar's dimensions stay the same.
pub fn calendar_step(dimension: Dimension) -> Step {
    match dimension {
        Dimension::Week => Step::Weeks,
        Dimension::Month => Step::Months,
        Dimension::Year => Step::Years,
        Dimension::Day | Dimension::Weekday => Step::Days,
        _ => Step::Seconds(3600),
    }
}

/// The coarsest division in which the values of all these dimensions are the same within each part.
fn common_step(dimensions: impl Iterator<Item = Dimension>) -> Step {
    let mut steps: Vec<Step> = dimensions.map(calendar_step).collect();
    steps.dedup();
    match steps[..] {
        [step] => step,
        _ if steps.contains(&Step::Seconds(3600)) => Step::Seconds(3600),
        // A week may lie in two months.
        _ => Step::Days,
    }
}
