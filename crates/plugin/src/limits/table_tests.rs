//! What a table of counters does, whatever room uses it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

fn table(limits: usize, most_buckets: usize) -> Table {
    Table::bounded(limits, Arc::default(), most_buckets)
}

fn fixed(ordinal: u32, limit: u32) -> Demand {
    Demand { ordinal, limit, late: 10, measure: Measure::Fixed }
}

fn take(table: &Table, key: u128, demand: Demand) -> Verdict {
    table.take(key, &[demand], 1, Refused::Forgotten)
}

fn of_window(ordinal: u32, count: u32) -> Pending {
    Pending { ordinal, count, owed: 0 }
}

/// Keys of one shard.
fn keys_of_a_shard(table: &Table, count: usize) -> Vec<u128> {
    let keys = (0..u32::MAX).map(|caller| table.key(0, &caller.to_be_bytes()));
    keys.filter(|key| (*key as usize).is_multiple_of(SHARDS)).take(count).collect()
}

#[test]
fn exactly_the_limit_is_admitted_whatever_the_number_of_threads() {
    let table = table(2, MOST_BUCKETS);
    let (threads, tries) = (8, 20_000);
    let demands = [fixed(7, 30_000), fixed(1, 12_345)];
    let (admitted, barrier) = (AtomicU32::new(0), Barrier::new(threads));
    let key = table.key(0, b"caller");
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..tries {
                    let verdict = table.take(key, &demands, 1, Refused::Forgotten);
                    admitted.fetch_add(u32::from(verdict.admitted), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 12_345);
    let counted = table.take(key, &demands, 1, Refused::Forgotten).count;
    assert_eq!(counted[..2], [12_345, 12_345], "refused requests are not counted");
}

#[test]
fn growing_under_many_keys_and_threads_forgets_nobody() {
    let table = table(1, MOST_BUCKETS);
    let admitted = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    for caller in 0..20_000u32 {
                        let key = table.key(1, &caller.to_be_bytes());
                        let verdict = take(&table, key, fixed(1, 2));
                        admitted.fetch_add(u32::from(verdict.admitted), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!((admitted.into_inner(), table.displaced.value()), (40_000, 0));
}

#[test]
fn a_full_table_reuses_what_is_over_and_then_displaces_the_least_used() {
    let table = table(1, 1);
    let keys = keys_of_a_shard(&table, WAYS * 2);
    for key in &keys[..WAYS] {
        take(&table, *key, fixed(1, 9));
    }
    for key in &keys[WAYS..] {
        take(&table, *key, fixed(30, 9));
        take(&table, *key, fixed(30, 9));
    }
    assert_eq!(table.displaced.value(), 0, "the windows of the first callers are over");
    assert_eq!(take(&table, keys[0], fixed(30, 9)).count[0], 1);
    assert_eq!(table.displaced.value(), 1);
    assert_eq!(take(&table, keys[1], fixed(30, 9)).count[0], 1);
    assert_eq!(table.displaced.value(), 2, "the newcomer with one request gave way");
    let kept = keys[WAYS..].iter().filter(|key| take(&table, **key, fixed(30, 9)).count[0] == 3).count();
    assert_eq!(kept, WAYS - 1, "those with two requests stayed, but for the first displaced");
}

#[test]
fn who_is_at_a_limit_stays_there_however_many_come() {
    let table = table(1, 1);
    let keys = keys_of_a_shard(&table, WAYS * 100);
    for key in &keys[..WAYS] {
        assert!(take(&table, *key, fixed(1, 1)).admitted);
    }
    let newcomers = keys[WAYS..].iter().filter(|key| take(&table, **key, fixed(1, 1)).admitted).count();
    assert_eq!(
        newcomers, 1,
        "they share one counter: neither free nor locked out for what others did before"
    );
    let set_free = keys[..WAYS].iter().filter(|key| take(&table, **key, fixed(1, 1)).admitted).count();
    assert_eq!(set_free, 0, "no limited caller was forgotten");
    assert_eq!(table.displaced.value(), WAYS as u64 * 99);
    assert!(take(&table, keys[WAYS], fixed(12, 1)).admitted, "in the next window there is room");
}

#[test]
fn a_request_that_took_long_to_come_in_does_not_reset_the_window() {
    let table = table(1, 1);
    let second = |ordinal| Demand { ordinal, limit: 1, late: 600, measure: Measure::Fixed };
    assert!(take(&table, 5, second(1000)).admitted);
    assert!(!take(&table, 5, second(970)).admitted);
    assert!(!take(&table, 5, second(1000)).admitted);
    assert!(take(&table, 5, second(1001)).admitted);
    assert!(take(&table, 5, second(1001 - 601)).admitted, "the clock has been set back");
}

#[test]
fn a_sliding_window_counts_what_is_left_of_the_one_before() {
    let table = table(1, 1);
    let at = |ordinal, left| Demand { ordinal, limit: 10, late: 1, measure: Measure::Sliding { left } };
    let admit = |demand| (0..20).filter(|_| take(&table, 5, demand).admitted).count();
    assert_eq!(admit(at(1, 1_000_000)), 10);
    assert_eq!(admit(at(2, 1_000_000)), 0, "no burst of twice the limit around the boundary");
    assert_eq!(admit(at(2, 750_000)), 2, "seven and a half of ten still count");
    assert_eq!(admit(at(2, 0)), 8);
    assert_eq!(admit(at(4, 1_000_000)), 10, "the window before that was empty");
}

#[test]
fn refused_requests_count_in_a_sliding_window_where_that_is_asked_for() {
    let table = table(1, 1);
    let at = |ordinal, left| Demand { ordinal, limit: 2, late: 1, measure: Measure::Sliding { left } };
    for _ in 0..10 {
        table.take(5, &[at(1, 0)], 1, Refused::Counted);
    }
    assert!(!table.take(5, &[at(2, 200_000)], 1, Refused::Counted).admitted, "two of ten");
    assert_eq!(table.take(5, &[at(2, 0)], 1, Refused::Counted).count[0], 2, "that one was counted too");
}

#[test]
fn an_even_stream_admits_a_burst_and_then_one_an_interval() {
    let table = table(1, 1);
    let interval = 100_000;
    let at = |now| Demand { ordinal: 0, limit: 3, late: 0, measure: Measure::Smooth { now, interval } };
    let start = 1_767_225_600_000_000;
    let admitted: Vec<bool> = (0..5).map(|_| take(&table, 5, at(start)).admitted).collect();
    assert_eq!(admitted, [true, true, true, false, false]);
    let verdict = take(&table, 5, at(start));
    assert_eq!((verdict.count[0], verdict.more[0]), (3, 100), "three ahead, room in 100 ms");
    assert!(!take(&table, 5, at(start + interval - 1)).admitted);
    assert!(take(&table, 5, at(start + interval)).admitted);
    assert!(!take(&table, 5, at(start + interval)).admitted);
    let later = at(start + 100 * interval);
    assert_eq!(
        (0..5).filter(|_| take(&table, 5, later).admitted).count(),
        3,
        "no more than the burst is saved up"
    );
}

#[test]
fn an_even_stream_survives_a_clock_that_is_set_back() {
    let table = table(1, 1);
    let interval = 100_000;
    let at = |now| Demand { ordinal: 0, limit: 3, late: 0, measure: Measure::Smooth { now, interval } };
    let start = 1_767_225_600_000_000;
    let admit = |now| (0..5).filter(|_| take(&table, 5, at(now)).admitted).count();
    assert_eq!(admit(start), 3);
    assert_eq!(admit(start - 300_000_000), 0, "a request whose body took minutes to come changes nothing");
    assert!(take(&table, 5, at(start + interval)).admitted);
    let back = start - 3_600_000_000;
    let refused = take(&table, 5, at(back));
    assert_eq!((refused.admitted, refused.more[0]), (false, 100), "as if the burst had just been used up");
    assert!(take(&table, 5, at(back + interval)).admitted);
    assert_eq!(admit(back + 100 * interval), 3);
}

#[test]
fn who_was_here_before_the_clock_was_set_back_gives_way_to_others() {
    let table = table(1, 1);
    let keys = keys_of_a_shard(&table, WAYS + 1);
    let at =
        |now| Demand { ordinal: 0, limit: 1, late: 0, measure: Measure::Smooth { now, interval: 1_000 } };
    let start = 1_767_225_600_000_000;
    keys[..WAYS].iter().for_each(|key| assert!(take(&table, *key, at(start)).admitted));
    assert!(take(&table, keys[WAYS], at(start - 3_600_000_000)).admitted);
    assert_eq!(table.displaced.value(), 0);
}

#[test]
fn what_others_counted_is_taken_over_and_what_came_meanwhile_is_kept() {
    let table = table(1, 1);
    for _ in 0..3 {
        take(&table, 5, fixed(1, 10));
    }
    assert_eq!(table.collect(5).unwrap()[0], of_window(1, 3));
    assert!(take(&table, 5, fixed(1, 10)).is_new);
    table.absorb(5, 0, 1, 8, 0);
    let verdict = take(&table, 5, fixed(1, 10));
    assert_eq!((verdict.admitted, verdict.count[0], verdict.is_new), (true, 10, false));
    assert!(!take(&table, 5, fixed(1, 10)).admitted);
    table.give_back(5, 0, of_window(1, 3), Algorithm::Fixed);
    assert_eq!(table.collect(5).unwrap()[0].count, 5);
}

#[test]
fn what_is_taken_back_is_not_told() {
    let (table, demand) = (table(1, 1), fixed(1, 10));
    (0..3).for_each(|_| assert!(take(&table, 5, demand).admitted));
    table.withdraw(5, &[demand]);
    assert_eq!(table.collect(5).unwrap()[0], of_window(1, 2));
    table.withdraw(5, &[demand]);
    assert_eq!(table.collect(5).unwrap()[0], of_window(1, 0), "it has been told already");
    assert_eq!(take(&table, 5, demand).count[0], 2);
}

#[test]
fn what_was_counted_before_the_window_ended_is_told_and_counts_here() {
    let table = table(1, 1);
    let at = |ordinal, left| Demand { ordinal, limit: 10, late: 1, measure: Measure::Sliding { left } };
    let admit = |demand| (0..20).filter(|_| take(&table, 5, demand).admitted).count();
    assert_eq!(admit(at(1, 0)), 10);
    assert_eq!(admit(at(2, 900_000)), 1, "nine of ten still count");
    assert!(!take(&table, 5, at(2, 900_000)).is_new, "it waits for the exchange already");
    assert_eq!(table.collect(5).unwrap()[0], Pending { ordinal: 2, count: 1, owed: 10 });
    table.absorb(5, 0, 2, 1, 0);
    assert_eq!(admit(at(2, 800_000)), 1, "that the store has lost them sets nobody free");
    // An exchange that began before the window ended tells of it what the others had counted by then.
    assert_eq!(admit(at(2, 0)), 8);
    assert_eq!(table.collect(5).unwrap()[0], of_window(2, 9));
    assert_eq!(admit(at(3, 1_000_000)), 0);
    table.absorb(5, 0, 2, 14, 10);
    assert_eq!(take(&table, 5, at(3, 1_000_000)).more[0], 14);
    assert_eq!(admit(at(5, 0)), 10, "of a window that does not count any more, nothing is owed");
    assert_eq!(table.collect(5).unwrap()[0], of_window(5, 10));
}

#[test]
fn what_could_not_be_told_stays_with_the_window_it_was_counted_in() {
    let told = |measure, algorithm, ordinal| {
        let (table, demand) = (table(1, 1), |ordinal| Demand { measure, ..fixed(ordinal, 100) });
        (0..90).for_each(|_| assert!(take(&table, 5, demand(1)).admitted));
        let pending = table.collect(5).unwrap()[0];
        take(&table, 5, demand(ordinal));
        table.give_back(5, 0, pending, algorithm);
        table.collect(5).unwrap()[0]
    };
    assert_eq!(told(Measure::Fixed, Algorithm::Fixed, 1), of_window(1, 91));
    assert_eq!(told(Measure::Fixed, Algorithm::Fixed, 2), of_window(2, 1), "what it counted is over with it");
    let slides = |ordinal| told(Measure::Sliding { left: 0 }, Algorithm::Sliding, ordinal);
    assert_eq!(slides(1), of_window(1, 91));
    assert_eq!(slides(2), Pending { owed: 90, ..of_window(2, 1) });
    assert_eq!(slides(3), of_window(3, 1));
    let smooth = Measure::Smooth { now: 1_767_225_600_000_000, interval: 1_000_000_000 };
    assert_eq!(told(smooth, Algorithm::Smooth { burst: 100 }, 2).count, 91, "an even stream has no windows");
}

#[test]
fn a_request_may_cost_more_than_one_and_the_last_one_more_than_is_left() {
    let table = table(2, 1);
    let demands = [fixed(1, 10), fixed(1, 5)];
    let take = |amount| table.take(5, &demands, amount, Refused::Forgotten);
    let last = (take(4), take(4)).1;
    assert_eq!((last.admitted, last.count[0], last.count[1]), (true, 8, 8));
    assert_eq!((take(1).admitted, take(1).count[1]), (false, 8));
    assert_eq!(table.collect(5).unwrap()[1], of_window(1, 8));
}

#[test]
fn who_only_looks_counts_nothing() {
    let table = table(1, 1);
    let look = |demand| table.look(5, &[demand]);
    assert!(look(fixed(1, 1)).admitted && table.collect(5).is_none(), "nor is a place taken");
    take(&table, 5, fixed(1, 1));
    assert_eq!((look(fixed(1, 1)).admitted, look(fixed(1, 1)).count[0]), (false, 1));
    assert_eq!((look(fixed(2, 1)).admitted, look(fixed(2, 1)).count[0]), (true, 0), "of the next window");
    assert!(!take(&table, 5, fixed(1, 1)).admitted, "and the window of the others is not over");
}

#[test]
fn what_is_learnt_is_never_less_than_what_is_known() {
    let table = table(1, 1);
    let learn = |ordinal, count| table.learn(5, &[fixed(ordinal, 10)], &[(count, 0)]);
    let count = |ordinal| table.look(5, &[fixed(ordinal, 10)]).count[0];
    learn(1, 6);
    assert_eq!(count(1), 6, "of a caller who was not known");
    take(&table, 5, fixed(1, 10));
    learn(1, 6);
    assert_eq!(count(1), 7, "the others do not know of the last one yet");
    assert_eq!(table.collect(5).unwrap()[0].count, 1);
    learn(1, 6);
    assert_eq!(count(1), 7, "it is on its way to them");
    learn(2, 1);
    learn(1, 9);
    assert_eq!(count(2), 1, "what was asked about a window that is over is not of this one");
}

#[test]
fn who_has_less_room_than_for_one_gives_way_to_nobody() {
    let table = table(1, 1);
    let keys = keys_of_a_shard(&table, WAYS + 1);
    let at = |ordinal, left| Demand { ordinal, limit: 2, late: 1, measure: Measure::Sliding { left } };
    for key in &keys[..WAYS] {
        take(&table, *key, at(1, 0));
        take(&table, *key, at(1, 0));
    }
    // One and a half of two: a share below the whole, and yet no room.
    assert!(!take(&table, keys[0], at(2, 750_000)).admitted);
    take(&table, keys[WAYS], at(2, 750_000));
    for key in &keys[..WAYS] {
        assert!(!take(&table, *key, at(2, 750_000)).admitted, "a limited caller has been forgotten");
    }
}

#[test]
fn who_is_at_the_limit_of_another_instance_with_the_same_counters_stays_there() {
    use super::super::limit::Span;

    let of =
        |algorithm, limit| -> Arc<[Limit]> { Arc::new([Limit::new(Span::Seconds(60), algorithm, limit)]) };
    let smooth = |burst| Algorithm::Smooth { burst };
    for (small, large) in [
        (of(Algorithm::Fixed, 2.0), of(Algorithm::Fixed, 1000.0)),
        (of(Algorithm::Sliding, 2.0), of(Algorithm::Sliding, 1000.0)),
        (of(smooth(2), 600.0), of(smooth(1000), 6.0)),
    ] {
        let table = table(1, 1);
        table.hold(&small);
        table.hold(&large);
        let keys = keys_of_a_shard(&table, WAYS * 2);
        let now = 1_767_225_600_000;
        let ask = |limits: &Arc<[Limit]>, key| {
            let limit = &limits[0];
            take(&table, key, limit.demand(limit.window(now), now)).admitted
        };
        for key in &keys[..WAYS] {
            assert_eq!([ask(&small, *key), ask(&small, *key), ask(&small, *key)], [true, true, false]);
        }
        for key in &keys[WAYS..] {
            ask(&large, *key);
        }
        for key in &keys[..WAYS] {
            assert!(!ask(&small, *key), "a limited caller has been forgotten: {small:?}");
        }
        // Once nobody has the small limit, its callers are like others.
        drop(small);
        ask(&large, keys[WAYS]);
        assert_eq!(table.look(keys[WAYS], &[large[0].demand(large[0].window(now), now)]).count[0], 1);
    }
}
