//! Certificates and private keys in PEM form, as far as their structure tells: nothing is signed or verified here.

use std::fmt::Display;
use std::time::Duration;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::{AnyRef, BitStringRef, ContextSpecific, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::spki::AlgorithmIdentifier;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A certificate. `Raw`: serial numbers that RFC 5280 forbids are no reason to refuse what OpenSSL takes.
pub struct Certificate(CertificateInner<Raw>);

impl Certificate {
    /// Every certificate of a text, at least one.
    ///
    /// # Errors
    /// What is wrong with the text, or with one of them.
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        let mut found = Vec::new();
        for section in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let der = section.map_err(|error| invalid("certificate", error))?;
            let parsed = CertificateInner::from_der(&der).map_err(|error| invalid("certificate", error))?;
            found.push(Self(parsed));
        }
        if found.is_empty() {
            return Err(invalid("certificate", "no PEM block 'CERTIFICATE' found"));
        }
        Ok(found)
    }

    /// The first certificate of a text, which is the gateway's own where a chain follows it.
    #[must_use]
    pub fn first(text: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        CertificateInner::from_der(&der).ok().map(Self)
    }

    /// Whether its time is over at `now`, which is counted from 1970.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.0.tbs_certificate().validity().not_after.to_unix_duration() < now
    }

    /// The serial number of a certificate in DER form, without zeros before it; none if it cannot be read.
    #[must_use]
    pub fn serial(der: &[u8]) -> Option<Vec<u8>> {
        let parsed = CertificateInner::<Raw>::from_der(der).ok()?;
        Some(without_zeros(parsed.tbs_certificate().serial_number().as_bytes()).to_vec())
    }

    /// Whether it may sign other certificates.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        let constraints = self.0.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
    }

    /// What kind of key it is for, in the words of people.
    #[must_use]
    pub fn key_type(&self) -> String {
        match self.algorithm() {
            RSA => "RSA".to_owned(),
            EC => "ECDSA".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether it is for another key than this one. False also where only cryptography could tell.
    #[must_use]
    pub fn belongs_to_another(&self, key: &PrivateKey) -> bool {
        let public = self.0.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
        let public =
            if self.algorithm() == RSA { rsa_numbers(public, 0).ok() } else { Some(public.to_vec()) };
        let differs = match (public, &key.public) {
            // A point may be written compressed on one side.
            (Some(own), Some(other)) if own.len() == other.len() => own != *other,
            (Some(_), Some(_)) => self.algorithm() == RSA,
            _ => false,
        };
        differs || self.algorithm() != key.algorithm
    }

    fn algorithm(&self) -> ObjectIdentifier {
        self.0.tbs_certificate().subject_public_key_info().algorithm.oid
    }
}

/// SHA-256 of the first certificate of a text, in hexadecimal digits.
#[must_use]
pub fn digest(text: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    Some(Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a private key says about itself.
pub struct PrivateKey {
    algorithm: ObjectIdentifier,
    /// The public half as certificates hold it, where it is written beside the private one.
    public: Option<Vec<u8>>,
}

impl PrivateKey {
    /// The first private key of a text, in any of the usual forms.
    ///
    /// # Errors
    /// What is wrong with the text or the key.
    pub fn first(text: &str) -> Result<Self, String> {
        if text.contains("ENCRYPTED") {
            return Err(invalid("key", "it is encrypted; write it without a passphrase"));
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
            Error::NoItemsFound => invalid("key", "no PEM block 'PRIVATE KEY' found"),
            error => invalid("key", error),
        })?;
        let parsed = match &key {
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => elliptic(key.secret_sec1_der()),
            PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
            _ => return Err(invalid("key", "a form that is not known")),
        };
        parsed.map_err(|error| invalid("key", error))
    }
}

fn invalid(what: &str, error: impl Display) -> String {
    format!("invalid {what}: {error}")
}

/// `PrivateKeyInfo` of RFC 5208, or its successor of RFC 5958.
fn pkcs8(der: &[u8]) -> der::Result<PrivateKey> {
    AnyRef::from_der(der)?.sequence(|reader| {
        let _version = u8::decode(reader)?;
        let algorithm = AlgorithmIdentifier::<AnyRef<'_>>::decode(reader)?.oid;
        let key = <&OctetStringRef>::decode(reader)?.as_bytes();
        skip_rest(reader)?;
        match algorithm {
            RSA => rsa(key),
            EC => elliptic(key),
            _ => Ok(PrivateKey { algorithm, public: None }),
        }
    })
}

/// `RSAPrivateKey` of RFC 8017.
fn rsa(der: &[u8]) -> der::Result<PrivateKey> {
    Ok(PrivateKey { algorithm: RSA, public: Some(rsa_numbers(der, 1)?) })
}

/// Modulus and public exponent, as they stand in a public or a private key behind `before` other numbers.
fn rsa_numbers(der: &[u8], before: usize) -> der::Result<Vec<u8>> {
    AnyRef::from_der(der)?.sequence(|reader| {
        for _ in 0..before {
            AnyRef::decode(reader)?;
        }
        let mut numbers = Vec::new();
        for _ in 0..2 {
            let number = AnyRef::decode(reader)?;
            der::Tagged::tag(&number).assert_eq(der::Tag::Integer)?;
            number.encode_to_vec(&mut numbers)?;
        }
        skip_rest(reader)?;
        Ok::<_, der::Error>(numbers)
    })
}

/// `ECPrivateKey` of RFC 5915.
fn elliptic(der: &[u8]) -> der::Result<PrivateKey> {
    AnyRef::from_der(der)?.sequence(|reader| {
        let _version = u8::decode(reader)?;
        let _secret = <&OctetStringRef>::decode(reader)?;
        let _curve = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, der::TagNumber(0))?;
        let public = ContextSpecific::<BitStringRef<'_>>::decode_explicit(reader, der::TagNumber(1))?;
        skip_rest(reader)?;
        Ok(PrivateKey { algorithm: EC, public: public.map(|field| field.value.raw_bytes().to_vec()) })
    })
}

/// A number without the zeros that may stand before it.
pub(crate) fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Passes over what is left.
pub(crate) fn skip_rest(reader: &mut SliceReader<'_>) -> der::Result<()> {
    while !reader.is_finished() {
        AnyRef::decode(reader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `testdata/certificates`.
    macro_rules! file {
        ($name:literal) => {
            include_str!(concat!("../testdata/certificates/", $name))
        };
    }

    fn broken<T>(result: Result<T, String>) -> String {
        result.err().unwrap_or_default()
    }

    #[test]
    fn keys_of_every_form_match_their_certificate_and_no_other() {
        let (rsa, ec) =
            (Certificate::first(file!("rsa.crt")).unwrap(), Certificate::first(file!("ec.crt")).unwrap());
        for (name, text, of_rsa, of_ec) in [
            ("rsa.key", file!("rsa.key"), true, false),
            ("rsa-pkcs1.key", file!("rsa-pkcs1.key"), true, false),
            ("ec.key", file!("ec.key"), false, true),
            ("ec-sec1.key", file!("ec-sec1.key"), false, true),
            ("ec-other.key", file!("ec-other.key"), false, false),
            ("ed25519.key", file!("ed25519.key"), false, false),
        ] {
            let key = PrivateKey::first(text).unwrap();
            assert_eq!(!rsa.belongs_to_another(&key), of_rsa, "{name}");
            assert_eq!(!ec.belongs_to_another(&key), of_ec, "{name}");
        }
        let (certificate, key) =
            (Certificate::first(file!("ed25519.crt")), PrivateKey::first(file!("ed25519.key")));
        assert!(!certificate.unwrap().belongs_to_another(&key.unwrap()), "only cryptography could tell");
    }

    #[test]
    fn authorities_and_their_time_are_known() {
        let parse = |text: &str| Certificate::first(text).unwrap();
        let now = Duration::from_secs(1_700_000_000);
        for (text, authority, expired) in [
            (file!("ca.crt"), true, false),
            (file!("expired-ca.crt"), true, true),
            (file!("rsa.crt"), false, false),
            (file!("ec.crt"), false, false),
        ] {
            let certificate = parse(text);
            assert_eq!((certificate.is_authority(), certificate.is_expired(now)), (authority, expired));
        }
        let digest = digest(file!("ca.crt")).unwrap();
        assert_eq!(digest, "4dd65f439410b8fa3af7789129e27d230f0dea90e4cc129b3390f82ec3b9c03c");
    }

    #[test]
    fn what_is_no_certificate_or_key_is_refused_with_the_reason() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (text, reason) in [
            (String::new(), "no PEM block 'CERTIFICATE' found"),
            (block("CERTIFICATE", "MAA="), "ASN.1"),
            (block("CERTIFICATE", "M*A="), "base64"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n".to_owned(), "missing section end"),
            (file!("ca.crt").to_owned() + &block("CERTIFICATE", "MAA="), "ASN.1"),
            (file!("ec.key").to_owned(), "no PEM block"),
        ] {
            let error = broken(Certificate::all(&text));
            assert!(error.starts_with("invalid certificate: ") && error.contains(reason), "{text}: {error}");
        }
        for (text, reason) in [
            (block("PRIVATE KEY", "MAA="), "ASN.1"),
            (block("RSA PRIVATE KEY", "MAA="), "ASN.1"),
            (block("EC PRIVATE KEY", "MAA="), "ASN.1"),
            (file!("encrypted.key").to_owned(), "encrypted"),
            (file!("ca.crt").to_owned(), "no PEM block 'PRIVATE KEY' found"),
        ] {
            let error = broken(PrivateKey::first(&text));
            assert!(error.starts_with("invalid key: ") && error.contains(reason), "{text}: {error}");
        }
        let chain = file!("ec.crt").to_owned() + file!("ca.crt");
        assert_eq!(Certificate::all(&chain).map(|chain| chain.len()), Ok(2));
    }
}
