//! Whether the canary does worse than the service, told apart from chance.
//!
//! Both figures are shares of requests: of errors, and of those that are slow, which are the ones that take longer than
//! the service's percentile times what is allowed. By the meaning of a percentile, a known share of the service's own
//! requests exceeds it; when more of the canary's are slow than that, the canary's percentile is beyond what is allowed.
//! Whether two shares differ by chance is told by Fisher's exact test (Fisher 1935), one-sided, which holds for few
//! requests as well as for many.

use super::rules::Rules;
use super::tally::Sums;

/// What the figures say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: too few requests, as the text says.
    TooFew(String),
    /// The canary is as good as it has to be.
    Good,
    /// It looks worse, as the text says, but that may be chance.
    Doubtful(String),
    /// It is worse, as the text says.
    Worse(String),
}

/// So many of so many.
#[derive(Debug, Clone, Copy)]
struct Share {
    some: u64,
    all: u64,
}

/// Compares the canary with the service.
pub fn judge(rules: &Rules, service: &Sums, canary: &Sums) -> Verdict {
    for (name, sums) in [("service", service), ("canary", canary)] {
        let (total, minimum) = (sums.total(), rules.minimum);
        if total < minimum {
            return Verdict::TooFew(format!("the {name} had {total} requests; {minimum} are needed"));
        }
    }
    match (errors(rules, service, canary), latency(rules, service, canary)) {
        (worse @ Verdict::Worse(_), _) | (_, worse @ Verdict::Worse(_)) => worse,
        (Verdict::Good, other) | (other, _) => other,
    }
}

fn errors(rules: &Rules, service: &Sums, canary: &Sums) -> Verdict {
    if canary.error_share() <= service.error_share() + rules.error_increase {
        return Verdict::Good;
    }
    let share = |sums: &Sums| Share { some: sums.failed, all: sums.total() };
    let (old, new) = (share(service), share(canary));
    let text = format!(
        "errors: {} at the canary, {} at the service; allowed are {:.2} percentage points more",
        new.words(),
        old.words(),
        rules.error_increase * 100.0,
    );
    settle(rules, new, old, text)
}

fn latency(rules: &Rules, service: &Sums, canary: &Sums) -> Verdict {
    let Some(ratio) = rules.latency_ratio else { return Verdict::Good };
    let percentile = |sums: &Sums| sums.percentile(rules.percentile);
    let (Some(usual), Some(found)) = (percentile(service), percentile(canary)) else { return Verdict::Good };
    let bound = (usual as f64 * ratio).max(usual as f64 + rules.latency_allowance);
    let beyond = 1.0 - rules.percentile;
    let new = Share { some: canary.slower_than(bound), all: canary.good() };
    if new.value() <= beyond {
        return Verdict::Good;
    }
    let old = Share { some: (service.good() as f64 * beyond).ceil() as u64, all: service.good() };
    let text = format!(
        "latency: the percentile {} is {} ms at the canary, {} ms at the service; allowed are {} ms, which {} took longer than",
        rules.percentile * 100.0,
        millis(found as f64),
        millis(usual as f64),
        millis(bound),
        new.words(),
    );
    settle(rules, new, old, text)
}

fn settle(rules: &Rules, new: Share, old: Share, text: String) -> Verdict {
    if chance(new, old) <= rules.significance { Verdict::Worse(text) } else { Verdict::Doubtful(text) }
}

/// Microseconds as milliseconds.
fn millis(micros: f64) -> f64 {
    (micros / 10.0).round() / 100.0
}

impl Share {
    fn value(self) -> f64 {
        self.some as f64 / self.all.max(1) as f64
    }

    fn words(self) -> String {
        format!("{} of {} requests ({:.2} %)", self.some, self.all, self.value() * 100.0)
    }
}

/// How probable it is to find so many in `new`, or more, if both are drawn from one urn (the upper tail of the
/// hypergeometric distribution).
fn chance(new: Share, old: Share) -> f64 {
    let (marked, all) = (new.some + old.some, new.all + old.all);
    let unmarked_old = old.all - old.some;
    let ways = choose(marked, new.some) + choose(all - marked, new.all - new.some) - choose(all, new.all);
    let mut term = ways.exp();
    let mut tail = term;
    for some in new.some..marked.min(new.all) {
        // By one more in `new`, and one less in `old`; the latter's unmarked ones make room.
        let fewer = (marked - some) as f64 * (new.all - some) as f64;
        let more = (some + 1) as f64 * (unmarked_old + (some - new.some) + 1) as f64;
        term *= fewer / more;
        tail += term;
        if term < tail * 1e-9 {
            break;
        }
    }
    tail
}

/// The logarithm of the number of ways to choose `some` of `all`.
fn choose(all: u64, some: u64) -> f64 {
    factorial(all) - factorial(some) - factorial(all - some)
}

/// The logarithm of `n!`: for more than a few by Stirling's series, right to ten digits.
fn factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + (std::f64::consts::TAU * x).ln() / 2.0 + series
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tally::{Sample, Side, Tally};
    use super::super::tests::rules;
    use super::{Share, Verdict, chance, judge};

    /// The figures of `failed` errors and of good requests that took so many milliseconds, each so often.
    fn verdict(automatic: &Value, service: (u64, &[(u64, u64)]), canary: (u64, &[(u64, u64)])) -> Verdict {
        let tally = Tally::new(1);
        for (side, (failed, times)) in [(Side::Service, service), (Side::Canary, canary)] {
            (0..failed).for_each(|_| tally.add(0, side, Sample::Failed));
            for (millis, often) in times {
                (0..*often).for_each(|_| tally.add(0, side, Sample::Took(millis * 1000)));
            }
        }
        let sums = tally.sums();
        judge(&rules(automatic), &sums.service, &sums.canary)
    }

    #[test]
    fn errors_count_beyond_the_increase_that_is_allowed_and_beyond_chance() {
        let of = |increase: f64, service: (u64, u64), canary: (u64, u64)| {
            let rules = json!({"max_error_increase": increase, "minimum_requests": 100});
            verdict(&rules, (service.0, &[(10, service.1)]), (canary.0, &[(10, canary.1)]))
        };
        assert_eq!(of(1.0, (0, 10_000), (90, 9_910)), Verdict::Good, "no chance, but allowed");
        assert!(matches!(of(0.5, (0, 10_000), (90, 9_910)), Verdict::Worse(_)));
        assert!(
            matches!(of(1.0, (0, 10_000), (2, 98)), Verdict::Doubtful(_)),
            "two of a hundred may be chance"
        );
        assert!(matches!(of(1.0, (0, 10_000), (3, 97)), Verdict::Worse(_)));
        assert!(matches!(of(1.0, (0, 10_000), (3, 96)), Verdict::TooFew(_)));
        assert!(matches!(of(1.0, (0, 99), (50, 50)), Verdict::TooFew(_)));
        assert_eq!(of(1.0, (50, 50), (0, 100)), Verdict::Good, "better is not worse");
    }

    #[test]
    fn latency_counts_beyond_the_ratio_and_beyond_the_allowance() {
        let of = |automatic: Value, service: &[(u64, u64)], canary: &[(u64, u64)]| {
            verdict(&automatic, (0, service), (0, canary))
        };
        let ratio = |ratio: f64| json!({"max_latency_ratio": ratio});
        let (usual, double) = ([(100, 200)], [(200, 200)]);
        assert!(matches!(of(ratio(1.5), &usual, &double), Verdict::Worse(_)));
        assert_eq!(of(ratio(2.5), &usual, &double), Verdict::Good);
        assert_eq!(of(ratio(0.0), &usual, &double), Verdict::Good, "not compared");
        // With the percentile 95 five slow ones of a hundred are usual: four are, eight may be chance, twenty are none.
        let slow = |slow: u64| of(ratio(1.5), &usual, &[(100, 200 - slow), (500, slow)]);
        assert_eq!(slow(8), Verdict::Good);
        assert!(matches!(slow(16), Verdict::Doubtful(_)));
        assert!(matches!(slow(40), Verdict::Worse(_)));
        // A service that is done in a millisecond.
        assert_eq!(of(json!({}), &[(1, 200)], &[(4, 200)]), Verdict::Good);
        assert!(matches!(
            of(json!({"latency_allowance": 0.001}), &[(1, 200)], &[(4, 200)]),
            Verdict::Worse(_)
        ));
    }

    #[test]
    fn the_worse_figure_decides() {
        let slow = verdict(&json!({}), (0, &[(100, 200)]), (4, &[(300, 196)]));
        assert!(matches!(&slow, Verdict::Worse(why) if why.starts_with("latency")), "{slow:?}");
        let failing = verdict(&json!({}), (0, &[(100, 200)]), (50, &[(100, 135), (300, 15)]));
        assert!(matches!(&failing, Verdict::Worse(why) if why.starts_with("errors")), "{failing:?}");
    }

    #[test]
    fn chances_are_those_of_the_tables() {
        // (of the canary, of the service, probability): the first is Fisher's tea, the others were counted out.
        let cases = [
            ((3, 4), (1, 4), 17.0 / 70.0),
            ((4, 4), (0, 4), 1.0 / 70.0),
            ((1, 1), (0, 9), 0.1),
            ((0, 5), (3, 5), 1.0),
            ((2, 10), (0, 10), 45.0 / 190.0),
        ];
        for ((some, all), (old_some, old_all), expected) in cases {
            let found = chance(Share { some, all }, Share { some: old_some, all: old_all });
            assert!((found - expected).abs() < 1e-6, "{some}/{all}, {old_some}/{old_all}: {found}");
        }
    }

    #[test]
    fn many_requests_are_counted_as_well_as_few() {
        let at = |some| chance(Share { some, all: 100_000 }, Share { some: 20_000, all: 2_000_000 });
        // One in a hundred on both sides: half of all tries have as many; 4 standard deviations more are rare.
        assert!((0.45..0.55).contains(&at(1_000)), "{}", at(1_000));
        assert!((1e-5..1e-4).contains(&at(1_126)), "{}", at(1_126));
    }
}
