//! Whether certificates have been revoked: by lists in the configuration, by responders of OCSP and by lists at URLs that the
//! certificates name. Nobody is asked about a certificate that is not believed otherwise, so that nobody but the authorities
//! says who is asked.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use model::ocsp::{CertificateName, Response, Status, question};
use model::revocation::{Particulars, RevocationList};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::fields::TrustFields;
use super::proof::{SKEW, check_list, check_response};
use crate::build::{Build, BuildError};
use crate::clock::Clock;
use crate::outbound::{Call, Client, Settings};
use crate::remember::{self, Digest, Learned, Memory};

/// Most bytes of a list or a response.
const LARGEST: usize = 16 << 20;
/// Bytes of a nonce (RFC 8954).
const NONCE: usize = 32;

/// A certificate of a chain, and that of who has issued it.
#[derive(Clone)]
pub(super) struct Link {
    pub certificate: CertificateDer<'static>,
    pub issuer: CertificateDer<'static>,
}

/// What is known of all certificates of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// None has been revoked.
    Good,
    /// One has.
    Revoked,
    /// Nobody says so of one of them.
    Unknown,
}

/// What follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Skip,
    Lenient,
    Strict,
}

/// Finds out whether certificates have been revoked.
pub(super) struct Revocation {
    mode: Mode,
    lists: Vec<RevocationList>,
    client: Arc<Client>,
    said: Arc<Memory<Status>>,
    fetched: Arc<Memory<RevocationList>>,
    /// How long an answer holds before it is asked for again.
    fresh: Duration,
    clock: Clock,
    /// Who calls, and how: part of what answers are remembered by.
    terms: String,
}

impl Revocation {
    /// `place` is where the fields are.
    pub(super) fn new(fields: &TrustFields, place: &str, cx: &Build<'_>) -> Result<Arc<Self>, BuildError> {
        let mode = match fields.revocation_check_mode.as_str() {
            "SKIP" => Mode::Skip,
            "STRICT" => Mode::Strict,
            _ => Mode::Lenient,
        };
        let timeout = Duration::from_secs_f64((fields.http_timeout / 1000.0).clamp(0.001, 3600.0));
        let settings = Settings {
            verify: fields.ssl_verify,
            connect_timeout: timeout,
            timeout,
            largest_answer: LARGEST,
            proxies: fields.proxies(place)?,
            ..Settings::default()
        };
        let fresh = Duration::from_millis(fields.cert_cache_ttl.max(0.0) as u64);
        let terms = format!("{settings:?} {fresh:?}");
        Ok(Arc::new(Self {
            mode,
            lists: lists(fields, place)?,
            client: Client::open(cx.services, settings),
            said: Memory::open(cx.services, "ocsp", &remember::Settings::default()),
            fetched: Memory::open(
                cx.services,
                "crl",
                &remember::Settings { entries: 100, bytes: 64 << 20, ..remember::Settings::default() },
            ),
            fresh,
            clock: cx.services.clock.clone(),
            terms,
        }))
    }

    /// What is known without asking anybody; none where somebody has to be asked.
    pub(super) fn at_hand(&self, links: &[Link]) -> Option<Standing> {
        if self.mode == Mode::Skip {
            return Some(Standing::Good);
        }
        let now = self.now();
        let mut standing = Some(Standing::Good);
        for link in links {
            let Some(particulars) = Particulars::of(&link.certificate) else {
                return Some(Standing::Unknown);
            };
            match self.by_lists_at_hand(&particulars, &link.issuer, now) {
                Standing::Revoked => return Some(Standing::Revoked),
                Standing::Good => {}
                Standing::Unknown if particulars.responders.is_empty() && particulars.lists.is_empty() => {
                    standing = standing.and(Some(Standing::Unknown));
                }
                Standing::Unknown => standing = None,
            }
        }
        standing
    }

    /// What is known once everybody has been asked who has something to say.
    pub(super) async fn found_out(&self, links: &[Link]) -> Standing {
        let mut standing = Standing::Good;
        for link in links {
            let Some(particulars) = Particulars::of(&link.certificate) else { return Standing::Unknown };
            let known = self.by_lists_at_hand(&particulars, &link.issuer, self.now());
            let known = match known {
                Standing::Unknown => self.asked(&particulars, &link.issuer).await,
                known => known,
            };
            match known {
                Standing::Revoked => return Standing::Revoked,
                Standing::Unknown => standing = Standing::Unknown,
                Standing::Good => {}
            }
        }
        standing
    }

    /// Whether a chain of this standing is let in.
    pub(super) fn admits(&self, standing: Standing) -> bool {
        match standing {
            Standing::Good => true,
            Standing::Revoked => false,
            Standing::Unknown => self.mode != Mode::Strict,
        }
    }

    fn by_lists_at_hand(
        &self,
        certificate: &Particulars,
        issuer: &CertificateDer<'_>,
        now: Duration,
    ) -> Standing {
        let mut standing = Standing::Unknown;
        for list in self.lists.iter().filter(|list| list.is_about(certificate)) {
            match check_list(list, issuer, now) {
                Ok(()) if list.revokes(certificate) => return Standing::Revoked,
                Ok(()) => standing = Standing::Good,
                // What has been revoked stays so, however old the list is.
                Err(_) if list.revokes(certificate) && check_list(list, issuer, list.since).is_ok() => {
                    return Standing::Revoked;
                }
                Err(_) => {}
            }
        }
        standing
    }

    /// What responders say, and where they say nothing, lists.
    async fn asked(&self, certificate: &Particulars, issuer: &CertificateDer<'static>) -> Standing {
        for url in &certificate.responders {
            match self.responder(url, certificate, issuer).await {
                Some(Status::Good) => return Standing::Good,
                Some(Status::Revoked) => return Standing::Revoked,
                Some(Status::Unknown) | None => {}
            }
        }
        for url in &certificate.lists {
            if let Some(list) = self.list(url, issuer).await.filter(|list| list.is_about(certificate)) {
                return if list.revokes(certificate) { Standing::Revoked } else { Standing::Good };
            }
        }
        Standing::Unknown
    }

    /// What the responder at `url` says.
    async fn responder(
        &self,
        url: &str,
        certificate: &Particulars,
        issuer: &CertificateDer<'static>,
    ) -> Option<Status> {
        let of_issuer = Particulars::of(issuer)?;
        let name = CertificateName {
            issuer_name: digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate.issuer).as_ref().to_vec(),
            issuer_key: digest(&SHA1_FOR_LEGACY_USE_ONLY, &of_issuer.key).as_ref().to_vec(),
            serial: certificate.serial.clone(),
        };
        let key = Digest::of([url.as_bytes(), self.terms.as_bytes(), &certificate.serial, issuer]);
        let (client, clock, fresh) = (self.client.clone(), self.clock.clone(), self.fresh);
        let (url, issuer) = (url.to_owned(), issuer.clone());
        let asking = async move {
            let mut nonce = [0; NONCE];
            rand::fill(&mut nonce).map_err(|_| "no random numbers".to_owned())?;
            let call = Call::post("application/ocsp-request", question(&name, &nonce));
            let body = body(&client, &url, &call).await?;
            let told = |why: String| format!("{url}: {why}");
            let response = Response::read(&body).map_err(told)?;
            let now = Duration::from_millis(clock.now_ms());
            let (status, until) = check_response(&response, (&name, &nonce), &issuer, now)
                .map_err(|why| told(format!("the response does not count: {why}")))?;
            Ok(lasting(Learned::new(status, fresh), until))
        };
        self.said.fetch(key, asking).await.ok().map(|status| *status)
    }

    /// The list at `url`.
    async fn list(&self, url: &str, issuer: &CertificateDer<'static>) -> Option<Arc<RevocationList>> {
        let key = Digest::of([url.as_bytes(), self.terms.as_bytes(), issuer]);
        let (client, clock, fresh) = (self.client.clone(), self.clock.clone(), self.fresh);
        let (url, issuer) = (url.to_owned(), issuer.clone());
        let asking = async move {
            let body = body(&client, &url, &Call::get()).await?;
            let told = |why: String| format!("{url}: {why}");
            let list = read_list(&body).map_err(told)?;
            let now = Duration::from_millis(clock.now_ms());
            check_list(&list, &issuer, now).map_err(|why| told(format!("the list does not count: {why}")))?;
            let (until, list) = (list.until.unwrap_or(now + SKEW), list.without_proof());
            let size = list.size();
            Ok(lasting(Learned::new(list, fresh).holding(size), until))
        };
        self.fetched.fetch(key, asking).await.ok()
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.now_ms())
    }
}

/// It is asked for again before, but counts until `until` while its source is down.
fn lasting<V>(learned: Learned<V>, until: Duration) -> Learned<V> {
    let until = until + SKEW;
    learned.stale(until).until(u64::try_from(until.as_millis()).unwrap_or(u64::MAX))
}

/// What is at `url`.
async fn body(client: &Client, url: &str, call: &Call) -> Result<bytes::Bytes, String> {
    let told = |why: &dyn std::fmt::Display| format!("{url}: {why}");
    let target = crate::outbound::Url::parse(url).map_err(|why| told(&why))?;
    let answer = client.send(&target, call).await.map_err(|fault| told(&fault))?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(told(&format_args!("the status is {status}"))),
    }
}

/// A list in DER form, as it should be (RFC 5280 4.2.1.13), or PEM, as it is at times.
fn read_list(body: &[u8]) -> Result<RevocationList, String> {
    if !body.starts_with(b"-----BEGIN") {
        return RevocationList::read(body);
    }
    let list = CertificateRevocationListDer::from_pem_slice(body);
    RevocationList::read(&list.map_err(|error| format!("is not PEM: {error}"))?)
}

/// The lists in the configuration.
fn lists(fields: &TrustFields, place: &str) -> Result<Vec<RevocationList>, BuildError> {
    let mut lists = Vec::new();
    for (index, text) in fields.crls.iter().flatten().enumerate() {
        let wrong = |reason: String| BuildError::new(format!("{place}.crls[{index}]"), reason);
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()) {
            let list = list.map_err(|error| wrong(format!("is not PEM: {error}")))?;
            lists.push(RevocationList::read(&list).map_err(wrong)?);
        }
        if lists.len() == before {
            return Err(wrong("holds no PEM block 'X509 CRL'".to_owned()));
        }
    }
    Ok(lists)
}
