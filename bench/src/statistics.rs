//! Medians, percentiles and ratios of small series. Never looks at where the numbers come from.

/// The middle value, or the mean of the two middle values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median of the ratios round by round, so that a drift of the machine cancels out.
pub fn median_ratio(subject: &[f64], reference: &[f64]) -> Option<f64> {
    let usable = |pair: &(&f64, &f64)| *pair.1 > 0.0;
    let ratios: Vec<f64> = subject.iter().zip(reference).filter(usable).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// A median with what is known about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The median of what was seen.
    pub median: f64,
    /// Between these the true median lies with a certainty of at least 95 %; nothing is known from fewer than six values.
    pub within: Option<(f64, f64)>,
}

/// Estimates the median that values scatter about, whatever their distribution (by order statistics).
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let outside = outside(sorted.len());
    let within = outside.checked_sub(1).map(|index| (sorted[index], sorted[sorted.len() - outside]));
    Some(Estimate { median: median(values)?, within })
}

/// Which of the sorted values, counted from either end, bounds the interval: as many coins show heads less often than
/// this with a probability of at most 2.5 %.
fn outside(count: usize) -> usize {
    // Beyond this many the probability of no heads at all is none any more in floating point, and the curve a bell.
    if count > 1000 {
        let count = count as f64;
        return ((count - 1.96 * count.sqrt()) / 2.0) as usize;
    }
    let (mut probability, mut sum, mut heads) = (0.5_f64.powi(count as i32), 0.0, 0);
    while heads < count {
        sum += probability;
        if sum > 0.025 {
            break;
        }
        probability *= (count - heads) as f64 / (heads + 1) as f64;
        heads += 1;
    }
    heads
}

/// The mean.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The smallest value that at least `percent` of all values do not exceed (nearest rank).
pub fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    debug_assert!(sorted.is_sorted(), "percentile wants sorted values");
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_ignores_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_taken_per_round_before_the_median() {
        // The machine was twice as slow in round two; the ratio must not see it.
        assert_eq!(median_ratio(&[9.0, 18.0, 9.0], &[10.0, 20.0, 10.0]), Some(0.9));
    }

    #[test]
    fn a_round_without_a_reference_gives_no_ratio() {
        assert_eq!(median_ratio(&[9.0, 5.0], &[0.0, 10.0]), Some(0.5));
        assert_eq!(median_ratio(&[9.0], &[]), None);
    }

    #[test]
    fn an_interval_leaves_out_as_many_values_as_the_tables_of_the_sign_test_say() {
        // One more than the critical values of the two-sided sign test at 5 %.
        for (count, ranks) in [(0, 0), (5, 0), (6, 1), (9, 2), (20, 6), (50, 18)] {
            assert_eq!(outside(count), ranks, "{count}");
        }
        let close = outside(1000).abs_diff((1000.0_f64 / 2.0 - 0.98 * 1000.0_f64.sqrt()) as usize);
        assert!(close <= 1, "the two ways agree where one takes over from the other");
    }

    #[test]
    fn an_estimate_is_the_median_within_what_it_may_be() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(estimate(&values), Some(Estimate { median: 10.5, within: Some((6.0, 15.0)) }));
        assert_eq!(estimate(&[1.0, 2.0]), Some(Estimate { median: 1.5, within: None }));
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&values, 50.0), Some(50));
        assert_eq!(percentile(&values, 99.0), Some(99));
        assert_eq!(percentile(&values, 100.0), Some(100));
        assert_eq!(percentile(&[1, 2, 3], 50.0), Some(2), "rank 1.5 rounds up");
        assert_eq!(percentile(&[7], 1.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
    }
}
