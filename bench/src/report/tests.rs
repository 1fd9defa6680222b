//! Tests of the module `report`.

use super::*;
use crate::cases::Sample;
use crate::cases::added::Block;
use crate::cases::slow::Turn;
use crate::peers::Policy;

fn report() -> Report {
    let machine = Machine {
        date: "Sun, 06 Nov 1994 08:49:37 GMT".into(),
        processor: "CPU".into(),
        cores: 2,
        kernel: "6.0".into(),
        busy: "0.1 0.2 0.3".into(),
    };
    let extent = Extent { seconds: 1.0, rounds: 2, connections: vec![32], rate: 5_000, nginx_log: false };
    Report::new(machine, vec![("nginx", Some("1.22.1".into())), ("Envoy", None)], &extent)
}

fn series(peer: Peer, cpu_us: &[f64], errors: u64) -> Series {
    let outcome = Outcome { requests: 10, errors, seconds: 1.0, ..Outcome::default() };
    let sample =
        |cpu_us: &f64| Sample { cpu_us: *cpu_us, user_us: 1.0, outcome: outcome.clone(), logged: None };
    Series { peer, samples: cpu_us.iter().map(sample).collect(), resident_kib: 2048 }
}

fn plain(connections: usize, series: Vec<Series>) -> Group {
    Group { case: Case::Plain, detail: "", connections, at_a_time: connections, series }
}

#[test]
fn a_budget_is_kept_or_not_by_the_median_ratio() {
    let mut report = report();
    let nginx = || series(Peer::Nginx, &[10.0, 20.0], 0);
    report.groups.push(plain(32, vec![nginx(), series(Peer::Plain, &[8.0, 16.0], 0)]));
    report.groups.push(plain(256, vec![nginx(), series(Peer::Plain, &[9.5, 19.0], 0)]));
    report.groups.push(plain(1, vec![nginx(), series(Peer::Plain, &[9.5, 19.0], 0)]));
    let table = report.budgets().to_string();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows[0].contains("0.800") && rows[0].contains("| yes "), "{table}");
    assert!(rows[1].contains("0.950") && rows[1].contains("**no**"), "{table}");
    assert!(rows[2].contains("(for information)"), "{table}");
}

#[test]
fn a_budget_with_errors_is_void() {
    let mut report = report();
    let pair = vec![series(Peer::Nginx, &[10.0], 0), series(Peer::Plain, &[1.0], 3)];
    report.groups.push(plain(32, pair));
    assert!(report.budgets().to_string().contains("**void: errors**"));
    assert!(report.cpu().to_string().contains("**3**"));
}

#[test]
fn a_budget_kept_by_dropping_log_lines_is_void() {
    let mut report = report();
    let mut full = series(Peer::Full, &[1.0, 1.0], 0);
    full.samples[0].logged = Some(1.0);
    full.samples[1].logged = Some(0.5);
    let case = Case::Full;
    report.groups.push(Group {
        case,
        detail: "",
        connections: 32,
        at_a_time: 32,
        series: vec![series(Peer::Nginx, &[10.0, 10.0], 0), full],
    });
    assert!(report.budgets().to_string().contains("**void: log lines missing**"));
    assert!(report.cpu().to_string().contains("**50.0**"));
}

#[test]
fn without_biplane_there_are_figures_but_no_budgets() {
    let mut report = report();
    report.groups.push(plain(32, vec![series(Peer::Nginx, &[10.0], 0), series(Peer::Haproxy, &[12.0], 0)]));
    let text = report.markdown();
    assert!(!text.contains("## Budgets"), "{text}");
    assert!(text.contains("| HAProxy |") && text.contains("1.200"), "{text}");
    assert!(text.contains("nginx 1.22.1, Envoy absent"), "{text}");
}

#[test]
fn problems_are_told() {
    let mut report = report();
    report.problems.push("HAProxy did not start: no".into());
    assert!(report.markdown().contains("## Problems\n\n- HAProxy did not start: no\n"));
}

#[test]
fn loads_of_a_case_are_told_apart() {
    let mut report = report();
    for detail in ["1 stream each", "10 streams each"] {
        let series = vec![series(Peer::NginxHttp2, &[10.0], 0), series(Peer::Http2, &[9.0], 0)];
        report.groups.push(Group { case: Case::Http2, detail, connections: 4, at_a_time: 40, series });
    }
    assert!(report.budgets().to_string().contains("| HTTP/2, 10 streams each "));
    let table = report.cpu().to_string();
    assert!(
        table.contains("| http2, 1 stream each ") && table.contains("| http2, 10 streams each "),
        "{table}"
    );
}

#[test]
fn each_proxy_beside_slow_connections_has_a_column() {
    let outcome = |p99_us| Outcome { p99_us, ..Outcome::default() };
    let turn = |(quiet, beside)| Turn { quiet: outcome(quiet), beside: outcome(beside), core: [0.1, 0.2] };
    let slow = |peer, turns: &[(u64, u64)], grown_kib, cut| Slow {
        peer,
        connections: 10,
        rate: 5,
        turns: turns.iter().copied().map(turn).collect(),
        grown_kib,
        crowd_core: 0.01,
        crowd: crate::slow::Outcome { octets: 1, cut, refused: 3 },
    };
    let mut report = report();
    report.slow = vec![
        slow(Peer::Nginx, &[(100, 110), (1000, 1150), (100, 900)], 20, 6),
        slow(Peer::Plain, &[(100, 130)], 60, 2),
    ];
    let table = report.slow().to_string();
    let cells = |start: &str| -> Vec<String> {
        let row = table.lines().find(|line| line.contains(start)).unwrap();
        row.split('|').skip(2).map(|cell| cell.trim().to_owned()).collect()
    };
    assert_eq!(cells("slow connections")[..2], ["nginx", "Biplane"]);
    assert_eq!(cells("KiB of the proxy for each")[..2], ["2.0", "6.0"]);
    assert_eq!(cells("times as long, turn by turn")[..3], ["1.15", "**1.30**", "1.20"]);
    assert_eq!(cells("cut off meanwhile")[..2], ["6", "2"]);
}

fn added(peer: Peer, differences: &[f64], errors: u64) -> Added {
    let block = |difference: &f64| Block { bare_us: 10.0, peer_us: 10.0 + difference };
    let (case, connections, first_error) = (Case::Policies, 32, None);
    let blocks = differences.iter().map(block).collect();
    Added { case, peer, connections, blocks, errors, first_error, resident_kib: 2048 }
}

#[test]
fn a_budget_of_time_is_kept_or_not_only_where_all_of_the_interval_says_so() {
    let mut report = report();
    let local = Peer::Policy(Policy::Local);
    let spread = |from: f64, to: f64| -> Vec<f64> {
        (0..20).map(|number| from + (to - from) * f64::from(number) / 19.0).collect()
    };
    for (differences, errors) in [
        (spread(0.1, 0.2), 0),
        (spread(0.4, 0.5), 0),
        (spread(0.1, 0.5), 0),
        (vec![0.1; 5], 0),
        (spread(0.1, 0.2), 1),
    ] {
        report.added.push(added(local, &differences, errors));
    }
    let table = report.added(Case::Policies).to_string();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows[0].contains("| +0.15") && rows[0].contains("+0.13 to +0.17"), "{table}");
    for (row, kept) in
        rows.iter().zip(["| yes ", "| **no** ", "| not decided ", "| not decided ", "**void: errors**"])
    {
        assert!(row.contains(kept), "{table}");
    }
}

#[test]
fn an_attack_keeps_the_budget_only_if_all_of_it_holds() {
    let attacked = |errors, p95_us, peak_kib, ended: &[(&str, u64)]| Attacked {
        name: "rapid-reset-in-bursts",
        canary: Outcome { requests: 1500, errors, p95_us, ..Outcome::default() },
        before_kib: 1024,
        peak_kib,
        endings: ended.iter().map(|(how, count)| ((*how).to_owned(), *count)).collect(),
    };
    let calm: &[(&str, u64)] = &[("GOAWAY ENHANCE_YOUR_CALM", 9), ("nothing", 12)];
    let mut report = report();
    report.attacks = vec![
        attacked(0, 900, 2048, calm),
        attacked(1, 900, 2048, calm),
        attacked(0, 100_000, 2048, calm),
        attacked(0, 900, 1024 + (16 << 10), calm),
        attacked(0, 900, 2048, &[]),
    ];
    let table = report.attacks().to_string();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows[0].starts_with("| rapid reset | rapid reset in bursts |"), "{table}");
    assert!(rows[0].contains("| nothing (12x), GOAWAY ENHANCE_YOUR_CALM (9x) "), "{table}");
    let kept: Vec<bool> = rows.iter().map(|row| row.ends_with("| yes    |")).collect();
    assert_eq!(kept, [true, false, false, false, false], "{table}");
}

#[test]
fn instructions_are_compared_with_those_of_the_first() {
    let counted = |peer, per_request: &[f64]| Counted {
        peer,
        per_request: per_request.to_vec(),
        requests: 900,
        errors: 0,
        first_error: None,
    };
    let mut report = report();
    report.instructions =
        vec![counted(Peer::Plain, &[20_000.0]), counted(Peer::Full, &[30_010.0, 29_000.0, 30_000.0])];
    let table = report.instructions().to_string();
    let row = table.lines().last().unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(cells[2..7], ["30000", "+10000", "1.500", "29000", "30010"], "{table}");
}
