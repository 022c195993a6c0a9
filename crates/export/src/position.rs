//! Where a copy ends: which windows of this log a server has. The server is asked, so that a cursor can neither be lost nor be wrong.
//!
//! Windows are known by their number and mark ([`WindowMark`]), which differ as soon as two copies of a log go their own ways: the
//! machine was cloned, or the log was replaced by an older copy. Then the last common window is looked for, and the rest is sent as a
//! new branch: nothing is there twice, and nothing of either is lost.

use model::text::lossless;
use sha2::{Digest, Sha256};
use store::{LogName, LogState, WindowMark, WindowReader};

use crate::{
    error::ExportError,
    server::{
        Server,
        dialect::Dialect,
        rows::{Cell, Row},
        tables::Kind,
    },
};

/// Steps in which a window is looked for that both have. Each goes past windows that were deleted on one side.
const MAX_STEPS: usize = 64;

/// The table of the windows that were sent.
const WINDOWS: &str = "picosnitch_window";
/// The columns of a mark on a server.
const MARK: &str = "window_number, time, uptime, first_sequence, nonce";
const MARK_KINDS: [Kind; 5] = [Kind::Integer; 5];

/// A log on the server, or a branch of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub id: i64,
    pub epoch: i64,
    pub host: String,
    /// Its windows follow this one of its parent.
    pub parent_window: i64,
}

/// The branch to which windows are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It is there.
    Known(i64),
    /// It will be made with its first window.
    New {
        /// The branch from which it goes off; `None` if the server has nothing of this log.
        parent: Option<i64>,
    },
}

/// Where a copy ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The log that was looked at.
    pub name: LogName,
    pub target: Target,
    /// The number of the last window that the server has, or need not have; 0 if there is none.
    pub window: i64,
    /// Its mark, if this log has it.
    pub mark: Option<WindowMark>,
}

/// What a server and the log have in common of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Common {
    /// The log goes on where the branch ends. The flag says whether a window of both was compared.
    Continues(i64, bool),
    /// They are the same up to this window, and differ behind it.
    Forks(i64),
    /// No window is the same.
    Nothing,
}

/// The host and the wish about old windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub host: &'a str,
    /// Windows that were recorded before the first connection are sent.
    pub backfill: bool,
}

/// Asks the server what it has of this log.
pub(crate) async fn find(
    server: &mut Server,
    reader: &WindowReader,
    origin: Origin<'_>,
) -> Result<Position, ExportError> {
    let state = reader.state().map_err(|source| log_error(server, source))?;
    let branches = branches(server, &state).await?;
    let mut best: Option<(&Branch, Common, (bool, i64))> = None;
    for branch in &branches {
        let common = match compare(server, reader, &state, branch).await? {
            Common::Nothing if is_begun(server, reader, &state, branch, origin).await? => {
                Common::Continues(branch.parent_window, true)
            }
            found => found,
        };
        let rank = match common {
            Common::Continues(window, is_compared) => (is_compared, window),
            Common::Forks(window) => (true, window),
            Common::Nothing => continue,
        };
        if best.is_none_or(|(.., known)| rank > known) {
            best = Some((branch, common, rank));
        }
    }
    let (target, window) = match best {
        Some((branch, Common::Continues(window, _), _))
            if branch.epoch == state.name.epoch && branch.host == origin.host =>
        {
            (Target::Known(branch.id), window)
        }
        Some((branch, _, (_, window))) => (Target::New { parent: Some(branch.id) }, window),
        // One window is sent, so that the server knows from where on it has all.
        None if !origin.backfill => (Target::New { parent: None }, (state.last_window - 1).max(0)),
        None => (Target::New { parent: None }, 0),
    };
    let mark = reader.mark(window).map_err(|source| log_error(server, source))?;
    Ok(Position { name: state.name, target, window, mark })
}

fn log_error(server: &Server, source: store::StoreError) -> ExportError {
    ExportError::Log { server: server.address().to_owned(), source: Box::new(source) }
}

/// The branches of a log.
async fn branches(server: &mut Server, state: &LogState) -> Result<Vec<Branch>, ExportError> {
    let sql = format!(
        "SELECT id, epoch, host, parent_window FROM picosnitch_log WHERE uuid = {}",
        server.dialect().placeholder(1)
    );
    let kinds = [Kind::Integer, Kind::Integer, Kind::Text, Kind::Integer];
    let uuid = Cell::from(&state.name.uuid[..]);
    let rows = server.select(&sql, &[uuid], &kinds, "cannot ask which logs it has").await?;
    Ok(rows.into_iter().filter_map(branch).collect())
}

fn branch(row: Row) -> Option<Branch> {
    let [id, epoch, host, parent_window] = <[Cell; 4]>::try_from(row).ok()?;
    Some(Branch {
        id: id.integer()?,
        epoch: epoch.integer()?,
        host: host.text(),
        parent_window: parent_window.integer()?,
    })
}

/// Whether this log has begun a branch on a ClickHouse of which no window is there yet: only announcements, and perhaps records.
async fn is_begun(
    server: &mut Server,
    reader: &WindowReader,
    state: &LogState,
    branch: &Branch,
    origin: Origin<'_>,
) -> Result<bool, ExportError> {
    let is_own = branch.epoch == state.name.epoch && branch.host == origin.host;
    if server.dialect() != Dialect::ClickHouse
        || !is_own
        || mark(server, WINDOWS, branch.id, "DESC", i64::MAX).await?.is_some()
    {
        return Ok(false);
    }
    let Some(last) = mark(server, "picosnitch_announcement", branch.id, "DESC", i64::MAX).await? else {
        return Ok(false);
    };
    Ok(reader.mark(last.number).map_err(|source| log_error(server, source))? == Some(last))
}

/// Compares the log with a branch.
async fn compare(
    server: &mut Server,
    reader: &WindowReader,
    state: &LogState,
    branch: &Branch,
) -> Result<Common, ExportError> {
    let Some(last) = mark(server, WINDOWS, branch.id, "DESC", i64::MAX).await? else {
        return Ok(Common::Nothing);
    };
    let mark_of = |number| reader.mark(number);
    if mark_of(last.number).map_err(|source| log_error(server, source))? == Some(last) {
        return Ok(Common::Continues(last.number, true));
    }
    let common = last_common(server, reader, state, branch, last.number).await?;
    let next = reader.mark_from(common.unwrap_or(branch.parent_window) + 1);
    let next = next.map_err(|source| log_error(server, source))?;
    // The windows that the branch has behind the common one are deleted here.
    let is_behind = match next {
        Some(next) => next.number > last.number,
        None => state.last_window >= last.number,
    };
    Ok(match (common, is_behind) {
        (Some(_), true) => Common::Continues(last.number, true),
        // All that could be compared is deleted. Windows are numbered by the log, so that a log that is another one since has other
        // numbers, as likely as not; if it is found out later, by a number that is there, it forks then.
        (None, true) if branch.epoch == state.name.epoch => Common::Continues(last.number, false),
        (Some(common), false) => Common::Forks(common),
        (None, _) => Common::Nothing,
    })
}

/// The number of the last window of a branch that is the same in the log; `None` if there is none. Two copies have one past, so that
/// all windows up to that one are the same, and it is found by halving.
async fn last_common(
    server: &mut Server,
    reader: &WindowReader,
    state: &LogState,
    branch: &Branch,
    last: i64,
) -> Result<Option<i64>, ExportError> {
    let (mut low, mut high) = (branch.parent_window, last.min(state.last_window));
    let mut common = None;
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match next_of_both(server, reader, branch, [middle, high]).await? {
            Some((number, true)) => {
                common = Some(number);
                low = number;
            }
            Some((_, false)) | None => high = middle - 1,
        }
    }
    Ok(common)
}

/// The first window in a range that both have, and whether it is the same.
async fn next_of_both(
    server: &mut Server,
    reader: &WindowReader,
    branch: &Branch,
    [mut from, to]: [i64; 2],
) -> Result<Option<(i64, bool)>, ExportError> {
    for _ in 0..MAX_STEPS {
        let theirs = mark(server, WINDOWS, branch.id, "ASC", from).await?;
        let Some(theirs) = theirs.filter(|theirs| theirs.number <= to) else { return Ok(None) };
        let ours = reader.mark_from(theirs.number).map_err(|source| log_error(server, source))?;
        let Some(ours) = ours.filter(|ours| ours.number <= to) else { return Ok(None) };
        if ours.number == theirs.number {
            return Ok(Some((ours.number, ours == theirs)));
        }
        from = ours.number;
    }
    Ok(None)
}

/// The mark of the window of a branch that is the first with this number or a higher one ("ASC"), or the last with this number or a
/// lower one ("DESC").
async fn mark(
    server: &mut Server,
    table: &str,
    branch: i64,
    order: &str,
    number: i64,
) -> Result<Option<WindowMark>, ExportError> {
    let comparison = if order == "ASC" { ">=" } else { "<=" };
    let [first, second] = [1, 2].map(|number| server.dialect().placeholder(number));
    let sql = format!(
        "SELECT {MARK} FROM {table} WHERE log = {first} AND window_number {comparison} {second} \
         ORDER BY window_number {order} LIMIT 1"
    );
    let parameters = [branch.into(), number.into()];
    let rows = server.select(&sql, &parameters, &MARK_KINDS, "cannot ask which windows it has").await?;
    Ok(rows.into_iter().next().and_then(|row| {
        let [number, time, uptime, first_sequence, nonce] = <[Cell; 5]>::try_from(row).ok()?;
        Some(WindowMark {
            number: number.integer()?,
            time: time.integer()?,
            uptime: uptime.integer()?,
            first_sequence: first_sequence.integer()?,
            nonce: nonce.integer(),
        })
    }))
}

/// The row of a new branch that begins with this window, and its id. The id follows from the content: a connection that dies while
/// the row is committed leaves none that is made a second time.
pub(crate) fn new_branch(
    position: &Position,
    parent: Option<i64>,
    host: &str,
    first: &WindowMark,
) -> (i64, Row) {
    let mut hasher = Sha256::new();
    let numbers = [
        position.name.epoch,
        parent.unwrap_or(0),
        position.window,
        first.number,
        first.time,
        first.uptime,
        first.first_sequence,
        first.nonce.unwrap_or(0),
    ];
    hasher.update(position.name.uuid);
    numbers.iter().for_each(|number| hasher.update(number.to_le_bytes()));
    hasher.update(host.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize()[..8]);
    // Positive, so that it is easily typed.
    let id = i64::from_le_bytes(bytes) & i64::MAX;
    let row = vec![
        id.into(),
        position.name.uuid[..].into(),
        position.name.epoch.into(),
        lossless::to_column(host.as_bytes()).into(),
        parent.into(),
        position.window.into(),
        model::text::time::now().into(),
    ];
    (id, row)
}
