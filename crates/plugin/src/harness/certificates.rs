//! Authorities made on the spot, certificates of theirs, and handshakes in which clients show these.

use std::rc::Rc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::exchange::{ClientCertificate, Demand, Tls};

/// Who signs certificates and lists of revoked ones.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority of this common name, signed by itself.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), key()).expect("an authority can be made")
}

/// What an authority of this common name says of itself.
#[must_use]
pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = client_params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What is said of a client of this common name with these alternative ones.
///
/// # Panics
/// If an alternative name is none.
#[must_use]
pub fn client_params(common_name: &str, alternatives: &[&str]) -> CertificateParams {
    let names: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are good ones");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// A certificate with a key of its own.
///
/// # Panics
/// If it cannot be signed.
#[must_use]
pub fn signed(params: &CertificateParams, authority: &Authority) -> Certificate {
    params.signed_by(&key(), authority).expect("an authority can sign")
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

/// A handshake in which a client showed these certificates, its own first. Nobody has verified them.
#[must_use]
pub fn handshake<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Rc<Tls> {
    let chain: Box<[Box<[u8]>]> = chain.into_iter().map(Box::from).collect();
    let shown = ClientCertificate { chain, verified: Err("unknown") };
    let certificate = Some(shown).filter(|shown| !shown.chain.is_empty());
    Rc::new(Tls { server_name: None, version: "TLSv1.3", cipher: "", demand: Demand::Request, certificate })
}
