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

/// The median of the differences round by round.
pub fn median_difference(subject: &[f64], reference: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = subject.iter().zip(reference).map(|(a, b)| a - b).collect();
    median(&differences)
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
