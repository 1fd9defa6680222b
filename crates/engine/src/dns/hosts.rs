//! Hosts files: read once, and again when they change.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ahash::AHashMap;

use super::DnsSettings;

/// Most addresses kept for a name.
pub(super) const MAX_ADDRESSES: usize = 256;
/// Most bytes of a hosts file that are read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The hosts files in effect, the more important first.
pub(super) struct HostsFiles {
    files: Vec<HostsFile>,
}

/// Tells one version of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

struct HostsFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    entries: AHashMap<String, Vec<IpAddr>>,
}

impl HostsFiles {
    pub(super) fn new(settings: &DnsSettings) -> Self {
        let paths = settings.extra_hosts_file.iter().chain([&settings.hosts_file]);
        let unread = |path: &PathBuf| HostsFile { path: path.clone(), stamp: None, entries: AHashMap::new() };
        let mut files = Self { files: paths.map(unread).collect() };
        files.refresh();
        files
    }

    /// Reads again the files that changed; says whether there were any.
    pub(super) fn refresh(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            changed |= file.refresh();
        }
        changed
    }

    /// The addresses of `name`, which is in lower case. `localhost` always has one.
    pub(super) fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let found = self.files.iter().find_map(|file| file.entries.get(name));
        if let Some(list) = found {
            return Some(one_family(list.clone()));
        }
        let local = name == "localhost" || name.ends_with(".localhost");
        local.then(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    }
}

impl HostsFile {
    fn refresh(&mut self) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        self.entries = match read_bounded(&self.path) {
            Ok(text) => parse(&String::from_utf8_lossy(&text)),
            // A file that is gone has no entries; one that cannot be read is worth a word.
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %self.path.display(), %error, "hosts file cannot be read");
                }
                AHashMap::new()
            }
        };
        true
    }
}

impl Stamp {
    /// The stamp of the file at `path`, if there is one.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len() })
    }
}

/// Sorts, removes doubles, and keeps the IPv4 addresses if there are any: half of the world's gateways cannot reach
/// the others, and Kong does not ask for them by default.
pub(super) fn one_family(mut list: Vec<IpAddr>) -> Vec<IpAddr> {
    list.sort_unstable();
    list.dedup();
    if list.iter().any(IpAddr::is_ipv4) {
        list.retain(IpAddr::is_ipv4);
    }
    list.truncate(MAX_ADDRESSES);
    list
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> AHashMap<String, Vec<IpAddr>> {
    let mut entries: AHashMap<String, Vec<IpAddr>> = AHashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let list = entries.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if list.len() < MAX_ADDRESSES {
                list.push(address);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, name: &str) -> String {
        let file = HostsFile { path: PathBuf::new(), stamp: None, entries: parse(text) };
        let list = HostsFiles { files: vec![file] }.find(name);
        list.map_or("-".to_owned(), |list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn aliases_comments_case_and_rubbish() {
        let text = "# all\n10.0.0.1 One.test one # alias\nnonsense two.test\n\n10.0.0.3\tthree.test.\n10.0.0.2 one.test";
        assert_eq!(found(text, "one.test"), "10.0.0.1 10.0.0.2");
        assert_eq!(found(text, "one"), "10.0.0.1");
        assert_eq!(found(text, "two.test"), "-");
        assert_eq!(found(text, "three.test"), "10.0.0.3");
        assert_eq!(found(text, "three.test."), "10.0.0.3", "an absolute name");
        assert_eq!(found(text, "alias"), "-");
    }

    #[test]
    fn ipv6_only_where_there_is_no_ipv4() {
        let text = "::1 both.test six.test\n127.0.0.9 both.test";
        assert_eq!(found(text, "both.test"), "127.0.0.9");
        assert_eq!(found(text, "six.test"), "::1");
    }

    #[test]
    fn localhost_needs_no_file_but_obeys_one() {
        assert_eq!(found("", "localhost"), "127.0.0.1");
        assert_eq!(found("", "api.localhost"), "127.0.0.1");
        assert_eq!(found("127.0.0.7 localhost", "localhost"), "127.0.0.7");
        assert_eq!(found("", "notlocalhost"), "-");
    }
}
