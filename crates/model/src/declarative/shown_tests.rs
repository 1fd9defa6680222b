//! Configurations as they are shown.

use super::tests::catalog;
use super::{Catalog, load};
use crate::MASK;
use crate::entity::stable_id;
use crate::problem::Severity;

const TEXT: &str = "# the password is hidden in this comment
_format_version: '3.0'
_ignore: [{password: hidden}]
_info: {defaults: {route: {https_redirect_status_code: 301}}}
services:
- name: a
  url: http://user:hidden@h.test/base
  _comment: hidden
  routes:
  - {name: r, paths: [/a], protocols: [http, https]}
  plugins:
  - {name: rate-limiting, config: {minute: 5, policy: local}}
keys:
- {name: k, kid: one, jwk: '{\"kid\": \"one\", \"k\": \"hidden\"}'}
vaults:
- prefix: mine
  name: hcv
  config: {auth_method: token, token: hidden}
";

#[test]
fn a_document_tells_what_became_of_each_entity_and_no_secret() {
    let config = load("kong.yml", TEXT, &catalog()).unwrap();
    let [service, route] = [stable_id("services", "a"), stable_id("routes", "r")];
    let [key, vault] = [config.keys[0].id, config.vaults[0].id];
    let plugin = config.plugins[0].id;
    let expected = format!(
        "_format_version: \"3.0\"
_transform: false
services:
  - id: {service}
    name: a
    protocol: http
    host: h.test
    port: 80
    path: /base
routes:
  - id: {route}
    name: r
    service: {service}
    protocols:
      - http
      - https
    https_redirect_status_code: 301
    paths:
      - /a
plugins:
  - id: {plugin}
    name: rate-limiting
    service: {service}
    config:
      minute: 5
keys:
  - id: {key}
    name: k
    kid: one
    jwk: \"{MASK}\"
vaults:
  - id: {vault}
    prefix: mine
    name: hcv
    config:
      auth_method: token
      token: \"{MASK}\"
"
    );
    let plain = |text: &str| text.replace('"', "").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(plain(&config.shown(&catalog())), plain(&expected));
}

#[test]
fn what_was_shown_is_refused_where_secrets_are_missing_with_their_places() {
    let shown = load("kong.yml", TEXT, &catalog()).unwrap().shown(&catalog());
    let problems = load("(posted)", &shown, &catalog()).unwrap_err();
    let places: Vec<String> = problems.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(places, ["keys[0].jwk", "vaults[0].config.token"]);
    for problem in problems {
        let line = shown.lines().nth(problem.span.line as usize - 1).unwrap();
        assert_eq!(line.find('"'), Some(problem.span.column as usize - 1), "{line}");
        assert_eq!(problem.severity, Severity::Error);
    }
}

#[test]
fn a_plugin_that_nobody_knows_has_no_settings_to_show() {
    let config = load("kong.yml", TEXT.split("keys:").next().unwrap(), &catalog()).unwrap();
    let shown = config.shown(&Catalog::default());
    assert!(shown.contains("name: rate-limiting") && !shown.contains("minute"), "{shown}");
}

#[test]
fn where_there_is_no_configuration_there_is_nothing_to_show() {
    assert_eq!(super::empty(&catalog()).shown(&catalog()), "");
}
