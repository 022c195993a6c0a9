use model::Loss;

use super::*;
use crate::flow::{KEY_BYTES, SocketAddress, TableSlot};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 100 * SECOND;
/// Older than any flow that may wait.
const OLD: u64 = NOW - 10 * SECOND;
const LOCAL: SocketAddress = ([1; 16], 40_000);
const REMOTE: [u8; 16] = [2; 16];

fn process(tgid: u32) -> ProcessId {
    ProcessId { start: 1, tgid, exec: 0 }
}

fn key(socket: u64, tgid: u32) -> FlowKey {
    FlowKey { socket, process: process(tgid), peer: REMOTE, peer_port: 443, ..FlowKey::default() }
}

/// An old TCP flow with both ends.
fn stream(socket: u64, tgid: u32, sent: u64, received: u64) -> FlowEntry {
    FlowEntry {
        key: FlowKey { protocol: libc::IPPROTO_TCP as u32, ..key(socket, tgid) },
        slot: Some(TableSlot { raw_key: [socket as u8; KEY_BYTES], index: socket as u32 }),
        counters: FlowCounters { sent, received, connects: 0 },
        began: OLD + socket,
        family: libc::AF_INET6 as u16,
        local: LOCAL,
        is_stream: true,
        ..FlowEntry::default()
    }
}

/// An old UDP flow with both ends.
fn datagrams(socket: u64, sent: u64) -> FlowEntry {
    FlowEntry {
        key: FlowKey { protocol: libc::IPPROTO_UDP as u32, ..key(socket, 1) },
        is_stream: false,
        expires: true,
        ..stream(socket, 1, sent, 0)
    }
}

fn connecting(entry: FlowEntry) -> FlowEntry {
    FlowEntry { counters: FlowCounters { connects: 1, ..entry.counters }, ..entry }
}

fn young(entry: FlowEntry) -> FlowEntry {
    FlowEntry { began: NOW - SECOND, ..entry }
}

fn without_local(entry: FlowEntry) -> FlowEntry {
    FlowEntry { local: SocketAddress::default(), ..entry }
}

fn without_remote(entry: FlowEntry) -> FlowEntry {
    FlowEntry { key: FlowKey { peer: [0; 16], peer_port: 0, ..entry.key }, ..entry }
}

fn socket(socket: u64, consumed: u64) -> SocketEvent {
    SocketEvent { socket, consumed: Some(consumed), local: LOCAL, ..SocketEvent::default() }
}

fn existing(consumed: u64) -> SavedSocket {
    let receiver = ProcessId::default();
    SavedSocket { baseline: Some(consumed), sent_baseline: None, charged: 0, receiver }
}

fn release(number: u64, consumed: u64) -> Event {
    Event::Released(socket(number, consumed))
}

fn batch(events: impl IntoIterator<Item = Event>) -> EventBatch {
    EventBatch { events: events.into_iter().collect(), ..EventBatch::default() }
}

fn input(entries: impl IntoIterator<Item = FlowEntry>) -> DrainInput {
    DrainInput { entries: entries.into_iter().collect(), now: NOW, ..DrainInput::default() }
}

fn with_events(
    entries: impl IntoIterator<Item = FlowEntry>,
    events: impl IntoIterator<Item = Event>,
) -> DrainInput {
    DrainInput { events: batch(events), ..input(entries) }
}

fn reconciler() -> Reconciler {
    Reconciler::new(Instant::now())
}

fn counters(outcome: &DrainOutcome) -> Vec<Counters> {
    outcome.flows.iter().map(|flow| flow.counters).collect()
}

fn moved(connections: u64, sent: u64, received: u64) -> Counters {
    Counters { connections, sent, received }
}

#[test]
fn two_drains_give_differences() {
    let mut reconciler = reconciler();
    let first = reconciler.reconcile(input([connecting(stream(7, 1, 10, 20))]));
    assert_eq!(counters(&first), [moved(1, 10, 20)]);
    assert!(first.flows[0].id.opened && !first.flows[0].id.ended);
    let second = reconciler.reconcile(input([connecting(stream(7, 1, 15, 20))]));
    assert_eq!(counters(&second), [moved(0, 5, 0)]);
    assert_eq!(second.removals, []);
}

#[test]
fn an_unchanged_counter_gives_nothing() {
    let mut reconciler = reconciler();
    reconciler.reconcile(input([stream(7, 1, 10, 20)]));
    assert_eq!(reconciler.reconcile(input([stream(7, 1, 10, 20)])).flows, []);
}

#[test]
fn a_counter_that_seems_to_go_back_is_read_right_by_the_next_drain() {
    let mut reconciler = reconciler();
    reconciler.reconcile(input([stream(7, 1, 300, 0)]));
    assert_eq!(reconciler.reconcile(input([stream(7, 1, 44, 0)])).flows, []);
    assert_eq!(counters(&reconciler.reconcile(input([stream(7, 1, 301, 0)]))), [moved(0, 1, 0)]);
}

#[test]
fn a_release_ends_the_flows_of_its_socket_with_their_final_counters() {
    let mut reconciler = reconciler();
    reconciler.reconcile(input([stream(7, 1, 10, 0), stream(8, 1, 1, 0)]));
    let entries = [stream(7, 1, 12, 0), stream(7, 2, 3, 0), stream(8, 1, 1, 0)];
    let last = reconciler.reconcile(with_events(entries, [release(7, 0)]));
    assert_eq!(counters(&last), [moved(0, 2, 0), moved(0, 3, 0)]);
    assert!(last.flows.iter().all(|flow| flow.id.socket == 7 && flow.id.ended));
    assert_eq!(last.removals.iter().map(|slot| slot.index).collect::<Vec<_>>(), [7, 7]);
    // The entry of a new flow with the same key begins from 0.
    assert_eq!(counters(&reconciler.reconcile(input([stream(7, 1, 4, 0)]))), [moved(1, 4, 0)]);
}

#[test]
fn the_end_of_an_unchanged_flow_is_delivered() {
    let mut reconciler = reconciler();
    reconciler.reconcile(input([stream(7, 1, 10, 0)]));
    let last = reconciler.reconcile(with_events([stream(7, 1, 10, 0)], [release(7, 0)]));
    assert_eq!(counters(&last), [Counters::default()]);
    assert!(last.flows[0].id.ended);
}

#[test]
fn a_release_that_is_read_after_the_table_ends_its_flows_in_the_next_drain() {
    let mut reconciler = reconciler();
    let late = DrainInput { later_events: batch([release(7, 0)]), ..input([stream(7, 1, 10, 0)]) };
    let first = reconciler.reconcile(late);
    assert_eq!(first.events, []);
    assert!(!first.flows[0].id.ended && first.removals.is_empty());
    let second = reconciler.reconcile(input([stream(7, 1, 11, 0)]));
    assert_eq!(second.events, [release(7, 0)]);
    assert_eq!(counters(&second), [moved(0, 1, 0)]);
    assert!(second.flows[0].id.ended && second.removals.len() == 1);
}

#[test]
fn an_idle_datagram_flow_ends_after_the_limit_and_goes_on_in_its_second_generation() {
    let mut reconciler = reconciler();
    let begin = Instant::now();
    let mut idle = datagrams(7, 10);
    assert_eq!(counters(&reconciler.reconcile(input([idle]))), [moved(1, 10, 0)]);
    let mut removed_at = None;
    for second in 1..200 {
        let tick = reconciler.advance_tick(begin + Duration::from_secs(second));
        let outcome = reconciler.reconcile(input([idle]));
        if !outcome.removals.is_empty() {
            assert!(outcome.flows[0].id.ended);
            removed_at = Some(tick);
            break;
        }
        assert_eq!(outcome.flows, []);
    }
    assert_eq!(removed_at, Some(125), "120 ticks, 4 of grace, and more than that");
    // The same remote end in the entry that the kernel half goes on with is no new connection.
    idle.key.generation = 1;
    idle.last_tick = 125;
    assert_eq!(counters(&reconciler.reconcile(input([idle]))), [moved(0, 10, 0)]);
}

#[test]
fn each_remote_end_of_a_datagram_socket_is_one_connection() {
    let mut reconciler = reconciler();
    let mut other = datagrams(7, 1);
    other.key.peer_port = 53;
    let first = reconciler.reconcile(input([datagrams(7, 1), other]));
    assert_eq!(counters(&first), [moved(1, 1, 0), moved(1, 1, 0)]);
    // Its hook did not see the remote end, but a packet hook did: one that is counted already.
    let unseen = FlowEntry { began: OLD + 9, ..without_remote(datagrams(7, 1)) };
    let remotes = HashMap::from([(7, (REMOTE, 443))]);
    let second = reconciler.reconcile(DrainInput { datagram_remotes: remotes, ..input([unseen]) });
    assert_eq!(counters(&second), [moved(0, 1, 0)]);
    assert_eq!(second.flows[0].tuple.remote_port, 443);
}

#[test]
fn an_accepted_connection_that_moved_no_byte_is_a_connection() {
    let mut reconciler = reconciler();
    let ended = FlowEntry { slot: None, ..young(stream(7, 1, 0, 0)) };
    let events = EventBatch { ended: vec![ended], ..batch([release(7, 0)]) };
    let outcome = reconciler.reconcile(DrainInput { events, ..input([]) });
    assert_eq!(counters(&outcome), [moved(1, 0, 0)]);
    assert!(outcome.flows[0].id.ended && !outcome.flows[0].id.opened);
    assert_eq!(outcome.removals, [], "it is in no table");
}

#[test]
fn a_flow_that_came_with_a_late_release_is_delivered_once() {
    let mut reconciler = reconciler();
    let ended = FlowEntry { slot: None, ..young(stream(7, 1, 0, 0)) };
    let later_events = EventBatch { ended: vec![ended], ..batch([release(7, 0)]) };
    assert_eq!(reconciler.reconcile(DrainInput { later_events, ..input([]) }).flows, []);
    assert_eq!(counters(&reconciler.reconcile(input([]))), [moved(1, 0, 0)]);
    assert_eq!(reconciler.reconcile(input([])).flows, []);
}

#[test]
fn the_last_drain_defers_no_release() {
    let ended = FlowEntry { slot: None, ..young(stream(8, 1, 0, 0)) };
    let later_events = EventBatch { ended: vec![ended], ..batch([release(7, 0), release(8, 0)]) };
    let last = DrainInput { later_events, is_final: true, ..input([stream(7, 1, 10, 0)]) };
    let outcome = reconciler().reconcile(last);
    assert_eq!(outcome.events, [release(7, 0), release(8, 0)]);
    assert_eq!(counters(&outcome), [moved(1, 10, 0), moved(1, 0, 0)]);
    assert!(outcome.flows.iter().all(|flow| flow.id.ended));
}

#[test]
fn only_the_first_process_of_an_accepted_connection_opens_it() {
    let mut reconciler = reconciler();
    let child = FlowEntry { began: OLD + 100, ..stream(7, 2, 1, 0) };
    let outcome = reconciler.reconcile(input([child, stream(7, 1, 1, 0)]));
    assert_eq!(counters(&outcome), [moved(1, 1, 0), moved(0, 1, 0)]);
    assert_eq!(outcome.flows[0].id.process, process(1));
}

#[test]
fn a_socket_that_was_open_before_opens_no_connection() {
    let mut reconciler = reconciler();
    reconciler.add_existing_socket(7, existing(1000));
    let outcome = reconciler.reconcile(with_events([stream(7, 1, 1, 0)], [release(7, 1500)]));
    assert_eq!(counters(&outcome), [moved(0, 1, 0), moved(0, 0, 500)]);
}

#[test]
fn spliced_bytes_are_charged_to_the_process_that_received_last() {
    let mut reconciler = reconciler();
    let earlier = stream(7, 1, 0, 100);
    reconciler.reconcile(input([earlier]));
    let later = FlowEntry { began: OLD + 100, ..stream(7, 2, 0, 50) };
    // The socket handed out 1000 bytes, and hooks counted 150.
    let sampled = DrainInput { samples: vec![socket(7, 1000)], ..input([earlier, later]) };
    let outcome = reconciler.reconcile(sampled);
    assert_eq!(counters(&outcome), [moved(0, 0, 50), moved(0, 0, 850)]);
    assert!(outcome.flows.iter().all(|flow| flow.id.process == process(2)));
    // Charged once.
    let last = reconciler.reconcile(with_events([earlier, later], [release(7, 1000)]));
    assert_eq!(counters(&last), [Counters::default(); 2]);
}

#[test]
fn a_young_connection_waits_for_its_local_end() {
    let mut reconciler = reconciler();
    let waiting = young(without_local(connecting(stream(7, 1, 1, 0))));
    assert_eq!(reconciler.reconcile(input([waiting])).flows, []);
    assert!(!reconciler.needs_samples(&[waiting], NOW));
    assert!(reconciler.needs_samples(&[waiting], NOW + 2 * SECOND), "it is too old to wait");
    let sampled = DrainInput { samples: vec![socket(7, 0)], ..input([waiting]) };
    let outcome = reconciler.reconcile(sampled);
    assert_eq!(counters(&outcome), [moved(1, 1, 0)]);
    assert_eq!(outcome.flows[0].tuple.local_port, 40_000);
    assert!(!reconciler.needs_samples(&[waiting], NOW + 2 * SECOND), "it is recorded");
}

#[test]
fn another_flow_of_the_socket_shows_the_local_end() {
    let mut reconciler = reconciler();
    let waiting = without_local(connecting(stream(7, 1, 0, 0)));
    let outcome = reconciler.reconcile(input([young(waiting), stream(7, 2, 1, 0)]));
    assert_eq!(outcome.flows.len(), 2);
    assert!(outcome.flows.iter().all(|flow| flow.tuple.local_port == 40_000));
}

#[test]
fn a_young_datagram_flow_waits_for_its_remote_end() {
    let waiting = young(without_remote(datagrams(7, 1)));
    assert_eq!(reconciler().reconcile(input([waiting])).flows, []);
    let remotes = HashMap::from([(7, (REMOTE, 53))]);
    let outcome = reconciler().reconcile(DrainInput { datagram_remotes: remotes, ..input([waiting]) });
    assert_eq!(outcome.flows[0].tuple.remote_port, 53);
    let outcome = reconciler().reconcile(input([waiting, datagrams(7, 1)]));
    assert!(
        outcome.flows.iter().all(|flow| flow.tuple.remote_port == 443),
        "the one of the datagrams around it"
    );
}

#[test]
fn no_flow_waits_when_it_is_old_or_its_socket_is_closed_or_the_drain_is_the_last() {
    let waiting = young(without_local(connecting(stream(7, 1, 1, 0))));
    let old = DrainInput { now: NOW + 2 * SECOND, ..input([waiting]) };
    let last = DrainInput { is_final: true, ..input([waiting]) };
    for input in [old, last, with_events([waiting], [release(7, 0)])] {
        assert_eq!(counters(&reconciler().reconcile(input)), [moved(1, 1, 0)]);
    }
}

#[test]
fn the_next_drain_comes_soon_for_the_first_flow_of_a_process() {
    let mut reconciler = reconciler();
    let waiting = young(without_local(connecting(stream(7, 1, 1, 0))));
    let begin = Instant::now();
    assert!(!reconciler.needs_first_flow_samples(&[waiting], begin), "not its first flow");
    reconciler.add_first_flows(vec![process(1)]);
    assert!(reconciler.needs_first_flow_samples(&[waiting], begin));
    reconciler.set_first_flows_sampled(begin, Duration::from_millis(5));
    assert!(!reconciler.needs_first_flow_samples(&[waiting], begin + Duration::from_millis(50)));
    assert!(reconciler.reconcile(input([waiting])).drain_soon);
    let outcome = reconciler.reconcile(DrainInput { samples: vec![socket(7, 0)], ..input([waiting]) });
    assert!(!outcome.drain_soon && outcome.flows.len() == 1);
}

#[test]
fn both_events_of_an_execve_that_straddles_a_drain_come_before_its_flows() {
    let mut reconciler = reconciler();
    let renamed = Event::Renamed(process(1), b"curl".to_vec());
    let executed = Event::Executed(Box::new(model::ProcessEvent {
        id: ProcessId { exec: 1, ..process(1) },
        ..model::ProcessEvent::default()
    }));
    let straddling = DrainInput {
        later_events: batch([release(9, 0), executed.clone()]),
        ..with_events([stream(7, 1, 1, 0)], [renamed.clone()])
    };
    assert!(straddling.events.ends_within_execve());
    let outcome = reconciler.reconcile(straddling);
    assert_eq!(outcome.events, [renamed, executed]);
    assert_eq!(outcome.flows.len(), 1);
}

#[test]
fn sockets_whose_release_was_lost_are_found_closed() {
    let mut reconciler = reconciler();
    let entries = [stream(7, 1, 1, 0), stream(8, 1, 1, 0), datagrams(9, 1)];
    let lost = LossCounters { release_events: 1, ..LossCounters::default() };
    let outcome = reconciler.reconcile(DrainInput { loss_counters: lost, ..input(entries) });
    assert_eq!(outcome.losses, [Loss { kind: LossKind::ReleaseEvents, count: 1 }]);
    assert!(reconciler.has_lost_releases());
    let mut entries = entries;
    entries[1] = young(entries[1]);
    let open = Some(HashSet::new());
    let outcome =
        reconciler.reconcile(DrainInput { open_sockets: open, loss_counters: lost, ..input(entries) });
    let ended: Vec<u64> = outcome.flows.iter().map(|flow| flow.id.socket).collect();
    assert_eq!(ended, [7], "neither the young one nor the datagrams");
    assert!(reconciler.has_lost_releases(), "the young one may be on its way into a process");
    let open = Some(HashSet::from([8]));
    let left = input(entries.into_iter().skip(1));
    assert_eq!(
        reconciler.reconcile(DrainInput { open_sockets: open, loss_counters: lost, ..left }).flows,
        []
    );
    assert!(!reconciler.has_lost_releases());
}

#[test]
fn a_release_keeps_its_counter_when_other_releases_were_lost() {
    let mut reconciler = reconciler();
    reconciler.add_existing_socket(7, existing(0));
    let released = with_events([stream(7, 1, 0, 100)], [release(7, 150)]);
    let outcome = reconciler.reconcile(DrainInput { open_sockets: Some(HashSet::new()), ..released });
    assert_eq!(counters(&outcome), [moved(0, 0, 100), moved(0, 0, 50)]);
}

#[test]
fn a_young_socket_with_a_release_is_no_reason_to_look_again() {
    let mut reconciler = reconciler();
    let lost = LossCounters { release_events: 1, ..LossCounters::default() };
    reconciler.reconcile(DrainInput { loss_counters: lost, ..input([]) });
    assert!(reconciler.has_lost_releases());
    let released = with_events([young(stream(7, 1, 1, 0))], [release(7, 0)]);
    reconciler.reconcile(DrainInput { open_sockets: Some(HashSet::new()), loss_counters: lost, ..released });
    assert!(!reconciler.has_lost_releases());
}

#[test]
fn samples_show_receive_rings() {
    let ring = SocketEvent { receive_ring: true, process: process(3), ..socket(5, 0) };
    let outcome = reconciler().reconcile(DrainInput { samples: vec![ring, socket(6, 0)], ..input([]) });
    assert_eq!(outcome.events, [Event::ReceiveRing(process(3))]);
}

#[test]
fn a_full_table_shortens_the_life_of_idle_flows() {
    let mut reconciler = reconciler();
    assert_eq!(reconciler.reconcile(input([])).expire_ticks, None);
    let many = (0..40_000).map(|socket| stream(socket, 1, 1, 0));
    assert_eq!(reconciler.reconcile(input(many)).expire_ticks, Some(8));
    assert_eq!(reconciler.reconcile(input([])).expire_ticks, Some(120));
}

#[test]
fn recorded_flows_have_what_was_recorded_and_no_more() {
    let mut reconciler = reconciler();
    let entry = stream(7, 1, 10, 100);
    let sampled = DrainInput { samples: vec![socket(7, 150)], ..input([entry]) };
    reconciler.reconcile(sampled);
    let grown = stream(7, 1, 99, 100);
    let entries = [grown, stream(8, 1, 1, 1)];
    let endpoints = Endpoints::new(&entries, &[], &HashMap::new());
    let flows = reconciler.recorded_flows(&entries, &endpoints);
    let recorded: Vec<_> = flows.iter().map(|flow| (flow.id.socket, flow.counters)).collect();
    assert_eq!(recorded, [(7, moved(0, 10, 150))]);
}

#[test]
fn the_remote_end_of_the_own_direction_comes_first() {
    let sent_to = |socket| (socket < 9).then_some((REMOTE, 1));
    let received_from = |socket| (socket > 7).then_some((REMOTE, 2));
    let port = |entry: FlowEntry| {
        datagram_remotes(&[entry], sent_to, received_from).get(&entry.key.socket).map(|remote| remote.1)
    };
    let receiving = |socket| {
        without_remote(FlowEntry {
            counters: FlowCounters { received: 1, ..FlowCounters::default() },
            ..datagrams(socket, 0)
        })
    };
    assert_eq!(port(without_remote(datagrams(8, 1))), Some(1));
    assert_eq!(port(receiving(8)), Some(2));
    assert_eq!(port(without_remote(datagrams(9, 1))), Some(2));
    assert_eq!(port(receiving(7)), Some(1));
    assert_eq!(port(datagrams(8, 1)), None, "its own hook saw it");
}

#[test]
fn another_reconciler_goes_on_where_one_has_ended() {
    let mut first = reconciler();
    first.keep_changes();
    first.add_existing_socket(5, existing(1000));
    let entries = [stream(5, 0, 0, 0), stream(6, 1, 10, 20), stream(7, 0, 0, 30), datagrams(8, 40)];
    first.reconcile(input(entries));
    let sampled = vec![socket(7, 50)];
    first.reconcile(DrainInput { samples: sampled, ..input(entries) });
    let mut state = ReconcilerState::default();
    state.apply(first.take_changes());
    assert_eq!(state, first.state());

    let later =
        [stream(5, 0, 0, 7), stream(6, 1, 15, 20), stream(7, 0, 0, 60), datagrams(8, 45), stream(9, 1, 1, 1)];
    let mut second = Reconciler::new(Instant::now());
    let open = HashSet::from([5, 6, 7, 9]);
    assert_eq!(second.resume(&state, &later, &open, (3, 120)), []);
    let now = |reconciler: &mut Reconciler| {
        let samples = vec![socket(5, 1009), socket(7, 60)];
        counters(&reconciler.reconcile(DrainInput { samples, ..input(later) }))
    };
    assert_eq!(now(&mut second), now(&mut first));
    // What is recorded to its end leaves the table.
    let end = ReconcilerState { ended: HashMap::from([(later[1].key, later[1].began)]), ..state };
    let slot = TableSlot { raw_key: [0; KEY_BYTES], index: 4 };
    let entry = FlowEntry { slot: Some(slot), ..later[1] };
    assert_eq!(reconciler().resume(&end, &[entry], &open, (3, 120)), [slot]);
    let other = FlowEntry { began: entry.began + 1, ..entry };
    assert_eq!(reconciler().resume(&end, &[other], &open, (3, 120)), []);
}

#[test]
fn a_socket_that_closes_between_two_runs_is_counted_once() {
    let mut first = reconciler();
    first.keep_changes();
    first.add_existing_socket(5, existing(1000));
    // A sample shows bytes of socket 7 that are on their way to a hook: they are recorded.
    let before = [stream(5, 0, 0, 7), stream(7, 0, 30, 0)];
    let samples = vec![socket(5, 1007), socket(7, 2100)];
    first.reconcile(DrainInput { samples, ..input(before) });
    let mut state = ReconcilerState::default();
    state.apply(first.take_changes());

    let after = [stream(5, 0, 0, 9), stream(7, 0, 30, 2100)];
    let mut second = reconciler();
    second.resume(&state, &after, &HashSet::new(), (3, 120));
    let outcome = second.reconcile(with_events(after, [release(5, 1009), release(7, 2100)]));
    assert_eq!(counters(&outcome), [moved(0, 0, 2), moved(0, 0, 0)]);
}
