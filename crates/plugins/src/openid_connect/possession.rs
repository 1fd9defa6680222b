//! Whether who brings a token is who it was given to: by the certificate of its connection (RFC 8705 3), or by a proof made with
//! the key that the token is bound to (RFC 9449).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use plugin::certificate::{Header, Looked, PassedOn};
use plugin::jose::to_base64url;
use plugin::{Access, Build, BuildError, Exchange};
use serde_json::Value;

use super::claims::Claims;
use super::config::{Config, Places};
use super::once::Use;
use super::proofs::Proofs;
use super::refusal::Refusal;

/// Methods by which tokens come that say what they are bound to. Sessions begin with logins only.
const METHODS: [&str; 3] = ["bearer", "introspection", "session"];

/// Whether a kind of proof is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    Off,
    /// Of tokens that say so.
    Optional,
    /// Of all tokens.
    Strict,
}

/// What a token says it is bound to (RFC 7800 3.1).
#[derive(Debug, Default)]
pub(super) struct Binding {
    /// The hash of a certificate.
    certificate: Option<Box<str>>,
    /// The thumbprint of a key.
    key: Option<Box<str>>,
}

/// What callers have to prove.
pub(super) struct Possession {
    certificates: Demand,
    /// Where certificates come, if not in handshakes.
    header: Option<PassedOn>,
    keys: Demand,
    proofs: Option<Proofs>,
}

impl Demand {
    pub(super) fn of(setting: &str) -> Self {
        match setting {
            "strict" => Self::Strict,
            "optional" => Self::Optional,
            _ => Self::Off,
        }
    }
}

impl Binding {
    /// The same, bound also to what `other` is, where this does not say.
    pub(super) fn or(mut self, other: Option<&Self>) -> Self {
        if let Some(Self { certificate, key }) = other {
            self.certificate = self.certificate.or_else(|| certificate.clone());
            self.key = self.key.or_else(|| key.clone());
        }
        self
    }

    pub(super) fn of(claims: &Claims) -> Self {
        let Some(confirmation) = claims.get("cnf") else { return Self::default() };
        let text = |name: &str| confirmation[name].as_str().map(Box::from);
        Self { certificate: text("x5t#S256"), key: text("jkt") }
    }
}

impl Possession {
    pub(super) fn new(config: &Config, places: &Places, cx: &Build<'_>) -> Result<Self, BuildError> {
        let fields = &config.possession;
        let certificates = Demand::of(&fields.proof_of_possession_mtls);
        let keys = Demand::of(&fields.proof_of_possession_dpop);
        let is_on = [certificates, keys].iter().any(|demand| *demand != Demand::Off);
        let mut methods = config.tokens.auth_methods.iter().map(String::as_str);
        if is_on
            && fields.proof_of_possession_auth_methods_validation
            && let Some(method) = methods.find(|method| !METHODS.contains(method))
        {
            let message = format!(
                "'{method}' proves possession of nothing: list 'bearer', 'introspection' and 'session' only, or set \
                 'proof_of_possession_auth_methods_validation' to false"
            );
            return Err(BuildError::new("config.auth_methods", message));
        }
        let proofs = (keys != Demand::Off).then(|| Proofs::new(config, places, cx)).transpose()?;
        let header = fields.proof_of_possession_mtls_from_header.as_ref();
        let header = header.map(|header| {
            let place = "config.proof_of_possession_mtls_from_header";
            let (name, format) = (&header.certificate_header_name, &header.certificate_header_format);
            PassedOn::new(Header::new(name, format, header.secure_source), &header.trust, place, cx)
        });
        Ok(Self { certificates, header: header.transpose()?, keys, proofs })
    }

    /// Whether callers have to prove anything.
    pub(super) fn is_on(&self) -> bool {
        self.certificates != Demand::Off || self.proofs.is_some()
    }

    /// Which certificate a caller has shown, where a token is bound to one.
    pub(super) fn look(&self, exchange: &Exchange, binding: &Binding) -> Looked {
        match &self.header {
            _ if self.certificates == Demand::Off || binding.certificate.is_none() => Looked::Missing,
            Some(header) => header.look(exchange),
            None => shown(exchange).map_or(Looked::Missing, Looked::Believed),
        }
    }

    /// Checks that a caller holds what its token is bound to. `came_with_proof` says whether the token came by the scheme
    /// `DPoP`; `shown` is the hash of the certificate that the caller has shown. A proof that comes has to be settled, see
    /// [`Self::settle`].
    pub(super) fn check(
        &self,
        cx: &mut Access<'_>,
        (token, came_with_proof): (&[u8], bool),
        binding: &Binding,
        shown: Option<&str>,
    ) -> Result<Option<Use>, Refusal> {
        let is_shown = |hash: &str| {
            shown.is_some_and(|own| verify_slices_are_equal(own.as_bytes(), hash.as_bytes()).is_ok())
        };
        match (self.certificates, &binding.certificate) {
            (Demand::Off, _) | (Demand::Optional, None) => {}
            (Demand::Strict, None) => {
                return Err(Refusal::Invalid("a token that is bound to no certificate"));
            }
            (_, Some(hash)) if !is_shown(hash) => {
                return Err(Refusal::Invalid("a token of another certificate"));
            }
            (_, Some(_)) => {}
        }
        let Some(proofs) = &self.proofs else { return Ok(None) };
        match &binding.key {
            None if self.keys == Demand::Strict || came_with_proof => {
                Err(Refusal::Invalid("a token that is bound to no key"))
            }
            None => Ok(None),
            // RFC 9449 7.2: a thief would bring it so.
            Some(_) if !came_with_proof => {
                Err(Refusal::Invalid("a token that is bound to a key, brought as a bearer token"))
            }
            Some(key) => proofs.check(cx, token, key),
        }
    }

    /// Whether a proof has been used at no gateway.
    pub(super) async fn settle(&self, worker: usize, proof: &Use) -> Result<(), Refusal> {
        match &self.proofs {
            Some(proofs) => proofs.settle(worker, proof).await,
            None => Err(Refusal::Unavailable),
        }
    }

    /// Takes the proof out of the request.
    pub(super) fn hide(&self, cx: &mut Access<'_>) {
        if self.proofs.is_some() {
            cx.headers().remove(super::proofs::HEADER);
        }
    }
}

/// The hash of the certificate that the client has shown in its handshake, and so proved to hold its key.
fn shown(exchange: &Exchange) -> Option<Arc<str>> {
    let certificate = exchange.client.tls.as_ref()?.certificate.as_ref()?;
    let own = certificate.chain.first()?;
    Some(to_base64url(digest(&SHA256, own).as_ref()).into())
}

/// A text member.
pub(super) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}
