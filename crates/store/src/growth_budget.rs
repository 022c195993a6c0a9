//! How much the log may grow by the traffic of one principal: one busy program must not fill the disk, nor push out the
//! history of all others. Traffic beyond the budget is summed, never dropped.

use std::collections::HashMap;

use model::{Bytes, CgroupInfo, FlowTuple, GeoInfo, ProcessContext, Program};

/// The first of the subordinate uids, which a user gets for containers by the tens of thousands (subuid(5), login.defs(5)):
/// they are one principal.
const FIRST_SUBORDINATE_UID: u32 = 100_000;

/// Whose growth is limited together: a user; for root a service or container of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Principal {
    pub uid: u32,
    /// Path of the cgroup; empty for a user other than root.
    cgroup: Bytes,
}

impl Principal {
    pub fn of(context: &ProcessContext) -> Self {
        let cgroup = if context.uid == 0 { context.cgroup.path.clone() } else { Bytes::new() };
        Self { uid: context.uid.min(FIRST_SUBORDINATE_UID), cgroup }
    }
}

/// The limit of one principal's growth.
#[derive(Clone, Copy, Debug)]
pub struct GrowthLimit {
    /// Bytes for an hour, sustained.
    pub bytes_per_hour: u64,
    /// Bytes at once, after quiet times.
    pub burst: u64,
}

impl GrowthLimit {
    /// The limit of the daemon.
    pub const DEFAULT: Self = Self { bytes_per_hour: 7_000_000, burst: 3_000_000 };
}

/// Principals whose budget is not full. Beyond it those with the most left are forgotten: they get a full one.
const MAX_PRINCIPALS: usize = 4096;
/// Seconds between two events about one principal.
const EVENT_INTERVAL: i64 = 60 * 60;

#[derive(Clone, Copy)]
struct Budget {
    left: i64,
    /// Uptime of the last window, seconds.
    uptime: i64,
    /// Uptime of the last event.
    told: Option<i64>,
    /// Groups that were summed since then.
    folded: u64,
}

/// Groups of a principal that were summed since the last event about it.
pub(crate) struct FoldedGroups {
    pub groups: u64,
    /// It is the first event about the principal: the user is told.
    pub is_first: bool,
}

/// The budgets of all principals.
pub(crate) struct GrowthBudgets {
    limit: GrowthLimit,
    budgets: HashMap<Principal, Budget>,
}

impl GrowthBudgets {
    pub fn new(limit: GrowthLimit) -> Self {
        Self { limit, budgets: HashMap::new() }
    }

    /// The bytes that a principal has left at this uptime (seconds).
    pub fn left(&self, principal: &Principal, uptime: i64) -> i64 {
        let full = i64::try_from(self.limit.burst).unwrap_or(i64::MAX);
        let Some(budget) = self.budgets.get(principal) else { return full };
        // After a restart of the machine the uptime is smaller; the recorder is new then, too.
        let seconds = uptime.saturating_sub(budget.uptime).clamp(0, 24 * 3600) as u64;
        let refill = seconds.saturating_mul(self.limit.bytes_per_hour) / 3600;
        budget.left.saturating_add(i64::try_from(refill).unwrap_or(i64::MAX)).min(full)
    }

    /// Takes note of what a principal has left after a window, and of the number of groups that were summed. Returns what an
    /// event should say, if one is due.
    pub fn set_left(
        &mut self,
        principal: Principal,
        uptime: i64,
        left: i64,
        folded: u64,
    ) -> Option<FoldedGroups> {
        if self.budgets.len() >= MAX_PRINCIPALS && !self.budgets.contains_key(&principal) {
            let most = self.budgets.iter().max_by_key(|(_, budget)| budget.left);
            if let Some(most) = most.map(|(principal, _)| principal.clone()) {
                self.budgets.remove(&most);
            }
        }
        let budget = self.budgets.entry(principal).or_insert(Budget { left, uptime, told: None, folded: 0 });
        (budget.left, budget.uptime) = (left, uptime);
        budget.folded += folded;
        let due = budget.folded > 0 && budget.told.is_none_or(|told| uptime - told >= EVENT_INTERVAL);
        due.then(|| {
            let is_first = budget.told.replace(uptime).is_none();
            FoldedGroups { groups: std::mem::take(&mut budget.folded), is_first }
        })
    }
}

// About what rows take in the file, with their share of indexes and of all rollups (`tests/growth.rs` compares).
/// A record.
pub(crate) const RECORD_BYTES: i64 = 95;
const CONTEXT_BYTES: i64 = 110;
const PROGRAM_BYTES: i64 = 110;
const SEEN_BYTES: i64 = 120;
const CGROUP_BYTES: i64 = 80;
const ENDPOINT_BYTES: i64 = 260;

/// Bytes that a new context takes at most.
pub(crate) fn context_bytes(context: &ProcessContext) -> i64 {
    let programs = [&context.program, &context.parent, &context.grandparent];
    let programs: i64 = programs.iter().map(|program| program_bytes(program, true)).sum();
    context_row_bytes(context) + cgroup_bytes(&context.cgroup) + programs
}

/// Bytes of the row of a context, and of the row that says when its program was seen.
pub(crate) fn context_row_bytes(context: &ProcessContext) -> i64 {
    CONTEXT_BYTES + SEEN_BYTES + 2 * context.program.path.len() as i64
}

/// Bytes of a program, with or without its command line.
pub(crate) fn program_bytes(program: &Program, with_command_line: bool) -> i64 {
    let line = if with_command_line { program.command_line.len() } else { 0 };
    PROGRAM_BYTES + (program.path.len() + program.name.len() + line) as i64
}

/// Bytes of a cgroup.
pub(crate) fn cgroup_bytes(cgroup: &CgroupInfo) -> i64 {
    CGROUP_BYTES + (cgroup.path.len() + cgroup.unit.len() + cgroup.container.len() + cgroup.app.len()) as i64
}

/// Bytes that a new endpoint takes at most.
pub(crate) fn endpoint_bytes(tuple: &FlowTuple, geo: &GeoInfo) -> i64 {
    ENDPOINT_BYTES + (tuple.domain.len() + geo.country.len() + geo.network.len()) as i64
}
