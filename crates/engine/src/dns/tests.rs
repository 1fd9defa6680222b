//! The resolver against hosts files and a name server on loopback.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::server::{NameServer, Reaction};
use super::{DnsSettings, Failure, Follower, Name, Order, Record, Resolver, State};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("biplane-dns-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn settings(server: &NameServer) -> DnsSettings {
    DnsSettings {
        hosts_file: PathBuf::from("/nonexistent/hosts"),
        files_interval: Duration::from_millis(10),
        servers: vec![server.address],
        min_ttl: Duration::from_millis(10),
        error_ttl: Duration::from_millis(10),
        ..DnsSettings::default()
    }
}

fn start(server: &NameServer) -> Arc<Resolver> {
    Resolver::start(settings(server)).unwrap()
}

fn list(name: &Name) -> Vec<String> {
    let written = |record: &Record| match &record.service {
        Some(service) => format!("{}:{} x{}", record.address, service.port, service.weight),
        None => record.address.to_string(),
    };
    name.addresses().list.iter().map(written).collect()
}

fn state(name: &Name) -> State {
    name.addresses().state
}

#[test]
fn a_name_resolves_to_its_sorted_ipv4_addresses() {
    let server = NameServer::start();
    server.set("api.test", &["10.0.0.2", "10.0.0.1", "10.0.0.2", "0.0.0.0", "2001:db8::1"], 60);
    let resolver = start(&server);
    let name = resolver.watch("API.test");
    resolver.settle(PATIENCE);
    assert_eq!(
        (state(&name), list(&name)),
        (State::Resolved, vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()])
    );
    assert!(Arc::ptr_eq(&name, &resolver.watch("api.test")), "the same name is watched once");
}

#[test]
fn a_name_without_ipv4_resolves_to_its_ipv6_addresses() {
    let server = NameServer::start();
    server.set("six.test", &["2001:db8::2", "2001:db8::1"], 60);
    let resolver = start(&server);
    let name = resolver.watch("six.test");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["2001:db8::1", "2001:db8::2"]);
}

#[test]
fn addresses_change_when_the_ttl_is_over_and_not_before() {
    let server = NameServer::start();
    server.set("moving.test", &["10.0.0.1"], 1);
    let resolver = start(&server);
    let name = resolver.watch("moving.test");
    resolver.settle(PATIENCE);
    let resolved = Instant::now();
    assert_eq!(list(&name), ["10.0.0.1"]);
    server.set("moving.test", &["10.0.0.9"], 60);
    assert!(resolver.wait_until(PATIENCE, |_| list(&name) == ["10.0.0.9"]));
    assert!(resolved.elapsed() > Duration::from_millis(900), "after {:?}", resolved.elapsed());
    assert_eq!((name.addresses().generation, server.asked("moving.test")), (2, 2));
}

#[test]
fn the_same_answer_again_is_no_change() {
    let server = NameServer::start();
    server.set("same.test", &["10.0.0.1", "10.0.0.2"], 0);
    let resolver = start(&server);
    let name = resolver.watch("same.test");
    assert!(resolver.wait_until(PATIENCE, |_| server.asked("same.test") > 3));
    assert_eq!(name.addresses().generation, 1);
}

#[test]
fn an_unknown_name_fails_and_is_tried_again() {
    let server = NameServer::start();
    let resolver = start(&server);
    let name = resolver.watch("nobody.test");
    resolver.settle(PATIENCE);
    assert_eq!(state(&name), State::Failed(Failure::NotFound));
    server.set("nobody.test", &["10.0.0.5"], 60);
    assert!(resolver.wait_until(PATIENCE, |_| list(&name) == ["10.0.0.5"]));
}

#[test]
fn a_failing_server_keeps_the_last_addresses_and_an_unknown_name_does_not() {
    let server = NameServer::start();
    server.set("shaky.test", &["10.0.0.1"], 0);
    let resolver = start(&server);
    let name = resolver.watch("shaky.test");
    resolver.settle(PATIENCE);
    server.react("shaky.test", Reaction::Code(2));
    assert!(resolver.wait_until(PATIENCE, |_| state(&name) == State::Failed(Failure::Server)));
    assert_eq!(list(&name), ["10.0.0.1"], "the server failed, the name is not gone");
    server.react("shaky.test", Reaction::Code(3));
    assert!(resolver.wait_until(PATIENCE, |_| state(&name) == State::Failed(Failure::NotFound)));
    assert_eq!(list(&name), Vec::<String>::new(), "the name is gone");
}

#[test]
fn a_silent_server_is_a_timeout() {
    let server = NameServer::start();
    server.react("slow.test", Reaction::Silence);
    let timeout = Some(Duration::from_millis(50));
    let resolver = Resolver::start(DnsSettings { timeout, ..settings(&server) }).unwrap();
    let name = resolver.watch("slow.test");
    resolver.settle(PATIENCE);
    assert_eq!(state(&name), State::Failed(Failure::Timeout));
}

#[test]
fn settling_ends_after_the_given_time() {
    let server = NameServer::start();
    server.react("slow.test", Reaction::Silence);
    let resolver = start(&server);
    let name = resolver.watch("slow.test");
    resolver.settle(Duration::from_millis(20));
    assert_eq!(state(&name), State::Pending);
}

#[test]
fn many_names_settle_together() {
    let server = NameServer::start();
    let resolver = start(&server);
    let names: Vec<_> = (0..200)
        .map(|index| {
            let text = format!("n{index}.test");
            server.set(&text, &["10.0.0.1"], 60);
            resolver.watch(&text)
        })
        .collect();
    resolver.settle(PATIENCE);
    assert!(names.iter().all(|name| state(name) == State::Resolved));
}

#[test]
fn nobody_asks_for_a_name_that_nobody_holds() {
    let server = NameServer::start();
    server.set("dropped.test", &["10.0.0.1"], 0);
    server.set("held.test", &["10.0.0.1"], 0);
    server.set("long-lived.test", &["10.0.0.1"], 3600);
    let resolver = start(&server);
    let held = resolver.watch("held.test");
    let dropped = [resolver.watch("dropped.test"), resolver.watch("long-lived.test")];
    resolver.settle(PATIENCE);
    drop(dropped);
    let gone = || resolver.lookups.registry.names.lock().unwrap().len() == 1;
    assert!(resolver.wait_until(PATIENCE, |_| gone()));
    let (asked, held_asked) = (server.asked("dropped.test"), server.asked("held.test"));
    assert!(resolver.wait_until(PATIENCE, |_| server.asked("held.test") > held_asked + 3));
    assert_eq!(server.asked("dropped.test"), asked);
    drop(held);
}

#[test]
fn what_cannot_be_a_hostname_fails_without_a_question() {
    let server = NameServer::start();
    let resolver = start(&server);
    let long = "a".repeat(300);
    let names = [resolver.watch(&long), resolver.watch("two..dots")];
    resolver.settle(PATIENCE);
    assert_eq!(names.map(|name| state(&name)), [State::Failed(Failure::Malformed); 2]);
}

#[test]
fn hosts_files_win_over_dns_and_the_extra_one_over_the_systems() {
    let server = NameServer::start();
    for name in ["one.test", "two.test", "three.test"] {
        server.set(name, &["10.9.9.9"], 60);
    }
    let folder = Folder::new();
    let hosts_file = folder.write("hosts", "10.0.0.1 one.test\n10.0.0.2 two.test\n");
    let extra_hosts_file = Some(folder.write("extra", "10.1.0.1 one.test\n"));
    let resolver =
        Resolver::start(DnsSettings { hosts_file, extra_hosts_file, ..settings(&server) }).unwrap();
    let names = ["one.test", "two.test", "three.test"].map(|name| resolver.watch(name));
    resolver.settle(PATIENCE);
    assert_eq!(names.each_ref().map(|name| list(name).join(" ")), ["10.1.0.1", "10.0.0.2", "10.9.9.9"]);
}

#[test]
fn a_changed_hosts_file_takes_effect_and_so_does_its_end() {
    let server = NameServer::start();
    server.set("app.test", &["10.9.9.9"], 60);
    server.react("only-here.test", Reaction::Code(2));
    let folder = Folder::new();
    let extra_hosts_file = Some(folder.0.join("hosts"));
    let resolver = Resolver::start(DnsSettings { extra_hosts_file, ..settings(&server) }).unwrap();
    let names = [resolver.watch("app.test"), resolver.watch("only-here.test")];
    resolver.settle(PATIENCE);
    let lists = || names.each_ref().map(|name| list(name).join(" "));
    assert_eq!(lists(), ["10.9.9.9", ""]);
    let path = folder.write("hosts", "10.0.0.1 app.test only-here.test\n");
    assert!(resolver.wait_until(PATIENCE, |_| lists() == ["10.0.0.1", "10.0.0.1"]));
    folder.write("hosts", "10.0.0.200 app.test only-here.test\n");
    assert!(resolver.wait_until(PATIENCE, |_| lists() == ["10.0.0.200", "10.0.0.200"]));
    fs::remove_file(path).unwrap();
    assert!(resolver.wait_until(PATIENCE, |_| lists() == ["10.9.9.9", ""]));
    assert_eq!(state(&names[1]), State::Failed(Failure::Server), "what a file said is not kept");
}

/// Counts how often it is told.
#[derive(Default)]
struct Told(AtomicUsize);

impl Follower for Told {
    fn addresses_changed(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_follows_many_names_is_told_once_of_what_changes_together() {
    let server = NameServer::start();
    let folder = Folder::new();
    let texts: Vec<String> = (0..200).map(|index| format!("n{index}.test")).collect();
    let write = |address: &str| {
        let text: String = texts.iter().map(|name| format!("{address} {name}\n")).collect();
        let next = folder.write("next", &text);
        fs::rename(next, folder.0.join("hosts")).unwrap();
    };
    write("10.0.0.1");
    let extra_hosts_file = Some(folder.0.join("hosts"));
    let resolver = Resolver::start(DnsSettings { extra_hosts_file, ..settings(&server) }).unwrap();
    let names: Vec<_> = texts.iter().map(|text| resolver.watch(text)).collect();
    resolver.settle(PATIENCE);
    let told = Arc::new(Told::default());
    let follower: Arc<dyn Follower> = told.clone();
    names.iter().for_each(|name| name.follow(Arc::downgrade(&follower)));
    write("10.0.0.200");
    assert!(resolver.wait_until(PATIENCE, |_| names.iter().all(|name| list(name) == ["10.0.0.200"])));
    assert_eq!(told.0.load(Ordering::SeqCst), 1);
}

#[test]
fn localhost_needs_neither_file_nor_server() {
    let server = NameServer::start();
    let resolver = start(&server);
    let name = resolver.watch("localhost");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["127.0.0.1"]);
}

#[test]
fn srv_records_of_the_lowest_priority_give_ports_and_weights() {
    let server = NameServer::start();
    let records =
        vec![(2, 9, 99, "c.test"), (1, 0, 81, "a.test"), (1, 7, 82, "b.test"), (0, 1, 80, "gone.test")];
    server.react("srv.test", Reaction::Services(records, 60));
    server.set("a.test", &["10.0.0.1", "10.0.0.2"], 60);
    server.set("b.test", &["10.0.0.1"], 60);
    server.set("c.test", &["10.0.0.9"], 60);
    let resolver = start(&server);
    let name = resolver.watch("srv.test");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["10.0.0.1:81 x1", "10.0.0.1:82 x7", "10.0.0.2:81 x1"]);
}

#[test]
fn a_higher_priority_serves_when_no_lower_one_has_an_address() {
    let server = NameServer::start();
    let records = vec![(0, 1, 80, "."), (1, 1, 80, "gone.test"), (2, 5, 99, "c.test")];
    server.react("srv.test", Reaction::Services(records, 60));
    server.set("c.test", &["10.0.0.9"], 60);
    let resolver = start(&server);
    let name = resolver.watch("srv.test");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["10.0.0.9:99 x5"]);
}

#[test]
fn a_host_of_a_record_that_gives_no_answer_keeps_its_addresses_and_is_asked_again_soon() {
    let server = NameServer::start();
    let records = || vec![(0, 1, 81, "a.test"), (0, 2, 82, "b.test")];
    server.react("srv.test", Reaction::Services(records(), 0));
    server.set("a.test", &["10.0.0.1"], 3600);
    server.set("b.test", &["10.0.0.2"], 3600);
    let resolver = start(&server);
    let name = resolver.watch("srv.test");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["10.0.0.1:81 x1", "10.0.0.2:82 x2"]);
    server.react("b.test", Reaction::Code(2));
    server.react("srv.test", Reaction::Services(records(), 3600));
    let asked = server.asked("b.test");
    assert!(resolver.wait_until(PATIENCE, |_| server.asked("b.test") > asked + 3));
    assert_eq!(list(&name), ["10.0.0.1:81 x1", "10.0.0.2:82 x2"], "nothing speaks against the other");
    server.set("b.test", &["10.0.0.3"], 3600);
    assert!(resolver.wait_until(PATIENCE, |_| list(&name) == ["10.0.0.1:81 x1", "10.0.0.3:82 x2"]));
}

#[test]
fn hosts_that_are_silent_do_not_hold_up_others_of_the_same_name() {
    let server = NameServer::start();
    let silent = ["s1.test", "s2.test", "s3.test", "s4.test"];
    let records = silent.iter().map(|host| (0, 1, 80, *host)).chain([(0, 1, 81, "well.test")]).collect();
    server.react("srv.test", Reaction::Services(records, 60));
    server.set("well.test", &["10.0.0.1"], 60);
    silent.iter().for_each(|host| server.react(host, Reaction::Silence));
    let timeout = Some(Duration::from_millis(100));
    let resolver = Resolver::start(DnsSettings { timeout, ..settings(&server) }).unwrap();
    let name = resolver.watch("srv.test");
    resolver.settle(PATIENCE);
    assert_eq!(list(&name), ["10.0.0.1:81 x1"]);
}

#[test]
fn a_name_with_addresses_is_asked_once_for_srv_records_and_again_when_they_end() {
    let server = NameServer::start();
    server.set("plain.test", &["10.0.0.1"], 0);
    server.set("a.test", &["10.0.0.2"], 0);
    let resolver = start(&server);
    let name = resolver.watch("plain.test");
    assert!(resolver.wait_until(PATIENCE, |_| server.asked("plain.test") > 3));
    assert_eq!(server.asked_for_services("plain.test"), 1);
    server.react("plain.test", Reaction::Services(vec![(0, 3, 81, "a.test")], 0));
    assert!(resolver.wait_until(PATIENCE, |_| list(&name) == ["10.0.0.2:81 x3"]));
}

#[test]
fn failing_servers_keep_srv_records_and_the_end_of_those_leads_to_addresses() {
    let server = NameServer::start();
    server.react("srv.test", Reaction::Services(vec![(0, 3, 81, "a.test")], 0));
    server.set("a.test", &["10.0.0.1"], 60);
    let resolver = start(&server);
    let name = resolver.watch("srv.test");
    resolver.settle(PATIENCE);
    let addresses = vec!["10.0.0.9".parse().unwrap()];
    for failing in [Reaction::Code(2), Reaction::AddressesOnly(addresses, 0)] {
        let asked = server.asked_for_services("srv.test");
        server.react("srv.test", failing);
        assert!(resolver.wait_until(PATIENCE, |_| {
            server.asked_for_services("srv.test") > asked + 1
                && state(&name) == State::Failed(Failure::Server)
        }));
        assert_eq!(list(&name), ["10.0.0.1:81 x3"], "nothing is known that would speak against them");
    }
    server.set("srv.test", &["10.0.0.5"], 60);
    assert!(resolver.wait_until(PATIENCE, |_| list(&name) == ["10.0.0.5"]));
}

#[test]
fn an_order_without_srv_asks_for_none() {
    let server = NameServer::start();
    server.set("plain.test", &["10.0.0.1"], 60);
    let order = "LAST,A,AAAA,CNAME".parse().unwrap();
    let resolver = Resolver::start(DnsSettings { order, ..settings(&server) }).unwrap();
    let name = resolver.watch("plain.test");
    resolver.settle(PATIENCE);
    assert_eq!((list(&name).join(" "), server.asked_for_services("plain.test")), ("10.0.0.1".to_owned(), 0));
}

#[test]
fn an_order_that_cannot_be_kept_is_refused() {
    assert_eq!("last, srv,a,cname".parse(), Ok(Order::default()));
    for wrong in ["", "LAST", "SRV,MX", "AAAA,A"] {
        assert_eq!(wrong.parse::<Order>(), Err(()), "{wrong}");
    }
}
