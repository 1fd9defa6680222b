//! CPU time and memory of a process tree, from `/proc`. It never measures the load or the backend.

use std::fs;
use std::ops::Sub;

/// CPU time of a process tree since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// All of it, in microseconds.
    pub total_us: f64,
    /// In user mode, in the kernel's coarse ticks.
    pub user_ticks: u64,
    /// In the kernel, in ticks.
    pub system_ticks: u64,
}

impl Cpu {
    /// The part of the time spent in user mode.
    pub fn user_share(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { 0.0 } else { self.user_ticks as f64 / ticks as f64 }
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu {
            total_us: self.total_us - earlier.total_us,
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// The CPU time of a process and all its descendants.
pub fn cpu(root: u32) -> Cpu {
    let mut sum = Cpu::default();
    for id in tree(root) {
        let Some(stat) =
            fs::read_to_string(format!("/proc/{id}/stat")).ok().and_then(|text| Stat::parse(&text))
        else {
            continue;
        };
        sum.user_ticks += stat.user_ticks;
        sum.system_ticks += stat.system_ticks;
        sum.total_us += scheduled_us(id).unwrap_or((stat.user_ticks + stat.system_ticks) as f64 * TICK_US);
    }
    sum
}

/// The resident memory of a process and all its descendants, in KiB; pages they share count for each.
pub fn resident_kib(root: u32) -> u64 {
    tree(root).into_iter().filter_map(|id| memory(id, "VmRSS:")).sum()
}

/// The largest resident memory of a process since [`forget_peak`], in KiB, where the system tells.
pub fn peak_kib(id: u32) -> Option<u64> {
    memory(id, "VmHWM:")
}

/// Has the largest resident memory be counted from now on.
pub fn forget_peak(id: u32) {
    // Where this is not granted, the peak counts from the start, and the figure is no better than it is.
    let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
}

fn memory(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Linux reports times to user space in hundredths of a second on every architecture.
const TICK_US: f64 = 10_000.0;

/// The exact run time of a process's live threads. Ticks of 10 ms are too coarse for a run of a second.
fn scheduled_us(id: u32) -> Option<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1_000.0)
}

/// A process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).ok().and_then(|text| Stat::parse(&text));
        parents.extend(stat.map(|stat| (id, stat.parent)));
    }
    let mut members = vec![root];
    let mut index = 0;
    while let Some(&member) = members.get(index) {
        members.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(id, _)| *id));
        index += 1;
    }
    members
}

struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The program's name stands in parentheses and may hold anything, more parentheses and spaces included.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            user_ticks: fields.get(11)?.parse().ok()?,
            system_ticks: fields.get(12)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_hostile_program_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 0 0 0 31 12 0 0 20 0 1 0 100 1000 10";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.user_ticks, stat.system_ticks), (7, 31, 12));
        assert!(Stat::parse("garbage").is_none());
    }

    #[test]
    fn work_done_here_shows_as_cpu_time_of_this_process() {
        let id = std::process::id();
        let before = cpu(id);
        let mut sum = 0_u64;
        while (cpu(id) - before).total_us < 1_000.0 {
            sum = (0..100_000_u64).fold(sum, |sum, value| std::hint::black_box(sum.wrapping_add(value)));
        }
        assert!(resident_kib(id) > 0, "sum {sum}");
    }

    #[test]
    fn a_child_belongs_to_the_tree() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_user_share_of_nothing_is_nothing() {
        assert_eq!(Cpu::default().user_share(), 0.0);
        assert_eq!(Cpu { total_us: 1.0, user_ticks: 1, system_ticks: 3 }.user_share(), 0.25);
    }
}
