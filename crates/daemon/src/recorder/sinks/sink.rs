//! The trait of a sink: what a destination of the recorder has to do. Its thread and queue are in `worker.rs`.

use std::time::Duration;

/// Writes items to one file or database. A worker's thread calls the methods, one after the other; the functions
/// without `self` are called by the thread that adds an item, too.
pub(crate) trait Sink: Send + 'static {
    /// The unit of writing: one item is written at a time.
    type Item: Send;
    /// Name of its thread, at most 15 bytes.
    const THREAD: &'static str;
    /// Bound of the queue: the sum of the weights of its items. The newest item is kept whatever its weight.
    const MAX_WAITING: usize;
    /// Pause before an item is tried again, if [`Sink::write`] ever asks for that.
    const RETRY: Duration = Duration::ZERO;

    /// The share of [`Sink::MAX_WAITING`] that an item takes.
    fn weight(item: &Self::Item) -> usize;

    /// Makes room in a full queue: moves what must not get lost from the oldest item to the one after it, and returns the
    /// number of records that are lost.
    fn drop_oldest(_oldest: Self::Item, _next: &mut Self::Item) -> u64 {
        0
    }

    /// Prepares an item that is written next. `dropped`: the records before it that had to make room in the queue.
    fn prepare(&mut self, _item: &mut Self::Item, _dropped: u64) {}

    /// Writes an item, and reports if writing begins to fail or works again.
    fn write(&mut self, item: &Self::Item) -> Outcome;

    /// Takes note that items are not tried again: their records are lost.
    fn give_up(&mut self, _items: Vec<Self::Item>) {}

    /// Does a short step of other work after a successful write while no item waits, and returns whether there is more.
    fn idle(&mut self) -> bool {
        false
    }

    /// Opens its file again before the next item.
    fn reopen(&mut self) {}

    /// Does what is left to do after the last item.
    fn finish(&mut self) {}
}

/// The result of writing an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The sink is done with it.
    Done,
    /// The item could not be written now; a later try may succeed.
    Retry,
    /// The item can never be written.
    Failed,
}
