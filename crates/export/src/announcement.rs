//! Sending windows to a ClickHouse, where nothing is unique and no statement is rolled back.
//!
//! A batch goes in this order: the announcement of its windows; texts; records and events; the windows themselves, last. A window
//! counts as sent when it is in `picosnitch_window`, which the server is asked at each connection. So nothing is missing, whatever
//! dies in between; but what was sent before may come again.
//!
//! Rows that come again are the same as before, so that the server makes one of them when it merges parts (`ReplacingMergeTree`). Until
//! then readers have to do so, which takes several times as long; so they do it for the windows in `picosnitch_repeated` only. A
//! session announces its windows, and then looks who else has announced them. Of any two sessions the later one sees the
//! announcement of the earlier one, so that one of them at least notes a window as repeated before it sends its rows.
//!
//! The announcements of a clone of the log have other marks: it has other windows under the same numbers. By the same rule at least
//! one of two clones sees the other before it has sent anything, and goes on with a branch of its own.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
};

use store::WholeWindow;

use crate::{
    error::ExportError,
    server::{
        OnDuplicate, Server,
        clickhouse::tables::{ANNOUNCEMENT, REPEATED},
        rows::{Cell, Row},
        tables::Kind,
    },
};

/// Windows up to this many before the last one are looked at for announcements that have appeared late, as those of a replica that
/// was away: more than a week of windows of ten seconds.
const LOOK_BACK: i64 = 100_000;
const DOING: &str = "cannot announce windows";
/// The columns of an announcement that are the mark of its window, behind the branch; then comes the session.
const MARK: std::ops::Range<usize> = 1..6;

/// A session: the sending of one batch.
pub(crate) struct Session(i64);

impl Session {
    /// A session with a number that no other one has. The kernel is asked for each: two machines that were cloned while they ran
    /// would have the same one else, and not see each other.
    pub fn new() -> Self {
        // In the first moments of a machine the kernel has none; the keys of the hash are random then.
        let by_hash = || i64::from(RandomState::new().hash_one(std::process::id()) as u32);
        Self(store::random_nonce().unwrap_or_else(by_hash))
    }

    /// Its number.
    pub fn number(&self) -> i64 {
        self.0
    }

    /// Announces windows of a branch, and notes those that another session has announced as repeated. Returns how many of the windows,
    /// from the first one on, may be sent: the branch belongs to another log, with the same past, from there on.
    pub async fn announce(
        &self,
        server: &mut Server,
        branch: i64,
        windows: &[WholeWindow],
    ) -> Result<usize, ExportError> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(0) };
        let rows: Vec<Row> = windows.iter().map(|window| self.row(branch, window)).collect();
        server.insert(&ANNOUNCEMENT, &rows, OnDuplicate::Ignore, DOING).await?;
        let p = server.dialect().placeholder(1);
        let sql = format!(
            "SELECT DISTINCT window_number, time, uptime, first_sequence, nonce, session FROM picosnitch_announcement \
             WHERE log = {p} AND window_number >= {p} AND window_number <= {p} AND session != {p}"
        );
        let parameters = [branch, first.mark.number, last.mark.number, self.0].map(Cell::Integer);
        let others = server.select(&sql, &parameters, &[Kind::Integer; 6], DOING).await?;
        // What another session of this log has sent, and what another log has announced.
        let (mut repeated, mut foreign) = (Vec::new(), BTreeSet::new());
        for other in &others {
            let of_window = |row: &&Row| row.get(1) == other.first();
            match rows.iter().position(|row| of_window(&row)) {
                // It was deleted here, and is not sent now.
                None => {}
                Some(at) if rows[at].get(MARK) == other.get(..5) => repeated.push((at, &other[5])),
                Some(at) => _ = foreign.insert(at),
            }
        }
        let mut allowed = windows.len();
        if !foreign.is_empty() {
            let sessions: BTreeSet<i64> =
                repeated.iter().filter_map(|(_, session)| session.integer()).collect();
            let sent = sessions_with_records(server, branch, windows, &sessions).await?;
            let is_held = |at: usize| {
                let mut sessions = repeated.iter().filter(|(of, _)| *of == at).map(|(_, session)| session);
                sessions.any(|session| session.integer().is_some_and(|session| sent.contains(&session)))
            };
            allowed = foreign.into_iter().find(|at| !is_held(*at)).unwrap_or(allowed);
        }
        let repeated: BTreeSet<usize> =
            repeated.into_iter().map(|(at, _)| at).filter(|at| *at < allowed).collect();
        let repeated: Vec<Row> = repeated.into_iter().map(|at| rows[at][..3].to_vec()).collect();
        server.insert(&REPEATED, &repeated, OnDuplicate::Ignore, DOING).await?;
        Ok(allowed)
    }

    fn row(&self, branch: i64, window: &WholeWindow) -> Row {
        let mark = window.mark;
        vec![
            branch.into(),
            mark.number.into(),
            mark.time.into(),
            mark.uptime.into(),
            mark.first_sequence.into(),
            mark.nonce.into(),
            self.0.into(),
        ]
    }
}

/// Those of some sessions that have sent records of these windows. They saw no announcement of another log, so that this one has seen
/// theirs.
async fn sessions_with_records(
    server: &mut Server,
    branch: i64,
    windows: &[WholeWindow],
    sessions: &BTreeSet<i64>,
) -> Result<BTreeSet<i64>, ExportError> {
    let times = windows.iter().map(|window| window.mark.time);
    let (Some(first), Some(last), false) = (times.clone().min(), times.max(), sessions.is_empty()) else {
        return Ok(BTreeSet::new());
    };
    let list: Vec<String> = sessions.iter().map(i64::to_string).collect();
    let sql = format!(
        "SELECT DISTINCT session FROM picosnitch_record WHERE time >= {first} AND time <= {last} AND log = {branch} \
         AND session IN ({})",
        list.join(", ")
    );
    let rows = server.select(&sql, &[], &[Kind::Integer], DOING).await?;
    Ok(rows.iter().flatten().filter_map(Cell::integer).collect())
}

/// Notes the windows of a branch as repeated that more than one session has announced, without either having seen the other: on
/// different replicas, one of which was away.
pub(crate) async fn note_repeated(server: &mut Server, branch: i64, last: i64) -> Result<(), ExportError> {
    let sql = format!(
        "INSERT INTO picosnitch_repeated (log, window_number, time) SELECT log, window_number, time \
         FROM picosnitch_announcement WHERE log = {branch} AND window_number > {} \
         GROUP BY log, window_number, time HAVING uniqExact(session) > 1",
        last.saturating_sub(LOOK_BACK)
    );
    server.execute(&sql, "cannot look for windows that are there twice").await
}
