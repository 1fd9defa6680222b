//! How often an issuer is asked, and what is used meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::milliseconds;
use super::*;
use crate::clock::Clock;

/// An issuer that answers with how often it was asked, or not at all.
#[derive(Default)]
struct Issuer {
    asked: AtomicU32,
    down: std::sync::atomic::AtomicBool,
}

struct Trial {
    issuer: Arc<Issuer>,
    clock: Clock,
    services: Arc<Services>,
    document: Arc<Published<u32>>,
}

const LIFETIME: Duration = Duration::from_secs(3600);
const COOL_DOWN: Duration = Duration::from_secs(30);

impl Trial {
    fn new() -> Self {
        Self::believing_failures(None)
    }

    fn believing_failures(negative: Option<Duration>) -> Self {
        let (issuer, clock) = (Arc::new(Issuer::default()), Clock::fixed(1_000_000));
        let asked = issuer.clone();
        let source: Source<u32> = Box::new(move || {
            let issuer = asked.clone();
            Box::pin(async move {
                let count = issuer.asked.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::task::yield_now().await;
                if issuer.down.load(Ordering::Relaxed) { Err("down".to_owned()) } else { Ok(count) }
            })
        });
        let freshness = Freshness { lifetime: LIFETIME, cool_down: COOL_DOWN, negative };
        let services = Services::new(1, clock.clone(), false);
        let document =
            Published::new(("issuers", "https://issuer.test/?secret"), source, freshness, &services);
        Self { issuer, clock, services, document: Arc::new(document) }
    }

    fn asked(&self) -> u32 {
        self.issuer.asked.load(Ordering::Relaxed)
    }

    fn set_down(&self, down: bool) {
        self.issuer.down.store(down, Ordering::Relaxed);
    }

    fn pass(&self, duration: Duration) {
        self.clock.advance(milliseconds(duration));
    }

    async fn content(&self) -> Result<u32, Failure> {
        self.document.obtain().await.map(|edition| edition.content)
    }

    /// Lets tasks that were begun come to their end.
    async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn many_who_need_it_ask_once() {
    let trial = Trial::new();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let document = trial.document.clone();
            tokio::spawn(async move { document.obtain().await.map(|edition| edition.content) })
        })
        .collect();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), Ok(1));
    }
    assert_eq!(trial.asked(), 1);
}

#[tokio::test]
async fn asking_goes_on_when_the_first_who_needs_it_leaves() {
    let trial = Trial::new();
    let document = trial.document.clone();
    let first = tokio::spawn(async move { document.obtain().await.is_ok() });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!((trial.content().await, trial.asked()), (Ok(1), 1));
}

#[tokio::test]
async fn an_old_one_is_used_while_a_newer_one_is_asked_for() {
    let trial = Trial::new();
    assert_eq!(trial.content().await, Ok(1));
    trial.pass(LIFETIME * 89 / 100);
    assert_eq!((trial.content().await, trial.asked()), (Ok(1), 1), "fresh");
    trial.pass(LIFETIME * 11 / 100);
    assert_eq!(trial.content().await, Ok(1), "nobody waits");
    trial.settle().await;
    assert_eq!((trial.content().await, trial.asked()), (Ok(2), 2));
}

#[tokio::test]
async fn old_ones_are_kept_while_the_issuer_is_down() {
    let trial = Trial::new();
    assert_eq!(trial.content().await, Ok(1));
    trial.set_down(true);
    for _ in 0..100 {
        trial.pass(LIFETIME);
        assert_eq!(trial.content().await, Ok(1));
        trial.settle().await;
    }
    trial.set_down(false);
    trial.pass(LIFETIME);
    assert_eq!(trial.content().await, Ok(1));
    trial.settle().await;
    assert_eq!(trial.content().await, Ok(102));
}

#[tokio::test]
async fn an_unknown_key_has_it_asked_for_at_most_once_per_cool_down() {
    let trial = Trial::new();
    let edition = trial.document.obtain().await.unwrap();
    for _ in 0..1_000 {
        assert!(trial.document.newer_than(edition.number).await.is_none());
    }
    assert_eq!(trial.asked(), 1, "it has been asked for a moment ago");
    trial.pass(COOL_DOWN);
    let newer = trial.document.newer_than(edition.number).await.unwrap();
    assert_eq!((newer.content, newer.number, trial.document.number()), (2, 2, 2));
    for _ in 0..1_000 {
        assert!(trial.document.newer_than(newer.number).await.is_none());
    }
    assert_eq!(trial.document.newer_than(1).await.map(|edition| edition.content), Some(2), "no need to ask");
    assert_eq!(trial.asked(), 2);
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_asked_again_after_growing_waits() {
    let trial = Trial::new();
    trial.set_down(true);
    for (wait, asked) in [(0, 1), (0, 1), (999, 1), (1, 2), (1_999, 2), (1, 3), (3_999, 3), (1, 4)] {
        trial.pass(Duration::from_millis(wait));
        assert_eq!(trial.content().await, Err(Failure::from("down")));
        assert_eq!(trial.asked(), asked, "after {wait} more milliseconds");
    }
    for _ in 0..20 {
        trial.pass(COOL_DOWN);
        let _still_down = trial.content().await;
    }
    assert_eq!(trial.asked(), 24, "no wait is longer than the cool-down");
    trial.set_down(false);
    trial.pass(COOL_DOWN);
    assert_eq!(trial.content().await, Ok(25));
}

#[test]
fn what_was_asked_by_a_worker_that_is_gone_is_asked_again() {
    let trial = Trial::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime();
    first.block_on(async {
        let obtaining = trial.document.obtain();
        tokio::select! { biased; _ = obtaining => {}, () = std::future::ready(()) => {} }
    });
    drop(first);
    assert_eq!(runtime().block_on(trial.content()), Ok(1));
}

#[tokio::test]
async fn it_can_be_said_for_how_long_it_is_believed_that_there_is_none() {
    let trial = Trial::believing_failures(Some(Duration::from_secs(5)));
    trial.set_down(true);
    for (wait, asked) in [(0, 1), (4_999, 1), (1, 2), (4_999, 2), (1, 3)] {
        trial.pass(Duration::from_millis(wait));
        assert_eq!(trial.content().await, Err(Failure::from("down")));
        assert_eq!(trial.asked(), asked, "after {wait} more milliseconds");
    }
}

#[tokio::test]
async fn the_metrics_of_a_document_are_those_of_every_cache() {
    let trial = Trial::new();
    let edition = trial.document.obtain().await.unwrap();
    assert_eq!(trial.content().await, Ok(1));
    assert!(trial.document.newer_than(edition.number).await.is_none());
    trial.set_down(true);
    trial.pass(LIFETIME);
    assert_eq!(trial.content().await, Ok(1));
    trial.settle().await;
    assert_eq!(trial.content().await, Ok(1));
    let mut told = Vec::new();
    trial.services.figures.each(|family, figures| {
        for (labels, value) in figures {
            assert_eq!(*labels, ["issuers", "https://issuer.test/"]);
            if family.name != "remembered_bytes" {
                told.push((family.name.trim_start_matches("remembered_"), *value));
            }
        }
    });
    let expected = [
        ("calls_total", 2),
        ("entries", 1),
        ("failures_total", 1),
        ("hits_total", 4),
        ("misses_total", 1),
        ("refreshes_total", 1),
        ("spared_total", 1),
        ("stale_total", 2),
    ];
    assert_eq!(told, expected);
}
