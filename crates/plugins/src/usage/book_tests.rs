//! What becomes of counts when databases fail, processes end and there is too much.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;

use plugin::Matched;
use plugin::model::declarative;
use plugin::model::entity::Consumer;

use super::*;
use crate::usage::counts::{Key, Line};
use crate::usage::query::{Query, Row};

/// 2026-01-01 00:00:00 UTC.
const NEW_YEAR_MS: u64 = 1_767_225_600_000;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("biplane-usage-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("usage.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Somebody who asks: consumers and a route.
struct Cast {
    consumers: Vec<Arc<Consumer>>,
    matched: Arc<Matched>,
}

fn cast(consumers: usize) -> Cast {
    let names: Vec<String> = (0..consumers).map(|number| format!("{{username: c{number}}}")).collect();
    let document = format!(
        "_format_version: \"3.0\"\nroutes: [{{name: r, paths: [/]}}]\nconsumers: [{}]\n",
        names.join(", ")
    );
    let config = declarative::load("kong.yml", &document, &crate::catalog()).unwrap();
    let (route, ordinal) = (config.routes[0].clone(), 0);
    let matched = Matched { route, service: None, ordinal, route_json: "{}".into(), service_json: None };
    Cast { consumers: config.consumers.clone(), matched: Arc::new(matched) }
}

fn services(now_ms: u64) -> Arc<Services> {
    Services::new(2, Clock::fixed(now_ms), false)
}

fn inner_at(file: &Path, services: &Services) -> Arc<Inner> {
    Inner::new(services, Box::new(Store::new(file, Some(400))))
}

const ONE: Sums =
    Sums { requests: 1, errors: 0, server_errors: 0, request_bytes: 10, response_bytes: 20, cost: 500 };

fn count(inner: &Inner, cast: &Cast, consumer: usize, times: u64) {
    let whose = Whose {
        started_ms: inner.clock.now_ms(),
        consumer: cast.consumers.get(consumer),
        matched: Some(&cast.matched),
    };
    for turn in 0..times {
        inner.counts.add(turn as usize, whose, &ONE);
    }
}

fn rows(file: &Path, query: &str) -> Vec<Row> {
    let mut store = Store::new(file, None);
    Query::parse(query).unwrap().run(store.connection().unwrap()).unwrap().rows
}

/// All requests in a database.
fn requests(file: &Path) -> i64 {
    rows(file, "group_by=").iter().map(|row| row.requests).sum()
}

#[test]
fn what_cannot_be_written_waits_and_is_written_once() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let missing = folder.0.join("missing");
    let file = missing.join("usage.db");
    let inner = inner_at(&file, &services);
    for _ in 0..3 {
        count(&inner, &cast, 0, 10);
        assert!(inner.flush().err().unwrap().contains("missing/usage.db: "));
    }
    let figures = &inner.figures;
    assert_eq!((figures.failures.value(), figures.waiting.value()), (3, 2), "one sent, one that came since");
    fs::create_dir(&missing).unwrap();
    count(&inner, &cast, 0, 1);
    drop(inner.flush().unwrap());
    assert_eq!((requests(&file), figures.waiting.value()), (31, 0));
    drop(inner.flush().unwrap());
    assert_eq!(requests(&file), 31);
    let row = &rows(&file, "")[0];
    assert_eq!((row.request_bytes, row.response_bytes, row.cost_thousandths), (310, 620, 31 * 500));
    assert_eq!(
        (row.consumer.name.as_str(), row.route.name.as_str(), row.day.as_str()),
        ("c0", "r", "2026-01-01")
    );
}

#[test]
fn a_file_that_is_gone_or_no_database_is_noticed() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let inner = inner_at(&folder.file(), &services);
    count(&inner, &cast, 0, 1);
    drop(inner.flush().unwrap());
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(folder.file()).unwrap();
    count(&inner, &cast, 0, 2);
    drop(inner.flush().unwrap());
    assert_eq!(requests(&folder.file()), 2, "not written to a file without a name");

    for name in ["usage.db", "usage.db-wal", "usage.db-shm"] {
        let _ = fs::remove_file(folder.0.join(name));
    }
    fs::write(folder.file(), "this is a letter, and not a short one, ".repeat(100)).unwrap();
    count(&inner, &cast, 0, 3);
    assert!(inner.flush().err().unwrap().contains("not a database"));
    fs::remove_file(folder.file()).unwrap();
    drop(inner.flush().unwrap());
    assert_eq!(requests(&folder.file()), 3);
}

#[test]
fn a_full_disk_and_a_lock_of_somebody_else_cost_nothing() {
    let (folder, cast, services) = (Folder::new(), cast(2000), services(NEW_YEAR_MS));
    let inner = inner_at(&folder.file(), &services);
    drop(inner.flush().unwrap());
    let set = |pragma: &str| {
        let mut desk = inner.desk.lock().unwrap();
        desk.store.connection().unwrap().query_row(pragma, [], |_| Ok(())).unwrap();
    };
    // For this connection the disk has eight pages more than are used; another one is opened after the error.
    set("PRAGMA max_page_count = 8");
    (0..2000).for_each(|consumer| count(&inner, &cast, consumer, 1));
    assert!(inner.flush().err().unwrap().contains("disk is full"));
    assert_eq!((requests(&folder.file()), inner.figures.waiting.value()), (0, 2000), "all or nothing");
    drop(inner.flush().unwrap());
    assert_eq!((requests(&folder.file()), inner.figures.waiting.value()), (2000, 0));

    // Not waited for this time.
    set("PRAGMA busy_timeout = 0");
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    count(&inner, &cast, 0, 1);
    assert!(inner.flush().err().unwrap().contains("database is locked"));
    other.execute_batch("COMMIT").unwrap();
    drop(inner.flush().unwrap());
    assert_eq!(requests(&folder.file()), 2001);
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    let inner = inner_at(&folder.file(), &services);
    count(&inner, &cast, 0, 1);
    assert!(inner.flush().err().unwrap().contains("later version (form 2, this one knows 1)"));
}

/// A database whose word gets lost: it adds, and the writer does not hear of it.
struct Mute(Store, u32);

impl Storing for Mute {
    fn add(&mut self, writer: Uuid, number: i64, lines: &Lines, today: u32) -> Result<(), String> {
        self.0.add(writer, number, lines, today)?;
        self.1 = self.1.saturating_sub(1);
        if self.1 == 0 { Ok(()) } else { Err("the answer was lost".to_owned()) }
    }

    fn last(&mut self, writer: Uuid) -> Result<Option<i64>, String> {
        self.0.last(writer)
    }

    fn forget(&mut self, today: u32) -> Result<(), String> {
        self.0.forget(today)
    }

    fn connection(&mut self) -> Result<&Connection, String> {
        self.0.connection()
    }
}

#[test]
fn a_batch_whose_fate_was_not_known_is_not_added_again() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let inner = Inner::new(&services, Box::new(Mute(Store::new(&folder.file(), None), 3)));
    for (turn, stored) in [(0, 5), (1, 10), (2, 15), (3, 20)] {
        count(&inner, &cast, 0, 5);
        assert_eq!(inner.flush().is_err(), turn < 2, "{turn}");
        assert_eq!(requests(&folder.file()), stored);
    }
}

#[test]
fn two_writers_add_to_each_other_and_the_end_writes_what_is_left() {
    let (folder, cast, services) = (Folder::new(), cast(3), services(NEW_YEAR_MS));
    let settings = Settings { interval: Duration::from_millis(1), ..Settings::at(folder.file()) };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let book = Book::start(&services, &settings);
                (0..300).for_each(|turn| count(&book.inner, &cast, turn % 3, 10));
                book.finish();
            });
        }
    });
    assert_eq!(requests(&folder.file()), 6000);
    assert_eq!(rows(&folder.file(), "group_by=consumer").len(), 3);
}

#[test]
fn many_lines_are_written_before_their_interval_ends() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let hour = Duration::from_secs(3600);
    let settings = Settings { interval: hour, retention_days: None, ..Settings::at(folder.file()) };
    let book = Book::start(&services, &settings);
    for day in 1..=MOST_COUNTED as u64 {
        let (consumer, matched) = (cast.consumers.first(), Some(&cast.matched));
        book.count(0, Whose { started_ms: day * DAY_MS, consumer, matched }, &ONE);
    }
    let deadline = Instant::now() + 4 * PATIENCE;
    while requests(&folder.file()) < MOST_COUNTED as i64 {
        assert!(Instant::now() < deadline, "nobody has written them");
        thread::park_timeout(GLANCE);
    }
    assert_eq!(book.inner.figures.unnamed.value(), 0);
}

#[test]
fn beyond_the_bounds_names_are_lost_and_nothing_else() {
    let (cast, services, most) = (cast(9), services(NEW_YEAR_MS), 4);
    let counts = Counts::new(1, most);
    let routes: Vec<Arc<Matched>> = (0..9)
        .map(|_| {
            let route = plugin::model::entity::Route { id: Uuid::new_v4(), ..(*cast.matched.route).clone() };
            let (route_json, service_json) = ("{}".into(), None);
            Arc::new(Matched { route: Arc::new(route), service: None, ordinal: 0, route_json, service_json })
        })
        .collect();
    let mut places = Vec::new();
    for matched in &routes {
        for consumer in &cast.consumers {
            let whose = Whose {
                started_ms: services.clock.now_ms(),
                consumer: Some(consumer),
                matched: Some(matched),
            };
            places.push(counts.add(0, whose, &ONE));
        }
    }
    assert_eq!(places[..5], [Place::Own, Place::Own, Place::Own, Place::Last, Place::Others]);
    let (mut lines, mut spare) = (Lines::default(), Lines::default());
    assert_eq!(counts.collect(&mut lines, &mut spare, usize::MAX / 4), 0);
    let by = |wanted: fn(&Key) -> bool| {
        let sums = lines.iter().filter(|(key, _)| wanted(key)).map(|(_, line)| line.sums.requests);
        sums.sum::<u64>()
    };
    let others = Some(crate::usage::counts::OTHERS);
    assert_eq!(lines.len(), 4 + 4 + 1, "four of their own, four routes, the rest");
    assert_eq!(by(|_| true), 81);
    assert_eq!(by(|key| key.route == Some(crate::usage::counts::OTHERS)), 5 * 9, "five routes found no room");
    assert!(lines.iter().all(|(key, line)| key.consumer != others || line.consumer().is_empty()));
    let mut fewer = Lines::default();
    let unnamed = fewer.absorb(&mut lines, 2);
    assert!(fewer.len() <= 5 && lines.is_empty(), "{}", fewer.len());
    assert_eq!(fewer.iter().map(|(_, line)| line.sums.requests).sum::<u64>(), 81);
    // Lines come in any order: two keep their names, and of the four that had a consumer's, two or more lose it.
    assert!((2..=81 - 2).contains(&unnamed), "{unnamed}");
}

/// A database that can be read and takes nothing.
struct Full;

impl Storing for Full {
    fn add(&mut self, _: Uuid, _: i64, _: &Lines, _: u32) -> Result<(), String> {
        Err("database or disk is full".to_owned())
    }

    fn last(&mut self, _: Uuid) -> Result<Option<i64>, String> {
        Ok(None)
    }

    fn forget(&mut self, _: u32) -> Result<(), String> {
        Ok(())
    }

    fn connection(&mut self) -> Result<&Connection, String> {
        Err("nothing is kept".to_owned())
    }
}

#[test]
fn a_database_that_takes_nothing_costs_no_more_memory_than_is_said() {
    for missing in [true, false] {
        let store: Box<dyn Storing> = match missing {
            true => Box::new(Store::new(Path::new("/proc/no/such/folder/usage.db"), None)),
            false => Box::new(Full),
        };
        keeps_within_bounds(store);
    }
    // Maps have a power of two of places, seven eighths of them used, and a byte for each.
    let places = (MOST_WAITING * 2 * 8 / 7).next_power_of_two();
    assert!(2 * places * (size_of::<(Key, Line)>() + 1) <= 64 << 20);
}

fn keeps_within_bounds(store: Box<dyn Storing>) {
    let (cast, services) = (cast(50), services(NEW_YEAR_MS));
    let inner = Inner::new(&services, store);
    inner.desk.lock().unwrap().most = 10;
    for day in 0..30 {
        (0..50).for_each(|consumer| count(&inner, &cast, consumer, 1));
        services.clock.advance(DAY_MS);
        assert!(inner.flush().is_err());
        let desk = inner.desk.lock().unwrap();
        let waiting = desk.waiting.len() + desk.sent.len();
        assert!(waiting <= 2 * (20 + day + 1), "{waiting} on day {day}");
    }
    let desk = inner.desk.lock().unwrap();
    let all = desk.waiting.iter().chain(desk.sent.iter()).map(|(_, line)| line.sums.requests);
    assert_eq!(all.sum::<u64>(), 30 * 50);
    assert!(inner.figures.unnamed.value() > 0);
}

#[test]
fn the_end_of_the_gateway_writes_what_is_left_whoever_still_holds_the_room() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let interval = Duration::from_secs(3600);
    services.keep_usage(Settings { interval, ..Settings::at(folder.file()) });
    let document = "_format_version: \"3.0\"\nplugins: [{name: usage}]\n";
    let config = declarative::load("kong.yml", document, &crate::catalog()).unwrap();
    let shared = plugin::build::Shared::default();
    let (row, routes) = (&config.plugins[0], &[][..]);
    let cx = plugin::Build { config: &config, row, routes, services: &services, shared: &shared };
    let room = plugin::room::<crate::usage::Usage>().build(row, &cx).unwrap();
    let book = services.kept::<Book>(crate::usage::BOOK).unwrap();
    count(&book.inner, &cast, 0, 3);
    services.flush();
    assert_eq!(requests(&folder.file()), 3);
    drop((book, room));
}

#[test]
fn old_days_go_one_at_a_time_and_the_rest_stays() {
    let (folder, cast, services) = (Folder::new(), cast(1), services(NEW_YEAR_MS));
    let inner = Inner::new(&services, Box::new(Store::new(&folder.file(), Some(2))));
    for _ in 0..5 {
        count(&inner, &cast, 0, 1);
        drop(inner.flush().unwrap());
        services.clock.advance(DAY_MS);
    }
    let days = || rows(&folder.file(), "group_by=day").into_iter().map(|row| row.day).collect::<Vec<_>>();
    assert_eq!(days(), ["2026-01-03", "2026-01-04", "2026-01-05"], "today and two days");
    services.clock.advance(10 * DAY_MS);
    drop(inner.flush().unwrap());
    assert_eq!(days(), ["2026-01-04", "2026-01-05"]);
    drop(inner.flush().unwrap());
    drop(inner.flush().unwrap());
    assert!(days().is_empty());
}
