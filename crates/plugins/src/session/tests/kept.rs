//! Sessions that outlive the process, in a database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plugin::services::Ending;
use plugin::web_session::local::Local;
use rusqlite::Connection;

use super::*;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("biplane-sessions-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A gateway with its databases here.
    fn gateway(&self, config: &str) -> Harness {
        Harness::chain_beside(&self.0.join("usage.db"), ROOMS, &document(config)).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("sessions.db")
    }

    fn count(&self, condition: &str) -> i64 {
        let connection = Connection::open(self.file()).unwrap();
        let query = format!("SELECT count(*) FROM sessions WHERE {condition}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Stops a gateway as an operator does.
fn stop(harness: Harness) {
    harness.services.flush();
    drop(harness);
}

const KEPT: &str = "{secret: s, storage: kong}";

#[test]
fn a_session_goes_on_when_the_gateway_is_started_anew() {
    let folder = Folder::new();
    let mut before = folder.gateway(KEPT);
    let cookie = cookie(&login(&mut before, "ada"));
    stop(before);
    let mut after = folder.gateway(KEPT);
    assert_ada(&with(&mut after, &cookie));
    assert_nobody(&with(&mut folder.gateway("{secret: other, storage: kong}"), &cookie));
    stop(after);
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_has_ended_does_not_come_back() {
    let folder = Folder::new();
    let mut before = folder.gateway(KEPT);
    let cookie = cookie(&login(&mut before, "ada"));
    let logout = before.send(&format!("POST /?session_logout=1 HTTP/1.1\nCookie: {cookie}"));
    assert_eq!(logout.status, 200);
    // As if it had been killed with the answer.
    assert_nobody(&with(&mut folder.gateway(KEPT), &cookie));
    assert_eq!(folder.count("true"), 0);
}

#[test]
fn what_is_over_goes_and_the_file_tells_nothing_of_what_is_not() {
    let folder = Folder::new();
    let mut gateway = folder.gateway("{secret: s, storage: kong, rolling_timeout: 600}");
    let cookie = cookie(&login(&mut gateway, "ada"));
    gateway.clock.advance(10 * MINUTE);
    login(&mut gateway, "bob");
    stop(gateway);
    assert_eq!(folder.count("true"), 2);
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes.extend(fs::read(folder.0.join("sessions.db-wal")).unwrap_or_default());
    let id = cookie.split_once('=').unwrap().1;
    for text in ["ada", "bob", &id[..40]] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    let clock = plugin::clock::Clock::fixed(plugin::harness::START_MS + 10 * MINUTE + 1_000);
    drop(super::super::archive::open(&folder.file(), &clock).unwrap());
    assert_eq!(folder.count("true"), 1);
}

/// Two gateways with the same file, as there are during an upgrade.
fn pair(folder: &Folder, config: &str) -> (Harness, Harness) {
    (folder.gateway(config), folder.gateway(config))
}

/// Waits until what a gateway has done is in the file.
fn written(harness: &Harness) {
    harness.services.all_kept::<Local>()[0].1.finish();
}

#[test]
fn what_one_process_of_an_upgrade_begins_the_other_one_knows() {
    let folder = Folder::new();
    let (mut old, mut new) = pair(&folder, KEPT);
    for (one, other) in [(0, 1), (1, 0)] {
        let gateways = [&mut old, &mut new];
        let cookie = cookie(&login(gateways[one], "ada"));
        written(gateways[one]);
        assert_ada(&with(gateways[other], &cookie));
        assert_nobody(&with(gateways[other], &cookie.replace('A', "B")));
    }
}

#[test]
fn what_one_process_of_an_upgrade_ends_is_over_in_the_other_one_and_does_not_come_back() {
    let folder = Folder::new();
    let (mut old, mut new) = pair(&folder, "{secret: s, storage: kong, idling_timeout: 900}");
    let cookie = cookie(&login(&mut old, "ada"));
    written(&old);
    assert_ada(&with(&mut new, &cookie));
    let logout = new.send(&format!("POST /?session_logout=1 HTTP/1.1\nCookie: {cookie}"));
    assert_eq!(logout.status, 200);
    assert_nobody(&with(&mut new, &cookie));
    // The old one may not have heard of it; what it notes of a request does not bring the session back.
    old.clock.advance(MINUTE);
    with(&mut old, &cookie);
    written(&old);
    assert_eq!(folder.count("true"), 0);
    assert_nobody(&with(&mut new, &cookie));
    let deadline = Instant::now() + Duration::from_secs(20);
    while who(&with(&mut old, &cookie)).as_deref() != Some("nobody") {
        assert!(Instant::now() < deadline, "the old one never hears of it");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn what_has_been_ended_and_cannot_be_written_is_over_in_this_process_all_the_same() {
    let folder = Folder::new();
    let mut gateway = folder.gateway(KEPT);
    let cookie = cookie(&login(&mut gateway, "ada"));
    written(&gateway);
    let beside = Connection::open(folder.file()).unwrap();
    beside.execute_batch("ALTER TABLE sessions RENAME TO elsewhere").unwrap();
    let logout = gateway.send(&format!("POST /?session_logout=1 HTTP/1.1\nCookie: {cookie}"));
    assert_eq!(logout.status, 500);
    beside.execute_batch("ALTER TABLE elsewhere RENAME TO sessions").unwrap();
    assert_eq!(folder.count("true"), 1, "it is there still");
    assert_nobody(&with(&mut gateway, &cookie));
}

#[test]
fn sessions_of_somebody_are_found_where_that_is_wanted() {
    let folder = Folder::new();
    let mut gateway = folder.gateway("{secret: s, storage: kong, store_metadata: true, audience: shop}");
    login(&mut gateway, "ada");
    login(&mut gateway, "ada");
    login(&mut gateway, "bob");
    stop(gateway);
    // printf 'shop\nada' | openssl dgst -sha256 -binary | base64
    assert_eq!(folder.count("subject = 'xmE2Xjmcex3R8HNITnXHeamW2-BZWhQfoTPv0ax7I7s'"), 2);
    assert_eq!(folder.count("subject IS NULL"), 0);
}

#[test]
fn a_file_that_holds_no_sessions_is_refused() {
    let folder = Folder::new();
    fs::write(folder.file(), "this is a letter, and not a short one, ".repeat(100)).unwrap();
    let refused = Harness::chain_beside(&folder.0.join("usage.db"), ROOMS, &document(KEPT)).err().unwrap();
    assert!(refused.contains("config.storage: sessions cannot be kept"), "{refused}");
}
