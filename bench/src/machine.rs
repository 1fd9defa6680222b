//! What the figures were measured on.

use std::fs;
use std::time::SystemTime;

/// The machine and the moment.
#[derive(Debug, Clone)]
pub struct Machine {
    /// When, in the form HTTP uses.
    pub date: String,
    /// The processor's model name.
    pub processor: String,
    /// Cores the system shows.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes before the run: a busy machine makes poor figures.
    pub busy: String,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let information = read("/proc/cpuinfo");
        let busy = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        Self {
            date: httpdate::fmt_http_date(SystemTime::now()),
            processor: processor(&information),
            // Not what this process may use: it has put itself on one core.
            cores: information.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            busy,
        }
    }
}

fn processor(information: &str) -> String {
    let model = information.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':'])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_the_kernel_names_it() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Fast CPU @ 2 GHz\nflags\t: a b\n"),
            "Fast CPU @ 2 GHz"
        );
        assert_eq!(processor("nothing here"), "unknown");
    }
}
