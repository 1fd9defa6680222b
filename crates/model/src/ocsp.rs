//! Responses of OCSP (RFC 6960), as far as their structure tells: signatures are for clients to verify.

use std::time::Duration;

use x509_cert::der::asn1::{AnyRef, ContextSpecific, GeneralizedTime, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::pem::{skip_rest, without_zeros};

/// `id-pkix-ocsp-basic`.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// What a response says about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The certificate's serial number, without zeros before it.
    pub serial: Vec<u8>,
    /// It has not been revoked.
    pub is_good: bool,
    /// From when on it holds, counted from 1970.
    pub since: Duration,
    /// Until when it holds. A response without that is meant for whoever asks now.
    pub until: Option<Duration>,
}

/// The statements of a response in DER form.
///
/// # Errors
/// What is wrong with it.
pub fn statements(response: &[u8]) -> Result<Vec<Statement>, String> {
    let basic = basic(response).map_err(|error| format!("not a response of OCSP: {error}"))?;
    let basic = basic?;
    read_basic(basic).map_err(|error| format!("not a response of OCSP: {error}"))
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
fn read_basic(basic: &[u8]) -> der::Result<Vec<Statement>> {
    AnyRef::from_der(basic)?.sequence(|reader| {
        let data = AnyRef::decode(reader)?;
        skip_rest(reader)?;
        data.sequence(|reader| {
            let _version = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(0))?;
            let _responder = AnyRef::decode(reader)?;
            let _produced = GeneralizedTime::decode(reader)?;
            let responses = AnyRef::decode(reader)?;
            skip_rest(reader)?;
            responses.sequence(|reader| {
                let mut found = Vec::new();
                while !reader.is_finished() {
                    found.push(AnyRef::decode(reader)?.sequence(statement)?);
                }
                Ok::<_, der::Error>(found)
            })
        })
    })
}

/// `SingleResponse`.
fn statement(reader: &mut SliceReader<'_>) -> der::Result<Statement> {
    let serial = AnyRef::decode(reader)?.sequence(|reader| {
        let _algorithm = AnyRef::decode(reader)?;
        let _name = <&OctetStringRef>::decode(reader)?;
        let _key = <&OctetStringRef>::decode(reader)?;
        let serial = AnyRef::decode(reader)?;
        serial.tag().assert_eq(Tag::Integer)?;
        Ok::<_, der::Error>(without_zeros(serial.value()).to_vec())
    })?;
    let status = AnyRef::decode(reader)?.tag();
    let is_good = status == Tag::ContextSpecific { constructed: false, number: TagNumber(0) };
    let since = GeneralizedTime::decode(reader)?.to_unix_duration();
    let until = ContextSpecific::<GeneralizedTime>::decode_explicit(reader, TagNumber(0))?;
    skip_rest(reader)?;
    Ok(Statement { serial, is_good, since, until: until.map(|until| until.value.to_unix_duration()) })
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
        for (file, is_good, holds) in [
            (&file!("good.der")[..], true, Some(week)),
            (file!("revoked.der"), false, Some(week)),
            (file!("endless.der"), true, None),
        ] {
            let [found] = &statements(file).unwrap()[..] else { panic!("one statement") };
            assert_eq!((&found.serial, found.is_good), (&serial, is_good));
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
