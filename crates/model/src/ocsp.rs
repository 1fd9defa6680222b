//! Questions and responses of OCSP (RFC 6960), as far as their structure tells: signatures are for whoever has the keys.

use std::time::Duration;

use x509_cert::der::asn1::{AnyRef, ContextSpecific, GeneralizedTime, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::pem::{skip_rest, without_zeros};
use crate::revocation::Signed;

/// `id-pkix-ocsp-basic`.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// `id-pkix-ocsp-nonce`.
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// `AlgorithmIdentifier` of SHA-1, which every responder knows certificates by.
const SHA1: &[u8] = &[0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];
/// The same as an extension's name.
const NONCE_NAME: &[u8] = &[6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

/// How a certificate is named in questions and responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName {
    /// SHA-1 of its issuer's name.
    pub issuer_name: Vec<u8>,
    /// SHA-1 of its issuer's key.
    pub issuer_key: Vec<u8>,
    /// Its serial number, without zeros before it.
    pub serial: Vec<u8>,
}

/// What a responder knows of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has not been revoked.
    Good,
    /// It has.
    Revoked,
    /// Nothing.
    Unknown,
}

/// What a response says about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The certificate; the hashes are those of the algorithm that the response has chosen.
    pub certificate: CertificateName,
    /// What is known of it.
    pub status: Status,
    /// From when on it holds, counted from 1970.
    pub since: Duration,
    /// Until when it holds. A response without that is meant for whoever asks now.
    pub until: Option<Duration>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What it says.
    pub statements: Vec<Statement>,
    /// The nonce of the question that it answers; none where it was made before.
    pub nonce: Option<Vec<u8>>,
    /// What shows whose it is.
    pub signed: Signed,
    /// Certificates, DER, of which one may be that of who has signed.
    pub certificates: Vec<Vec<u8>>,
}

/// The statements of a response in DER form.
///
/// # Errors
/// What is wrong with it.
pub fn statements(response: &[u8]) -> Result<Vec<Statement>, String> {
    Response::read(response).map(|response| response.statements)
}

/// A question about a certificate, DER. The nonce has at most 32 bytes (RFC 8954).
#[must_use]
pub fn question(certificate: &CertificateName, nonce: &[u8]) -> Vec<u8> {
    let CertificateName { issuer_name, issuer_key, serial } = certificate;
    let hashes = [element(4, issuer_name), element(4, issuer_key)].concat();
    let mut number = serial.clone();
    if number.first().is_none_or(|first| *first >= 0x80) {
        number.insert(0, 0);
    }
    let name = element(0x30, &[SHA1, &hashes, &element(2, &number)].concat());
    let requests = element(0x30, &element(0x30, &name));
    let extension = element(0x30, &[NONCE_NAME, &element(4, &element(4, nonce))].concat());
    let extensions = element(0xa2, &element(0x30, &extension));
    element(0x30, &element(0x30, &[requests, extensions].concat()))
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..=0x7f => bytes.push(short as u8),
        length => {
            let digits = length.to_be_bytes();
            let digits = without_zeros(&digits);
            bytes.push(0x80 | digits.len() as u8);
            bytes.extend_from_slice(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

impl Response {
    /// Reads a response in DER form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(response: &[u8]) -> Result<Self, String> {
        let basic = basic(response).map_err(|error| format!("not a response of OCSP: {error}"))?;
        let basic = basic?;
        read_basic(basic).map_err(|error| format!("not a response of OCSP: {error}"))
    }
}

/// `OCSPResponse`: what is inside, if the responder has answered at all.
fn basic(response: &[u8]) -> der::Result<Result<&[u8], String>> {
    AnyRef::from_der(response)?.sequence(|reader| {
        let status = AnyRef::decode(reader)?;
        status.tag().assert_eq(Tag::Enumerated)?;
        let inner = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(0))?;
        skip_rest(reader)?;
        let Some(inner) = inner.filter(|_| status.value() == [0]) else {
            return Ok(Err(format!("the responder has refused to answer: {:?}", status.value())));
        };
        inner.value.sequence(|reader| {
            let kind = ObjectIdentifier::decode(reader)?;
            let bytes = <&OctetStringRef>::decode(reader)?.as_bytes();
            let known = kind == BASIC;
            Ok::<_, der::Error>(if known { Ok(bytes) } else { Err(format!("of an unknown kind: {kind}")) })
        })
    })
}

/// `BasicOCSPResponse`.
fn read_basic(basic: &[u8]) -> der::Result<Response> {
    AnyRef::from_der(basic)?.sequence(|reader| {
        let data = AnyRef::decode(reader)?;
        let signed = Signed::followed_by(data.to_der()?, reader)?;
        let sent = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(0))?;
        skip_rest(reader)?;
        let mut certificates = Vec::new();
        if let Some(sent) = sent {
            sent.value.sequence(|reader| {
                while !reader.is_finished() {
                    certificates.push(AnyRef::decode(reader)?.to_der()?);
                }
                Ok::<_, der::Error>(())
            })?;
        }
        let (statements, nonce) = data.sequence(response_data)?;
        Ok(Response { statements, nonce, signed, certificates })
    })
}

/// `ResponseData`.
fn response_data(reader: &mut SliceReader<'_>) -> der::Result<(Vec<Statement>, Option<Vec<u8>>)> {
    let _version = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(0))?;
    let _responder = AnyRef::decode(reader)?;
    let _produced = GeneralizedTime::decode(reader)?;
    let responses = AnyRef::decode(reader)?;
    let extensions = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(1))?;
    skip_rest(reader)?;
    let nonce = match extensions {
        Some(extensions) => extensions.value.sequence(nonce)?,
        None => None,
    };
    let statements = responses.sequence(|reader| {
        let mut found = Vec::new();
        while !reader.is_finished() {
            found.push(AnyRef::decode(reader)?.sequence(statement)?);
        }
        Ok::<_, der::Error>(found)
    })?;
    Ok((statements, nonce))
}

/// The nonce among extensions.
fn nonce(reader: &mut SliceReader<'_>) -> der::Result<Option<Vec<u8>>> {
    let mut found = None;
    while !reader.is_finished() {
        AnyRef::decode(reader)?.sequence(|reader| {
            let name = ObjectIdentifier::decode(reader)?;
            if Tag::peek(reader)? == Tag::Boolean {
                AnyRef::decode(reader)?;
            }
            let value = <&OctetStringRef>::decode(reader)?.as_bytes();
            if name == NONCE {
                found = Some(<&OctetStringRef>::from_der(value)?.as_bytes().to_vec());
            }
            Ok::<_, der::Error>(())
        })?;
    }
    Ok(found)
}

/// `SingleResponse`.
fn statement(reader: &mut SliceReader<'_>) -> der::Result<Statement> {
    let certificate = AnyRef::decode(reader)?.sequence(|reader| {
        let _algorithm = AnyRef::decode(reader)?;
        let issuer_name = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
        let issuer_key = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
        let serial = AnyRef::decode(reader)?;
        serial.tag().assert_eq(Tag::Integer)?;
        let serial = without_zeros(serial.value()).to_vec();
        Ok::<_, der::Error>(CertificateName { issuer_name, issuer_key, serial })
    })?;
    let status = match AnyRef::decode(reader)?.tag() {
        Tag::ContextSpecific { constructed: false, number: TagNumber(0) } => Status::Good,
        Tag::ContextSpecific { constructed: true, number: TagNumber(1) } => Status::Revoked,
        _ => Status::Unknown,
    };
    let since = GeneralizedTime::decode(reader)?.to_unix_duration();
    let until = ContextSpecific::<GeneralizedTime>::decode_explicit(reader, TagNumber(0))?;
    skip_rest(reader)?;
    Ok(Statement { certificate, status, since, until: until.map(|until| until.value.to_unix_duration()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::Certificate;

    /// A file of `testdata/ocsp`.
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/ocsp/", $name))
        };
    }

    #[test]
    fn a_response_tells_about_which_certificate_it_is_and_how_long_it_holds() {
        let serial = Certificate::serial(file!("own.der")).unwrap();
        assert_eq!(serial, [0xf1, 2, 3, 4]);
        let week = Duration::from_secs(7 * 24 * 3600);
        for (file, status, holds) in [
            (&file!("good.der")[..], Status::Good, Some(week)),
            (file!("revoked.der"), Status::Revoked, Some(week)),
            (file!("endless.der"), Status::Good, None),
        ] {
            let [found] = &statements(file).unwrap()[..] else { panic!("one statement") };
            assert_eq!((&found.certificate.serial, found.status), (&serial, status));
            assert_eq!(found.until.map(|until| until - found.since), holds);
        }
    }

    #[test]
    fn what_is_no_response_is_refused_however_it_is_cut() {
        let good = file!("good.der");
        assert!(statements(file!("refused.der")).unwrap_err().contains("refused to answer: [6]"));
        assert!(statements(file!("own.der")).unwrap_err().contains("not a response of OCSP"));
        for end in 0..good.len() {
            assert!(statements(&good[..end]).is_err(), "{end}");
            // Whatever comes of a byte that is wrong, it is no panic.
            let mut broken = good.to_vec();
            broken[end] ^= 0xff;
            drop(statements(&broken));
        }
    }
}
