//! A file that lists targets, looked at now and then, however it is replaced: in place, by renaming another file over
//! it, or by switching a symbolic link somewhere in its path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::targets;

use super::{Again, Listed, MOST_TARGETS, Next, Source, Trouble};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Who writes a file may do so in several steps: one that stays the same for so long has been written.
const QUIET: Duration = Duration::from_millis(200);
/// Looks after which a file is read again that could not be read.
const LOOKS_UNTIL_RETRY: u32 = 10;
/// The same of any other file, which shows no change: how it is doing is known anew.
const LOOKS_UNTIL_REREAD: u32 = 60;
/// Most bytes of a file that are read.
const LARGEST: u64 = 4 << 20;

/// The file.
pub(super) struct Targets {
    path: PathBuf,
    /// The version that was read last.
    read: Option<Option<Stamp>>,
    /// It could not be read.
    unread: bool,
}

/// Tells one version of a file from the next without reading it.
type Stamp = (PathBuf, u64, u64, [i64; 4]);

impl Targets {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.into(), read: None, unread: false }
    }

    async fn look(&mut self) -> Result<Vec<Listed>, Trouble> {
        let stamp = self.changed().await;
        self.read = Some(stamp);
        let path = self.path.clone();
        // Apart, so that a slow file system holds up nobody else.
        let text = tokio::task::spawn_blocking(move || read(&path)).await;
        let text = text.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.unread = text.is_err();
        let path = self.path.display();
        let text = text.map_err(|error| trouble(format!("cannot read {path}: {error}")))?;
        let name = path.to_string();
        let list = targets::load(&name, &text).map_err(|problem| trouble(problem.to_string()))?;
        if list.len() > MOST_TARGETS {
            return Err(trouble(format!("{path} has more than {MOST_TARGETS} targets")));
        }
        Ok(list.into_iter().map(|(host, port, weight)| Listed { host, port, weight }).collect())
    }

    /// Waits until there is another version than the one that was read, or it is time to read that one again. The first
    /// time there is.
    async fn changed(&self) -> Option<Stamp> {
        let mut looks = 0;
        let most = if self.unread { LOOKS_UNTIL_RETRY } else { LOOKS_UNTIL_REREAD };
        while let Some(read) = &self.read {
            tokio::time::sleep(LOOK).await;
            looks += 1;
            let mut now = self.stamp().await;
            if now == *read && looks < most {
                continue;
            }
            loop {
                tokio::time::sleep(QUIET).await;
                let later = self.stamp().await;
                if later == now {
                    return now;
                }
                now = later;
            }
        }
        self.stamp().await
    }

    /// Apart, as reading is.
    async fn stamp(&self) -> Option<Stamp> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || stamp(&path)).await.ok().flatten()
    }
}

impl Source for Targets {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.look())
    }
}

/// A fault that lasts until the file is read again.
fn trouble(reason: String) -> Trouble {
    Trouble { reason, again: Again::AtOnce }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let real = path.canonicalize().ok()?;
    let found = fs::metadata(&real).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some((real, found.ino(), found.len(), times))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use tokio::time::timeout;

    use super::*;
    use crate::discovery::tests::{Folder, eventually};

    #[tokio::test(start_paused = true)]
    async fn how_a_file_is_doing_is_known_anew_though_it_stays_the_same() {
        let folder = Folder::new();
        let path = folder.0.join("targets.yml");
        for (text, is_well) in [("- {target: '10.0.0.1:80'}", true), ("- {target: '10.0.0.1:80'", false)] {
            fs::write(&path, text).unwrap();
            let mut targets = Targets::new(path.to_str().unwrap());
            assert_eq!(targets.next().await.is_ok(), is_well);
            assert!(timeout(Duration::from_secs(30), targets.next()).await.is_err(), "there is nothing new");
            let again = timeout(Duration::from_secs(90), targets.next()).await;
            assert_eq!(again.expect("it is read again").is_ok(), is_well);
        }
    }

    #[test]
    fn a_version_is_told_from_the_next_however_it_takes_its_place() {
        let folder = Folder::new();
        let [path, other, link] = ["targets.yml", "other.yml", "link.yml"].map(|name| folder.0.join(name));
        let write = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            // Neither their lengths nor their dates tell them apart.
            File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        write(&path, "one");
        let before = stamp(&path);
        assert!(before.is_some() && before == stamp(&path));
        // Clocks of file systems go in steps.
        eventually("written in place", || {
            write(&path, "two");
            stamp(&path) != before
        });
        let in_place = stamp(&path);
        write(&other, "ten");
        symlink(&path, &link).unwrap();
        assert_eq!(stamp(&link), in_place);
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        assert_ne!(stamp(&link), in_place, "the link was switched");
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(&path), in_place, "another was put in its place");
        fs::remove_file(&path).unwrap();
        assert_eq!(stamp(&path), None);
    }
}
