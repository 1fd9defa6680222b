//! What holds of sealed texts, cookies and sessions.

use wire::Headers;

use super::cookie::{Cookie, Present, Settings};
use super::local::{Kept, Local};
use super::sealed::Sealer;
use super::session::Session;

fn settings() -> Settings {
    Settings {
        name: "session".to_owned(),
        path: Some("/".to_owned()),
        domain: None,
        same_site: Some("Strict".to_owned()),
        http_only: true,
        secure: true,
    }
}

fn request(cookies: &str) -> Headers {
    let mut headers = Headers::new();
    headers.append("Cookie", cookies.as_bytes());
    headers
}

fn written(headers: &Headers) -> Vec<String> {
    headers.all("Set-Cookie").map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// What a browser sends after these responses.
fn sent_back(lines: &[String]) -> String {
    let pairs: Vec<&str> = lines.iter().filter_map(|line| line.split(';').next()).collect();
    pairs.join("; ")
}

/// Numbers without a pattern, the same each time.
fn noise(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}

#[test]
fn what_is_sealed_opens_for_the_same_secret_purpose_and_context_alone() {
    let sealer = Sealer::new(b"secret", "cookies");
    let text = sealer.seal(b"context", b"plain text").unwrap();
    assert_eq!(sealer.open(b"context", text.as_bytes()).as_deref(), Some(b"plain text".as_slice()));
    assert_eq!(sealer.open(b"another", text.as_bytes()), None);
    assert_eq!(Sealer::new(b"Secret", "cookies").open(b"context", text.as_bytes()), None);
    assert_eq!(Sealer::new(b"secret", "others").open(b"context", text.as_bytes()), None);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    assert_ne!(text, sealer.seal(b"context", b"plain text").unwrap(), "no two texts are alike");
}

#[test]
fn a_sealed_text_that_was_changed_anywhere_does_not_open() {
    let sealer = Sealer::new(b"secret", "cookies");
    let text = sealer.seal(b"", b"admin=no").unwrap().into_bytes();
    for place in 0..text.len() {
        let mut changed = text.clone();
        changed[place] = if text[place] == b'A' { b'Q' } else { b'A' };
        assert_eq!(sealer.open(b"", &changed), None, "{place}");
        assert_eq!(sealer.open(b"", &text[..place]), None, "cut at {place}");
    }
}

#[test]
fn a_value_comes_back_however_many_cookies_it_takes() {
    let cookie = Cookie::new(&settings()).unwrap();
    for (length, cookies) in [(0, 1), (1, 1), (3900, 1), (5000, 2), (35_000, 9)] {
        let value: String = "abcdefghij".chars().cycle().take(length).collect();
        let mut response = Headers::new();
        assert!(cookie.write(Present::default(), &value, None, &mut response));
        let lines = written(&response);
        assert_eq!(lines.len(), cookies, "{length}");
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= 4096
                    && line.ends_with("; Path=/; SameSite=Strict; Secure; HttpOnly"))
        );
        let request = request(&sent_back(&lines));
        assert_eq!(cookie.read(&request).as_deref(), Some(value.as_bytes()), "{length}");
    }
    let mut response = Headers::new();
    assert!(!cookie.write(Present::default(), &"x".repeat(37_000), None, &mut response));
    assert!(written(&response).is_empty(), "nothing of a value that is too long is written");
}

#[test]
fn what_is_hidden_leaves_other_cookies_as_they_are() {
    let cookie = Cookie::new(&settings()).unwrap();
    let mut headers = request("a=1; session=2x; b=\"2 3\"; session2=y");
    headers.append("Cookie", b"session3=z");
    headers.append("Cookie", b"sessions=own;c=4");
    cookie.hide(&mut headers);
    let lines: Vec<_> =
        headers.all("Cookie").map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    assert_eq!(lines, ["a=1; b=\"2 3\"", "sessions=own; c=4"]);
}

#[test]
fn a_part_that_is_missing_makes_the_value_none() {
    let cookie = Cookie::new(&settings()).unwrap();
    for cookies in [
        "session=2abc",
        "session=",
        "session=0abc",
        "session=xabc",
        "session2=abc",
        "other=1abc",
        "session=:a",
    ] {
        assert_eq!(cookie.read(&request(cookies)), None, "{cookies}");
    }
    let long = format!("session=1{}", "a".repeat(5000));
    assert_eq!(cookie.read(&request(&long)), None, "no value that was written is as long as this");
    assert_eq!(cookie.read(&request("a=b; session=1abc; session=1def")).as_deref(), Some(b"abc".as_slice()));
}

#[test]
fn cookies_that_are_not_needed_any_more_are_withdrawn() {
    let cookie = Cookie::new(&settings()).unwrap();
    let mut response = Headers::new();
    assert!(cookie.write(
        cookie.present(&request("session=3a; session2=b; session3=c")),
        "short",
        Some(60),
        &mut response
    ));
    let lines = written(&response);
    assert_eq!(lines[0], "session=1short; Path=/; SameSite=Strict; Secure; HttpOnly; Max-Age=60");
    let forgotten = |name: &str| {
        format!(
            "{name}=; Path=/; SameSite=Strict; Secure; HttpOnly; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0"
        )
    };
    assert_eq!(lines[1..], [forgotten("session2"), forgotten("session3")]);
    let mut response = Headers::new();
    cookie.withdraw(cookie.present(&request("session=1a; other=b")), &mut response);
    assert_eq!(written(&response), [forgotten("session")]);
}

#[test]
fn attributes_that_would_begin_other_attributes_are_refused() {
    let bad = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Cookie::new(&settings).err().map(|(field, _)| field)
    };
    assert_eq!(bad(|_| {}), None);
    assert_eq!(bad(|settings| settings.name = "a b".to_owned()), Some("name"));
    assert_eq!(bad(|settings| settings.name = String::new()), Some("name"));
    assert_eq!(bad(|settings| settings.name = "x".repeat(2000)), Some("name"));
    assert_eq!(bad(|settings| settings.path = Some("/; Domain=evil.test".to_owned())), Some("path"));
    assert_eq!(bad(|settings| settings.domain = Some("a\r\nb".to_owned())), Some("domain"));
}

#[test]
fn a_session_is_read_as_it_was_written_and_nothing_else_is_one() {
    let session = Session::new(1000, "ada", b"data".to_vec()).unwrap();
    let bytes = session.to_bytes();
    assert_eq!(Session::from_bytes(&bytes), Some(session));
    for cut in 0..bytes.len() - b"data".len() {
        assert_eq!(Session::from_bytes(&bytes[..cut]), None, "{cut}");
    }
    let mut huge = bytes.clone();
    huge[32 + 24..32 + 32].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(Session::from_bytes(&huge), None);
}

#[test]
fn whatever_comes_in_a_cookie_is_survived() {
    let cookie = Cookie::new(&settings()).unwrap();
    let sealer = Sealer::new(b"secret", "cookies");
    let mut state = 7;
    for _ in 0..20_000 {
        let length = usize::from(noise(&mut state)) % 120;
        let text: Vec<u8> = (0..length).map(|_| noise(&mut state)).collect();
        assert_eq!(sealer.open(b"", &text), None);
        let _ = Session::from_bytes(&text);
        let visible: String = text.iter().map(|byte| char::from(b' ' + byte % 94)).collect();
        let _ = cookie.read(&request(&format!("session={visible}; session2={visible}")));
    }
}

#[test]
fn sessions_in_memory_are_bounded_and_end() {
    let kept = |content: &[u8], gone| Kept { content: content.to_vec(), gone, subject: None };
    let local = Local::default();
    local.put([1; 32], kept(b"one", 100));
    assert_eq!(local.find(&[1; 32], 99).unwrap().content, b"one");
    local.update(&[1; 32], b"two".to_vec());
    assert_eq!(local.find(&[1; 32], 99).unwrap().content, b"two");
    assert!(local.shorten(&[1; 32], 50) && local.shorten(&[1; 32], 80));
    assert!(!local.shorten(&[2; 32], 50), "there is none");
    assert!(local.find(&[1; 32], 49).is_some());
    assert!(local.find(&[1; 32], 50).is_none(), "an end that was brought nearer stays there");
    local.update(&[2; 32], b"no session".to_vec());
    assert!(local.find(&[2; 32], 0).is_none());
    let id = |number: u8| {
        let mut id = [0; 32];
        id[1] = number;
        id
    };
    for number in 0..200 {
        local.put(id(number), kept(&[0; 100_000], u64::MAX));
    }
    assert!(local.find(&id(199), 0).is_some());
    assert!(local.find(&id(0), 0).is_none(), "what was not used for longest gives way");
}

#[test]
fn what_is_saved_during_a_logout_revives_nothing() {
    let (name, other) = ([1; 32], [2; 32]);
    let kept = |content: &[u8]| Kept { content: content.to_vec(), gone: 100, subject: None };
    let local = Local::default();
    local.put(name, kept(b"one"));
    local.put(other, kept(b"other"));
    // A request that has found the session is still on its way when another one logs out.
    assert!(local.find(&name, 0).is_some());
    local.remove(&name, &mut super::local::Forgotten::default());
    local.update(&name, b"two".to_vec());
    assert!(local.find(&name, 0).is_none());
    assert!(!local.shorten(&name, 200), "nor does it go on for longer");
    assert_eq!(local.find(&other, 0).unwrap().content, b"other");
}
