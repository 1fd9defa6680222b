//! Who runs, who waits and who is turned away.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use plugin::harness::Harness;

use super::ConcurrencyLimit;
use super::gate::{Entry, Figures, Gate, Place, Waiting};

const ROOM: &dyn plugin::Definition = plugin::room::<ConcurrencyLimit>();

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn gate(limit: usize) -> Arc<Gate> {
    Arc::new(Gate::new(limit, Figures::default()))
}

fn place(gate: &Arc<Gate>) -> Place {
    let Entry::In(place) = gate.enter(0, 0) else { panic!("it is full") };
    place
}

fn waiting(gate: &Arc<Gate>, priority: u8, room: usize) -> Waiting {
    let Entry::Wait(waiting) = gate.enter(priority, room) else { panic!("no room to wait") };
    waiting
}

fn poll(waiting: &mut Waiting) -> Poll<Option<Place>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn no_more_run_than_may_and_no_more_wait_than_there_is_room() {
    let gate = gate(2);
    let (one, _two) = (place(&gate), place(&gate));
    assert!(matches!(gate.enter(0, 0), Entry::Full));
    let mut first = waiting(&gate, 0, 2);
    let mut second = waiting(&gate, 0, 2);
    assert!(matches!(gate.enter(0, 2), Entry::Full));
    assert!(poll(&mut first).is_pending());
    drop(one);
    assert!(poll(&mut second).is_pending(), "first come, first served");
    let Poll::Ready(Some(place)) = poll(&mut first) else { panic!("its turn") };
    drop(place);
    assert!(matches!(poll(&mut second), Poll::Ready(Some(_))));
}

#[test]
fn higher_priorities_go_first_and_displace_the_lowest() {
    let gate = gate(1);
    let running = place(&gate);
    let mut low = waiting(&gate, 10, 2);
    let mut middle = waiting(&gate, 50, 2);
    assert!(matches!(gate.enter(10, 2), Entry::Full), "an equal displaces nobody");
    let mut high = waiting(&gate, 90, 2);
    assert!(matches!(poll(&mut low), Poll::Ready(None)));
    drop(running);
    let Poll::Ready(Some(place)) = poll(&mut high) else { panic!("its turn") };
    assert!(poll(&mut middle).is_pending());
    drop(place);
    assert!(matches!(poll(&mut middle), Poll::Ready(Some(_))));
}

#[test]
fn who_leaves_the_queue_takes_no_place_along() {
    let gate = gate(1);
    let running = place(&gate);
    drop(waiting(&gate, 0, 1));
    let given_up = waiting(&gate, 0, 1);
    drop(running);
    drop(given_up);
    drop(place(&gate));
    assert!(matches!(gate.enter(0, 0), Entry::In(_)));
}

#[test]
fn a_newcomer_does_not_overtake_those_who_wait() {
    let gate = gate(1);
    let running = place(&gate);
    let mut first = waiting(&gate, 0, 5);
    drop(running);
    assert!(matches!(gate.enter(0, 5), Entry::Wait(_)), "the place has been given away");
    assert!(matches!(poll(&mut first), Poll::Ready(Some(_))));
}

#[test]
fn the_next_is_woken() {
    let (gate, bell) = (gate(1), Arc::new(Bell::default()));
    let running = place(&gate);
    let mut next = waiting(&gate, 0, 1);
    let waker = Waker::from(bell.clone());
    assert!(Pin::new(&mut next).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(running);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}

#[test]
fn many_threads_never_run_more_than_may_and_nobody_is_forgotten() {
    const LIMIT: usize = 3;
    let (gate, running, most) = (gate(LIMIT), AtomicUsize::new(0), AtomicUsize::new(0));
    let run = |place: Place| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        running.fetch_sub(1, Ordering::SeqCst);
        drop(place);
    };
    let work = |seed: usize| {
        for turn in 0..3_000 {
            match gate.enter(((seed * 7 + turn) % 3) as u8, 4) {
                Entry::In(place) => run(place),
                Entry::Full => std::thread::yield_now(),
                Entry::Wait(waiting) if turn % 5 == 0 => drop(waiting),
                Entry::Wait(mut waiting) => loop {
                    match poll(&mut waiting) {
                        Poll::Ready(Some(place)) => break run(place),
                        Poll::Ready(None) => break,
                        Poll::Pending => std::thread::yield_now(),
                    }
                },
            }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || work(seed));
        }
    });
    assert!(most.into_inner() <= LIMIT);
    let places: Vec<Place> = (0..LIMIT).map(|_| place(&gate)).collect();
    assert!(matches!(gate.enter(0, 0), Entry::Full), "no place was lost or doubled: {}", places.len());
}

#[test]
fn a_request_gives_its_place_back() {
    let mut harness = Harness::global(ROOM, "{limit: 1, per: plugin}").unwrap();
    assert_eq!([0; 3].map(|_| harness.send("GET / HTTP/1.1\n\n").status), [200; 3]);
}

#[test]
fn groups_must_be_there() {
    let refusal = Harness::global(ROOM, "{queue: {group_priorities: {gold: 90}}}").err().unwrap_or_default();
    assert!(refusal.contains("no consumer group"), "{refusal}");
}
