//! What was lost, whether it could have been kept, and the table that says so.

use super::traffic::Kind;
use std::collections::BTreeMap;

/// Where the story is: a phase, and whether what it begins with has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub phase: usize,
    pub settled: bool,
}

impl Moment {
    pub fn pack(self) -> usize {
        self.phase * 2 + usize::from(self.settled)
    }

    pub fn unpack(packed: usize) -> Self {
        Self { phase: packed / 2, settled: packed % 2 == 1 }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    Broken(String),
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub kind: usize,
    pub number: u64,
    pub begun: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
}

impl Sent {
    fn is_answered(&self) -> bool {
        self.outcome == Outcome::Status(200)
    }

    fn result(&self) -> String {
        match &self.outcome {
            Outcome::Status(status) => status.to_string(),
            Outcome::Broken(error) => error.clone(),
        }
    }
}

/// A phase of the story, and what may be lost in it.
pub(super) struct Phase {
    pub name: &'static str,
    pub excuses: &'static [Excuse],
}

/// Why a request may be lost.
pub(super) struct Excuse {
    /// `METHOD PATH` of the requests.
    pub kind: &'static str,
    pub when: When,
    /// The only status that is excused.
    pub status: u16,
    /// At most so many in the phase.
    pub most: usize,
    pub reason: &'static str,
}

/// Which requests of a phase an excuse is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Those that had begun when what the phase begins with happened.
    UnderWay,
    /// All that were there in the phase.
    Meanwhile,
}

impl Excuse {
    fn fits(&self, phase: usize, name: &str, sent: &Sent) -> bool {
        let early = sent.begun < Moment { phase, settled: true };
        self.kind == name
            && Outcome::Status(self.status) == sent.outcome
            && (self.when == When::Meanwhile || early)
    }
}

/// What the run comes to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub table: String,
    /// What could have been kept and was not.
    pub problems: Vec<String>,
}

/// Judges the requests of a story.
pub(super) fn judge(phases: &[&Phase], kinds: &[Kind], sent: &[Sent]) -> Verdict {
    let mut verdict = Verdict::default();
    let lost = sent.iter().filter(|one| !one.is_answered()).count();
    let mut lines = vec![format!("{:<44} {:>6} {:>9} {:>6}", "", "sent", "answered", "lost")];
    for (number, phase) in phases.iter().enumerate() {
        let here: Vec<&Sent> = sent.iter().filter(|one| one.ended.phase == number).collect();
        let gone: Vec<&Sent> = here.iter().filter(|one| !one.is_answered()).copied().collect();
        lines.push(format!(
            "{:<44} {:>6} {:>9} {:>6}",
            phase.name,
            here.len(),
            here.len() - gone.len(),
            gone.len()
        ));
        let mut reasons: BTreeMap<(String, String, &str), (usize, usize)> = BTreeMap::new();
        for one in gone {
            let name = kinds[one.kind].name();
            // It may have been there in an earlier phase as well.
            let reason = (one.begun.phase..=number)
                .flat_map(|phase| phases[phase].excuses.iter().map(move |excuse| (phase, excuse)))
                .find(|(phase, excuse)| excuse.fits(*phase, &name, one))
                .map_or((LOST, 0), |(_, excuse)| (excuse.reason, excuse.most));
            reasons.entry((name, one.result(), reason.0)).or_insert((0, reason.1)).0 += 1;
        }
        for ((name, result, reason), (count, most)) in reasons {
            lines.push(format!("    {count} x {name}: {result}, {reason}"));
            if count > most {
                verdict.problems.push(format!("{}: {count} x {name}: {result}, {reason}", phase.name));
            }
        }
    }
    let kept =
        if verdict.problems.is_empty() { "none that could be kept" } else { "some that could be kept" };
    verdict.table = format!("chaos: {} requests, {lost} lost, {kept}\n{}\n", sent.len(), lines.join("\n"));
    verdict
}

const LOST: &str = "could have been kept";

/// Compares what reached the backends with what clients were told: nothing that must not be repeated was, and nothing was
/// answered that had not arrived.
pub(super) fn carried_out(kinds: &[Kind], sent: &[Sent], arrived: &[(String, u64)]) -> Vec<String> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, number) in arrived.iter().filter(|(method, _)| method == "POST") {
        *times.entry(*number).or_default() += 1;
    }
    let orders = sent.iter().filter(|one| !kinds[one.kind].is_idempotent());
    let wrong = orders.filter_map(|one| {
        let count = times.get(&one.number).copied().unwrap_or(0);
        let is_right = if one.is_answered() { count == 1 } else { count <= 1 };
        let name = kinds[one.kind].name();
        (!is_right).then(|| {
            format!("{name} {}, answered {}, was carried out {count} times", one.number, one.result())
        })
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Kind] = &[
        Kind { method: "GET", path: "/" },
        Kind { method: "POST", path: "/" },
        Kind { method: "GET", path: "/closed" },
    ];
    const PHASES: &[Phase] = &[
        Phase { name: "well", excuses: &[] },
        Phase {
            name: "killed",
            excuses: &[
                Excuse { kind: "POST /", when: When::UnderWay, status: 502, most: 2, reason: "under way" },
                Excuse {
                    kind: "GET /closed",
                    when: When::Meanwhile,
                    status: 500,
                    most: 9,
                    reason: "declared",
                },
            ],
        },
        Phase { name: "back", excuses: &[] },
    ];

    fn sent(kind: usize, begun: usize, ended: usize, status: u16) -> Sent {
        let outcome = Outcome::Status(status);
        Sent { kind, number: 1, begun: Moment::unpack(begun), ended: Moment::unpack(ended), outcome }
    }

    fn lost(requests: &[Sent]) -> usize {
        judge(&PHASES.iter().collect::<Vec<_>>(), KINDS, requests).problems.len()
    }

    #[test]
    fn only_what_was_under_way_and_cannot_be_repeated_may_be_lost() {
        assert_eq!(lost(&[sent(1, 1, 2, 502), sent(1, 2, 3, 502)]), 0);
        assert_eq!(lost(&[sent(1, 2, 5, 502)]), 0, "it may end later");
        assert_eq!(lost(&[sent(1, 3, 3, 502)]), 1, "it began when the backend was gone");
        assert_eq!(lost(&[sent(0, 2, 3, 502)]), 1, "it can be repeated");
        assert_eq!(lost(&[sent(1, 2, 3, 500)]), 1, "another status has another reason");
        assert_eq!(lost(&vec![sent(1, 2, 3, 502); 3]), 1, "more than there can be");
        assert_eq!(lost(&[sent(1, 1, 1, 502), sent(1, 5, 5, 502)]), 2, "in other phases");
        assert_eq!(lost(&[sent(0, 1, 1, 200)]), 0);
    }

    #[test]
    fn what_is_declared_holds_for_the_whole_phase_and_no_longer() {
        assert_eq!(lost(&[sent(2, 3, 3, 500), sent(2, 3, 4, 500), sent(2, 0, 2, 500)]), 0);
        assert_eq!(lost(&[sent(2, 4, 4, 500)]), 1);
    }

    #[test]
    fn the_table_says_what_was_lost_and_why() {
        let phases: Vec<&Phase> = PHASES.iter().collect();
        let verdict = judge(&phases, KINDS, &[sent(0, 3, 3, 200), sent(1, 2, 3, 502)]);
        assert!(verdict.table.contains("2 requests, 1 lost, none that could be kept"), "{}", verdict.table);
        assert!(verdict.table.contains("1 x POST /: 502, under way"), "{}", verdict.table);
    }

    #[test]
    fn an_order_is_carried_out_once_if_it_was_answered_and_never_twice() {
        let arrived = |count| vec![("POST".to_owned(), 1); count];
        let wrong = |status, count| carried_out(KINDS, &[sent(1, 1, 1, status)], &arrived(count)).len();
        assert_eq!([wrong(200, 0), wrong(200, 1), wrong(200, 2)], [1, 0, 1]);
        assert_eq!([wrong(502, 0), wrong(502, 1), wrong(502, 2)], [0, 0, 1]);
    }
}
