//! Figures that rooms, and the engine, publish among the metrics, as `biplane_<name>`, most with labels, bounded in number.
//!
//! Whoever publishes one asks for it when it is built and holds it; changing it is an atomic store. Figures go when nobody
//! holds them any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Figures of one family at most; those beyond are kept but not shown.
pub const MOST_OF_A_FAMILY: usize = 10_000;

/// What a figure means to who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// A level.
    Gauge,
}

/// Figures of one name.
#[derive(Debug)]
pub struct Family {
    /// The metric's name without the prefix `biplane_`; that of a counter ends in `_total`.
    pub name: &'static str,
    /// The same in words.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
}

impl Family {
    /// A count without labels: one for the process.
    #[must_use]
    pub const fn count(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, labels: &[] }
    }
}

/// One figure of a family.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Moves a level that several have a part in: one part goes from `before` to `after`.
    pub fn shift(&self, before: u64, after: u64) {
        self.0.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

type Labelled = BTreeMap<Vec<String>, Arc<Figure>>;

/// All figures, by family and then by the values of the labels.
#[derive(Default)]
pub struct Figures(Mutex<BTreeMap<&'static str, (&'static Family, Labelled)>>);

impl Figures {
    /// The figure of `family` whose labels have these values, in the order of [`Family::labels`]; from zero if it is
    /// new. For the time when a room is built.
    #[must_use]
    pub fn of(&self, family: &'static Family, labels: &[&str]) -> Arc<Figure> {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, figures) = families.entry(family.name).or_insert_with(|| (family, Labelled::new()));
        let labels: Vec<String> = labels.iter().map(|value| (*value).to_owned()).collect();
        if let Some(known) = figures.get(&labels) {
            return known.clone();
        }
        let made = Arc::new(Figure::default());
        if figures.len() < MOST_OF_A_FAMILY {
            figures.insert(labels, made.clone());
        }
        made
    }

    /// Shows a figure that was there before these figures, under the labels with these values, in place of any other.
    pub fn show(&self, family: &'static Family, labels: &[&str], figure: &Arc<Figure>) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, figures) = families.entry(family.name).or_insert_with(|| (family, Labelled::new()));
        let labels: Vec<String> = labels.iter().map(|value| (*value).to_owned()).collect();
        if figures.len() < MOST_OF_A_FAMILY || figures.contains_key(&labels) {
            figures.insert(labels, figure.clone());
        }
    }

    /// Shows every family with the values of its labels and its figures, in order.
    pub fn each(&self, mut show: impl FnMut(&'static Family, &[(&[String], u64)])) {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, figures) in families.values() {
            let values: Vec<(&[String], u64)> =
                figures.iter().map(|(labels, figure)| (labels.as_slice(), figure.value())).collect();
            show(family, &values);
        }
    }

    /// Forgets the figures that no room holds.
    pub(crate) fn sweep(&self) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        families.retain(|_, (_, figures)| {
            figures.retain(|_, figure| Arc::strong_count(figure) > 1);
            !figures.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static STATES: Family = Family { name: "states", help: "States", kind: Kind::Gauge, labels: &["of"] };

    fn shown(figures: &Figures) -> Vec<(String, u64)> {
        let mut shown = Vec::new();
        figures.each(|family, values| {
            shown.extend(
                values.iter().map(|(labels, value)| (format!("{} {}", family.name, labels[0]), *value)),
            );
        });
        shown
    }

    #[test]
    fn a_figure_is_shared_by_its_labels_and_goes_with_its_holders() {
        let figures = Figures::default();
        let (one, same, other) =
            (figures.of(&STATES, &["a"]), figures.of(&STATES, &["a"]), figures.of(&STATES, &["b"]));
        one.set(2);
        same.add(1);
        assert_eq!(shown(&figures), [("states a".to_owned(), 3), ("states b".to_owned(), 0)]);
        drop((one, other));
        figures.sweep();
        assert_eq!(shown(&figures), [("states a".to_owned(), 3)]);
    }

    #[test]
    fn a_family_is_bounded() {
        let figures = Figures::default();
        let held: Vec<_> =
            (0..=MOST_OF_A_FAMILY).map(|number| figures.of(&STATES, &[&number.to_string()])).collect();
        assert_eq!((held.len(), shown(&figures).len()), (MOST_OF_A_FAMILY + 1, MOST_OF_A_FAMILY));
    }
}
