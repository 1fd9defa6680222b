//! Which certificate a client is shown, and which route it takes by the name it asked for.

use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SignatureScheme};

use super::authority::{Authority, Issued};
use super::{answer, client_config, client_of, connect, pair, provider, settings, shown};
use crate::settings::Settings;
use crate::tests::lab::{Lab, PLAIN, with};
use crate::tls::tests::is_same;
use crate::tls::{TlsSettings, Versions};

/// A document with these certificates, each with its server names.
pub fn certificates(entries: &[(&Issued, &[&str])]) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let mut document = PLAIN.to_owned() + "certificates:\n";
    for (issued, names) in entries {
        let snis: String = names.iter().map(|name| format!("{{name: '{name}'}}, ")).collect();
        let (cert, key) = (text(&issued.certificate), text(&issued.key));
        document.push_str(&format!("- {{cert: {cert}, key: {key}, snis: [{snis}]}}\n"));
    }
    document
}

async fn expect(lab: &Lab, name: &str, expected: &Issued) {
    assert_eq!(shown(lab, client_config(), name).await, expected.der(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn the_closest_name_decides_which_certificate_is_shown() {
    let authority = Authority::root();
    let made: Vec<Issued> = (0..5).map(|_| authority.issue(&["x.test"])).collect();
    let [exact, suffix, prefix, star, default] = &made[..] else { unreachable!() };
    let named: [(&Issued, &[&str]); 3] = [
        (exact, &["a.b.test", "Upper.test."]),
        (suffix, &["*.b.test"]),
        (prefix, &["a.b.*", "a.*", "both.b.*"]),
    ];
    let document = certificates(&named);
    with(&document, settings(default), |lab| async move {
        expect(&lab, "a.b.test", exact).await;
        expect(&lab, "A.B.TEST", exact).await;
        expect(&lab, "upper.test", exact).await;
        expect(&lab, "c.b.test", suffix).await;
        expect(&lab, "both.b.test", suffix).await;
        expect(&lab, "a.b.org", prefix).await;
        expect(&lab, "a.org", prefix).await;
        expect(&lab, "d.c.b.test", default).await;
        expect(&lab, "elsewhere.test", default).await;
        expect(&lab, "192.0.2.1", default).await;
        lab.reload(&certificates(&[named[0], named[1], named[2], (star, &["*"])]));
        expect(&lab, "a.b.test", exact).await;
        expect(&lab, "a.b.org", prefix).await;
        expect(&lab, "d.c.b.test", star).await;
        expect(&lab, "192.0.2.1", star).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_reads_only_certificates_that_have_changed() {
    let authority = Authority::root();
    let (stays, first, second) =
        (authority.issue(&["a.test"]), authority.issue(&["b.test"]), authority.issue(&["b.test"]));
    let pairs = |lab: &Lab| {
        let snapshot = lab.local.snapshot();
        let pair = |name| {
            let config = &snapshot.config;
            let sni = config.snis.iter().find(|sni| sni.name == name).unwrap();
            snapshot.terminator.certificates().of(sni.certificate.0).unwrap()[0].clone()
        };
        [pair("a.test"), pair("b.test")]
    };
    with(
        &certificates(&[(&stays, &["a.test"]), (&first, &["b.test"])]),
        Settings::default(),
        |lab| async move {
            let before = pairs(&lab);
            lab.reload(&certificates(&[(&stays, &["a.test"]), (&second, &["b.test"])]));
            let after = pairs(&lab);
            assert!(is_same(&before[0], &after[0]) && !is_same(&before[1], &after[1]));
            // What nobody uses any more is let go, and read again when it comes back.
            drop((before, after));
            lab.reload(PLAIN);
            assert!(lab.lets_go_of_certificates());
            lab.reload(&certificates(&[(&stays, &["a.test"]), (&second, &["b.test"])]));
            expect(&lab, "a.test", &stays).await;
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_client_is_shown_the_kind_of_key_it_can_check() {
    let authority = Authority::root();
    let (rsa, ecdsa) = (authority.issue_rsa(&["x.test"]), authority.issue(&["x.test"]));
    let tls = TlsSettings { default_certificates: vec![pair(&rsa), pair(&ecdsa)], ..TlsSettings::default() };
    with(PLAIN, Settings { tls, ..Settings::default() }, |lab| async move {
        let of_rsa = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
        for versions in [&[&TLS12], &[&TLS13]] {
            assert_eq!(shown(&lab, client_of(provider(), versions, None), "x.test").await, ecdsa.der());
            let only_rsa = client_of(provider(), versions, Some(&of_rsa));
            assert_eq!(shown(&lab, only_rsa, "x.test").await, rsa.der());
        }
        // It could check either signature, but has no cipher suite for one of them.
        let mut narrow = provider();
        narrow.cipher_suites.retain(|s| s.suite() == CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
        assert_eq!(shown(&lab, client_of(narrow, &[&TLS12], None), "x.test").await, rsa.der());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_the_versions_that_are_set_are_spoken() {
    let default = Authority::root().issue(&["x.test"]);
    let at = |versions| {
        let mut settings = settings(&default);
        settings.tls.versions = versions;
        settings
    };
    for (versions, old, new) in
        [(Versions::Both, true, true), (Versions::Tls12, true, false), (Versions::Tls13, false, true)]
    {
        with(PLAIN, at(versions), |lab| async move {
            for (version, spoken) in [(&TLS12, old), (&TLS13, new)] {
                let client = client_of(provider(), &[version], None);
                let outcome = connect(lab.tls_client(), client, "x.test").await;
                assert_eq!(outcome.is_ok(), spoken, "{versions:?} {version:?}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn routes_see_the_server_name_and_the_scheme() {
    let default = Authority::root().issue(&["x.test"]);
    let routes = "
  - {name: secure, paths: [/secure], protocols: [https]}
  - {name: named, paths: [/named], protocols: [https], snis: [a.test, '*.b.test']}
  - {name: clear, paths: [/clear], protocols: [http]}
";
    let document = PLAIN.replace("  - name: all\n    paths: [/]\n", &routes[1..]);
    with(&document, settings(&default), |lab| async move {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut plain = lab.client();
        plain.send(&get("/secure")).await;
        assert_eq!(plain.response().await.0, 426);
        for (name, path, served) in [
            ("a.test", "/secure", true),
            ("a.test", "/clear", true),
            ("a.test", "/named", true),
            ("c.b.test", "/named", true),
            ("c.test", "/named", false),
        ] {
            let mut client = connect(lab.tls_client(), client_config(), name).await.unwrap();
            client.send(&get(path)).await;
            if served {
                let (_upstream, head) = answer(&lab).await;
                assert!(head.contains("X-Forwarded-Proto: https\r\n"), "{head}");
            }
            assert_eq!(client.response().await.0, if served { 200 } else { 404 }, "{name} {path}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let authority = Authority::root();
    let [old, new] = [authority.issue(&["a.test"]), authority.issue(&["a.test"])];
    let document = |issued: &Issued| certificates(&[(issued, &["a.test"])]);
    with(&document(&old), Settings::default(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "a.test").await.unwrap();
        client.send(super::GET).await;
        let (mut upstream, _) = answer(&lab).await;
        client.response().await;
        lab.reload(&document(&new));
        expect(&lab, "a.test", &new).await;
        client.send(super::GET).await;
        upstream.head().await;
        upstream.send(super::OK).await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_cannot_be_used_is_a_problem_and_no_key_is_told() {
    let authority = Authority::root();
    let [one, other] = [authority.issue(&["a.test"]), authority.issue(&["a.test"])];
    let mixed = Issued { certificate: one.certificate.clone(), key: other.key.clone() };
    with(PLAIN, Settings::default(), |lab| async move {
        let problem = lab.compile(&certificates(&[(&mixed, &["a.test"])])).err().unwrap();
        assert!(problem.contains("certificate does not match key"), "{problem}");
        let body = other.key.lines().nth(1).unwrap();
        assert!(!problem.contains(body) && !format!("{:?}", pair(&one)).contains(&one.key[40..60]));
    })
    .await;
}
