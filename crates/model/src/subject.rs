//! Whom a certificate names, in DER form. Nothing is verified here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::name::Name;

/// The subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The common name (CN) closest to the subject itself.
    pub common_name: Option<String>,
    /// The distinguished name (DN) as RFC 4514 writes it.
    pub distinguished_name: String,
    /// The distinguished name of its issuer, in the same form.
    pub issuer_name: String,
    /// Alternative names: those of hosts, mail addresses, URIs, IP addresses. None where there is no such extension.
    pub alternatives: Option<Vec<String>>,
    /// Attributes of alternative names that are distinguished names: short name and value.
    pub directories: Vec<(String, String)>,
    /// It bears its own name as that of its issuer.
    pub is_self_issued: bool,
    /// When its time is over, counted from 1970.
    pub expires: Duration,
}

impl Subject {
    /// The subject of a certificate in DER form; none if it cannot be read.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let parsed = CertificateInner::<Raw>::from_der(der).ok()?;
        let body = parsed.tbs_certificate();
        let alternatives = body.get_extension::<SubjectAltName>().ok()?;
        let mut directories = Vec::new();
        let alternatives = alternatives.map(|(_, SubjectAltName(names))| {
            let mut texts = Vec::new();
            for name in &names {
                match name {
                    GeneralName::DirectoryName(name) => directories.extend(name.iter().filter_map(attribute)),
                    name => texts.extend(text(name)),
                }
            }
            texts
        });
        let subject = body.subject();
        let common_name = subject.iter().filter_map(attribute).filter(|(name, _)| name == "CN").last();
        Some(Self {
            common_name: common_name.map(|(_, value)| value),
            distinguished_name: subject.to_string(),
            issuer_name: body.issuer().to_string(),
            alternatives,
            directories,
            is_self_issued: same(subject, body.issuer()),
            expires: body.validity().not_after.to_unix_duration(),
        })
    }
}

fn same(one: &Name, other: &Name) -> bool {
    matches!((one.to_der(), other.to_der()), (Ok(one), Ok(other)) if one == other)
}

/// An attribute's short name and value.
fn attribute(attribute: &AttributeTypeAndValue) -> Option<(String, String)> {
    let value = DirectoryString::try_from(&attribute.value).ok()?.value().into_owned();
    let written = attribute.to_string();
    Some((written.split_once('=')?.0.to_owned(), value))
}

/// A name that is a text.
fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => match *bytes.as_bytes() {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            ref bytes => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}
