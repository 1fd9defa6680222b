//! References in documents: looked up, checked like values that are written out, and never shown.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::{Catalog, PluginSchema, Scopes, load, load_with};
use crate::entity::{Entity, Form};
use crate::schema::Record;
use crate::secret::{Secret, Vaults, Wanted};
use crate::{Config, Problem, Reference};

crate::record! {
    /// A server.
    pub struct Server {
        /// Port.
        port: u16 = 1, [referenceable()];
        /// Password.
        password: Option<String>, [referenceable(), encrypted(), len_min(4)];
    }
    checks: [at_least_one_of(&["password"])]
}

crate::record! {
    /// Settings of the plugin under test.
    pub struct Settings {
        /// Name.
        name: Option<String>;
        /// Where to.
        server: Server;
        /// Words.
        words: Option<Vec<String>>, [each(referenceable())];
    }
}

crate::entity! {
    /// A word that a consumer knows.
    pub struct Word in "words" {
        /// Who knows it.
        consumer: Reference, [to("consumers")];
        /// The word.
        word: String, [unique(), len_min(4), referenceable(), encrypted()];
        /// What it is for.
        purpose: Option<String>;
    }
    cache_key: ["word"]
    transform: conceal
}

fn conceal(fields: &mut Map<String, Value>, form: Form) -> Result<(), (&'static str, String)> {
    let word = fields["word"].as_str().unwrap_or_default();
    match form {
        Form::Written if word == "wrong" => return Err(("word", "is wrong".to_owned())),
        Form::Written => fields["word"] = Value::from(format!("concealed {word}")),
        Form::Kept => {}
    }
    Ok(())
}

fn catalog() -> Catalog {
    let plugin = PluginSchema {
        name: "safe",
        priority: 1,
        config: Settings::schema(),
        scopes: Scopes::NO_CONSUMER,
        protocols: &["http", "https"],
        streams: &[],
    };
    Catalog { plugins: vec![plugin], entities: vec![Word::entity_schema()] }
}

/// Holds what is named `env/NAME` (and a vault of the kind `hcv` by its token, `hcv/TOKEN/NAME`), and writes down what it was asked for.
#[derive(Default)]
struct Store {
    held: Vec<(&'static str, &'static str)>,
    usual: Vec<(&'static str, serde_json::Value)>,
    asked: RefCell<Vec<String>>,
}

impl Vaults for Store {
    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>> {
        wanted.iter().map(|wanted| self.one(wanted)).collect()
    }

    fn usual(&self, kind: &str) -> serde_json::Value {
        self.usual.iter().find(|(of, _)| *of == kind).map(|(_, config)| config.clone()).unwrap_or_default()
    }
}

impl Store {
    fn one(&self, wanted: &Wanted) -> Result<Secret, String> {
        let prefix = wanted.config.prefix.as_deref().unwrap_or_default();
        let token = wanted.config.token.as_ref().map(|token| format!("{token}/")).unwrap_or_default();
        let name = format!("{}/{prefix}{token}{}", wanted.kind, wanted.resource);
        self.asked.borrow_mut().push(name.clone());
        let held = self.held.iter().find(|(held, _)| *held == name);
        held.map(|(_, value)| Secret::new(*value)).ok_or_else(|| format!("{name} is not set"))
    }
}

fn loaded(store: &Store, config: &str) -> Result<Config, Vec<Problem>> {
    let text = format!("_format_version: '3.0'\n{config}");
    load_with("kong.yml", &text, &catalog(), store)
}

fn refused(store: &Store, config: &str) -> String {
    let problems = loaded(store, config).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    format!("{}:{}", problems[0].span.line, problems[0]).replace("kong.yml:", "")
}

const SERVER: &str = "plugins:\n- name: safe\n  config: {server: {password: '{vault://env/word}', port: '{vault://env/all/port}'}, words: ['{vault://env/word}']}\n";

fn store() -> Store {
    Store { held: vec![("env/word", "hidden-word"), ("env/all", r#"{"port": 6380}"#)], ..Store::default() }
}

#[test]
fn what_runs_has_the_secret_and_what_is_shown_the_reference() {
    let config = loaded(&store(), SERVER).unwrap();
    let settings = Settings::from_value(&config.plugins[0].config).unwrap();
    assert_eq!(settings.server.password.as_deref(), Some("hidden-word"));
    assert_eq!((settings.server.port, settings.words), (6380, Some(vec!["hidden-word".to_owned()])));
    let shown = config.entities("plugins")[0].complete().value;
    assert_eq!(shown["config"]["server"]["password"], "{vault://env/word}");
    assert_eq!(shown["config"]["server"]["port"], "{vault://env/all/port}");
    assert!(!config.entity_text("plugins", config.plugins[0].id).unwrap().contains("hidden-word"));
}

#[test]
fn nothing_prints_a_secret() {
    let config = loaded(&store(), SERVER).unwrap();
    let settings = Settings::from_value(&config.plugins[0].config).unwrap();
    for printed in [format!("{config:?}"), format!("{settings:?}"), format!("{:#?}", config.plugins[0])] {
        assert!(!printed.contains("hidden-word"), "{printed}");
    }
    assert!(format!("{settings:?}").contains("name: None"), "other fields are printed");
    let message = config.without_secrets("cannot connect with hidden-word".to_owned());
    assert_eq!(message, "cannot connect with {vault://env/word}");
}

#[test]
fn a_reference_is_looked_up_once() {
    let store = store();
    loaded(&store, SERVER).unwrap();
    assert_eq!(*store.asked.borrow(), ["env/all", "env/word"]);
}

#[test]
fn what_is_not_there_is_an_error_with_its_place() {
    let missing = refused(
        &Store::default(),
        "plugins: [{name: safe, config: {server: {password: '{vault://env/word}'}}}]",
    );
    assert_eq!(
        missing,
        "2:2:52: plugins[0].config.server.password: {vault://env/word} stands for nothing: env/word is not set"
    );
}

#[test]
fn a_secret_keeps_the_rules_of_its_field_and_is_not_told_when_it_breaks_them() {
    for (field, value) in [("password", "xyz"), ("port", "sixty"), ("port", "66000")] {
        let store = Store { held: vec![("env/word", value)], ..Store::default() };
        let other = if field == "password" { "" } else { ", password: long-enough" };
        let document = format!(
            "plugins: [{{name: safe, config: {{server: {{{field}: '{{vault://env/word}}'{other}}}}}}}]"
        );
        let refusal = refused(&store, &document);
        assert!(
            refusal.contains(&format!("server.{field}: what {{vault://env/word}} stands for")),
            "{refusal}"
        );
        assert!(!refusal.contains(value), "{refusal}");
    }
}

#[test]
fn a_key_by_reference_has_to_fit_its_certificate() {
    let certificate = serde_json::json!(include_str!("../../testdata/certificates/ec.crt"));
    let document = format!("certificates: [{{cert: {certificate}, key: '{{vault://env/key}}'}}]");
    let with = |key| Store { held: vec![("env/key", key)], ..Store::default() };
    let fitting = include_str!("../../testdata/certificates/ec.key");
    let config = loaded(&with(fitting), &document).unwrap();
    assert_eq!(config.certificates[0].key, fitting);
    let other = include_str!("../../testdata/certificates/ec-other.key");
    assert!(refused(&with(other), &document).contains("certificates[0]: certificate does not match key"));
    let refusal = refused(&with("hidden"), &document);
    assert!(refusal.contains("certificates[0].key: what {vault://env/key}"), "{refusal}");
}

#[test]
fn a_field_that_takes_no_reference_does_not_use_it_as_a_value() {
    let refusal = refused(
        &store(),
        "plugins: [{name: safe, config: {name: '{vault://env/word}', server: {password: four}}}]",
    );
    assert!(refusal.contains("config.name: this field takes no reference"), "{refusal}");
    let refusal = refused(&store(), "consumers: [{username: '{vault://env/word}'}]");
    assert!(refusal.contains("consumers[0].username: this field takes no reference"), "{refusal}");
}

#[test]
fn a_vault_has_a_prefix_and_settings_that_a_reference_may_change() {
    let store = Store { held: vec![("env/A_word", "one-a"), ("env/B_word", "one-b")], ..Store::default() };
    let vault = "vaults: [{prefix: mine, name: env, config: {prefix: A_, ttl: 7}}]\n";
    let words = |words: &str| {
        format!("{vault}plugins: [{{name: safe, config: {{words: [{words}], server: {{password: four}}}}}}]")
    };
    let config =
        loaded(&store, &words("'{vault://mine/word}', '{vault://mine/word?prefix=B_&ttl=9}'")).unwrap();
    assert_eq!(config.plugins[0].config["words"], serde_json::json!(["one-a", "one-b"]));
    let lives = config.secrets.iter().map(|found| found.time_to_live().map(|time| time.as_secs()));
    assert_eq!(lives.collect::<Vec<_>>(), [Some(7), Some(9)]);
    for (reference, reason) in [
        ("{vault://other/word}", "there is no vault 'other'"),
        ("{vault://mine/word?path=/}", "the option 'path' is not known"),
        ("{vault://mine/word?ttl=soon}", "the option 'ttl' is no number"),
        ("{vault://mine/word?ttl=0}", "ttl: value should be between 1"),
        ("{vault://mine/word#2}", "has no versions"),
        ("{vault://mine/}", "names nothing in the vault"),
    ] {
        let refusal = refused(&store, &words(&format!("'{reference}'")));
        assert!(refusal.contains("words[0]") && refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn settings_of_a_vault_are_for_its_kind() {
    let refusal = refused(&store(), "vaults: [{prefix: mine, name: env, config: {path: /run/secrets}}]");
    assert!(refusal.contains("config.path: is a setting of vaults of the kind 'file'"), "{refusal}");
    let refusal = refused(&store(), "vaults: [{prefix: mine, name: file, config: {prefix: A_}}]");
    assert!(refusal.contains("config.prefix: is a setting of vaults of the kind 'env'"), "{refusal}");
}

#[test]
fn without_vaults_no_reference_is_taken() {
    let text = format!("_format_version: '3.0'\n{SERVER}");
    let problems = load("kong.yml", &text, &catalog()).unwrap_err();
    assert!(problems[0].message.contains("no secrets are looked up here"), "{problems:?}");
}

/// A vault whose token is a secret of another one.
const TOKEN: &str =
    "vaults: [{prefix: inner, name: hcv, config: {token: '{vault://env/token}', host: vault.test}}]\n";

#[test]
fn what_a_vault_needs_may_be_a_secret_of_another() {
    let held = vec![("env/token", "t0ken"), ("hcv/t0ken/db", r#"{"word": "hidden-word"}"#)];
    let store = Store { held, ..Store::default() };
    let reference = "plugins: [{name: safe, config: {server: {password: '{vault://inner/db/word}'}}}]";
    let config = loaded(&store, &format!("{TOKEN}{reference}")).unwrap();
    let settings = Settings::from_value(&config.plugins[0].config).unwrap();
    assert_eq!(settings.server.password.as_deref(), Some("hidden-word"));
    assert_eq!(config.entities("vaults")[0].complete().value["config"]["token"], "{vault://env/token}");
    assert!(!format!("{config:?}").contains("t0ken"));
}

#[test]
fn a_vault_whose_secret_is_not_there_is_not_asked() {
    let reference = "plugins: [{name: safe, config: {server: {password: '{vault://inner/db/word}'}}}]";
    let store = Store::default();
    let problems = loaded(&store, &format!("{TOKEN}{reference}")).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{told:?}");
    assert!(told[0].contains("vaults[0].config.token: {vault://env/token} stands for nothing"), "{told:?}");
    assert!(told[1].contains("plugins[0].config.server.password: "), "{told:?}");
    assert!(
        told[1].contains("the settings of the vault 'inner' refer to a secret that is not there"),
        "{told:?}"
    );
    assert_eq!(*store.asked.borrow(), ["env/token"], "nobody is asked with a reference for a token");
    let own = refused(
        &Store::default(),
        "vaults: [{prefix: inner, name: hcv, config: {token: '{vault://inner/a/b}'}}]",
    );
    assert!(own.contains("refer to a secret that is not there"), "{own}");
}

#[test]
fn a_vault_named_by_its_kind_has_the_settings_of_the_process() {
    let usual = vec![
        ("hcv", serde_json::json!({"token": "usual", "ttl": 5})),
        ("env", serde_json::json!({"prefix": "p_"})),
    ];
    let held = vec![("hcv/usual/db", r#"{"word": "aGlkZGVuLXdvcmQ="}"#), ("env/p_word", "long-enough")];
    let store = Store { usual, held, ..Store::default() };
    let vault = "vaults: [{prefix: coded, name: hcv, config: {token: usual, base64_decode: true}}]\n";
    let words = "plugins: [{name: safe, config: {server: {password: '{vault://env/word}'}, words: ['{vault://hcv/db/word?ttl=9#3}', '{vault://coded/db/word}']}}]";
    let config = loaded(&store, &format!("{vault}{words}")).unwrap();
    let settings = Settings::from_value(&config.plugins[0].config).unwrap();
    let expected = ["aGlkZGVuLXdvcmQ=", "hidden-word"].map(str::to_owned);
    assert_eq!(settings.words.unwrap(), expected, "one is decoded, as its vault says");
    let found = config.secrets.iter().find(|found| found.reference.contains("?ttl=9")).unwrap();
    assert_eq!((found.wanted.version, found.time_to_live().unwrap().as_secs()), (Some(3), 9));
}

#[test]
fn settings_of_a_vault_fit_its_kind_and_its_way_to_log_in() {
    for (vault, wrong) in [
        ("name: env, config: {token: t}", "config.token: is a setting of vaults of the kind 'hcv'"),
        ("name: hcv, config: {path: /a, token: t}", "config.path: is a setting of vaults of the kind 'file'"),
        ("name: hcv, config: {host: h}", "config.token: is required with auth_method 'token'"),
        (
            "name: hcv, config: {auth_method: approle, approle_secret_id: s}",
            "config.approle_role_id: is required",
        ),
        (
            "name: hcv, config: {auth_method: approle, approle_role_id: r}",
            "config.approle_secret_id: exactly one of",
        ),
        ("name: hcv, config: {token: 'two words'}", "config.token: holds a blank"),
        ("name: hcv, config: {token: t, host: 'h/x'}", "config.host: is neither a host name nor an address"),
        ("name: hcv, config: {token: t, kv: v3}", "config.kv: "),
    ] {
        let refusal = refused(&Store::default(), &format!("vaults: [{{prefix: mine, {vault}}}]"));
        assert!(refusal.contains(wrong), "{refusal}");
    }
    for config in [
        "auth_method: kubernetes",
        "token: t",
        "auth_method: approle, approle_role_id: r, approle_secret_id_file: /f",
    ] {
        loaded(&Store::default(), &format!("vaults: [{{prefix: mine, name: hcv, config: {{{config}}}}}]"))
            .unwrap();
    }
}

fn words(entries: &str) -> String {
    format!("consumers:\n- username: ada\n  words: [{entries}]")
}

#[test]
fn a_credential_by_reference_is_kept_concealed_and_shown_as_the_reference() {
    let document = words("{word: '{vault://env/word}', purpose: any}, {word: written}");
    for header in ["", "_transform: false\n"] {
        let config = loaded(&store(), &format!("{header}{document}")).unwrap();
        let [by_reference, written] = config.entities("words") else { panic!("two words") };
        let shown = by_reference.complete().value;
        assert_eq!((&shown["word"], &shown["purpose"]), (&"{vault://env/word}".into(), &"any".into()));
        assert_eq!(config.typed::<Word>(by_reference).unwrap().word, "concealed hidden-word", "{header}");
        let kept = if header.is_empty() { "concealed written" } else { "written" };
        assert_eq!(config.typed::<Word>(written).unwrap().word, kept);
    }
}

#[test]
fn two_credentials_are_never_the_same_whatever_refers_to_them() {
    let held = vec![("env/one", "hidden-word"), ("env/other", "hidden-word"), ("env/third", "another")];
    let store = Store { held, ..Store::default() };
    for other in ["'{vault://env/other}'", "hidden-word"] {
        let refusal = refused(&store, &words(&format!("{{word: '{{vault://env/one}}'}}, {{word: {other}}}")));
        assert!(refusal.contains("word: uniqueness violation: another of 'words' has the same word already"));
        assert!(!refusal.contains("hidden"), "{refusal}");
    }
    loaded(&store, &words("{word: '{vault://env/one}'}, {word: '{vault://env/third}'}, {word: four}"))
        .unwrap();
}

#[test]
fn a_credential_that_cannot_be_kept_is_an_error_at_its_place() {
    let store = Store { held: vec![("env/one", "wrong"), ("env/two", "abc")], ..Store::default() };
    assert!(refused(&store, &words("{word: '{vault://env/one}'}")).contains("words[0].word: is wrong"));
    let refusal = refused(&store, &words("{word: '{vault://env/two}'}"));
    assert!(refusal.contains("words[0].word: what {vault://env/two} stands for"), "{refusal}");
}
