//! The thread that all sinks share, with a bounded queue in front of it.

use super::sink::{Outcome, Sink};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Handle of a thread that writes to a [`Sink`]. Its methods do not wait, except [`Worker::finish`].
pub(crate) struct Worker<S: Sink> {
    shared: Arc<Shared<S::Item>>,
    thread: JoinHandle<()>,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

struct Queue<T> {
    items: VecDeque<T>,
    /// Sum of the weights of `items`.
    waiting: usize,
    /// Records dropped since the last item was taken.
    dropped: u64,
    reopen: bool,
    /// Set at the end: how long items may be tried again from then on.
    patience: Option<Duration>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink> Worker<S> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(sink: S) -> io::Result<Self> {
        let queue = Queue { items: VecDeque::new(), waiting: 0, dropped: 0, reopen: false, patience: None };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let writer = Writer { sink, shared: Arc::clone(&shared), deadline: None };
        let thread = thread::Builder::new().name(S::THREAD.into()).spawn(move || writer.run())?;
        Ok(Self { shared, thread })
    }

    /// Queues an item. If the queue is full, the oldest ones are dropped and counted.
    pub(crate) fn add(&self, item: S::Item) {
        let mut queue = self.shared.lock();
        queue.waiting += S::weight(&item);
        queue.items.push_back(item);
        trim::<S>(&mut queue);
        self.shared.changed.notify_one();
    }

    /// Makes the sink open its file again.
    pub(crate) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.changed.notify_one();
    }

    /// Writes all items that wait, and ends the thread. From now on items are tried again for no longer than `patience`: if
    /// writing fails after that, all that wait are given up.
    pub(crate) fn finish(self, patience: Duration) {
        self.shared.lock().patience = Some(patience);
        self.shared.changed.notify_one();
        // In releases a panic ends the whole process; in other builds it was printed.
        let _ = self.thread.join();
    }
}

fn trim<S: Sink>(queue: &mut Queue<S::Item>) {
    while queue.waiting > S::MAX_WAITING && queue.items.len() > 1 {
        let Some(oldest) = queue.items.pop_front() else { return };
        queue.waiting -= S::weight(&oldest);
        if let Some(next) = queue.items.front_mut() {
            let before = S::weight(next);
            queue.dropped += S::drop_oldest(oldest, next);
            queue.waiting = queue.waiting - before + S::weight(next);
        }
    }
}

/// The state of the thread of a [`Worker`].
struct Writer<S: Sink> {
    sink: S,
    shared: Arc<Shared<S::Item>>,
    /// Items are not tried again after this; set at the end.
    deadline: Option<Instant>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        while let Some(item) = self.next() {
            match self.sink.write(&item) {
                Outcome::Done => {
                    // A new item waits for one short step at most.
                    while self.is_idle() && self.sink.idle() {}
                }
                Outcome::Retry if self.deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    let mut queue = self.shared.lock();
                    queue.waiting += S::weight(&item);
                    queue.items.push_front(item);
                    trim::<S>(&mut queue);
                    self.pause(queue);
                }
                Outcome::Retry => self.give_up_all(item),
                Outcome::Failed => self.sink.give_up(vec![item]),
            }
        }
        self.sink.finish();
    }

    /// Waits for the next item; `None` at the end.
    fn next(&mut self) -> Option<S::Item> {
        let mut queue = self.shared.lock();
        while queue.items.is_empty() && queue.patience.is_none() {
            if std::mem::take(&mut queue.reopen) {
                // Closing a file may take long: no other thread may wait for the lock meanwhile.
                drop(queue);
                self.sink.reopen();
                queue = self.shared.lock();
                continue;
            }
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(patience) = queue.patience {
            self.deadline.get_or_insert_with(|| Instant::now() + patience);
        }
        let mut item = queue.items.pop_front()?;
        queue.waiting -= S::weight(&item);
        let (dropped, reopen) = (std::mem::take(&mut queue.dropped), std::mem::take(&mut queue.reopen));
        drop(queue);
        if reopen {
            self.sink.reopen();
        }
        self.sink.prepare(&mut item, dropped);
        Some(item)
    }

    /// Gives up the items that wait, too: each further try could take as long as the one that has just failed.
    fn give_up_all(&mut self, item: S::Item) {
        let mut queue = self.shared.lock();
        let (mut items, dropped) = (std::mem::take(&mut queue.items), std::mem::take(&mut queue.dropped));
        queue.waiting = 0;
        drop(queue);
        items.push_front(item);
        if let Some(first) = items.front_mut() {
            self.sink.prepare(first, dropped);
        }
        self.sink.give_up(items.into());
    }

    fn is_idle(&self) -> bool {
        let queue = self.shared.lock();
        queue.items.is_empty() && queue.patience.is_none()
    }

    /// Waits before the next try. The end cuts the first pause short, but not those that come after it.
    fn pause(&self, queue: MutexGuard<'_, Queue<S::Item>>) {
        if self.deadline.is_some() {
            drop(queue);
            thread::sleep(S::RETRY);
        } else {
            let is_running = |queue: &mut Queue<S::Item>| queue.patience.is_none();
            drop(self.shared.changed.wait_timeout_while(queue, S::RETRY, is_running));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// An item of a number and a weight.
    type Item = (u32, usize);

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Call {
        Write(u32),
        AddDropped(u32, u64),
        GiveUp(Vec<u32>),
        Idle,
        Reopen,
        Finish,
    }

    /// Reports each call, and waits for the outcome of each write and for the end of opening a file again.
    struct FakeSink {
        calls: Sender<Call>,
        outcomes: Receiver<Outcome>,
        idle_steps: u32,
    }

    impl Sink for FakeSink {
        type Item = Item;
        const THREAD: &'static str = "fake";
        const MAX_WAITING: usize = 10;
        const RETRY: Duration = Duration::from_millis(1);

        fn weight(item: &Item) -> usize {
            item.1
        }

        fn drop_oldest(oldest: Item, _next: &mut Item) -> u64 {
            oldest.1 as u64
        }

        fn prepare(&mut self, item: &mut Item, dropped: u64) {
            if dropped > 0 {
                self.calls.send(Call::AddDropped(item.0, dropped)).unwrap();
            }
        }

        fn write(&mut self, item: &Item) -> Outcome {
            self.calls.send(Call::Write(item.0)).unwrap();
            self.outcomes.recv().unwrap()
        }

        fn give_up(&mut self, items: Vec<Item>) {
            self.calls.send(Call::GiveUp(items.iter().map(|item| item.0).collect())).unwrap();
        }

        fn idle(&mut self) -> bool {
            self.calls.send(Call::Idle).unwrap();
            self.idle_steps = self.idle_steps.saturating_sub(1);
            self.idle_steps > 0
        }

        fn reopen(&mut self) {
            self.calls.send(Call::Reopen).unwrap();
            let _ = self.outcomes.recv();
        }

        fn finish(&mut self) {
            self.calls.send(Call::Finish).unwrap();
        }
    }

    struct Fixture {
        worker: Worker<FakeSink>,
        calls: Receiver<Call>,
        outcomes: Sender<Outcome>,
    }

    impl Fixture {
        fn new(idle_steps: u32) -> Self {
            let (calls, outcomes) = (mpsc::channel(), mpsc::channel());
            let sink = FakeSink { calls: calls.0, outcomes: outcomes.1, idle_steps };
            Self { worker: Worker::start(sink).unwrap(), calls: calls.1, outcomes: outcomes.0 }
        }

        #[track_caller]
        fn expect(&self, call: Call) {
            assert_eq!(self.calls.recv_timeout(Duration::from_secs(10)), Ok(call));
        }

        /// Lets the write that is under way end.
        fn end_write(&self, outcome: Outcome) {
            self.outcomes.send(outcome).unwrap();
        }
    }

    #[test]
    fn items_are_written_in_order_and_the_end_waits_for_them() {
        let fixture = Fixture::new(0);
        (0..5).for_each(|number| fixture.worker.add((number, 1)));
        (0..5).for_each(|_| fixture.end_write(Outcome::Done));
        let Fixture { worker, calls, .. } = fixture;
        worker.finish(Duration::ZERO);
        let calls: Vec<Call> = calls.iter().filter(|call| *call != Call::Idle).collect();
        let written = (0..5).map(Call::Write).chain([Call::Finish]);
        assert_eq!(calls, written.collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_drops_the_oldest_items_and_counts_their_records() {
        let fixture = Fixture::new(0);
        fixture.worker.add((0, 1));
        fixture.expect(Call::Write(0));
        // The item that is being written does not count. 1 and 2 make room for 3.
        for (number, weight) in [(1, 2), (2, 3), (3, 8)] {
            fixture.worker.add((number, weight));
        }
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::AddDropped(3, 5));
        fixture.expect(Call::Write(3));
        // An item above the bound is kept if it is the newest.
        fixture.worker.add((4, 7));
        fixture.worker.add((5, 100));
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::AddDropped(5, 7));
        fixture.expect(Call::Write(5));
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::Idle);
    }

    #[test]
    fn a_transient_failure_is_tried_again_before_newer_items() {
        let fixture = Fixture::new(0);
        fixture.worker.add((0, 1));
        fixture.worker.add((1, 1));
        for _ in 0..3 {
            fixture.expect(Call::Write(0));
            fixture.end_write(Outcome::Retry);
        }
        fixture.expect(Call::Write(0));
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::Write(1));
        fixture.end_write(Outcome::Done);
        fixture.worker.finish(Duration::ZERO);
    }

    #[test]
    fn an_item_that_is_tried_again_still_counts_against_the_bound() {
        let fixture = Fixture::new(0);
        fixture.worker.add((0, 6));
        fixture.expect(Call::Write(0));
        fixture.worker.add((1, 6));
        fixture.end_write(Outcome::Retry);
        fixture.expect(Call::AddDropped(1, 6));
        fixture.expect(Call::Write(1));
        fixture.end_write(Outcome::Done);
        fixture.worker.finish(Duration::ZERO);
    }

    #[test]
    fn a_permanent_failure_is_not_tried_again() {
        let fixture = Fixture::new(0);
        fixture.worker.add((0, 3));
        fixture.expect(Call::Write(0));
        fixture.end_write(Outcome::Failed);
        fixture.expect(Call::GiveUp(vec![0]));
        fixture.worker.add((1, 1));
        fixture.expect(Call::Write(1));
        fixture.end_write(Outcome::Done);
        fixture.worker.finish(Duration::ZERO);
    }

    #[test]
    fn the_end_gives_up_all_items_after_its_patience() {
        let fixture = Fixture::new(0);
        (0..100).for_each(|number| fixture.worker.add((number, 0)));
        fixture.expect(Call::Write(0));
        let Fixture { worker, calls, outcomes } = fixture;
        let patience = Duration::from_millis(50);
        let begun = Instant::now();
        let ender = thread::spawn(move || worker.finish(patience));
        let mut tries = 1;
        loop {
            outcomes.send(Outcome::Retry).unwrap();
            match calls.recv_timeout(Duration::from_secs(10)).unwrap() {
                Call::Write(0) => tries += 1,
                call => break assert_eq!(call, Call::GiveUp((0..100).collect())),
            }
        }
        assert!(begun.elapsed() >= patience && tries > 1, "{tries} in {:?}", begun.elapsed());
        ender.join().unwrap();
        assert_eq!(calls.recv(), Ok(Call::Finish));
    }

    #[test]
    fn the_end_writes_all_items_as_long_as_that_works() {
        let fixture = Fixture::new(0);
        (0..4).for_each(|number| fixture.worker.add((number, 1)));
        let outcomes = [Outcome::Done, Outcome::Failed, Outcome::Done, Outcome::Done];
        outcomes.into_iter().for_each(|outcome| fixture.end_write(outcome));
        let Fixture { worker, calls, .. } = fixture;
        worker.finish(Duration::ZERO);
        let calls: Vec<Call> = calls.iter().filter(|call| *call != Call::Idle).collect();
        let write = Call::Write;
        assert_eq!(calls, [write(0), write(1), Call::GiveUp(vec![1]), write(2), write(3), Call::Finish]);
    }

    #[test]
    fn other_work_is_done_while_no_item_waits() {
        let fixture = Fixture::new(3);
        fixture.worker.add((0, 1));
        fixture.expect(Call::Write(0));
        fixture.worker.add((1, 1));
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::Write(1));
        fixture.end_write(Outcome::Done);
        (0..3).for_each(|_| fixture.expect(Call::Idle));
        fixture.worker.finish(Duration::ZERO);
        assert_eq!(fixture.calls.recv(), Ok(Call::Finish));
    }

    #[test]
    fn a_file_is_opened_again_at_once_and_nothing_waits_for_that() {
        let fixture = Fixture::new(0);
        fixture.worker.reopen();
        fixture.expect(Call::Reopen);
        fixture.worker.add((0, 1));
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::Write(0));
        fixture.worker.reopen();
        fixture.end_write(Outcome::Done);
        fixture.expect(Call::Idle);
        fixture.expect(Call::Reopen);
    }
}
