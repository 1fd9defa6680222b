//! Questions and answers on a clock that is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::{Digest, KeyParts, Learned, Memory, Outcome, Settings};
use crate::clock::Clock;
use crate::figures::Figures;
use crate::services::Services;

const START_MS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

struct Lab {
    runtime: Runtime,
    services: Arc<Services>,
    memory: Arc<Memory<String>>,
    asked: Arc<AtomicUsize>,
}

impl Lab {
    fn new(settings: &Settings) -> Self {
        let services = Services::new(1, Clock::fixed(START_MS), false);
        let memory = Memory::open(&services, "test", settings);
        let runtime = Builder::new_current_thread().build().unwrap();
        Self { runtime, services, memory, asked: Arc::default() }
    }

    fn fetch(&self, key: &str, answer: Result<Learned<String>, &str>) -> Outcome<String> {
        let (asked, answer) = (self.asked.clone(), answer.map_err(str::to_owned));
        self.runtime.block_on(self.memory.fetch(digest(key), async move {
            asked.fetch_add(1, Ordering::Relaxed);
            answer
        }))
    }

    fn look(&self, key: &str) -> Option<String> {
        self.memory.look(&digest(key)).map(|outcome| match outcome {
            Ok(value) => value.to_string(),
            Err(failure) => format!("failed: {failure}"),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn pass(&self, time: Duration) {
        self.services.clock.advance(super::milliseconds(time));
    }

    /// Hits, misses, calls and failures.
    fn figures(&self) -> [u64; 4] {
        let counts = &self.memory.counts;
        [&counts.hits, &counts.misses, &counts.calls, &counts.failures].map(|figure| figure.value())
    }
}

fn digest(key: &str) -> Digest {
    Digest::of([key.as_bytes()])
}

fn learned(value: &str) -> Learned<String> {
    Learned::new(value.to_owned(), SECOND * 10)
}

#[test]
fn what_was_learned_holds_for_its_time_and_not_longer() {
    let lab = Lab::new(&Settings::default());
    assert_eq!(lab.look("a"), None);
    assert_eq!(*lab.fetch("a", Ok(learned("one"))).unwrap(), "one");
    lab.pass(Duration::from_millis(9_999));
    assert_eq!(lab.look("a").as_deref(), Some("one"));
    assert_eq!(*lab.fetch("a", Ok(learned("two"))).unwrap(), "one");
    assert_eq!(lab.look("b"), None);
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.look("a"), None);
    assert_eq!(*lab.fetch("a", Ok(learned("two"))).unwrap(), "two");
    assert_eq!((lab.asked(), lab.figures()), (2, [2, 2, 2, 0]));
    lab.memory.forget(&digest("a"));
    assert_eq!(lab.look("a"), None);
}

#[test]
fn nothing_holds_beyond_its_own_end() {
    let lab = Lab::new(&Settings::default());
    let ends = learned("one").stale(SECOND * 100).until(START_MS + 3_000);
    lab.fetch("a", Ok(ends)).unwrap();
    lab.pass(Duration::from_millis(2_999));
    assert_eq!(lab.look("a").as_deref(), Some("one"));
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.look("a"), None);
    assert!(lab.fetch("a", Err("down")).is_err());
    assert_eq!(*lab.fetch("b", Ok(Learned::new("now".to_owned(), Duration::ZERO))).unwrap(), "now");
    assert_eq!(lab.look("b"), None);
}

#[test]
fn nothing_holds_longer_because_the_clock_is_set_back() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("kept", Ok(learned("one").stale(SECOND * 5))).unwrap();
    lab.fetch("ends", Ok(learned("two").stale(SECOND * 5).until(START_MS + 9_000))).unwrap();
    lab.fetch("failed", Err("down")).unwrap_err();
    lab.services.clock.set(START_MS - 600_000);
    let holds_for = |key| lab.memory.holds_for(&digest(key)).unwrap();
    assert_eq!(["failed", "ends", "kept"].map(holds_for), [SECOND, SECOND * 9, SECOND * 10]);
    lab.pass(SECOND);
    assert_eq!(lab.look("failed"), None);
    lab.pass(Duration::from_millis(7_999));
    assert_eq!(["ends", "kept"].map(|key| lab.look(key)), [Some("two".to_owned()), Some("one".to_owned())]);
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.look("ends"), None);
    assert!(lab.fetch("ends", Err("down")).is_err(), "its own end is that of its use, too");
    lab.pass(SECOND);
    assert_eq!(lab.look("kept"), None);
    assert_eq!(*lab.fetch("kept", Err("down")).unwrap(), "one");
    assert!(lab.memory.within(&digest("kept"), SECOND * 10).is_some());
    lab.pass(SECOND * 5);
    assert!(lab.memory.within(&digest("kept"), SECOND * 10).is_none());
    assert!(lab.fetch("kept", Err("down")).is_err());
}

#[test]
fn an_end_is_kept_when_the_clock_is_set_forward_and_other_times_do_not_get_shorter() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("kept", Ok(learned("one"))).unwrap();
    lab.fetch("ends", Ok(learned("two").stale(SECOND * 5).until(START_MS + 3_600_000))).unwrap();
    lab.services.clock.set(START_MS + 3_599_999);
    assert_eq!(["ends", "kept"].map(|key| lab.look(key)), [Some("two".to_owned()), Some("one".to_owned())]);
    assert_eq!(lab.memory.holds_for(&digest("ends")), Some(Duration::from_millis(1)));
    lab.services.clock.set(START_MS + 3_600_000);
    assert_eq!(["ends", "kept"].map(|key| lab.look(key)), [None, Some("one".to_owned())]);
    assert!(lab.fetch("ends", Err("down")).is_err(), "it is not used while its source is down");
}

#[test]
fn a_failure_is_believed_for_a_moment() {
    let lab = Lab::new(&Settings::default());
    assert_eq!(lab.fetch("a", Err("down")).unwrap_err().to_string(), "down");
    assert_eq!(lab.look("a").as_deref(), Some("failed: down"));
    assert!(lab.fetch("a", Ok(learned("one"))).is_err());
    lab.pass(SECOND);
    assert_eq!(*lab.fetch("a", Ok(learned("one"))).unwrap(), "one");
    assert_eq!((lab.asked(), lab.figures()), (2, [2, 2, 2, 1]));
}

#[test]
fn what_is_old_is_used_while_its_source_is_down_where_that_is_wanted() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("kept", Ok(learned("one").stale(SECOND * 20))).unwrap();
    lab.fetch("not", Ok(learned("one"))).unwrap();
    lab.pass(SECOND * 15);
    assert_eq!(*lab.fetch("kept", Err("down")).unwrap(), "one");
    assert!(lab.fetch("not", Err("down")).is_err());
    // Nobody asks again for a moment.
    assert_eq!(lab.look("kept").as_deref(), Some("one"));
    lab.pass(SECOND);
    assert_eq!(lab.look("kept"), None);
    assert_eq!(*lab.fetch("kept", Err("down")).unwrap(), "one");
    lab.pass(SECOND * 14);
    assert!(lab.fetch("kept", Err("down")).is_err());
}

#[test]
fn many_that_ask_at_once_make_one_call_even_if_the_first_leaves() {
    let lab = Lab::new(&Settings::default());
    let (gate, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ask = |value: &'static str| {
        let (asked, gate, begun) = (lab.asked.clone(), gate.clone(), begun.clone());
        async move {
            asked.fetch_add(1, Ordering::Relaxed);
            begun.notify_one();
            gate.notified().await;
            Ok(learned(value))
        }
    };
    lab.runtime.block_on(async {
        let leaves = tokio::spawn({
            let (memory, ask) = (lab.memory.clone(), ask("first"));
            async move { memory.fetch(digest("a"), ask).await }
        });
        begun.notified().await;
        leaves.abort();
        let (second, third) =
            (lab.memory.fetch(digest("a"), ask("2")), lab.memory.fetch(digest("a"), ask("3")));
        let open = async { gate.notify_one() };
        let (second, third, ()) = tokio::join!(second, third, open);
        assert_eq!([second.unwrap().to_string(), third.unwrap().to_string()], ["first", "first"]);
    });
    assert_eq!((lab.asked(), lab.figures()), (1, [0, 3, 1, 0]));
}

#[test]
fn a_question_that_is_given_up_can_be_asked_again() {
    let lab = Lab::new(&Settings { entries: 10, most_asked: 1, ..Settings::default() });
    let gone = Builder::new_current_thread().build().unwrap();
    gone.block_on(async {
        let asking = lab.memory.fetch(digest("a"), std::future::pending());
        tokio::select! { biased; _ = asking => {}, () = tokio::task::yield_now() => {} }
        // While it is under way there is no room for another.
        let other = lab.memory.fetch(digest("b"), async { Ok(learned("b")) }).await;
        assert!(other.unwrap_err().to_string().contains("too many"));
    });
    drop(gone);
    assert_eq!(*lab.fetch("c", Ok(learned("c"))).unwrap(), "c");
    assert_eq!(*lab.fetch("a", Ok(learned("a"))).unwrap(), "a");
}

#[test]
fn whoever_has_reason_to_can_have_it_renewed_but_not_at_will() {
    let lab = Lab::new(&Settings::default());
    let renew = |value: &'static str| {
        let renewed = lab.memory.renew(digest("a"), SECOND * 5, async move { Ok(learned(value)) });
        lab.runtime.block_on(renewed).unwrap().to_string()
    };
    assert_eq!((renew("one"), renew("two")), ("one".to_owned(), "one".to_owned()));
    lab.pass(Duration::from_millis(5_001));
    assert_eq!(lab.look("a").as_deref(), Some("one"));
    assert_eq!(renew("three"), "three");
}

#[test]
fn nobody_who_has_given_no_answer_is_asked_again_at_once_whatever_the_reason() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("a", Ok(learned("one").stale(SECOND * 20))).unwrap();
    let renew = |answer: Result<Learned<String>, &str>| {
        let (asked, answer) = (lab.asked.clone(), answer.map_err(str::to_owned));
        let ask = async move {
            asked.fetch_add(1, Ordering::Relaxed);
            answer
        };
        lab.runtime.block_on(lab.memory.renew(digest("a"), SECOND * 5, ask)).unwrap().to_string()
    };
    lab.pass(SECOND * 6);
    assert_eq!((renew(Err("down")), lab.asked()), ("one".to_owned(), 2));
    assert_eq!((renew(Ok(learned("two"))), lab.asked()), ("one".to_owned(), 2));
    lab.pass(SECOND);
    assert_eq!((renew(Ok(learned("two"))), lab.asked()), ("two".to_owned(), 3));
    let counts = &lab.memory.counts;
    let told = [&counts.refreshes, &counts.spared, &counts.stale].map(|figure| figure.value());
    assert_eq!(told, [2, 1, 1]);
}

#[test]
fn a_failure_is_believed_longer_each_time_up_to_a_bound() {
    let pauses = Settings { longest_pause: SECOND * 5, ..Settings::default() };
    let lab = Lab::new(&pauses);
    for (wait_ms, asked) in
        [(0, 1), (999, 1), (1, 2), (1_999, 2), (1, 3), (3_999, 3), (1, 4), (4_999, 4), (1, 5)]
    {
        lab.pass(Duration::from_millis(wait_ms));
        assert!(lab.fetch("a", Err("down")).is_err());
        assert_eq!(lab.asked(), asked, "after {wait_ms} more milliseconds");
    }
    lab.pass(SECOND * 5);
    lab.fetch("a", Ok(learned("one"))).unwrap();
    lab.pass(SECOND * 10);
    assert!(lab.fetch("a", Err("down")).is_err());
    lab.pass(SECOND);
    assert!(lab.fetch("a", Ok(learned("two"))).is_ok(), "the next time begins with the shortest");
}

#[test]
fn what_is_old_is_at_hand_while_a_newer_one_is_asked_for() {
    let lab = Lab::new(&Settings::default());
    let at_hand = |answer: Result<Learned<String>, &str>| {
        let (asked, answer) = (lab.asked.clone(), answer.map_err(str::to_owned));
        lab.runtime.block_on(async {
            let found = lab.memory.at_hand(digest("a"), || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                answer
            });
            tokio::task::yield_now().await;
            found.map(|value| value.to_string())
        })
    };
    assert_eq!((at_hand(Ok(learned("no"))), lab.asked()), (None, 0), "what is not there is waited for");
    lab.fetch("a", Ok(learned("one").stale(SECOND * 100))).unwrap();
    assert_eq!((at_hand(Ok(learned("no"))).as_deref(), lab.asked()), (Some("one"), 1));
    lab.pass(SECOND * 10);
    assert_eq!((at_hand(Err("down")).as_deref(), lab.asked()), (Some("one"), 2));
    assert_eq!((at_hand(Ok(learned("two"))).as_deref(), lab.asked()), (Some("one"), 2), "a moment ago");
    lab.pass(SECOND);
    assert_eq!((at_hand(Ok(learned("two"))).as_deref(), lab.asked()), (Some("one"), 3));
    assert_eq!((at_hand(Ok(learned("no"))).as_deref(), lab.asked()), (Some("two"), 3));
}

#[test]
fn what_is_old_is_asked_for_once_however_many_have_it_at_hand() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("a", Ok(learned("one").stale(SECOND * 100))).unwrap();
    lab.pass(SECOND * 10);
    lab.runtime.block_on(async {
        for _ in 0..3 {
            let asked = lab.asked.clone();
            let found = lab.memory.at_hand(digest("a"), || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            });
            assert_eq!(found.as_deref().map(String::as_str), Some("one"));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(lab.asked(), 2);
}

#[test]
fn what_was_found_out_elsewhere_is_taken_in_and_has_times_of_its_own() {
    let lab = Lab::new(&Settings::default());
    let take_in = |answer: Result<Learned<String>, &str>, pause| {
        let answer = lab.memory.take_in(digest("a"), answer.map_err(str::to_owned), pause);
        answer.map(|value| value.to_string()).map_err(|failure| failure.to_string())
    };
    let holds_for = || lab.memory.holds_for(&digest("a"));
    assert_eq!(holds_for(), None);
    assert_eq!(take_in(Err("down"), Some(SECOND * 3)), Err("down".to_owned()));
    assert_eq!(holds_for(), Some(SECOND * 3));
    assert_eq!(take_in(Ok(learned("one").stale(SECOND * 20)), None), Ok("one".to_owned()));
    assert_eq!(holds_for(), Some(SECOND * 10));
    lab.pass(SECOND * 15);
    assert_eq!(holds_for(), Some(Duration::ZERO));
    let within = |seconds| lab.memory.within(&digest("a"), SECOND * seconds).map(|value| value.to_string());
    assert_eq!((within(14), within(15).as_deref()), (None, Some("one")));
    assert_eq!(take_in(Err("down"), Some(SECOND * 2)), Ok("one".to_owned()), "it may still be used");
    assert_eq!((holds_for(), within(14)), (Some(SECOND * 2), None), "it was not learned anew");
    assert_eq!(lab.figures(), [0, 3, 3, 2]);
}

#[test]
fn a_memory_that_was_there_before_the_metrics_is_shown_among_them() {
    let memory =
        Memory::<String>::new(("early", "it"), &Settings::default(), Clock::fixed(1), &Figures::default());
    let _known = memory.learn(digest("a"), learned("one"));
    let figures = Figures::default();
    memory.show_in(&figures);
    let mut shown = Vec::new();
    figures.each(|family, values| {
        shown.extend(values.iter().map(|(labels, value)| (family.name, labels.join(" "), *value)));
    });
    assert_eq!(shown.len(), 9);
    assert!(shown.contains(&("remembered_misses_total", "early it".to_owned(), 1)), "{shown:?}");
    assert!(shown.contains(&("remembered_entries", "early it".to_owned(), 1)), "{shown:?}");
}

#[test]
fn chance_shortens_a_time_a_little_and_not_below_what_it_is_at_least() {
    let times: Vec<u64> = (0..1_000).map(|_| learned("a").jittered(Duration::ZERO).fresh_ms).collect();
    assert!(times.iter().all(|time| (9_000..=10_000).contains(time)), "{times:?}");
    assert!(times.iter().any(|time| *time < 9_500) && times.iter().any(|time| *time > 9_500));
    assert!((0..1_000).all(|_| learned("a").jittered(SECOND * 12).fresh_ms == 12_000));
}

#[test]
fn a_memory_is_bounded_in_entries_and_in_bytes() {
    let lab = Lab::new(&Settings { entries: 3, bytes: 100_000, ..Settings::default() });
    for key in ["a", "b", "c"] {
        lab.fetch(key, Ok(learned(key))).unwrap();
    }
    assert!(lab.look("a").is_some());
    lab.fetch("d", Ok(learned("d"))).unwrap();
    let held = ["a", "b", "c", "d"].map(|key| lab.look(key).is_some());
    assert_eq!(held, [true, false, true, true]);
    lab.fetch("large", Ok(learned("large").holding(98_000))).unwrap();
    let held = ["a", "b", "c", "d", "large"].map(|key| lab.look(key).is_some());
    assert_eq!(held, [false, false, true, true, true]);
    lab.fetch("more", Ok(learned("more").holding(50_000))).unwrap();
    assert_eq!(["c", "d", "large", "more"].map(|key| lab.look(key).is_some()), [false, false, false, true]);
}

#[test]
fn a_memory_outlives_a_reload() {
    let lab = Lab::new(&Settings::default());
    lab.fetch("a", Ok(learned("one"))).unwrap();
    let again = Memory::<String>::open(&lab.services, "test", &Settings::default());
    assert!(again.look(&digest("a")).is_some());
    let other = Memory::<String>::open(&lab.services, "other", &Settings::default());
    assert!(other.look(&digest("a")).is_none());
}

#[test]
fn what_is_asked_alone_is_only_counted() {
    let lab = Lab::new(&Settings::default());
    let outcome = lab.runtime.block_on(lab.memory.alone(async { Ok(learned("one")) }));
    assert_eq!((outcome.unwrap().as_str(), lab.figures()), ("one", [0, 1, 1, 0]));
    let outcome = lab.runtime.block_on(lab.memory.alone(async { Err("down".to_owned()) }));
    assert_eq!((outcome.unwrap_err().to_string().as_str(), lab.figures()), ("down", [0, 2, 2, 1]));
}

#[test]
fn parts_of_a_key_do_not_run_into_one_another() {
    assert_ne!(Digest::of([&b"ab"[..], b"c"]), Digest::of([&b"a"[..], b"bc"]));
    assert_ne!(Digest::of([&b"ab"[..]]), Digest::of([&b"ab"[..], b""]));
    assert_eq!(Digest::of([&b"ab"[..], b"c"]), Digest::of([&b"ab"[..], b"c"]));
    let key = |parts: &[&[u8]]| {
        let mut key = KeyParts::default();
        parts.iter().for_each(|part| key.add(part));
        key.digest()
    };
    let all: [&[&[u8]]; 9] = [
        &[],
        &[b""],
        &[b"ab", b"c"],
        &[b"a", b"bc"],
        &[b"ab", b"c", b""],
        &[b"a token of some length"],
        &[b"a token of some length\0"],
        &[b"a token of some lengti"],
        &[b"A token of some length"],
    ];
    for (place, parts) in all.iter().enumerate() {
        let same: Vec<usize> = (0..all.len()).filter(|other| key(all[*other]) == key(parts)).collect();
        assert_eq!(same, [place]);
    }
}

#[test]
fn what_is_remembered_is_measured_and_goes_with_its_memory() {
    let bounds = Settings { entries: 2, ..Settings::default() };
    let lab = Lab::new(&bounds);
    let sizes = || {
        let mut sizes = Vec::new();
        lab.services.figures.each(|family, values| {
            if family.kind == crate::figures::Kind::Gauge {
                sizes.push((family.name, values[0].1));
            }
        });
        sizes
    };
    for key in ["one", "two", "three"] {
        let _known = lab.fetch(key, Ok(Learned::new(key.to_owned(), SECOND).holding(1000)));
    }
    let held = lab.memory.counts.sizes[1].value();
    assert!(held > 2000);
    assert_eq!(sizes(), [("remembered_bytes", held), ("remembered_entries", 2)], "two at most");
    let _failed = lab.fetch("three", Err("down"));
    lab.memory.forget(&digest("two"));
    assert_eq!(lab.memory.counts.sizes[0].value(), 1);
    let [entries, bytes] = lab.memory.counts.sizes.clone();
    drop(lab);
    assert_eq!((entries.value(), bytes.value()), (0, 0));
}
