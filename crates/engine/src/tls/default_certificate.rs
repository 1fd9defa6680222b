//! The certificate shown where none was given: made at the first start, and kept where a prefix says so.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::certificate::Pair;

/// Where Kong keeps its default certificates, and so do we: name of the certificate, name of the key.
const KEPT: [(&str, &str); 2] =
    [("kong-default-ecdsa.crt", "kong-default-ecdsa.key"), ("kong-default.crt", "kong-default.key")];

/// The default certificates in the folder `ssl` of `prefix`. Where there is none, one is made, and kept there if there
/// is a prefix.
///
/// # Errors
/// When the folder cannot be used, or what is in it.
pub fn default_pairs(prefix: Option<&Path>) -> io::Result<Vec<Pair>> {
    let Some(prefix) = prefix else {
        let (certificate, key) = self_signed()?;
        return Ok(vec![read("the default certificate", &certificate, &key)?]);
    };
    let folder = prefix.join("ssl");
    let mut found = Vec::new();
    for (certificate, key) in KEPT {
        let (certificate, key) = (folder.join(certificate), folder.join(key));
        if certificate.exists() && key.exists() {
            let name = certificate.display().to_string();
            found.push(read(&name, &fs::read_to_string(&certificate)?, &fs::read_to_string(&key)?)?);
        }
    }
    if found.is_empty() {
        let (certificate, key) = self_signed()?;
        fs::create_dir_all(&folder)?;
        // The key first: whoever finds the certificate finds its key, too.
        write(&folder.join(KEPT[0].1), &key, 0o600)?;
        write(&folder.join(KEPT[0].0), &certificate, 0o644)?;
        found.push(read("the default certificate", &certificate, &key)?);
    }
    Ok(found)
}

fn read(name: &str, certificate: &str, key: &str) -> io::Result<Pair> {
    Pair::read(certificate, key)
        .map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {wrong}")))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

/// A certificate for `localhost` that nobody has reason to trust, and its key, in PEM form. It does not expire.
///
/// # Errors
/// When there is no randomness.
fn self_signed() -> io::Result<(String, String)> {
    let made = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(["localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    made().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_certificate_of_the_first_start_is_kept_and_its_key_is_nobodys_business() {
        let prefix = std::env::temp_dir().join(format!("biplane-prefix-{}", std::process::id()));
        let shown = || {
            let pairs = default_pairs(Some(&prefix)).unwrap();
            pairs.iter().map(|pair| pair.chain()[0].to_vec()).collect::<Vec<_>>()
        };
        let (first, second) = (shown(), shown());
        let key = prefix.join("ssl").join(KEPT[0].1);
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        fs::write(&key, "damaged").unwrap();
        let damaged = default_pairs(Some(&prefix)).map(|pairs| pairs.len());
        fs::remove_dir_all(&prefix).unwrap();
        assert_eq!(first, second);
        assert_eq!(mode & 0o777, 0o600);
        assert!(damaged.unwrap_err().to_string().contains("kong-default-ecdsa.crt: invalid key"));
        assert_eq!(default_pairs(None).unwrap().len(), 1);
    }
}
