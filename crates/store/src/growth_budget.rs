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

/// The limit of one principal's growth. Programs have a part of their own, so that a flood of peers does not take it.
#[derive(Clone, Copy, Debug)]
pub struct GrowthLimit {
    /// Records, peers, command lines and domains.
    pub detail: Allowance,
    /// Programs, and where they ran.
    pub programs: Allowance,
}

/// Bytes that may be written.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Bytes for an hour, sustained.
    pub bytes_per_hour: u64,
    /// Bytes at once, after quiet times.
    pub burst: u64,
}

impl Allowance {
    /// What is left after `seconds` more.
    fn refill(self, left: i64, seconds: u64) -> i64 {
        let full = i64::try_from(self.burst).unwrap_or(i64::MAX);
        let more = seconds.saturating_mul(self.bytes_per_hour) / 3600;
        left.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)).min(full)
    }
}

impl GrowthLimit {
    /// The limit of the daemon.
    pub const DEFAULT: Self = Self {
        detail: Allowance { bytes_per_hour: 4_500_000, burst: 1_000_000 },
        programs: Allowance { bytes_per_hour: 2_500_000, burst: 3_000_000 },
    };
}

/// Bytes of both parts: what is left, or what something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrowthBytes {
    pub detail: i64,
    pub programs: i64,
}

impl GrowthBytes {
    pub fn fits(self, left: Self) -> bool {
        self.detail <= left.detail && self.programs <= left.programs
    }
}

impl std::ops::AddAssign for GrowthBytes {
    fn add_assign(&mut self, other: Self) {
        self.detail = self.detail.saturating_add(other.detail);
        self.programs = self.programs.saturating_add(other.programs);
    }
}

impl std::ops::SubAssign for GrowthBytes {
    fn sub_assign(&mut self, other: Self) {
        self.detail = self.detail.saturating_sub(other.detail);
        self.programs = self.programs.saturating_sub(other.programs);
    }
}

/// Principals whose budget is not full. Beyond it those with the most left are forgotten: they get a full one.
const MAX_PRINCIPALS: usize = 4096;
/// Seconds between two events about one principal.
const EVENT_INTERVAL: i64 = 60 * 60;

#[derive(Clone, Copy)]
struct Budget {
    left: GrowthBytes,
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
    pub fn left(&self, principal: &Principal, uptime: i64) -> GrowthBytes {
        let GrowthLimit { detail, programs } = self.limit;
        let Some(budget) = self.budgets.get(principal) else {
            return GrowthBytes {
                detail: detail.refill(i64::MAX, 0),
                programs: programs.refill(i64::MAX, 0),
            };
        };
        // After a restart of the machine the uptime is smaller; the recorder is new then, too.
        let seconds = uptime.saturating_sub(budget.uptime).clamp(0, 24 * 3600) as u64;
        GrowthBytes {
            detail: detail.refill(budget.left.detail, seconds),
            programs: programs.refill(budget.left.programs, seconds),
        }
    }

    /// Takes note of what a principal has left after a window, and of the number of groups that were summed. Returns what an
    /// event should say, if one is due.
    pub fn set_left(
        &mut self,
        principal: Principal,
        uptime: i64,
        left: GrowthBytes,
        folded: u64,
    ) -> Option<FoldedGroups> {
        if self.budgets.len() >= MAX_PRINCIPALS && !self.budgets.contains_key(&principal) {
            let most = self.budgets.iter().max_by_key(|(_, budget)| budget.left.detail);
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
pub(crate) fn context_bytes(context: &ProcessContext) -> GrowthBytes {
    let mut bytes = context_row_bytes(context);
    bytes += cgroup_bytes(&context.cgroup);
    for program in [&context.program, &context.parent, &context.grandparent] {
        bytes += program_bytes(program, true);
    }
    bytes
}

/// Bytes of the row of a context, and of the row that says when its program was seen.
pub(crate) fn context_row_bytes(context: &ProcessContext) -> GrowthBytes {
    let programs = CONTEXT_BYTES + SEEN_BYTES + 2 * context.program.path.len() as i64;
    GrowthBytes { detail: 0, programs }
}

/// Bytes of a program, with or without its command line.
pub(crate) fn program_bytes(program: &Program, with_command_line: bool) -> GrowthBytes {
    let detail = if with_command_line { program.command_line.len() as i64 } else { 0 };
    GrowthBytes { detail, programs: PROGRAM_BYTES + (program.path.len() + program.name.len()) as i64 }
}

/// Bytes of a cgroup.
pub(crate) fn cgroup_bytes(cgroup: &CgroupInfo) -> GrowthBytes {
    let text = cgroup.path.len() + cgroup.unit.len() + cgroup.container.len() + cgroup.app.len();
    GrowthBytes { detail: 0, programs: CGROUP_BYTES + text as i64 }
}

/// Bytes that a new endpoint takes at most.
pub(crate) fn endpoint_bytes(tuple: &FlowTuple, geo: &GeoInfo) -> i64 {
    ENDPOINT_BYTES + (tuple.domain.len() + geo.country.len() + geo.network.len()) as i64
}
