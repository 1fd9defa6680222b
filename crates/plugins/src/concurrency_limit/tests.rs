//! Who runs, who waits and who is turned away.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use plugin::clock::Clock;
use plugin::exchange::{Client, Trouble, Try};
use plugin::groups::ConsumerGroups;
use plugin::harness::Harness;
use plugin::services::Worker;
use plugin::{BodyLength, Exchange, Services};
use uuid::Uuid;

use super::adaptive::Rules;
use super::gate::{Entry, Figures, Gate, Limit, Place, Waiting};
use super::{ConcurrencyLimit, Priorities, time_taken};

const ROOM: &dyn plugin::Definition = plugin::room::<ConcurrencyLimit>();

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn gate(limit: usize) -> Arc<Gate> {
    Arc::new(Gate::new(Limit::Fixed(limit), Figures::default()))
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
fn no_more_sessions_begin_than_may_and_none_waits() {
    let document = "_format_version: '3.0'\nservices:\n- {name: db, url: 'tcp://db:1', routes: [{name: db, protocols: [tcp], \
                    destinations: [{port: 1}]}]}\nplugins:\n- {name: concurrency-limit, service: db, protocols: [tcp], \
                    config: {limit: 2, status: 429, queue: {size: 9}}}\n";
    let harness = Harness::new(ROOM, document).unwrap();
    let one = harness.begin_session().unwrap();
    let _two = harness.begin_session().unwrap();
    assert_eq!(harness.begin_session().err(), Some(429));
    drop(one);
    assert!(harness.begin_session().is_ok(), "the place of one that has ended");
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

/// Enters responses that took so many milliseconds each, for some seconds.
fn learn(places: &[Place], millis: u64, clock: &mut Instant) {
    for _ in 0..100 {
        *clock += Duration::from_millis(50);
        places.iter().for_each(|place| place.took(Duration::from_millis(millis), *clock));
    }
}

#[test]
fn when_more_may_run_those_who_wait_are_let_in() {
    let rules = Rules { least: 2, most: 100, tolerance: 1.5 };
    let gate = Arc::new(Gate::new(Limit::Adaptive(rules), Figures::default()));
    let mut clock = Instant::now();
    let places: Vec<Place> = (0..20).map(|_| place(&gate)).collect();
    let mut next = waiting(&gate, 0, 1);
    assert!(poll(&mut next).is_pending(), "it begins with 20");
    learn(&places, 10, &mut clock);
    assert!(matches!(poll(&mut next), Poll::Ready(Some(_))), "they are as fast as ever");
}

#[test]
fn when_fewer_may_run_places_that_become_free_are_given_to_nobody() {
    let rules = Rules { least: 2, most: 20, tolerance: 1.5 };
    let gate = Arc::new(Gate::new(Limit::Adaptive(rules), Figures::default()));
    let mut clock = Instant::now();
    let mut places: Vec<Place> = (0..20).map(|_| place(&gate)).collect();
    learn(&places, 10, &mut clock);
    learn(&places, 1000, &mut clock);
    let mut next = waiting(&gate, 0, 1);
    places.truncate(10);
    assert!(poll(&mut next).is_pending(), "there are still too many");
    places.truncate(1);
    assert!(matches!(poll(&mut next), Poll::Ready(Some(_))));
}

#[test]
fn a_request_gives_its_place_back() {
    let mut harness = Harness::global(ROOM, "{limit: 1, per: plugin}").unwrap();
    assert_eq!([0; 3].map(|_| harness.send("GET / HTTP/1.1\n\n").status), [200; 3]);
}

#[test]
fn a_service_has_the_places_of_requests_that_are_sent_to_it() {
    let document = "_format_version: '3.0'\nservices:\n- {name: one, url: 'http://one.test', routes: [{name: r, paths: [/]}]}\n\
                    - {name: two, url: 'http://two.test'}\nplugins:\n- {name: traffic-split, config: {hash_on: none, services: \
                    [{weight: 1}, {service: two, weight: 1}]}}\n- {name: concurrency-limit, config: {limit: 3, per: service}}\n";
    let rooms = [plugin::room::<crate::traffic_split::TrafficSplit>(), ROOM];
    let mut harness = Harness::chain(&rooms, document).unwrap();
    assert_eq!(harness.pass_at_once("GET / HTTP/1.1\n\n", 100), 6, "three at each");
}

#[test]
fn groups_that_are_vouched_for_have_their_priority() {
    let [gold, beta, other] = [1, 2, 3].map(Uuid::from_u128);
    let priorities = Priorities {
        header: None,
        by_consumer: AHashMap::new(),
        by_group: [(gold, 90), (beta, 70)].into_iter().collect(),
        otherwise: 50,
    };
    let services = Services::new(1, Clock::fixed(0), true);
    let mut exchange = Exchange::new(Rc::new(Worker::seeded(0, services, 1)), Client::default());
    for (ids, expected) in [(vec![], 50), (vec![other], 50), (vec![beta], 70), (vec![other, beta, gold], 90)]
    {
        let groups = ConsumerGroups { ids: ids.into(), names: Arc::default() };
        exchange.identity.consumer_groups = Some(Arc::new(groups));
        assert_eq!(priorities.of(&exchange), expected);
    }
}

#[test]
fn only_the_services_own_time_counts() {
    let now = Instant::now();
    let taken = |change: fn(&mut Exchange)| {
        let services = Services::new(1, Clock::fixed(0), true);
        let mut exchange = Exchange::new(Rc::new(Worker::seeded(0, services, 1)), Client::default());
        let record = &mut exchange.record;
        record.upstream_started = Some(now);
        record.upstream_answered = Some(now + Duration::from_millis(7));
        record.upstream_status = Some(200);
        let address = ([10, 0, 0, 1], 80).into();
        record.tries.push(Try { address, started_ms: 0, balancer_us: 0, failed: None, trouble: None });
        change(&mut exchange);
        time_taken(&exchange, now + Duration::from_millis(50)).map(|took| took.as_millis())
    };
    assert_eq!(taken(|_| {}), Some(7));
    assert_eq!(taken(|exchange| exchange.record.upstream_status = Some(503)), None);
    assert_eq!(taken(|exchange| exchange.record.tries.push(exchange.record.tries[0].clone())), None);
    assert_eq!(taken(|exchange| exchange.record.tries.clear()), None, "a plugin has answered");
    assert_eq!(taken(|exchange| exchange.request.framing = BodyLength::Chunked), None);
    let kept = |exchange: &mut Exchange| {
        exchange.request.framing = BodyLength::Chunked;
        exchange.body = Some(Vec::new());
    };
    assert_eq!(taken(kept), Some(7), "the whole body was at hand");
    assert_eq!(taken(|exchange| exchange.record.tries[0].trouble = Some(Trouble::Timeout)), Some(50));
    assert_eq!(taken(|exchange| exchange.record.tries[0].trouble = Some(Trouble::Reset)), None);
}

#[test]
fn bounds_must_be_in_order() {
    let config = "{limit: 5, adaptive: {enabled: true, min: 6}}";
    let refusal = Harness::global(ROOM, config).err().unwrap_or_default();
    assert!(refusal.contains("must not be more than limit"), "{refusal}");
}

#[test]
fn groups_must_be_there() {
    let refusal = Harness::global(ROOM, "{queue: {group_priorities: {gold: 90}}}").err().unwrap_or_default();
    assert!(refusal.contains("no consumer group"), "{refusal}");
}
