//! What settings come to, and how what is wrong with them is told.

use super::values::size;
use super::*;

fn read(variables: &[(&str, &str)]) -> Result<FromEnvironment, String> {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    from_environment(owned.collect::<Vec<_>>().into_iter())
}

#[test]
fn what_is_not_honoured_is_named() {
    let read = read(&[("KONG_DATABASE", "postgres"), ("KONG_LUA_SSL_VERIFY_DEPTH", "1"), ("PATH", "/bin")]);
    let warnings = read.unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("KONG_LUA_SSL_VERIFY_DEPTH")));
    assert!(warnings.iter().any(|warning| warning.contains("KONG_DATABASE=postgres")));
}

#[test]
fn a_misspelt_setting_is_told_with_the_one_that_may_be_meant() {
    let told = |name: &str| read(&[(name, "x")]).unwrap().warnings;
    for (misspelt, meant) in [
        ("KONG_TRUSTED_IP", "KONG_TRUSTED_IPS"),
        ("KONG_PROXY_LISTN", "KONG_PROXY_LISTEN"),
        ("KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZ", "KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE"),
        ("KONG_SSL_CRET", "KONG_SSL_CERT"),
        ("KONG_VAULT_HCV_TOKN", "KONG_VAULT_HCV_TOKEN"),
        ("KONG_USAGE_DATABSE", "KONG_USAGE_DATABASE"),
    ] {
        assert_eq!(told(misspelt), [format!("{misspelt} is not honoured; did you mean {meant}?")]);
    }
    for of_kong in ["PG_SSL_CERT", "ADMIN_GUI_LISTEN", "ROLE", "LUA_SSL_VERIFY_DEPTH", "VAULT_HCV_PATH"] {
        assert_eq!(told(&format!("KONG_{of_kong}")), [format!("KONG_{of_kong} is not honoured")]);
    }
}

#[test]
fn every_wrong_value_is_reported_at_once() {
    let variables = [
        ("KONG_TRUSTED_IPS", "10.0.0.0/99"),
        ("KONG_REAL_IP_RECURSIVE", "maybe"),
        ("KONG_HEADERS", "bogus"),
        ("KONG_HEADERS_UPSTREAM", "of"),
        ("KONG_ERROR_DEFAULT_TYPE", "json"),
        ("KONG_DNS_ORDER", "AAAA,A"),
    ];
    let problems = read(&variables).unwrap_err();
    assert_eq!(problems.lines().count(), variables.len(), "{problems}");
}

#[test]
fn the_pace_of_clients_and_the_time_of_plugins_can_be_set() {
    let read = read(&[
        ("KONG_MIN_BODY_RATE", "4k"),
        ("KONG_MIN_SEND_RATE", "0"),
        ("KONG_MIN_RATE_GRACE", "30"),
        ("KONG_PLUGIN_TIMEOUT", "5s"),
    ]);
    let FromEnvironment { settings, warnings, .. } = read.unwrap();
    assert_eq!((settings.min_body_rate, settings.min_send_rate), (4096, 0));
    assert_eq!((settings.min_rate_grace.as_secs(), settings.plugin_timeout.as_secs()), (30, 5));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn usage_is_kept_where_the_settings_say() {
    let usage = |variables: &[(&str, &str)]| read(variables).unwrap().usage;
    assert_eq!(usage(&[]), None);
    let in_prefix = usage(&[("KONG_PREFIX", "/var/lib/biplane")]).unwrap();
    assert_eq!(in_prefix, usage::Settings::at("/var/lib/biplane/usage.db"));
    let all = usage(&[
        ("KONG_PREFIX", "/var/lib/biplane"),
        ("KONG_USAGE_DATABASE", "/data/u.db"),
        ("KONG_USAGE_FLUSH_INTERVAL", "500ms"),
        ("KONG_USAGE_RETENTION_DAYS", "0"),
    ]);
    let (interval, retention_days) = (Duration::from_millis(500), None);
    assert_eq!(all, Some(usage::Settings { database: "/data/u.db".into(), interval, retention_days }));
    let wrong = [
        ("KONG_USAGE_DATABASE", ""),
        ("KONG_USAGE_FLUSH_INTERVAL", "99ms"),
        ("KONG_USAGE_RETENTION_DAYS", "-1"),
    ];
    assert_eq!(read(&wrong).unwrap_err().lines().count(), 3);
}

#[test]
fn lists_of_targets_are_kept_where_the_settings_say() {
    let folder = |variables: &[(&str, &str)]| read(variables).unwrap().discovery_folder;
    assert_eq!(folder(&[]), None);
    assert_eq!(folder(&[("KONG_PREFIX", "/var/lib/biplane")]), Some("/var/lib/biplane/discovery".into()));
    let both = [("KONG_PREFIX", "/var/lib/biplane"), ("KONG_DISCOVERY_FOLDER", "/data/lists")];
    assert_eq!(folder(&both), Some("/data/lists".into()));
    assert!(read(&[("KONG_DISCOVERY_FOLDER", "")]).is_err());
    let max_age = |variables: &[(&str, &str)]| read(variables).map(|all| all.discovery_max_age);
    assert_eq!(max_age(&[]), Ok(Some(Duration::from_secs(24 * 3600))));
    assert_eq!(max_age(&[("KONG_DISCOVERY_MAX_AGE", "90m")]), Ok(Some(Duration::from_secs(5400))));
    assert_eq!(max_age(&[("KONG_DISCOVERY_MAX_AGE", "0")]), Ok(None));
    assert!(max_age(&[("KONG_DISCOVERY_MAX_AGE", "soon")]).is_err());
}

#[test]
fn secrets_are_looked_up_as_the_settings_say() {
    let secrets = |variables: &[(&str, &str)]| read(variables).unwrap().secrets;
    assert_eq!(secrets(&[]).interval(), Some(Duration::from_secs(60)));
    let given = secrets(&[("KONG_SECRETS_INTERVAL", "0"), ("KONG_VAULT_FILE_PATH", "/secrets")]);
    assert_eq!((given.interval(), given.folder.as_deref()), (None, Some(Path::new("/secrets"))));
    let wrong = [("KONG_SECRETS_INTERVAL", "10ms"), ("KONG_VAULT_FILE_PATH", "secrets")];
    assert_eq!(read(&wrong).unwrap_err().lines().count(), 2);
}

#[test]
fn a_server_of_secrets_is_set_as_in_kong() {
    let given = [
        ("KONG_VAULT_HCV_HOST", "vault.test"),
        ("KONG_VAULT_HCV_PORT", "8201"),
        ("KONG_VAULT_HCV_TOKEN", "hidden"),
        ("KONG_VAULT_HCV_TTL", "30"),
        ("KONG_VAULT_HCV_APPROLE_RESPONSE_WRAPPING", "off"),
    ];
    let secrets = read(&given).unwrap().secrets;
    let usual = secrets.usual.of("hcv");
    assert_eq!(
        (&usual["host"], &usual["port"], &usual["ttl"]),
        (&"vault.test".into(), &8201.into(), &30.0.into())
    );
    assert_eq!(usual["approle_response_wrapping"], false);
    assert!(!format!("{secrets:?}").contains("hidden"));
    let warnings = read(&[("KONG_VAULT_HCV_PATH", "x"), ("KONG_VAULT_AWS_REGION", "x")]).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (given, expected) in [
        (vec![("KONG_VAULT_HCV_HOST", "h")], "KONG_VAULT_HCV_TOKEN: is required with auth_method 'token'"),
        (vec![("KONG_VAULT_HCV_TOKEN", "hidden word")], "KONG_VAULT_HCV_TOKEN: holds a blank"),
        (
            vec![("KONG_VAULT_HCV_TOKEN", "t"), ("KONG_VAULT_HCV_PORT", "x")],
            "KONG_VAULT_HCV_PORT: 'x' is not a number",
        ),
        (vec![("KONG_VAULT_HCV_TOKEN", "t"), ("KONG_VAULT_HCV_KV", "v3")], "KONG_VAULT_HCV_KV: "),
    ] {
        let problems = read(&given).unwrap_err();
        assert!(problems.contains(expected) && !problems.contains("hidden"), "{problems}");
    }
}

#[test]
fn headers_that_tell_who_calls_can_have_other_names() {
    let names = |value: &str| read(&[("KONG_IDENTITY_HEADERS", value)]);
    let given = names("X-Consumer-ID=X-User-Id").unwrap();
    assert_eq!(given.identity_headers, "X-Consumer-ID=X-User-Id".parse().unwrap());
    assert!(given.warnings.is_empty(), "{:?}", given.warnings);
    assert!(names("X-Consumer-ID=Host").unwrap_err().starts_with("KONG_IDENTITY_HEADERS: 'Host'"));
}

#[test]
fn bounds_of_http2_can_be_set() {
    let read = read(&[
        ("KONG_NGINX_HTTP_HTTP2_MAX_CONCURRENT_STREAMS", "10"),
        ("KONG_HTTP2_MAX_CONTROL_FRAMES", "20"),
        ("KONG_HTTP2_MAX_RESET_STREAMS", "30"),
        ("KONG_HTTP2_MAX_HEADER_LIST_SIZE", "4000"),
    ]);
    let http2 = read.unwrap().settings.http2;
    assert_eq!((http2.max_streams, http2.max_control_frames), (10, 20));
    assert_eq!((http2.max_reset_streams, http2.max_header_list_bytes), (30, 4000));
}

#[test]
fn a_variable_that_the_log_names_for_a_bound_can_be_set() {
    for variable in engine::variables_of_bounds() {
        let warnings = read(&[(variable, "10")]).unwrap().warnings;
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn times_and_sizes_have_nginx_units() {
    assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
    assert_eq!(duration("fast"), None);
    assert_eq!(size("8m"), Some(8 << 20));
    assert_eq!(size("18446744073709551615g"), None);
    let read = read(&[("KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE", "1k")]).unwrap();
    assert_eq!(read.settings.max_body_bytes, 1024);
    let read = self::read(&[("KONG_MAX_HEAD_SIZE", "64k"), ("KONG_REQUEST_BUFFER_SIZE", "1m")]).unwrap();
    assert_eq!(read.settings.request_limits.max_head_bytes, 65_536);
    assert_eq!(read.settings.request_buffer_bytes, 1 << 20);
}
