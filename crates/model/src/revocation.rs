//! Where a certificate says that it may be revoked, and lists of revoked certificates (RFC 5280 4.2.1.13, 4.2.2.1 and 5). Nothing is
//! verified here: signatures are for whoever has the keys.

use std::time::Duration;

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::{AnyRef, BitStringRef, ContextSpecific, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, KeyUsage};
use x509_cert::time::Time;

use crate::pem::{skip_rest, without_zeros};

/// `id-ad-ocsp`.
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
/// `id-ce-issuingDistributionPoint`.
const ISSUING_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
/// URLs of a kind that are taken from a certificate; further ones are left out.
const MOST_URLS: usize = 4;

/// What a certificate has to do with revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Particulars {
    /// Its number, without zeros before it.
    pub serial: Vec<u8>,
    /// Who has issued it, DER.
    pub issuer: Vec<u8>,
    /// Whose it is, DER.
    pub subject: Vec<u8>,
    /// The bits of its public key.
    pub key: Vec<u8>,
    /// It may issue others.
    pub is_authority: bool,
    /// It may sign lists, or does not say what it may do.
    pub may_sign_lists: bool,
    /// `http` and `https` URLs of responders.
    pub responders: Vec<String>,
    /// `http` and `https` URLs of lists.
    pub lists: Vec<String>,
}

impl Particulars {
    /// Those of a certificate in DER form; none if it cannot be read.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let parsed = CertificateInner::<Raw>::from_der(certificate).ok()?;
        let body = parsed.tbs_certificate();
        let access = body.get_extension::<AuthorityInfoAccessSyntax>().ok()?;
        let access = access.iter().flat_map(|(_, access)| &access.0).filter(|one| one.access_method == OCSP);
        let responders = access.filter_map(|one| url(&one.access_location)).take(MOST_URLS).collect();
        let points = body.get_extension::<CrlDistributionPoints>().ok()?;
        let points = points.iter().flat_map(|(_, points)| &points.0);
        // A list of another issuer, or for some reasons only, does not say all there is to say.
        let points = points.filter(|point| point.crl_issuer.is_none() && point.reasons.is_none());
        let lists =
            points.filter_map(|point| point.distribution_point.as_ref()).flat_map(urls).take(MOST_URLS);
        let usage = body.get_extension::<KeyUsage>().ok()?;
        let constraints = body.get_extension::<BasicConstraints>().ok()?;
        Some(Self {
            serial: without_zeros(body.serial_number().as_bytes()).to_vec(),
            issuer: body.issuer().to_der().ok()?,
            subject: body.subject().to_der().ok()?,
            key: body.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            may_sign_lists: usage.is_none_or(|(_, usage)| usage.crl_sign()),
            responders,
            lists: lists.collect(),
        })
    }
}

fn urls(name: &DistributionPointName) -> Vec<String> {
    match name {
        DistributionPointName::FullName(names) => names.iter().filter_map(url).collect(),
        DistributionPointName::NameRelativeToCRLIssuer(_) => Vec::new(),
    }
}

fn url(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(text) = name else { return None };
    let text = text.as_str();
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)).then(|| text.to_owned())
}

/// What is signed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes.
    pub message: Vec<u8>,
    /// The algorithm: the content of an `AlgorithmIdentifier`.
    pub algorithm: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Signed {
    /// `message`, behind which algorithm and signature follow.
    pub(crate) fn followed_by(message: Vec<u8>, reader: &mut SliceReader<'_>) -> der::Result<Self> {
        let algorithm = AnyRef::decode(reader)?;
        algorithm.tag().assert_eq(Tag::Sequence)?;
        let signature = BitStringRef::decode(reader)?;
        Ok(Self {
            message,
            algorithm: algorithm.value().to_vec(),
            signature: signature.as_bytes().unwrap_or_default().to_vec(),
        })
    }
}

/// A list of revoked certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Whose certificates it is about, DER.
    pub issuer: Vec<u8>,
    /// From when on it holds, counted from 1970.
    pub since: Duration,
    /// Until when it holds.
    pub until: Option<Duration>,
    /// What shows that it is the issuer's.
    pub signed: Signed,
    /// Numbers of revoked certificates, in order.
    serials: Vec<Box<[u8]>>,
    scope: Scope,
}

/// Which certificates of its issuer a list is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Scope {
    /// Those that name one of these places; all without.
    places: Option<Vec<String>>,
    only_users: bool,
    only_authorities: bool,
    /// It does not say all that is to be said of any.
    is_partial: bool,
}

impl RevocationList {
    /// Reads a list in DER form.
    ///
    /// # Errors
    /// What is wrong with it, or cannot be understood.
    pub fn read(list: &[u8]) -> Result<Self, String> {
        let wrong = |error: der::Error| format!("is not a list of revoked certificates: {error}");
        let list = AnyRef::from_der(list).and_then(|list| list.sequence(whole)).map_err(wrong)?;
        if list.scope.is_partial {
            return Err("says not all there is to say: delta and indirect lists, and those for some reasons only, cannot be used".to_owned());
        }
        Ok(list)
    }

    /// Whether it can say something about a certificate.
    #[must_use]
    pub fn is_about(&self, certificate: &Particulars) -> bool {
        let Scope { places, only_users, only_authorities, .. } = &self.scope;
        let its_place = |places: &Vec<String>| places.iter().any(|place| certificate.lists.contains(place));
        self.issuer == certificate.issuer
            && !(*only_users && certificate.is_authority)
            && (!*only_authorities || certificate.is_authority)
            && places.as_ref().is_none_or(its_place)
    }

    /// Whether it names a certificate.
    #[must_use]
    pub fn revokes(&self, certificate: &Particulars) -> bool {
        self.serials.binary_search_by(|serial| (**serial).cmp(certificate.serial.as_slice())).is_ok()
    }

    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let serials: usize =
            self.serials.iter().map(|serial| serial.len() + size_of::<Box<[u8]>>() + 16).sum();
        serials + self.signed.message.len() + self.issuer.len()
    }

    /// Lets go of what shows whose it is, once that has been seen.
    #[must_use]
    pub fn without_proof(mut self) -> Self {
        self.signed = Signed { message: Vec::new(), algorithm: Vec::new(), signature: Vec::new() };
        self
    }
}

/// `CertificateList`.
fn whole(reader: &mut SliceReader<'_>) -> der::Result<RevocationList> {
    let body = AnyRef::decode(reader)?;
    let signed = Signed::followed_by(body.to_der()?, reader)?;
    body.sequence(|reader| to_be_signed(reader, signed))
}

/// `TBSCertList`.
fn to_be_signed(reader: &mut SliceReader<'_>, signed: Signed) -> der::Result<RevocationList> {
    if Tag::peek(reader)? == Tag::Integer {
        AnyRef::decode(reader)?;
    }
    let _algorithm = AnyRef::decode(reader)?;
    let issuer = AnyRef::decode(reader)?.to_der()?;
    let since = Time::decode(reader)?.to_unix_duration();
    let is_time = |tag: Tag| matches!(tag, Tag::UtcTime | Tag::GeneralizedTime);
    let until = match !reader.is_finished() && is_time(Tag::peek(reader)?) {
        true => Some(Time::decode(reader)?.to_unix_duration()),
        false => None,
    };
    let mut serials = Vec::new();
    if !reader.is_finished() && Tag::peek(reader)? == Tag::Sequence {
        AnyRef::decode(reader)?.sequence(|reader| {
            while !reader.is_finished() {
                serials.push(AnyRef::decode(reader)?.sequence(revoked)?);
            }
            Ok::<_, der::Error>(())
        })?;
    }
    serials.sort_unstable();
    let extensions = ContextSpecific::<AnyRef<'_>>::decode_explicit(reader, TagNumber(0))?;
    skip_rest(reader)?;
    let scope = extensions.map_or(Ok(Scope::default()), |extensions| extensions.value.sequence(scope))?;
    Ok(RevocationList { issuer, since, until, signed, serials, scope })
}

/// An entry: the number, the time, extensions.
fn revoked(reader: &mut SliceReader<'_>) -> der::Result<Box<[u8]>> {
    let serial = AnyRef::decode(reader)?;
    serial.tag().assert_eq(Tag::Integer)?;
    skip_rest(reader)?;
    Ok(without_zeros(serial.value()).into())
}

/// `Extensions`: which certificates the list is about. What is critical and unknown makes it one that cannot be used.
fn scope(reader: &mut SliceReader<'_>) -> der::Result<Scope> {
    let mut scope = Scope::default();
    while !reader.is_finished() {
        AnyRef::decode(reader)?.sequence(|reader| {
            let name = ObjectIdentifier::decode(reader)?;
            let is_critical = match Tag::peek(reader)? {
                Tag::Boolean => bool::decode(reader)?,
                _ => false,
            };
            let value = <&OctetStringRef>::decode(reader)?.as_bytes();
            if name == ISSUING_POINT {
                let is_partial = scope.is_partial;
                scope = of_point(&IssuingDistributionPoint::from_der(value)?);
                scope.is_partial |= is_partial;
            } else {
                scope.is_partial |= is_critical;
            }
            Ok::<_, der::Error>(())
        })?;
    }
    Ok(scope)
}

fn of_point(point: &IssuingDistributionPoint) -> Scope {
    Scope {
        places: point.distribution_point.as_ref().map(urls),
        only_users: point.only_contains_user_certs,
        only_authorities: point.only_contains_ca_certs,
        is_partial: point.indirect_crl
            || point.only_contains_attribute_certs
            || point.only_some_reasons.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `testdata/revocation`.
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../testdata/revocation/", $name))
        };
    }

    #[test]
    fn a_certificate_says_whom_to_ask() {
        let own = Particulars::of(file!("own.der")).unwrap();
        assert_eq!(own.serial, [0x7f, 1]);
        assert_eq!(own.responders, ["http://ocsp.test/a"], "others than http and https are left out");
        assert_eq!(own.lists, ["http://crl.test/a.crl", "https://crl.test/b.crl"]);
        let authority = Particulars::of(file!("ca.der")).unwrap();
        assert_eq!((authority.is_authority, authority.may_sign_lists, own.is_authority), (true, true, false));
        assert_eq!(own.issuer, authority.subject);
    }

    #[test]
    fn a_list_is_about_whom_it_says() {
        let own = Particulars::of(file!("own.der")).unwrap();
        let list = RevocationList::read(file!("list.der")).unwrap();
        assert!(list.is_about(&own) && list.revokes(&own));
        assert!(!list.revokes(&Particulars { serial: vec![0x7f, 2], ..own.clone() }));
        assert_eq!(list.until.unwrap() - list.since, Duration::from_secs(30 * 24 * 3600));
        assert!(!list.is_about(&Particulars { issuer: own.subject.clone(), ..own.clone() }));
        let for_authorities = RevocationList::read(file!("authorities.der")).unwrap();
        assert!(!for_authorities.is_about(&own) && !for_authorities.revokes(&own));
        let elsewhere = RevocationList::read(file!("elsewhere.der")).unwrap();
        assert!(!elsewhere.is_about(&own), "it is for certificates that name another place");
        let refusal = RevocationList::read(file!("delta.der")).unwrap_err();
        assert!(refusal.contains("delta"), "{refusal}");
    }

    #[test]
    fn nothing_panics_however_it_is_cut() {
        for whole in [&file!("list.der")[..], file!("elsewhere.der")] {
            for end in 0..whole.len() {
                assert!(RevocationList::read(&whole[..end]).is_err(), "{end}");
                let mut broken = whole.to_vec();
                broken[end] ^= 0xff;
                drop(RevocationList::read(&broken));
                drop(Particulars::of(&broken));
            }
        }
        let own = file!("own.der");
        for end in 0..own.len() {
            assert_eq!(Particulars::of(&own[..end]), None);
        }
    }
}
