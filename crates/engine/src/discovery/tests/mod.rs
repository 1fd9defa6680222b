//! Lists of targets from a file and from a stand-in for Consul, as balancers see them.

mod last_run;
mod registry;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use model::Config;
use model::declarative::{self, Catalog};
use model::serde_json::{Value, json};
use plugin::services::SourceReport;

use super::{Purpose, compile};
use crate::balance::{Asker, Balancer, Balancers};
use crate::dns::server::NameServer;
use crate::dns::{DnsSettings, Resolver};
use crate::tests::tls::authority::Authority;
use crate::tests::tls::services::server;
use crate::tls::{Authorities, Keeper, TlsSettings, Trusted};
use registry::{Manner, Registry, instance};

const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that a list needs to reach a balancer.
struct World {
    server: NameServer,
    resolver: Arc<Resolver>,
    keeper: Keeper,
}

impl World {
    fn new() -> Self {
        Self::keeping(None)
    }

    /// One whose lists outlive it in a folder.
    fn keeping(lists: Option<PathBuf>) -> Self {
        Self::keeping_for(lists, None)
    }

    /// One that has no use for lists older than `lists_max_age`.
    fn keeping_for(lists: Option<PathBuf>, lists_max_age: Option<Duration>) -> Self {
        let server = NameServer::start();
        let settings = DnsSettings {
            lists,
            lists_max_age,
            hosts_file: PathBuf::from("/nonexistent/hosts"),
            servers: vec![server.address],
            min_ttl: Duration::from_millis(10),
            error_ttl: Duration::from_millis(10),
            ..DnsSettings::default()
        };
        Self { server, resolver: Resolver::start(settings).unwrap(), keeper: Keeper::for_check().unwrap() }
    }

    /// The balancers of an upstream `pool` that finds further targets by `discovery`.
    fn balancers(&self, upstream: &Value, discovery: &Value) -> Balancers {
        let config = config(upstream, discovery);
        let mut problems = Vec::new();
        let listings = compile(&config, &self.resolver, &self.keeper, Purpose::Serve, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let balancers = Balancers::with_listings(&config, &self.resolver, &listings);
        self.resolver.directory.settle(PATIENCE);
        self.resolver.settle(PATIENCE);
        balancers
    }
}

/// A folder that is gone with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("biplane-targets-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(upstream: &Value, discovery: &Value) -> Config {
    let mut upstream = upstream.clone();
    (upstream["name"], upstream["discovery"]) = (json!("pool"), discovery.clone());
    let document = json!({"_format_version": "3.0", "upstreams": [upstream]}).to_string();
    declarative::load("kong.json", &document, &Catalog::default()).expect("a valid document")
}

/// Addresses and hosts of one turn of the wheel, each once, in order.
fn reached(balancers: &Balancers) -> Vec<String> {
    let balancer = balancers.for_host("pool", 80);
    let mut found: Vec<String> = (0..60).filter_map(|_| picked(&balancer)).collect();
    found.sort();
    found.dedup();
    found
}

fn picked(balancer: &Balancer) -> Option<String> {
    let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
    let peer = balancer.pick(&[], &asker, &mut Vec::new()).ok()?.peer;
    Some(format!("{} {}", peer.address, balancer.host(&peer)))
}

fn report(balancers: &Balancers) -> SourceReport {
    balancers.sources().remove(0)
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn consul(registry: &Registry) -> Value {
    json!({"source": "consul", "service": "orders", "address": format!("http://{}", registry.address)})
}

#[test]
fn instances_that_pass_are_targets_beside_those_of_the_configuration() {
    let (world, registry) = (World::new(), Registry::start());
    world.server.set("node.test", &["10.0.0.7"], 60);
    registry.set(
        3,
        vec![
            instance("10.0.0.1", 80, 3),
            instance("", 81, 1),
            instance("node.test", 82, 1),
            instance("10.0.0.2", 0, 1),
            instance("no host\r\n", 83, 1),
        ],
    );
    let own = json!({"targets": [{"target": "10.0.0.5:85"}, {"target": "10.0.0.1:80", "weight": 2}]});
    let balancers = world.balancers(&own, &consul(&registry));
    let all =
        ["10.0.0.1:80 10.0.0.1", "10.0.0.5:85 10.0.0.5", "10.0.0.7:82 node.test", "10.9.9.9:81 10.9.9.9"];
    let mut found = reached(&balancers);
    let balancer = balancers.for_host("pool", 80);
    found.extend((0..2000).filter_map(|_| picked(&balancer)));
    found.sort();
    found.dedup();
    assert_eq!(found, all);
    let health = balancers.health();
    let shown: Vec<_> = health.iter().map(|row| format!("{} {:?}", row.target, row.discovered)).collect();
    assert_eq!(
        shown,
        ["10.0.0.5:85 None", "10.0.0.1:80 None", "10.9.9.9:81 Some(1)", "node.test:82 Some(1)"]
    );
}

#[test]
fn weights_are_those_for_passing_checks() {
    let (world, registry) = (World::new(), Registry::start());
    registry.set(3, vec![instance("10.0.0.1", 80, 3), instance("10.0.0.2", 80, 1)]);
    let balancer = world.balancers(&json!({}), &consul(&registry)).for_host("pool", 80);
    let first = (0..40).filter(|_| picked(&balancer).unwrap().starts_with("10.0.0.1:")).count();
    assert_eq!(first, 30);
}

#[test]
fn a_question_names_what_is_wanted_and_then_waits_for_a_change() {
    let (world, registry) = (World::new(), Registry::start());
    let mut wanted = consul(&registry);
    wanted["service"] = json!("order api");
    wanted["tags"] = json!(["v2", "a&b"]);
    wanted["datacenter"] = json!("east");
    wanted["wait"] = json!(60);
    // Any variable that every test has.
    wanted["token_env"] = json!("PATH");
    registry.set(7, vec![instance("10.0.0.1", 80, 1)]);
    let balancers = world.balancers(&json!({}), &wanted);
    let base = "/v1/health/service/order%20api?passing&dc=east&tag=v2&tag=a%26b";
    eventually("it waits", || registry.questions().len() == 2);
    assert_eq!(registry.questions(), [base.to_owned(), format!("{base}&index=7&wait=60000ms")]);
    let token = format!("x-consul-token: {}\r\n", std::env::var("PATH").unwrap());
    assert!(registry.asked().iter().all(|head| head.contains(&token)), "{:?}", registry.asked());
    registry.set(9, vec![instance("10.0.0.2", 80, 1)]);
    eventually("the change is taken", || reached(&balancers) == ["10.0.0.2:80 10.0.0.2"]);
    eventually("it waits again", || registry.questions().last().unwrap().contains("&index=9&"));
    assert_eq!(registry.questions().len(), 3, "{:?}", registry.questions());
}

#[test]
fn an_index_that_goes_backwards_or_is_zero_begins_anew() {
    let (world, registry) = (World::new(), Registry::start());
    registry.set(50, vec![]);
    let balancers = world.balancers(&json!({}), &consul(&registry));
    eventually("it waits", || registry.questions().len() == 2);
    registry.set(5, vec![instance("10.0.0.1", 80, 1)]);
    eventually("the list of a lower number counts", || reached(&balancers).len() == 1);
    eventually("it asks on", || registry.questions().len() >= 4);
    let questions = registry.questions();
    assert!(!questions[2].contains("index="), "no wait for a number of another time: {questions:?}");
    assert!(questions[3].contains("&index=5&"), "{questions:?}");
    registry.set(0, vec![]);
    eventually("it asks for the first state", || registry.questions().last().unwrap().contains("&index=1&"));
}

#[test]
fn the_last_list_survives_an_outage_which_is_seen_and_ends_by_itself() {
    let (world, registry) = (World::new(), Registry::start());
    registry.set(7, vec![instance("10.0.0.1", 80, 1)]);
    let balancers = world.balancers(&json!({}), &consul(&registry));
    assert!(report(&balancers).up);
    let garbage = [
        (Manner::Status(500), "500"),
        (Manner::Status(403), "the token may not"),
        (Manner::Body(b"{}".to_vec()), "not a list"),
        (Manner::Body(b"[{".to_vec()), "not a list"),
        (Manner::NoIndex, "X-Consul-Index"),
    ];
    for (manner, reason) in garbage {
        registry.behave(manner);
        let told = || report(&balancers).trouble.is_some_and(|trouble| trouble.contains(reason));
        eventually(reason, told);
        assert_eq!((report(&balancers).up, report(&balancers).targets), (false, 1));
        assert_eq!(reached(&balancers), ["10.0.0.1:80 10.0.0.1"]);
        // Each begins a row of failures of its own, so that waits stay short.
        registry.behave(Manner::Well);
        eventually("it is back", || report(&balancers).up);
    }
    registry.behave(Manner::Nothing);
    eventually("no answer", || !report(&balancers).up);
    let before = registry.questions().len();
    registry.set(8, vec![instance("10.0.0.2", 80, 1)]);
    registry.behave(Manner::Well);
    eventually("the newest list counts", || reached(&balancers) == ["10.0.0.2:80 10.0.0.2"]);
    assert!(!registry.questions()[before].contains("index="), "the first question after it does not wait");
    assert!(report(&balancers).age.unwrap() < PATIENCE);
}

#[test]
fn under_tls_it_has_to_be_whom_the_authorities_know() {
    let authority = Authority::root();
    let trusted = vec![Trusted::Only(Authorities::read(&authority.pem()).unwrap())];
    let mut world = World::new();
    world.keeper = Keeper::new(TlsSettings { trusted, ..TlsSettings::default() }).unwrap();
    world.server.set("consul.test", &["127.0.0.1"], 60);
    world.server.set("other.test", &["127.0.0.1"], 60);
    let registry = Registry::start_tls(server(&authority.issue(&["consul.test"])));
    registry.set(2, vec![instance("10.0.0.1", 80, 1)]);
    let at = |host: &str| {
        let address = format!("https://{host}:{}", registry.address.port());
        world.balancers(&json!({}), &json!({"source": "consul", "service": "orders", "address": address}))
    };
    assert_eq!(reached(&at("consul.test")), ["10.0.0.1:80 10.0.0.1"]);
    let trouble = report(&at("other.test")).trouble.unwrap();
    assert!(trouble.contains("cannot connect") && trouble.contains("certificate"), "{trouble}");
}

#[test]
fn a_server_that_is_down_is_passed_over_for_another_of_its_name() {
    let world = World::new();
    // Bound and not listening: nobody else takes it, and nobody gets in. Another test may have the port.
    let beside = |_| {
        let registry = Registry::start_on("127.0.0.9");
        let down = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let place = std::net::SocketAddr::from(([127, 0, 0, 1], registry.address.port()));
        down.bind(&place.into()).ok().map(|()| (registry, down))
    };
    let (registry, _down) = (0..100).find_map(beside).expect("a port that is free at both addresses");
    let port = registry.address.port();
    world.server.set("consul.test", &["127.0.0.1", "127.0.0.9"], 60);
    registry.set(2, vec![instance("10.0.0.1", 80, 1)]);
    let address = format!("http://consul.test:{port}");
    let asked = json!({"source": "consul", "service": "orders", "address": address});
    let balancers = world.balancers(&json!({}), &asked);
    assert_eq!(report(&balancers).trouble, None);
    assert_eq!(reached(&balancers), ["10.0.0.1:80 10.0.0.1"]);
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (world, registry) = (World::new(), Registry::start());
    registry.behave(Manner::Body(vec![b' '; (16 << 20) + 1]));
    let balancers = world.balancers(&json!({}), &consul(&registry));
    eventually("it is refused", || {
        report(&balancers).trouble.is_some_and(|trouble| trouble.contains("limit"))
    });
}

#[test]
fn what_is_known_of_targets_that_stay_is_kept_and_of_others_forgotten() {
    let (world, registry) = (World::new(), Registry::start());
    registry.set(2, vec![instance("10.0.0.1", 80, 1), instance("10.0.0.2", 80, 1)]);
    let balancers = world.balancers(&json!({"algorithm": "least-connections"}), &consul(&registry));
    let balancer = balancers.for_host("pool", 80);
    let members = balancer.members();
    let unavailable =
        |member: usize| members[member].standing.set_available(false, tokio::time::Instant::now());
    unavailable(0);
    unavailable(1);
    let gone = Arc::downgrade(&members[1].standing);
    drop(members);
    registry.set(3, vec![instance("10.0.0.1", 80, 1), instance("10.0.0.3", 80, 1)]);
    let addresses = || balancer.members().iter().map(|member| member.address.to_string()).collect::<Vec<_>>();
    eventually("the change is taken", || addresses() == ["10.0.0.1:80", "10.0.0.3:80"]);
    let available: Vec<bool> = balancer.members().iter().map(|member| member.standing.available()).collect();
    assert_eq!(available, [false, true]);
    eventually("the removed one is forgotten", || gone.strong_count() == 0);
}

#[test]
fn a_list_outlives_a_reload_and_ends_when_nobody_wants_it() {
    let (world, registry) = (World::new(), Registry::start());
    registry.set(2, vec![instance("10.0.0.1", 80, 1)]);
    let before = world.balancers(&json!({}), &consul(&registry));
    eventually("it waits", || registry.questions().len() == 2);
    registry.behave(Manner::Nothing);
    eventually("it is gone", || !report(&before).up);
    let after = world.balancers(&json!({"slots": 2000}), &consul(&registry));
    assert_eq!(reached(&after), ["10.0.0.1:80 10.0.0.1"], "nobody has to be asked for it");
    drop((before, after));
    registry.behave(Manner::Well);
    let other = world.balancers(&json!({}), &json!({"source": "file", "path": "/nonexistent/targets.yml"}));
    let asked = registry.questions().len();
    thread::park_timeout(Duration::from_millis(1));
    eventually("the file is found missing", || report(&other).trouble.is_some());
    assert!(registry.questions().len() <= asked + 1, "it is not asked for what nobody wants");
}

#[test]
fn a_check_asks_nobody() {
    let (world, registry) = (World::new(), Registry::start());
    let mut wanted = consul(&registry);
    wanted["token_env"] = json!("BIPLANE_NO_SUCH_VARIABLE");
    let mut problems = Vec::new();
    let asked = config(&json!({}), &wanted);
    let listings = compile(&asked, &world.resolver, &world.keeper, Purpose::Check, &mut problems);
    assert_eq!((listings.len(), problems.len(), registry.asked().len()), (1, 0, 0));
    let listings = compile(&asked, &world.resolver, &world.keeper, Purpose::Serve, &mut problems);
    assert_eq!(listings.len(), 0);
    assert_eq!(problems[0].place.to_string(), "upstreams.discovery.token_env");
}

#[test]
fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let world = World::new();
    let folder = Folder::new();
    let path = folder.0.join("targets.yml");
    fs::write(&path, "- {target: '10.0.0.1:80'}\n").unwrap();
    let balancers = world.balancers(&json!({}), &json!({"source": "file", "path": path}));
    assert_eq!(reached(&balancers), ["10.0.0.1:80 10.0.0.1"], "it is there from the beginning");
    fs::write(&path, "- target: '10.0.0.2:80'\n- target: '10.0.0.3:80'\n  wight: 3\n").unwrap();
    eventually("the fault is told", || report(&balancers).trouble.is_some());
    let trouble = report(&balancers).trouble.unwrap();
    assert!(
        trouble.ends_with("targets.yml:3:3: [1].wight: unknown field (did you mean 'weight'?)"),
        "{trouble}"
    );
    assert_eq!(reached(&balancers), ["10.0.0.1:80 10.0.0.1"]);
    // In one step, as a careful writer does it.
    fs::write(folder.0.join("next"), "- {target: '10.0.0.2:80'}\n- {target: '10.0.0.3:80', weight: 0}\n")
        .unwrap();
    fs::rename(folder.0.join("next"), &path).unwrap();
    eventually("it is mended", || reached(&balancers) == ["10.0.0.2:80 10.0.0.2"]);
    assert!(report(&balancers).up);
    fs::remove_file(&path).unwrap();
    eventually("it is missed", || !report(&balancers).up);
    assert_eq!(reached(&balancers), ["10.0.0.2:80 10.0.0.2"]);
}
