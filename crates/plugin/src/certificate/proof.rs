//! Whether a list or a response is that of who it says (RFC 5280 6.3.3, RFC 6960 4.2.2.2), and of now.

use std::time::Duration;

use model::ocsp::{CertificateName, Response, Status};
use model::revocation::{Particulars, RevocationList, Signed};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// `id-kp-OCSPSigning`.
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
/// How far the clocks of others may be off; also how long a response holds that does not say.
pub(super) const SKEW: Duration = Duration::from_secs(300);
/// Certificates of a response that are looked at.
const MOST_SIGNERS: usize = 4;

/// Whether `signed` has been signed with the key of a certificate.
fn is_by(signed: &Signed, certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
    let mut fitting = ALL_VERIFICATION_ALGS.iter().filter(|one| *one.signature_alg_id() == *signed.algorithm);
    fitting.any(|one| certificate.verify_signature(*one, &signed.message, &signed.signature).is_ok())
}

/// Whether something that holds from `since` until `until` holds now.
fn is_current(since: Duration, until: Option<Duration>, now: Duration) -> Result<(), String> {
    if since > now + SKEW {
        return Err("it is from the future".to_owned());
    }
    if until.unwrap_or(since) + SKEW < now {
        return Err("it is out of date".to_owned());
    }
    Ok(())
}

/// Checks that a list is the issuer's, and in its time.
///
/// # Errors
/// Why it does not count.
pub(super) fn check_list(
    list: &RevocationList,
    issuer: &CertificateDer<'_>,
    now: Duration,
) -> Result<(), String> {
    let of_issuer = Particulars::of(issuer).ok_or("its issuer's certificate cannot be read")?;
    if list.issuer != of_issuer.subject || !of_issuer.may_sign_lists {
        return Err("it is not the list of who has issued the certificate".to_owned());
    }
    if !is_by(&list.signed, issuer) {
        return Err("its signature is not that of who has issued the certificate".to_owned());
    }
    is_current(list.since, list.until, now)
}

/// What a response says about a certificate, and until when that holds.
///
/// # Errors
/// Why it does not count.
pub(super) fn check_response(
    response: &Response,
    (name, nonce): (&CertificateName, &[u8]),
    issuer: &CertificateDer<'_>,
    now: Duration,
) -> Result<(Status, Duration), String> {
    let signers = response.certificates.iter().take(MOST_SIGNERS);
    let mut signers = signers.map(|signer| CertificateDer::from(signer.as_slice()));
    if !is_by(&response.signed, issuer)
        && !signers.any(|signer| is_responder(&signer, issuer, now) && is_by(&response.signed, &signer))
    {
        return Err(
            "its signature is neither of who has issued the certificate nor of a responder of theirs"
                .to_owned(),
        );
    }
    if response.nonce.as_deref().is_some_and(|answered| answered != nonce) {
        return Err("it answers another question".to_owned());
    }
    let said = response.statements.iter().find(|said| said.certificate == *name);
    let said = said.ok_or("it is about other certificates")?;
    is_current(said.since, said.until, now)?;
    Ok((said.status, said.until.unwrap_or(said.since + SKEW)))
}

/// Whether the issuer has made a certificate for one that answers in its name.
fn is_responder(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>, now: Duration) -> bool {
    let (Ok(parsed), Ok(anchor)) = (EndEntityCert::try_from(certificate), anchor_from_trusted_cert(issuer))
    else {
        return false;
    };
    let (now, usage) = (UnixTime::since_unix_epoch(now), KeyUsage::required(OCSP_SIGNING));
    parsed.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &[], now, usage, None, None).is_ok()
}
