//! Rollups: the sums of whole buckets of time, so that a query over a year takes as little time as one over an hour.
//!
//! The writer makes the rollup of a bucket when it goes on to the next one, in the transaction of the first window there
//! ([`close_buckets`]). A window that falls into a bucket with a rollup (the clock was set back) deletes that rollup in its
//! own transaction ([`invalidate`]), and the deletion of old records deletes those of the buckets that it cuts
//! ([`delete_before`]). A rollup that exists is therefore the exact sum of its records,
//! or of those that it had when they were cut ([`cut_closed_day`]): records that come later for such a time are in none.
//! A missing one costs time only;
//! [`CatchUp`] makes it later.
//!
//! [`Aggregation`] adds up the records of any range: whole buckets from their rollups, the rest from the records.

mod aggregate;
mod bucket;
mod catch_up;
mod cut_rows;
mod group_sums;
mod level;
mod packed;
mod rewrite;

pub(crate) use aggregate::{
    AcceptAll, Aggregation, Classes, Predicate, detail_since, extent, interruption, is_too_many_groups,
};
pub(crate) use bucket::{close_buckets, cut_closed_day, delete_before, invalidate, is_summed};
pub(crate) use catch_up::CatchUp;
pub(crate) use cut_rows::for_each_cut_row;
pub(crate) use group_sums::{GroupKey, KeyFields};
pub(crate) use level::{LEVELS, MAX_ROLLUP_ROWS, QUARTER_HOUR, day_start, quarter_start};
#[cfg(test)]
pub(crate) use packed::PackedFields;
pub(crate) use rewrite::{RowFate, delete_between, make_four_weeks, rewrite};
