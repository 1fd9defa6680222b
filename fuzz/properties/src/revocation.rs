//! What is said about revoked certificates: responses of OCSP, lists, and certificates that say whom to ask. What is read of them
//! is what was written, and nothing is read that is cut. Signatures are for others.

use model::ocsp::{Response, question};
use model::revocation::{Particulars, RevocationList};

/// Pieces of DER.
pub const TOKENS: &[&[u8]] = &[
    b"\x30",
    b"\x30\x80",
    b"\x30\x82\x01\0",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\0",
    b"\x02\0",
    b"\x02\x02\0\0",
    b"\x04\0",
    b"\x05\0",
    b"\x0a\x01\0",
    b"\x0a\x01\x06",
    b"\x01\x01\xff",
    b"\x80\0",
    b"\x81",
    b"\xa0",
    b"\xa0\x80",
    b"\xa1\0",
    b"\x03\x01\0",
    b"\x03\x02\x07\0",
    b"\x17\x0d",
    b"700101000000Z",
    b"\x18\x0f",
    b"99991231235959Z",
    b"20260101000000Z",
    b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01",
    b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x02",
    b"\x06\x03\x55\x1d\x1c",
    b"http://",
    b"\x86\x01",
    b"\xff",
];

/// A certificate that a list of the corpus is about.
const OWN: &[u8] = include_bytes!("../../corpus/revocation_list/own.der");

/// A response of OCSP.
pub fn response(bytes: &[u8]) {
    let Ok(response) = Response::read(bytes) else { return };
    for length in (0..bytes.len()).rev().take(16) {
        assert!(Response::read(&bytes[..length]).is_err(), "whole without its end");
    }
    let signed = &response.signed;
    let certificates: usize = response.certificates.iter().map(Vec::len).sum();
    let told = signed.message.len() + signed.algorithm.len() + signed.signature.len() + certificates;
    assert!(told <= bytes.len(), "more than was told");
    for statement in &response.statements {
        let name = &statement.certificate;
        let length = name.issuer_name.len() + name.issuer_key.len() + name.serial.len();
        assert!(length <= signed.message.len(), "more than is signed");
        assert!(question(name, &[0; 32]).len() > length, "a question about something else");
    }
    for certificate in &response.certificates {
        particulars(certificate);
    }
}

/// A list of revoked certificates, or a certificate.
pub fn list(bytes: &[u8]) {
    particulars(bytes);
    let Ok(list) = RevocationList::read(bytes) else { return };
    for length in (0..bytes.len()).rev().take(16) {
        assert!(RevocationList::read(&bytes[..length]).is_err(), "whole without its end");
    }
    let own = Particulars::of(OWN).unwrap();
    if list.is_about(&own) {
        assert_eq!(list.issuer, own.issuer, "about the certificates of another");
    }
    let is_revoked = list.revokes(&own);
    assert!(
        !is_revoked || bytes.windows(own.serial.len()).any(|window| window == own.serial),
        "revoked by nobody"
    );
    assert_eq!(list.without_proof().revokes(&own), is_revoked);
}

fn particulars(certificate: &[u8]) {
    let Some(own) = Particulars::of(certificate) else { return };
    for url in own.responders.iter().chain(&own.lists) {
        assert!(url.starts_with("http://") || url.starts_with("https://"), "{url} is asked");
    }
    assert!(own.responders.len() <= 4 && own.lists.len() <= 4, "too many are asked");
}
