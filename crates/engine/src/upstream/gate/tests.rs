//! Places and lines by themselves, without connections.

use super::*;

fn limits(most: u32, line: usize) -> Limits {
    Limits { most, line, patience: Duration::ZERO, ready: 0, idle: None, lifetime: None }
}

fn gate(most: u32, line: usize) -> Arc<Gate> {
    Arc::new(Gate::new(limits(most, line), Arc::default()))
}

fn queue(gate: &Arc<Gate>, worker: usize) -> Place {
    Place::take(gate, Some(worker)).unwrap()
}

/// What one who waits is told; a seat stays in use.
fn called(place: &mut Place) -> &'static str {
    match place.called.try_recv() {
        Ok(Call::Look) => "look",
        Ok(Call::Seat(seat)) => {
            std::mem::forget(seat);
            "seat"
        }
        Err(_) => "waits",
    }
}

#[test]
fn there_are_no_more_seats_than_that_and_each_goes_to_the_first_in_the_line() {
    let gate = gate(2, 10);
    let [one, other] = [0, 1].map(|_| gate.try_seat().unwrap());
    assert!(gate.try_seat().is_none());
    let mut waiters = [0, 1, 0].map(|worker| queue(&gate, worker));
    assert_eq!(gate.counts(), (2, 3));
    drop(one);
    assert_eq!(waiters.each_mut().map(called), ["seat", "waits", "waits"]);
    assert!(gate.try_seat().is_none(), "nobody gets ahead of those who wait");
    let [_, second, mut third] = waiters;
    drop(second);
    drop(other);
    assert_eq!(called(&mut third), "seat", "who has left is passed over");
    assert_eq!(gate.counts(), (2, 0));
}

#[test]
fn a_seat_that_was_given_to_one_who_leaves_goes_to_the_next() {
    let gate = gate(1, 10);
    let only = gate.try_seat().unwrap();
    let [first, mut second] = [0, 0].map(|worker| queue(&gate, worker));
    drop(only);
    drop(first);
    assert_eq!(called(&mut second), "seat");
}

#[test]
fn the_line_is_bounded_and_those_who_left_do_not_count() {
    let gate = gate(1, 2);
    let _only = gate.try_seat().unwrap();
    let [_first, second] = [0, 0].map(|worker| queue(&gate, worker));
    assert_eq!(Place::take(&gate, Some(0)).unwrap_err(), Full);
    drop(second);
    let _third = queue(&gate, 0);
    assert_eq!(Place::take(&gate, Some(0)).unwrap_err(), Full);
}

#[test]
fn who_was_called_for_nothing_does_not_lose_the_place() {
    let gate = gate(1, 2);
    let only = gate.try_seat().unwrap();
    let [mut first, mut second] = [0, 0].map(|worker| queue(&gate, worker));
    gate.call_all(0);
    assert_eq!([&mut first, &mut second].map(called), ["look", "look"]);
    second.take_again();
    first.take_again();
    drop(only);
    assert_eq!([&mut first, &mut second].map(called), ["seat", "waits"]);
}

#[test]
fn a_call_that_nobody_follows_is_for_others() {
    let gates = Gates::default();
    let worker = Arc::new(Notify::new());
    let gate = gates.keep(&"u".into(), SocketAddr::from(([10, 0, 0, 1], 80)), &limits(1, 10));
    let _only = gate.try_seat().unwrap();
    let [first, _second] = [0, 0].map(|worker| queue(&gate, worker));
    gates.tell(&worker);
    assert_eq!(gate.offer(0), Idle::Promised);
    drop(first);
    let mut told = std::pin::pin!(worker.notified());
    assert!(told.as_mut().enable(), "the worker looks after what it keeps idle");
}

#[test]
fn an_idle_connection_is_for_its_own_worker_now_and_then_for_the_first_in_the_line() {
    let gate = gate(1, 100);
    let _only = gate.try_seat().unwrap();
    assert_eq!(gate.offer(0), Idle::Kept);
    let mut far = queue(&gate, 1);
    let mut near: Vec<_> = (0..20).map(|_| queue(&gate, 0)).collect();
    for place in near.iter_mut().take(FAVOURS as usize) {
        assert_eq!(gate.offer(0), Idle::Promised);
        assert_eq!(called(place), "look");
    }
    assert_eq!(gate.offer(0), Idle::Wanted, "it is the first one's turn");
    assert_eq!(called(&mut far), "waits", "until the connection is closed");
    assert_eq!(gate.offer(0), Idle::Promised, "a favour again");
    let others = super::tests::gate(1, 100);
    let _seat = others.try_seat().unwrap();
    let _far = queue(&others, 1);
    assert_eq!(others.offer(0), Idle::Wanted, "it is of use to nobody here");
}

#[test]
fn who_wants_a_connection_of_its_own_is_called_to_none_of_others() {
    let gate = gate(1, 100);
    let seat = gate.try_seat().unwrap();
    let mut own = Place::take(&gate, None).unwrap();
    assert_eq!(gate.offer(0), Idle::Wanted, "the connection is closed for it");
    gate.call_all(0);
    assert_eq!(called(&mut own), "waits");
    drop(seat);
    assert_eq!(called(&mut own), "seat");
}

#[test]
fn a_raised_limit_and_another_one_without_a_limit() {
    let gates = Gates::default();
    let (owner, address) = ("u".into(), SocketAddr::from(([10, 0, 0, 1], 80)));
    let gate = gates.keep(&owner, address, &limits(1, 10));
    let _one = gate.try_seat().unwrap();
    assert!(gate.try_seat().is_none());
    let same = gates.keep(&owner, address, &limits(0, 10));
    assert!(Arc::ptr_eq(&gate, &same));
    assert!(
        gate.try_seat().is_none(),
        "what only may come to hold holds nobody back nor lets anybody through"
    );
    same.limit_to(&limits(0, 10));
    let _many: Vec<_> = (0..100).map(|_| gate.try_seat().unwrap()).collect();
}

#[test]
fn workers_are_told_when_somebody_waits() {
    let gates = Gates::default();
    let worker = Arc::new(Notify::new());
    gates.tell(&worker);
    let gate = gates.keep(&"u".into(), SocketAddr::from(([10, 0, 0, 1], 80)), &limits(1, 10));
    let told = || {
        let mut told = std::pin::pin!(worker.notified());
        told.as_mut().enable()
    };
    let _only = gate.try_seat().unwrap();
    assert!(!told());
    let _waiter = queue(&gate, 0);
    assert!(told());
}

/// Threads that take and give up seats as fast as they can: there are never too many, and nobody waits for ever.
#[test]
fn no_seat_is_lost_and_none_is_made_up() {
    let gate = gate(1, 1000);
    let most = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (gate, most) = (&gate, &most);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..2000 {
                    let seat = match gate.try_seat() {
                        Some(seat) => seat,
                        None => match runtime.block_on(queue(gate, worker).called()) {
                            Some(Call::Seat(seat)) => seat,
                            other => panic!("{other:?}"),
                        },
                    };
                    most.fetch_max(gate.counts().0, Ordering::SeqCst);
                    // So that others come while it has the seat.
                    std::thread::yield_now();
                    if round % 7 == 0 {
                        // One who leaves the line.
                        drop(queue(gate, worker));
                    }
                    drop(seat);
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert_eq!(gate.counts().0, 0);
}
