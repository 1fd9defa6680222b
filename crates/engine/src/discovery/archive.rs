//! The last good lists in files, so that a gateway that starts while a registry is away has the targets of its last run.
//!
//! A file is written beside its place and renamed over it: whoever reads has the old list or the new one. What cannot be
//! written, read or understood costs a line in the log and nothing else. No list waits for a file system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use model::{Uuid, Value};
use serde_json::json;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::sought::Sought;
use super::{Listed, MOST_TARGETS};

/// Files that are kept; beyond that, those go at a start that were written the longest ago.
const MOST_FILES: usize = 1024;
/// How old a list becomes before it is no longer used, unless set.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most bytes of a file that are read.
const LARGEST: u64 = 4 << 20;
/// A list that stays the same is written anew after this time, so that its age is known.
const FRESH: Duration = Duration::from_secs(60);
/// How long a file may take to be read.
const PATIENCE: Duration = Duration::from_secs(1);
/// What file names are made from.
const NAMESPACE: Uuid = Uuid::from_bytes(*b"biplane-archive.");

/// The folder of all lists. It is made, and looked through, when the first list wants it.
#[derive(Clone)]
pub(crate) struct Archive {
    folder: Arc<Path>,
    /// How old a list may become.
    max_age: Option<Duration>,
    ready: Arc<Once>,
}

/// The place of one list.
pub(super) struct Entry {
    archive: Archive,
    path: PathBuf,
    /// What the list is of, as it stands in the file.
    identity: Value,
    writing: Option<JoinHandle<()>>,
    written: Option<Instant>,
    /// What was written last is another list.
    behind: bool,
}

/// A list of the last run.
pub(super) struct Restored {
    pub(super) list: Vec<Listed>,
    /// When its source gave it.
    pub(super) given: SystemTime,
    /// How old it may become.
    pub(super) max_age: Option<Duration>,
}

impl Restored {
    /// How old it is, by the clock of the system.
    pub(super) fn age(&self) -> Duration {
        self.given.elapsed().unwrap_or_default()
    }

    /// Whether it is older than it may become.
    pub(super) fn is_too_old(&self) -> bool {
        self.max_age.is_some_and(|most| self.age() > most)
    }
}

impl Archive {
    /// That in `folder`, which is made when it is missing, but not the one it is in. Lists older than `max_age` are no
    /// longer used.
    pub fn new(folder: &Path, max_age: Option<Duration>) -> Self {
        Self { folder: folder.into(), max_age, ready: Arc::new(Once::new()) }
    }

    fn make_ready(&self) {
        self.ready.call_once(|| {
            let made = match DirBuilder::new().mode(0o700).create(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => prune(&self.folder),
            };
            if let Err(error) = made {
                complain(&self.folder, &error);
            }
        });
    }

    /// The place of the list that is `sought`.
    pub(super) fn entry(&self, sought: &Sought) -> Entry {
        let identity = sought.identity();
        let name = Uuid::new_v5(&NAMESPACE, identity.to_string().as_bytes());
        let path = self.folder.join(format!("{name}.json"));
        Entry { archive: self.clone(), path, identity, writing: None, written: None, behind: true }
    }
}

impl Entry {
    /// The list of the last run, if there is one.
    pub(super) async fn restore(&self) -> Option<Restored> {
        let (archive, path) = (self.archive.clone(), self.path.clone());
        // Apart, so that a slow file system holds up nobody else.
        let reading = spawn_blocking(move || {
            archive.make_ready();
            read(&path)
        });
        let text = timeout(PATIENCE, reading).await;
        let late = || Ok(Err(io::Error::from(io::ErrorKind::TimedOut)));
        let restored =
            match text.unwrap_or_else(|_| late()).unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(text) => understand(&text, &self.identity, self.archive.max_age),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => Err(error.to_string()),
            };
        let report = |problem: &String| {
            let file = self.path.display();
            tracing::warn!(%file, problem, "a list of targets that was kept for this start cannot be used");
        };
        restored.inspect_err(report).ok()
    }

    /// Writes `list`, which has just been given, if it is another one or what is written is old.
    pub(super) fn keep(&mut self, list: &[Listed], changed: bool) {
        self.behind |= changed;
        drop(self.writing.take_if(|writing| writing.is_finished()));
        let is_fresh = self.written.is_some_and(|written| written.elapsed() < FRESH);
        // One at a time: a file system that does not answer is asked for nothing more.
        if self.writing.is_some() || (is_fresh && !self.behind) {
            return;
        }
        let text = express(&self.identity, list, SystemTime::now());
        let (archive, path) = (self.archive.clone(), self.path.clone());
        self.writing = Some(spawn_blocking(move || {
            archive.make_ready();
            write(&path, &text);
        }));
        (self.written, self.behind) = (Some(Instant::now()), false);
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

fn write(path: &Path, text: &str) {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = write_whole(&beside, text).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is left of it would be in the way of nothing.
        let _ = fs::remove_file(&beside);
        complain(path, &error);
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn complain(place: &Path, error: &io::Error) {
    let place = place.display();
    tracing::warn!(%place, %error, "lists of targets cannot be kept for the next start");
}

/// Removes what a run that was killed left half written, and files beyond [`MOST_FILES`]. Others are left alone.
fn prune(folder: &Path) -> io::Result<()> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let (path, age) = (entry.path(), entry.metadata().and_then(|about| about.modified()));
        let Ok(written) = age else { continue };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((id, kind)) = name.split_once('.') else { continue };
        let is_half = kind.ends_with(".new") && written.elapsed().is_ok_and(|age| age > FRESH);
        match id.parse::<Uuid>() {
            Ok(_) if is_half => fs::remove_file(path)?,
            Ok(_) if kind == "json" => lists.push((written, path)),
            _ => {}
        }
    }
    lists.sort_unstable_by(|one, other| other.cmp(one));
    lists.into_iter().skip(MOST_FILES).try_for_each(|(_, path)| fs::remove_file(path))
}

fn express(identity: &Value, list: &[Listed], given: SystemTime) -> String {
    let given = given.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let target = |one: &Listed| json!({"host": one.host, "port": one.port, "weight": one.weight});
    let targets: Vec<Value> = list.iter().map(target).collect();
    json!({"of": identity, "given": given, "targets": targets}).to_string()
}

/// The list in `text`, which others may have written.
fn understand(text: &[u8], identity: &Value, max_age: Option<Duration>) -> Result<Restored, String> {
    let kept: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if kept["of"] != *identity {
        return Err("it is another list".to_owned());
    }
    let given = kept["given"].as_u64().map(Duration::from_secs);
    let given = given.and_then(|given| SystemTime::UNIX_EPOCH.checked_add(given)).ok_or("it has no time")?;
    let targets = kept["targets"].as_array().filter(|targets| targets.len() <= MOST_TARGETS);
    let list: Option<Vec<Listed>> = targets.and_then(|targets| targets.iter().map(listed).collect());
    Ok(Restored { list: list.ok_or("it holds something else than targets")?, given, max_age })
}

fn listed(target: &Value) -> Option<Listed> {
    let number = |name: &str| u16::try_from(target[name].as_u64()?).ok();
    // It becomes part of requests.
    let host = model::targets::host(target["host"].as_str()?)?;
    Some(Listed { host, port: number("port").filter(|port| *port > 0)?, weight: number("weight")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Listed> {
        let listed = |host: &str, port| Listed { host: host.to_owned(), port, weight: 7 };
        vec![listed("10.0.0.1", 80), listed("node.test", 81), listed("[2001:db8::1]", 82)]
    }

    #[test]
    fn a_list_is_understood_as_it_was_expressed() {
        let (identity, given) = (json!({"source": "file"}), SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        let text = express(&identity, &list(), given);
        let restored = understand(text.as_bytes(), &identity, None).unwrap();
        assert_eq!((&restored.list, restored.given), (&list(), given));
        let other = understand(text.as_bytes(), &json!(null), None);
        assert_eq!(other.err().as_deref(), Some("it is another list"));
        assert!(!restored.is_too_old(), "it may be as old as it likes");
        let is_too_old = |max_age| understand(text.as_bytes(), &identity, max_age).unwrap().is_too_old();
        let age = restored.age();
        assert!(is_too_old(Some(age - Duration::from_secs(1))) && !is_too_old(Some(2 * age)));
    }

    #[test]
    fn what_is_no_list_is_none() {
        let identity = json!(1);
        for wrong in [
            "",
            "[",
            r#"{"of":1}"#,
            r#"{"of":1,"given":1}"#,
            r#"{"of":1,"given":-1,"targets":[]}"#,
            r#"{"of":1,"given":1,"targets":{}}"#,
            r#"{"of":1,"given":1,"targets":[{"host":"a b","port":1,"weight":1}]}"#,
            r#"{"of":1,"given":1,"targets":[{"host":"a\r\n","port":1,"weight":1}]}"#,
            r#"{"of":1,"given":1,"targets":[{"host":"a","port":0,"weight":1}]}"#,
            r#"{"of":1,"given":1,"targets":[{"host":"a","port":65536,"weight":1}]}"#,
        ] {
            assert!(understand(wrong.as_bytes(), &identity, None).is_err(), "{wrong}");
        }
        assert!(understand(br#"{"of":1,"given":1,"targets":[]}"#, &identity, None).is_ok());
    }

    #[test]
    fn folders_do_not_grow_for_ever() {
        let folder = std::env::temp_dir().join(format!("biplane-archive-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let write = |name: String, second: u64| {
            let file = File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        let id = |number: usize| Uuid::from_u128(number as u128);
        (0..MOST_FILES + 2).for_each(|number| write(format!("{}.json", id(number)), number as u64));
        write(format!("{}.123.new", id(1)), 5);
        write("notes.json".to_owned(), 0);
        Archive::new(&folder, None).make_ready();
        let left = |name: String| folder.join(name).exists();
        let first = (0..).find(|number| left(format!("{}.json", id(*number))));
        let [half, others] = [format!("{}.123.new", id(1)), "notes.json".to_owned()].map(left);
        let count = fs::read_dir(&folder).unwrap().count();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((first, half, others, count), (Some(2), false, true, MOST_FILES + 1));
    }
}
