//! What browsers and clients bring: answers to logins, proofs of possession, logout tokens.

use std::cell::RefCell;
use std::thread::LocalKey;

use plugin::harness::{Harness, Outcome};

use super::{COOKIE, Play, STATE, TOKEN, cookie, is_in, may_hold};
use crate::credentials::{holds, with_field};

/// A token that is bound to a key.
const BOUND: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJodHRwOi8vaXNzdWVyLnRlc3QiLCJzdWI\
     iOiJhbGljZSIsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjo0MTAyNDQ0ODAwLCJjbmYiOnsiamt0IjoibFZHTnRya2pLU2w1OXhzcmQ\
     3UFQ5SEREMERyZEdLNFBRczJhcmxDOXJVWSJ9fQ.zH8UTpbio-39EtZJ08-EAzRoVnSJ1zSDeJKhWMO-l5hSTPSf8wBTd4IXElMy\
     eCcyeQ_nvxnAnYY-eFga8sLyCg";
/// Signatures end before digits that have bits to spare.
const PROOF_SIGNATURE: &str =
    "KiboOoBY5GjWGK0rBqtOO_67iv1CLsh8vk76VRxmD1hvROiF9Bx3_at9PAvrEcWVoQVOpq1yoxz_wkEmYFX0A";
const ID_SIGNATURE: &str =
    "bhfXG-JjIaM1oVv2DCRD8r35CiaWFV7GxU42ohUSsCslUAepe3qRgGYmtQroAJ4ldvJlUSqmvTrYs-E2bhAHC";
const LOGOUT_SIGNATURES: [&str; 2] = [
    "mDE07s4DQ8BDysZoQmXifbWOpDws9hwqEFq-UOq_leDS8DLlrMLxT34hAPmSCr_9xUYDTstXoziP7FHwL83QC",
    "44Mluxdd9JdrODfPmQqq1i5fnTVXGM8dW5swn45XJfQhT7RBexsZMjELJUFMXGncUrBr__Eu8sDrxG6nQUJtB",
];
/// Seeds of the corpus that are what they should be.
const RIGHT_LOGINS: [&[u8]; 3] = [
    include_bytes!("../../../corpus/login_answer/query"),
    include_bytes!("../../../corpus/login_answer/form"),
    include_bytes!("../../../corpus/login_answer/cookie"),
];
const RIGHT_PROOF: &[u8] = include_bytes!("../../../corpus/dpop_proof/right");
const RIGHT_ID_TOKEN: &[u8] = include_bytes!("../../../corpus/id_token/right");
const RIGHT_LOGOUT: &[u8] = include_bytes!("../../../corpus/logout_token/right");
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

thread_local! {
    static PLAY: Play = Play::new();
    static LOGINS: RefCell<Harness> = logins();
    static PROOFS: RefCell<Harness> = proofs();
    static BESIDE: RefCell<Harness> = gateway("auth_methods: [bearer], id_token_param_name: X-Id");
    static LOGOUTS: RefCell<Harness> =
        gateway("auth_methods: [authorization_code, session], backchannel_logout_uri_suffix: /ended");
}

fn gateway(fields: &str) -> RefCell<Harness> {
    PLAY.with(|play| RefCell::new(play.gateway(fields)))
}

fn logins() -> RefCell<Harness> {
    gateway("auth_methods: [authorization_code, session]")
}

fn proofs() -> RefCell<Harness> {
    gateway("auth_methods: [bearer], proof_of_possession_dpop: strict")
}

fn send(gateway: &'static LocalKey<RefCell<Harness>>, head: &[u8], body: &[u8]) -> Option<Outcome> {
    gateway.with(|gateway| gateway.borrow_mut().send_head(head, body))
}

/// The answer to a login in the query or in a form, or the cookie that it belongs to: the first byte picks.
pub fn login(bytes: &[u8]) {
    let Some((pick, value)) = bytes.split_first() else { return };
    let get = |query: &[u8], cookie: &[u8]| {
        let line = [b"GET /page?", query, b" HTTP/1.1\r\nHost: gateway.test\r\n"].concat();
        send(&LOGINS, &[&line, cookie, b"\r\n\r\n"].concat(), b"")
    };
    let answer = format!("code=c&state={STATE}");
    let outcome = match pick {
        b'q' => get(value, cookie().as_bytes()),
        b'c' => get(answer.as_bytes(), &[b"Cookie: ", value].concat()),
        _ => {
            let head = format!("POST /page HTTP/1.1\n{FORM}\n{}", cookie());
            Some(LOGINS.with(|gateway| gateway.borrow_mut().send_bytes(&head, value)))
        }
    };
    let Some(outcome) = outcome else { return };
    // Who comes by a form is sent to the page then.
    let has_ended = is_in(&outcome, &[302, 303, 401]) || outcome.status == 303;
    assert!(has_ended || !RIGHT_LOGINS.contains(&bytes), "what is right ends no login: {}", outcome.json());
    if has_ended {
        let shown =
            if *pick == b'c' { COOKIE.iter().all(|half| holds(value, half)) } else { may_hold(value, STATE) };
        assert!(shown, "in without a login of this browser");
        // The login has been used: the next one is to meet a gateway that does not know that.
        LOGINS.with(|gateway| gateway.swap(&logins()));
    }
    let location = outcome.header("Location").unwrap_or_default();
    match outcome.status {
        302 => assert!(location.starts_with("https://issuer.test/auth?"), "sent to {location}"),
        303 => assert_eq!(location, "/page"),
        _ => {}
    }
}

/// A proof that comes with a token that is bound to its key (RFC 9449).
pub fn proof(bytes: &[u8]) {
    let lines = format!("Authorization: DPoP {BOUND}\nDPoP");
    let Some(outcome) = PROOFS.with(|gateway| with_field(gateway, &lines, bytes)) else { return };
    let is_in = is_in(&outcome, &[401]);
    assert!(is_in || bytes != RIGHT_PROOF, "what is right is no proof");
    if is_in {
        assert!(holds(bytes, PROOF_SIGNATURE), "in without a proof");
        // The proof has been used: the next one is to meet a gateway that does not know that.
        PROOFS.with(|gateway| gateway.swap(&proofs()));
    }
}

/// An ID token that comes beside another token of the same person.
pub fn beside(bytes: &[u8]) {
    let lines = format!("Authorization: Bearer {TOKEN}\nX-Id");
    let Some(outcome) = BESIDE.with(|gateway| with_field(gateway, &lines, bytes)) else { return };
    let is_in = is_in(&outcome, &[401]);
    assert!(is_in || bytes != RIGHT_ID_TOKEN, "what is right is no ID token");
    if is_in {
        let is_nothing = bytes.trim_ascii().is_empty();
        assert!(is_nothing || holds(bytes, ID_SIGNATURE), "in with what is no ID token");
    }
}

/// What a provider is said to have posted about a logout.
pub fn logout(bytes: &[u8]) {
    let head = format!("POST /ended HTTP/1.1\n{FORM}");
    let outcome = LOGOUTS.with(|gateway| gateway.borrow_mut().send_bytes(&head, bytes));
    assert!(outcome.answered);
    assert!(outcome.status == 200 || bytes != RIGHT_LOGOUT, "what is right is not believed");
    match outcome.status {
        200 => assert!(LOGOUT_SIGNATURES.iter().any(|signature| may_hold(bytes, signature)), "believed"),
        status => assert_eq!((status, outcome.json()["error"].as_str()), (400, Some("invalid_request"))),
    }
}
