//! Responses of OCSP that are shown with certificates, so that clients need not ask for them ("stapling"). They come from
//! files that somebody else keeps fresh; the gateway asks nobody.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::ocsp::{Status, statements};
use model::pem::Certificate;

/// Largest response that is shown; usual ones have one or two thousand bytes.
const LARGEST: u64 = 64 << 10;
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(300);

/// A response that can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    /// The response as it goes over the wire.
    pub response: Vec<u8>,
    /// Until when it holds.
    pub until: SystemTime,
}

/// The response in `file` about the certificate `own`, in DER form. None if there is no such file; what cannot be shown is
/// named in a warning.
pub fn read(file: &Path, own: &[u8]) -> Option<Staple> {
    let bytes = match bytes(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        bytes => bytes.map_err(|error| error.to_string()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match bytes.and_then(|response| staple(response, own, now)) {
        Ok(staple) => Some(staple),
        Err(reason) => {
            tracing::warn!(file = %file.display(), %reason, "a response of OCSP is not shown to clients");
            None
        }
    }
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(io::Error::other("it is too large")) } else { Ok(bytes) }
}

fn staple(response: Vec<u8>, own: &[u8], now: Duration) -> Result<Staple, String> {
    let serial = Certificate::serial(own).ok_or("its certificate cannot be read")?;
    let statements = statements(&response)?;
    let about = statements.iter().find(|statement| statement.certificate.serial == serial);
    let about = about.ok_or("it is about another certificate")?;
    if about.status != Status::Good {
        return Err("the certificate is revoked, or not known to the responder".to_owned());
    }
    let until = about.until.ok_or("it does not say until when it holds")?;
    if until <= now {
        return Err("its time is over".to_owned());
    }
    if about.since > now + SKEW {
        return Err("its time has not come yet".to_owned());
    }
    Ok(Staple { response, until: UNIX_EPOCH + until })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the model's `testdata/ocsp`.
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../../model/testdata/ocsp/", $name))
        };
    }

    #[test]
    fn only_what_holds_now_for_this_certificate_is_shown() {
        let good = file!("good.der");
        let made = statements(good).unwrap()[0].since;
        let day = Duration::from_secs(24 * 3600);
        let judge = |response: &[u8], own: &[u8], now| staple(response.to_vec(), own, now);
        let shown = judge(good, file!("own.der"), made + day).unwrap();
        assert_eq!(shown, Staple { response: good.to_vec(), until: UNIX_EPOCH + made + day * 7 });
        assert!(judge(good, file!("own.der"), made - SKEW).is_ok());
        let other = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
        for (response, own, now, reason) in [
            (&good[..], &file!("own.der")[..], made + day * 7, "its time is over"),
            (good, file!("own.der"), made - day, "its time has not come"),
            (good, other.cert.der(), made, "another certificate"),
            (file!("revoked.der"), file!("own.der"), made, "revoked"),
            (file!("endless.der"), file!("own.der"), made, "until when"),
            (file!("refused.der"), file!("own.der"), made, "refused to answer"),
            (b"", file!("own.der"), made, "not a response"),
        ] {
            let error = judge(response, own, now).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
