//! Probes of targets: how many are under way at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::lab::with;
use crate::health::Prober;
use crate::settings::Settings;
use crate::snapshot::Publisher;

const TARGETS: usize = 6;
const MOST: usize = 2;
/// As long as a probe is held at most, if no more of them come at once than may.
const HELD: Duration = Duration::from_millis(300);

/// Probes under way now, and at most.
#[derive(Default)]
struct Seen {
    counts: Mutex<(usize, usize)>,
    more: Condvar,
}

impl Seen {
    /// One more is under way, until there are too many or nothing of the kind has happened for long.
    fn hold(&self) {
        let mut counts = self.counts.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        self.more.notify_all();
        let held = self.more.wait_timeout_while(counts, HELD, |counts| counts.1 <= MOST);
        held.unwrap().0.0 -= 1;
    }
}

/// A server that takes its time, and tells of each answer.
fn slow_server(seen: &Arc<Seen>, told: mpsc::Sender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), seen.clone());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            seen.hold();
            let _asked = stream.read(&mut [0; 1024]);
            let _answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if told.send(()).is_err() {
                return;
            }
        }
    });
    address
}

#[tokio::test]
async fn no_more_targets_are_probed_at_once_than_an_upstream_allows() {
    let seen = Arc::new(Seen::default());
    let (told, answers) = mpsc::channel();
    let targets: Vec<String> =
        (0..TARGETS).map(|_| format!("{{target: \"{}\"}}", slow_server(&seen, told.clone()))).collect();
    let document = format!(
        "_format_version: '3.0'\nupstreams:\n- name: pool\n  targets: [{}]\n  healthchecks:\n    active:\n      \
         concurrency: {MOST}\n      healthy: {{interval: 0.1}}\n      unhealthy: {{interval: 0.1}}\n",
        targets.join(", ")
    );
    with(&document.clone(), Settings::default(), |lab| async move {
        let publisher = Arc::new(Publisher::new(lab.compile(&document).unwrap()).unwrap());
        let prober = Prober::start(lab.book(), publisher).unwrap();
        let all = thread::spawn(move || (0..2 * TARGETS).for_each(|_| answers.recv().unwrap()));
        tokio::task::spawn_blocking(move || all.join().unwrap()).await.unwrap();
        prober.stop();
        assert_eq!(seen.counts.lock().unwrap().1, MOST);
    })
    .await;
}
