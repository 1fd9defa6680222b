//! Calls to real servers on the loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

use super::loopback::{Given, Loopback};
use super::{Call, Client, Exception, Fault, Proxies, Proxy, ProxyFields, Settings, Url};
use crate::clock::Clock;
use crate::services::Services;

fn services() -> Arc<Services> {
    Services::new(1, Clock::default(), false)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Where all time passes at once when nothing else can happen.
fn impatient() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn url(server: &Loopback, target: &str) -> Url {
    Url::parse(&server.url(target)).unwrap()
}

#[test]
fn a_call_comes_as_it_is_meant_and_its_answer_whole() {
    let server = Loopback::answering(|_| Given::answer(404, &[("X-A", "1"), ("X-A", "2")], "no such key"));
    let client = Client::open(&services(), Settings::default());
    let call = Call::post("application/x-www-form-urlencoded", "token=a")
        .with("X-Extra", b"yes")
        .with("Host", b"elsewhere.example")
        .with("Connection", b"close")
        .with("Content-Length", b"3");
    let answer = runtime().block_on(client.send(&url(&server, "/ask?a=b"), &call)).unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.is_success()), (404, &b"no such key"[..], false));
    assert_eq!(answer.headers.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    let seen = server.last();
    assert_eq!((&*seen.method, &*seen.target, &*seen.text()), ("POST", "/ask?a=b", "token=a"));
    assert_eq!(seen.header("x-extra").as_deref(), Some("yes"));
    assert_eq!(seen.header("host"), Some(format!("127.0.0.1:{}", server.port())));
    assert_eq!(seen.header("connection"), None);
    assert_eq!(seen.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    assert!(seen.header("user-agent").unwrap().starts_with("biplane/"));
    let call = Call::get().with("User-Agent", b"curl");
    runtime().block_on(client.send(&url(&server, "/"), &call)).unwrap();
    assert_eq!(server.last().headers.all("user-agent").collect::<Vec<_>>(), [b"curl"]);
}

#[test]
fn connections_are_used_again_by_clients_of_the_same_bounds() {
    let (server, services, runtime) = (Loopback::answering(|_| Given::json("{}")), services(), runtime());
    let (first, second) =
        (Client::open(&services, Settings::default()), Client::open(&services, Settings::default()));
    for client in [&first, &second, &first] {
        runtime.block_on(client.send(&url(&server, "/"), &Call::get())).unwrap();
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 1));
    let settings = Settings { longest_idle: Duration::ZERO, ..Settings::default() };
    let impatient = Client::open(&services, settings);
    for _ in 0..2 {
        runtime.block_on(impatient.send(&url(&server, "/"), &Call::get())).unwrap();
    }
    assert_eq!((server.seen().len(), server.connections()), (5, 3));
}

#[test]
fn what_a_server_has_closed_is_replaced_and_only_what_may_be_asked_twice_is() {
    // Each connection answers once and is closed when it is asked a second time.
    let count = Arc::new(AtomicUsize::new(0));
    let server = Loopback::answering(move |request| match count.fetch_add(1, Ordering::AcqRel) % 3 {
        1 => Given::Last(Vec::new()),
        _ => Given::json(&format!("\"{}\"", request.target)),
    });
    let (client, runtime) = (Client::open(&services(), Settings::default()), runtime());
    let send = |target: &str, call: &Call| runtime.block_on(client.send(&url(&server, target), call));
    send("/1", &Call::get()).unwrap();
    assert_eq!(send("/2", &Call::get()).unwrap().body, "\"/2\"");
    assert_eq!((server.seen().len(), server.connections()), (3, 2));
    send("/3", &Call::get()).unwrap();
    let once = Call { repeatable: false, ..Call::post("text/plain", "pay") };
    assert!(matches!(send("/4", &once), Err(Fault::Broken(_))));
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn an_answer_is_bounded() {
    let server = Loopback::answering(|_| Given::answer(200, &[], &"x".repeat(101)));
    let settings = Settings { largest_answer: 100, ..Settings::default() };
    let client = Client::open(&services(), settings);
    let outcome = runtime().block_on(client.send(&url(&server, "/"), &Call::get()));
    assert_eq!(outcome.unwrap_err(), Fault::TooLarge(100));
    let settings = Settings { largest_answer: 101, ..Settings::default() };
    let client = Client::open(&services(), settings);
    assert_eq!(runtime().block_on(client.send(&url(&server, "/"), &Call::get())).unwrap().body.len(), 101);
}

#[test]
fn time_is_bounded() {
    let server = Loopback::answering(|_| Given::Silence);
    let client = Client::open(&services(), Settings::default());
    let outcome = impatient().block_on(client.send(&url(&server, "/"), &Call::get()));
    // With all time passing at once, the connection may be what is late.
    assert!(matches!(outcome, Err(Fault::Late(_) | Fault::Unreachable(_))), "{outcome:?}");
}

#[test]
fn calls_at_a_time_are_bounded() {
    let server = Loopback::answering(|_| Given::json("{}"));
    let client = Client::open(&services(), Settings { most_at_once: 1, ..Settings::default() });
    let (url, call) = (url(&server, "/"), Call::get());
    let (first, second) =
        runtime().block_on(async { tokio::join!(client.send(&url, &call), client.send(&url, &call)) });
    assert_eq!((first.unwrap().status, second.unwrap_err()), (200, Fault::Busy));
    assert_eq!(runtime().block_on(client.send(&url, &call)).unwrap().status, 200);
}

#[test]
fn nobody_there_and_no_http_are_told_apart() {
    let server = Loopback::answering(|_| Given::Last(b"SSH-2.0-OpenSSH\r\n".to_vec()));
    let client = Client::open(&services(), Settings::default());
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap()
    };
    let outcome = runtime().block_on(client.send(&gone, &Call::get()));
    assert!(matches!(outcome, Err(Fault::Unreachable(_))), "{outcome:?}");
    let outcome = runtime().block_on(client.send(&url(&server, "/"), &Call::get()));
    assert!(matches!(outcome, Err(Fault::Broken(_))), "{outcome:?}");
}

#[test]
fn urls_are_what_can_be_called() {
    let shown = |text: &str| Url::parse(text).map(|url| url.to_string());
    assert_eq!(shown("https://idp.example").unwrap(), "https://idp.example/");
    assert_eq!(shown("http://idp.example:80/a?b=c#d").unwrap(), "http://idp.example/a?b=c");
    assert_eq!(shown("http://[::1]:8181/v1").unwrap(), "http://[::1]:8181/v1");
    let url = Url::parse("http://idp.example/a?code=secret").unwrap();
    assert_eq!(url.told(), "http://idp.example/a", "a query may hold a secret");
    for wrong in
        ["idp.example", "ftp://idp.example", "http://", "http://u:p@idp.example/", "http://a:0/", "/a"]
    {
        assert!(Url::parse(wrong).is_err(), "{wrong}");
    }
    let url = Url::parse("https://idp.example/a").unwrap();
    assert_eq!(url.with_target("/b?c").unwrap().to_string(), "https://idp.example/b?c");
    let services = services();
    let client = Client::open(&services, Settings::default());
    assert!(client.url(&services, "https://idp.example").unwrap_err().contains("TLS"));
    assert!(client.url(&services, "http://idp.example").is_ok());
}

/// A server under TLS with a certificate for `localhost`, and a client's trust in it.
fn secure() -> (ServerConfig, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server.unwrap(), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

#[test]
fn tls_is_spoken_with_whom_the_operator_believes() {
    let (server, trust) = secure();
    let services = services();
    services.provide_client_tls(move |_| Ok(trust.clone()));
    let client = Client::open(&services, Settings::default());
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _request = stream.read(&mut [0; 1024]).await;
                let _sent = stream.write_all(b"HTTP/1.1 204 None\r\n\r\n").await;
            }
        });
        let good = client.url(&services, &format!("https://localhost:{port}/")).unwrap();
        assert_eq!(client.send(&good, &Call::get()).await.unwrap().status, 204);
        let other_name = Url::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
        let outcome = client.send(&other_name, &Call::get()).await;
        assert!(matches!(outcome, Err(Fault::Unreachable(_))), "{outcome:?}");
    });
}

/// A proxy that answers the first head like this, and hands on what it was shown.
fn proxy(answer: &'static [u8]) -> (u16, std::sync::mpsc::Receiver<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        tell.send(String::from_utf8(head).unwrap()).unwrap();
        stream.write_all(answer).unwrap();
        // Under TLS the client speaks first: it is shown that the tunnel leads somewhere.
        let _begun = stream.read(&mut [0; 3]).map(|_| tell.send("begun".to_owned()));
    });
    (port, told)
}

#[test]
fn a_proxy_is_asked_for_a_tunnel_to_what_is_secure() {
    let trust =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
    let trust = Arc::new(trust);
    for (answer, is_open) in [
        (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], true),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", false),
        (b"nonsense 200 \r\n\r\n", false),
    ] {
        let (port, told) = proxy(answer);
        let proxies = Proxies {
            secure: Proxy::at("127.0.0.1", port).authorized(Some("Basic YTpi")).ok(),
            ..Proxies::default()
        };
        let client = Client::apart(Settings { proxies, ..Settings::default() }, Ok(trust.clone()), 1);
        let url = Url::parse("https://ocsp.nowhere.test:8443/a").unwrap();
        let fault = runtime().block_on(client.send(&url, &Call::get())).unwrap_err();
        assert_eq!(
            told.recv().unwrap(),
            "CONNECT ocsp.nowhere.test:8443 HTTP/1.1\r\nHost: ocsp.nowhere.test:8443\r\nProxy-Authorization: Basic YTpi\r\n\r\n"
        );
        assert_eq!(
            told.recv().is_ok_and(|said| said == "begun") && !fault.to_string().contains("no tunnel"),
            is_open,
            "{fault}"
        );
    }
}

#[test]
fn a_proxy_is_shown_the_whole_request_for_what_is_not_secure_and_credentials_go_to_it_alone() {
    let proxy = Loopback::answering(|asked| match asked.header("Proxy-Authorization").as_deref() {
        Some("Basic YTpi") => Given::json("{}"),
        _ => Given::answer(407, &[], ""),
    });
    let server = Loopback::answering(|_| Given::json("{}"));
    let at = Proxy::parse(&proxy.url("/")).unwrap();
    let proxies = |authorization, except: &[&str]| Proxies {
        plain: Some(at.clone().authorized(authorization).unwrap()),
        secure: None,
        except: except.iter().map(|host| Exception::parse(host).unwrap()).collect(),
    };
    let services = services();
    let send = |proxies: Proxies, url: &Url| {
        let client = Client::open(&services, Settings { proxies, ..Settings::default() });
        runtime().block_on(client.send(url, &Call::get())).unwrap().status
    };
    let named = Url::parse("http://idp.nowhere.test:8080/keys?a=1").unwrap();
    assert_eq!(send(proxies(Some("Basic YTpi"), &[]), &named), 200);
    let seen = proxy.last();
    assert_eq!(
        (&*seen.target, seen.header("host").as_deref()),
        ("http://idp.nowhere.test:8080/keys?a=1", Some("idp.nowhere.test:8080"))
    );
    assert_eq!(send(proxies(None, &[]), &named), 407, "what the proxy answers is an answer");
    assert_eq!(send(proxies(Some("Basic YTpi"), &["127.0.0.1"]), &url(&server, "/own")), 200);
    let seen = server.last();
    assert_eq!((&*seen.target, seen.header("proxy-authorization")), ("/own", None));
    let told = format!("{:?}", proxies(Some("Basic YTpi"), &[]));
    assert!(!told.contains("YTpi"), "{told}");
    assert_ne!(told, format!("{:?}", proxies(Some("Basic YTpj"), &[])), "clients are kept by it");
}

#[test]
fn some_hosts_are_asked_without_a_proxy() {
    for (except, host, is_asked_alone) in [
        ("idp.test", "http://idp.test/", true),
        ("idp.test", "http://login.IDP.test/", true),
        (".idp.test", "http://idp.test/", true),
        ("idp.test", "http://otheridp.test/", false),
        ("login.idp.test", "http://idp.test/", false),
        ("a.test, idp.test", "http://idp.test/", true),
        ("idp.test:8080", "http://idp.test/", false),
        ("idp.test:8080", "http://idp.test:8080/", true),
        ("*", "http://idp.test/", true),
        ("10.0.0.1", "http://10.0.0.1/", true),
        ("0.0.1", "http://10.0.0.1/", false),
        ("::1", "http://[::1]/", true),
        ("[::1]:80", "http://[::1]/", true),
        ("[::1]:81", "http://[::1]/", false),
        ("", "http://idp.test/", false),
    ] {
        let fields = fields(Some("http://proxy.test"), None, Some(except));
        let proxies = fields.proxies("config.").unwrap();
        let url = Url::parse(host).unwrap();
        assert_eq!(proxies.of(url.origin()).is_none(), is_asked_alone, "{except} {host}");
    }
}

fn fields(http: Option<&str>, authorization: Option<&str>, except: Option<&str>) -> ProxyFields {
    ProxyFields {
        http_proxy: http.map(str::to_owned),
        http_proxy_authorization: authorization.map(str::to_owned),
        https_proxy: None,
        https_proxy_authorization: None,
        no_proxy: except.map(str::to_owned),
    }
}

#[test]
fn proxies_that_cannot_be_used_are_told_by_their_field() {
    for (fields, place) in [
        (fields(Some("proxy.test"), None, None), "config.http_proxy"),
        (fields(Some("https://proxy.test"), None, None), "config.http_proxy"),
        (fields(Some("http://a:b@proxy.test"), None, None), "config.http_proxy"),
        (fields(None, Some("Basic a"), None), "config.http_proxy"),
        (fields(Some("http://proxy.test"), Some("a\nb"), None), "config.http_proxy_authorization"),
        (fields(Some("http://proxy.test"), None, Some("10.0.0.0/8")), "config.no_proxy"),
        (fields(Some("http://proxy.test"), None, Some("a:x")), "config.no_proxy"),
    ] {
        let fault = fields.proxies("config.").unwrap_err().to_string();
        assert!(fault.starts_with(&format!("{place}:")), "{fault}");
    }
}

#[test]
fn an_older_http_is_spoken_where_that_is_wanted() {
    let (port, told) = proxy(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let client = Client::open(&services(), Settings { is_old: true, ..Settings::default() });
    let url = Url::parse(&format!("http://127.0.0.1:{port}/a")).unwrap();
    assert_eq!(runtime().block_on(client.send(&url, &Call::get())).unwrap().body, "{}");
    let head = told.recv().unwrap();
    assert!(head.starts_with("GET /a HTTP/1.0\r\n"), "{head}");
}
