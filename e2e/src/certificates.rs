//! Certificates for cases, made anew in each run: none can expire in the repository, and no key lies there.

use crate::case::{Case, CertificateSpec, Step, Tls};
use crate::client::Exchange;
use crate::socket::Known;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The certificates of a case, by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    made: BTreeMap<String, Made>,
}

/// How a client speaks TLS.
pub(crate) struct Secure {
    pub config: Arc<ClientConfig>,
    /// The server name it asks for.
    pub name: Option<String>,
}

/// A certificate and its key, in PEM form.
#[derive(Debug)]
struct Made {
    certificate: String,
    key: String,
}

impl Certificates {
    /// Makes what the case asks for.
    pub fn make(case: &Case) -> Result<Certificates, String> {
        let mut made = BTreeMap::new();
        let mut authorities = BTreeMap::new();
        for name in &case.authorities {
            let (authority, key) = authority(name).map_err(|error| format!("authority {name}: {error}"))?;
            made.insert(name.clone(), Made { certificate: authority.pem(), key });
            authorities.insert(name.as_str(), authority);
        }
        for (name, spec) in &case.certificates {
            let authority = authorities.get(spec.by.as_str());
            let authority =
                authority.ok_or_else(|| format!("certificate {name}: no authority '{}'", spec.by))?;
            let one = issue(spec, authority).map_err(|error| format!("certificate {name}: {error}"))?;
            made.insert(name.clone(), one);
        }
        Ok(Certificates { made })
    }

    /// Writes them to `folder`, and returns the placeholders by which texts of the case name them: `cert.NAME` and
    /// `cert_key.NAME` are PEM for double-quoted texts, `cert_file.NAME` and `cert_key_file.NAME` the files, `cert_url.NAME` is
    /// percent-encoded PEM.
    pub fn placeholders(&self, folder: &Path) -> std::io::Result<Vec<(String, String)>> {
        let mut values = Vec::new();
        for (name, Made { certificate, key }) in &self.made {
            for (kind, ending, text) in [("cert", "crt", certificate), ("cert_key", "key", key)] {
                let file = folder.join(format!("{name}.{ending}"));
                std::fs::write(&file, text)?;
                values.push((format!("{kind}.{name}"), text.replace("\r\n", "\n").replace('\n', "\\n")));
                values.push((format!("{kind}_file.{name}"), file.display().to_string()));
            }
            let lines = certificate.lines().map(|line| line.replace(' ', "%20"));
            values.push((format!("cert_url.{name}"), lines.collect::<Vec<_>>().join("%0A")));
        }
        Ok(values)
    }

    /// Whether the gateway showed the certificate that a step expects.
    pub fn check_shown(&self, step: &Step, exchange: &Exchange) -> Result<(), String> {
        let Some(wanted) = step.tls.as_ref().and_then(|tls| tls.shows.as_ref()) else { return Ok(()) };
        self.check_known(exchange.tls.as_ref(), wanted)
    }

    /// Whether a handshake has shown the certificate `wanted`.
    pub fn check_known(&self, known: Option<&Known>, wanted: &str) -> Result<(), String> {
        let shown = known.and_then(|known| known.certificate.as_ref());
        let shown = shown.map(|certificate| self.name_of(certificate)).unwrap_or_default();
        if shown == wanted { Ok(()) } else { Err(format!("certificate: expected '{wanted}', got '{shown}'")) }
    }

    /// How a step speaks TLS; none in cleartext.
    pub fn client(&self, tls: Option<&Tls>) -> Result<Option<Secure>, String> {
        let Some(tls) = tls else { return Ok(None) };
        let own = tls.own.as_ref().map(|name| self.made.get(name).ok_or(format!("no certificate '{name}'")));
        let mut config = credulous(own.transpose()?).map_err(|error| error.to_string())?;
        config.enable_sni = tls.name.is_some();
        Ok(Some(Secure { config: Arc::new(config), name: tls.name.clone() }))
    }

    fn name_of(&self, certificate: &CertificateDer<'_>) -> String {
        let is_it = |made: &Made| {
            CertificateDer::from_pem_slice(made.certificate.as_bytes()).ok().as_ref() == Some(certificate)
        };
        self.made.iter().find(|(_, made)| is_it(made)).map_or("another", |(name, _)| name).to_owned()
    }

    /// A server that shows `name`, and demands a certificate of `clients` if that is given.
    pub fn server(&self, name: &str, clients: Option<&str>) -> Result<ServerConfig, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("the upstream under TLS: {error}");
        let find = |name: &str| self.made.get(name).ok_or_else(|| wrong(&format!("no certificate '{name}'")));
        let der = |made: &Made| {
            CertificateDer::from_pem_slice(made.certificate.as_bytes()).map_err(|error| wrong(&error))
        };
        let made = find(name)?;
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).map_err(|error| wrong(&error))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(der(find(authority)?)?).map_err(|error| wrong(&error))?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(&error))?)
            }
        };
        builder.with_single_cert(vec![der(made)?], key).map_err(|error| wrong(&error))
    }
}

/// An authority with its key in PEM form.
fn authority(name: &str) -> Result<(CertifiedIssuer<'static, KeyPair>, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let text = key.serialize_pem();
    Ok((CertifiedIssuer::self_signed(params, key)?, text))
}

/// The extension that names a responder (RFC 5280 4.2.2.1), whose URL has to be short.
fn responder(url: &str) -> CustomExtension {
    let of = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let place = [&[6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1][..], &of(0x86, url.as_bytes())].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], of(0x30, &of(0x30, &place)))
}

fn issue(
    spec: &CertificateSpec,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::new(spec.names.clone())?;
    params.custom_extensions.extend(spec.responder.as_deref().map(responder));
    if spec.expired {
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    let key = if spec.rsa {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?
    } else {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?
    };
    let certificate = params.signed_by(&key, authority)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that speaks TLS. It believes anybody: the case says whom it wants to have been shown.
fn credulous(own: Option<&Made>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Credulous(provider()));
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(own) = own else { return Ok(builder.with_no_client_auth()) };
    let unreadable = |error: rustls::pki_types::pem::Error| rustls::Error::General(error.to_string());
    let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(unreadable)?;
    builder.with_client_auth_cert(vec![certificate], key)
}

/// What a client says first in a handshake.
pub(crate) fn hello() -> Result<Vec<u8>, rustls::Error> {
    let name = ServerName::from(std::net::IpAddr::from(std::net::Ipv4Addr::LOCALHOST));
    let mut client = ClientConnection::new(Arc::new(credulous(None)?), name)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(bytes)
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
