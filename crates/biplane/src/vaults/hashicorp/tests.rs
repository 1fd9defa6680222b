//! What is said to a server, and when, on a clock that is set. The server is a stand-in that answers as Vault's HTTP API does;
//! the end-to-end stories have a real one.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use model::Record;
use plugin::clock::Clock;
use plugin::outbound::loopback::{Given, Loopback, Received};
use serde_json::{Value, json};

use super::*;

/// A server, the gateway's side of it, and the clock.
struct Lab {
    server: Loopback,
    vaults: HashiCorp,
    seconds: Arc<AtomicU64>,
    clock: Clock,
}

impl Lab {
    fn answering(answers: impl Fn(&Received) -> Given + Send + Sync + 'static) -> Self {
        let server = Loopback::answering(answers);
        let mut vaults = HashiCorp::new(TlsSettings::default());
        let seconds = Arc::new(AtomicU64::new(0));
        let (passed, begin) = (seconds.clone(), Instant::now());
        vaults.now = Box::new(move || begin + Duration::from_secs(passed.load(Ordering::Relaxed)));
        let clock = Clock::fixed(0);
        vaults.kept = Arc::new(kept(clock.clone()));
        Self { server, vaults, seconds, clock }
    }

    fn wanted(&self, resource: &str, config: &Value) -> Wanted {
        let mut config = config.clone();
        config["port"] = self.server.port().into();
        let config = VaultConfig::from_value(&VaultConfig::schema().check(&config).unwrap()).unwrap();
        Wanted { kind: HASHICORP, config, resource: resource.to_owned(), version: None }
    }

    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<String, String>> {
        let texts = self.vaults.read(wanted, StandIn::Allowed);
        texts.into_iter().map(|text| text.map(|text| text.reveal().to_owned())).collect()
    }

    fn one(&self, wanted: &Wanted) -> Result<String, String> {
        self.read(&[wanted]).remove(0)
    }

    fn at(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::Relaxed);
        self.clock.advance(seconds * 1_000 - self.clock.now_ms());
    }

    /// The targets that were asked for since the last time, without the version of the API.
    fn asked(&self, before: usize) -> Vec<String> {
        let seen = self.server.seen();
        seen[before..].iter().map(|one| one.target.trim_start_matches("/v1/").to_owned()).collect()
    }
}

fn found(wanted: Wanted) -> Found {
    Found { reference: String::new(), wanted, key: None, value: Secret::new("") }
}

fn token() -> Value {
    json!({"token": "root"})
}

fn app_role() -> Value {
    json!({"auth_method": "approle", "approle_role_id": "role", "approle_secret_id": "proof"})
}

fn stored(text: &str) -> Given {
    Given::json(&json!({"data": {"word": text}}).to_string())
}

/// A server that grants tokens called after how many logins there were, good for so many seconds.
fn granting(lasts: u64) -> impl Fn(&Received) -> Given + Send + Sync {
    let logins = AtomicU16::new(0);
    move |request| {
        let grant = |number: u16| {
            let auth = json!({"client_token": format!("token-{number}"), "lease_duration": lasts, "renewable": true});
            Given::json(&json!({ "auth": auth }).to_string())
        };
        match request.target.as_str() {
            "/v1/auth/approle/login" => grant(logins.fetch_add(1, Ordering::Relaxed) + 1),
            "/v1/auth/token/renew-self" => grant(logins.load(Ordering::Relaxed)),
            _ => stored(&request.header("X-Vault-Token").unwrap_or_default()),
        }
    }
}

const DENIED: &str = r#"{"errors":["permission denied"]}"#;

#[test]
fn a_path_is_asked_for_once_with_the_token_and_the_namespace() {
    let lab = Lab::answering(|_| Given::json(r#"{"data":{"data":{"word":"hidden"},"metadata":{}}}"#));
    let config = json!({"token": "root", "namespace": "team", "mount": "/kv/x/", "kv": "v2"});
    let (one, other) =
        (lab.wanted("db/a b", &config), Wanted { version: Some(3), ..lab.wanted("db/a b", &config) });
    let texts = lab.read(&[&one, &other, &one]);
    assert_eq!(texts, vec![Ok(r#"{"word":"hidden"}"#.to_owned()); 3]);
    let mut asked = lab.asked(0);
    asked.sort_unstable();
    assert_eq!(asked, ["kv/x/data/db/a%20b", "kv/x/data/db/a%20b?version=3"]);
    let request = lab.server.last();
    for (name, value) in
        [("X-Vault-Token", "root"), ("X-Vault-Namespace", "team"), ("X-Vault-Request", "true")]
    {
        assert_eq!(request.header(name).as_deref(), Some(value));
    }
}

#[test]
fn paths_that_lead_elsewhere_are_not_asked_for() {
    let lab = Lab::answering(|_| stored("hidden"));
    for resource in ["../sys/seal", "a/../../sys/seal", "a//b", "./a"] {
        assert!(lab.one(&lab.wanted(resource, &token())).unwrap_err().contains("is no path of a secret"));
    }
    let versioned = Wanted { version: Some(1), ..lab.wanted("a", &token()) };
    assert!(lab.one(&versioned).unwrap_err().contains("set kv to v2"));
    assert!(lab.server.seen().is_empty());
}

#[test]
fn refusals_say_what_the_server_says_and_no_secret() {
    for (answer, expected) in [
        (
            Given::answer(403, &[], r#"{"errors":["permission denied for root\n"]}"#),
            "the vault denies secret/a: permission denied for (secret)",
        ),
        (Given::answer(404, &[], r#"{"errors":[]}"#), "the vault holds nothing at secret/a"),
        (
            Given::answer(404, &[], r#"{"warnings":["Invalid path"]}"#),
            "the vault holds nothing at secret/a: Invalid path",
        ),
        (
            Given::answer(503, &[], r#"{"errors":["Vault is sealed"]}"#),
            "the vault cannot say anything about secret/a: status 503: Vault is sealed",
        ),
        (
            Given::answer(307, &[("Location", "http://127.0.0.1:1/")], ""),
            "the vault cannot say anything about secret/a: status 307",
        ),
        (Given::answer(400, &[], "?"), "the vault refuses secret/a with status 400"),
        (Given::answer(200, &[], "<html>"), "the answer about secret/a is not JSON"),
        (Given::answer(200, &[], r#"{"data":null}"#), "secret/a is no secret of an engine of this version"),
    ] {
        let lab = Lab::answering(move |_| answer.clone());
        assert_eq!(lab.one(&lab.wanted("a", &token())).unwrap_err(), expected);
    }
}

#[test]
fn a_role_logs_in_once_and_its_token_is_renewed_before_it_ends() {
    let lab = Lab::answering(granting(90));
    let wanted = lab.wanted("a", &app_role());
    let other = lab.wanted("b", &app_role());
    assert_eq!(lab.read(&[&wanted, &other]), vec![Ok(r#"{"word":"token-1"}"#.to_owned()); 2]);
    assert_eq!(lab.asked(0)[0], "auth/approle/login");
    let login: Value = serde_json::from_str(&lab.server.seen()[0].text()).unwrap();
    assert_eq!(login, json!({"role_id": "role", "secret_id": "proof"}));
    lab.at(59);
    lab.vaults.keep_up(&[found(wanted.clone())]);
    assert_eq!(lab.asked(3), [""; 0], "two thirds of its time are not over");
    lab.at(60);
    lab.vaults.keep_up(&[found(wanted.clone())]);
    assert_eq!(lab.asked(3), ["auth/token/renew-self"]);
    lab.at(119);
    assert_eq!(lab.one(&wanted).unwrap(), r#"{"word":"token-1"}"#);
    assert_eq!(lab.asked(4), ["secret/a"]);
    lab.at(200);
    assert_eq!(lab.one(&wanted).unwrap(), r#"{"word":"token-2"}"#);
    assert_eq!(lab.asked(5), ["auth/approle/login", "secret/a"], "an ended one is not renewed");
}

#[test]
fn a_token_that_can_hold_no_longer_is_replaced() {
    let renewals = AtomicU16::new(0);
    let lab = Lab::answering(move |request| {
        let auth = |lasts: u64| {
            Given::json(
                &json!({"auth": {"client_token": "t", "lease_duration": lasts, "renewable": true}})
                    .to_string(),
            )
        };
        match request.target.as_str() {
            "/v1/auth/approle/login" => auth(90),
            "/v1/auth/token/renew-self" => {
                auth(if renewals.fetch_add(1, Ordering::Relaxed) == 0 { 90 } else { 30 })
            }
            _ => stored(""),
        }
    });
    let wanted = lab.wanted("a", &app_role());
    for (seconds, expected) in [
        (0, vec!["auth/approle/login", "secret/a"]),
        (61, vec!["auth/token/renew-self", "secret/a"]),
        (122, vec!["auth/token/renew-self", "secret/a"]),
        (143, vec!["auth/approle/login", "secret/a"]),
    ] {
        let before = lab.server.seen().len();
        lab.at(seconds);
        lab.one(&wanted).unwrap();
        assert_eq!(lab.asked(before), expected, "after {seconds} s");
    }
}

#[test]
fn a_token_that_was_taken_back_is_replaced_and_one_that_may_not_is_not() {
    for (is_known, expected) in
        [(false, Ok(r#"{"word":"new"}"#)), (true, Err("the vault denies secret/a: permission denied"))]
    {
        let logins = AtomicU16::new(0);
        let lab = Lab::answering(move |request| match request.target.as_str() {
            "/v1/auth/approle/login" => {
                let number = logins.fetch_add(1, Ordering::Relaxed);
                Given::json(
                    &json!({"auth": {"client_token": format!("t{number}"), "lease_duration": 0}}).to_string(),
                )
            }
            "/v1/auth/token/lookup-self" if is_known => Given::json("{}"),
            "/v1/secret/a" if request.header("X-Vault-Token").as_deref() == Some("t1") => stored("new"),
            _ => Given::answer(403, &[], DENIED),
        });
        let found = lab.one(&lab.wanted("a", &app_role()));
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
        let logins = lab.asked(0).iter().filter(|target| target.ends_with("login")).count();
        assert_eq!(logins, if is_known { 1 } else { 2 });
    }
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once() {
    let unwrapped = AtomicU16::new(0);
    let lab = Lab::answering(move |request| match request.target.as_str() {
        "/v1/sys/wrapping/unwrap" => match unwrapped.fetch_add(1, Ordering::Relaxed) {
            0 => Given::json(r#"{"data":{"secret_id":"inner"}}"#),
            _ => Given::answer(400, &[], r#"{"errors":["wrapping token is not valid or does not exist"]}"#),
        },
        "/v1/auth/approle/login" => {
            Given::json(r#"{"auth":{"client_token":"t","lease_duration":10,"renewable":false}}"#)
        }
        _ => stored("word"),
    });
    let mut config = app_role();
    config["approle_response_wrapping"] = true.into();
    let wanted = lab.wanted("a", &config);
    lab.one(&wanted).unwrap();
    assert_eq!(lab.asked(0), ["sys/wrapping/unwrap", "auth/approle/login", "secret/a"]);
    assert_eq!(lab.server.seen()[0].header("X-Vault-Token").as_deref(), Some("proof"));
    assert!(lab.server.seen()[1].text().contains("inner"));
    lab.at(11);
    lab.one(&wanted).unwrap();
    assert_eq!(lab.asked(3), ["auth/approle/login", "secret/a"]);
    config["approle_secret_id"] = "another".into();
    let refusal = lab.one(&lab.wanted("a", &config)).unwrap_err();
    assert!(refusal.contains("could not be unwrapped") && refusal.contains("is not valid"), "{refusal}");
}

#[test]
fn a_service_account_logs_in_with_its_file() {
    let lab = Lab::answering(|request| match request.target.as_str() {
        "/v1/auth/k8s/login" => Given::json(r#"{"auth":{"client_token":"t","lease_duration":10}}"#),
        _ => stored("word"),
    });
    let file = std::env::temp_dir().join(format!("biplane-account-{}", std::process::id()));
    std::fs::write(&file, "jwt\n").unwrap();
    let config = json!({"auth_method": "kubernetes", "kube_role": "gateway", "kube_auth_path": "/k8s/", "kube_api_token_file": file});
    let outcome = lab.one(&lab.wanted("a", &config));
    std::fs::remove_file(&file).unwrap();
    outcome.unwrap();
    let login: Value = serde_json::from_str(&lab.server.seen()[0].text()).unwrap();
    assert_eq!(login, json!({"role": "gateway", "jwt": "jwt"}));
    lab.at(11);
    let refusal = lab.one(&lab.wanted("a", &config)).unwrap_err();
    assert!(refusal.contains("cannot be read"), "{refusal}");
}

#[test]
fn what_was_found_stands_in_while_the_server_is_down_and_no_longer() {
    let down = Arc::new(AtomicU16::new(0));
    let state = down.clone();
    let lab = Lab::answering(move |_| match state.load(Ordering::Relaxed) {
        0 => stored("word"),
        503 => Given::answer(503, &[], ""),
        1 => Given::Last(Vec::new()),
        status => Given::answer(status, &[], DENIED),
    });
    let mut config = token();
    config["ttl"] = 10.into();
    config["resurrect_ttl"] = 20.into();
    let wanted = lab.wanted("a", &config);
    let word = lab.one(&wanted).unwrap();
    lab.at(30);
    for state in [503, 1] {
        down.store(state, Ordering::Relaxed);
        assert_eq!(lab.one(&wanted), Ok(word.clone()), "{state}");
        assert!(lab.vaults.read(&[&wanted], StandIn::Never)[0].is_err());
        assert!(lab.one(&lab.wanted("b", &config)).is_err(), "it was never found");
    }
    for answer in [403, 404] {
        down.store(answer, Ordering::Relaxed);
        assert!(lab.one(&wanted).is_err(), "{answer}: the server has said so");
    }
    down.store(503, Ordering::Relaxed);
    lab.at(31);
    assert!(lab.one(&wanted).is_err(), "too long ago");
}

#[test]
fn a_server_that_does_not_answer_is_not_asked_for_each_secret() {
    let lab = Lab::answering(|_| Given::Last(Vec::new()));
    let wanted: Vec<Wanted> = (0..200).map(|number| lab.wanted(&format!("a{number}"), &token())).collect();
    let refusals = lab.read(&wanted.iter().collect::<Vec<_>>());
    assert!(refusals.iter().all(|one| one.as_ref().unwrap_err().contains("gives no answer")));
    let asked = lab.server.seen().len();
    assert!(asked <= 2 * AT_ONCE, "{asked}");
}

#[test]
fn what_is_not_needed_any_more_is_forgotten_after_a_while() {
    let lab = Lab::answering(granting(3600));
    let wanted = lab.wanted("a", &app_role());
    lab.one(&wanted).unwrap();
    for seconds in [500, 1000] {
        lab.at(seconds);
        lab.vaults.keep_up(&[found(wanted.clone())]);
    }
    lab.one(&wanted).unwrap();
    assert_eq!(lab.asked(2), ["secret/a"], "it is in use");
    lab.at(1700);
    lab.vaults.keep_up(&[]);
    lab.one(&wanted).unwrap();
    assert_eq!(lab.asked(3), ["auth/approle/login", "secret/a"]);
}

#[test]
fn a_text_that_no_secret_needs_any_more_does_not_stand_in_for_ever() {
    let down = Arc::new(AtomicU16::new(0));
    let state = down.clone();
    let lab = Lab::answering(move |_| match state.load(Ordering::Relaxed) {
        0 => stored("word"),
        _ => Given::answer(503, &[], ""),
    });
    let wanted = lab.wanted("a", &token());
    lab.one(&wanted).unwrap();
    down.store(1, Ordering::Relaxed);
    lab.at(500);
    lab.vaults.keep_up(&[found(wanted.clone())]);
    lab.at(1099);
    lab.vaults.keep_up(&[]);
    assert!(lab.one(&wanted).is_ok());
    lab.at(1100);
    lab.vaults.keep_up(&[]);
    assert!(lab.one(&wanted).is_err());
}

#[test]
fn what_a_server_has_refused_stands_in_no_more() {
    let status = Arc::new(AtomicU16::new(0));
    let state = status.clone();
    let lab = Lab::answering(move |_| match state.load(Ordering::Relaxed) {
        0 => stored("word"),
        status => Given::answer(status, &[], DENIED),
    });
    let wanted = lab.wanted("a", &token());
    lab.one(&wanted).unwrap();
    for refused in [403, 503] {
        status.store(refused, Ordering::Relaxed);
        assert!(lab.one(&wanted).is_err(), "{refused}");
    }
}

#[test]
fn what_is_asked_of_servers_is_counted_as_of_every_cache() {
    let status = Arc::new(AtomicU16::new(0));
    let state = status.clone();
    let lab = Lab::answering(move |_| match state.load(Ordering::Relaxed) {
        0 => stored("word"),
        _ => Given::answer(503, &[], ""),
    });
    let figures = Figures::default();
    lab.vaults.show_in(&figures);
    let wanted = lab.wanted("a", &token());
    lab.one(&wanted).unwrap();
    lab.one(&wanted).unwrap();
    status.store(1, Ordering::Relaxed);
    lab.one(&wanted).unwrap();
    let mut told = Vec::new();
    figures.each(|family, values| {
        told.extend(values.iter().map(|(labels, value)| (family.name, labels[0].clone(), *value)));
    });
    for (name, value) in [("calls_total", 3), ("refreshes_total", 2), ("failures_total", 1), ("entries", 1)] {
        let expected = (&*format!("remembered_{name}"), "vaults".to_owned(), value);
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}
