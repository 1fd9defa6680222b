//! Secrets in files, as containers get them: each file of a folder is one, its name is that of the secret.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use model::secret::Secret;

/// The largest secret, in bytes. Lists of revoked certificates are the longest there are.
const LARGEST: u64 = 4 << 20;

/// The content of the file `resource` in `folder`, without the line end behind it.
///
/// # Errors
/// Why it cannot be read. A file outside of the folder cannot be named.
pub fn read(folder: &Path, resource: &str) -> Result<Secret, String> {
    let name = Path::new(resource);
    let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || resource.contains('\0') {
        return Err(format!("'{resource}' does not name a file in {}", folder.display()));
    }
    let path = folder.join(name);
    let told = |reason: &dyn std::fmt::Display| format!("the file {} {reason}", path.display());
    let file = File::open(&path).map_err(|error| told(&format_args!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| told(&format_args!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(told(&format_args!("is larger than {LARGEST} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| told(&"is not text in UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_a_secret_and_nothing_outside_of_the_folder_is() {
        let folder = std::env::temp_dir().join(format!("biplane-secrets-{}", std::process::id()));
        let inner = folder.join("inner/db");
        fs::create_dir_all(&inner).unwrap();
        fs::write(folder.join("outside"), "hidden").unwrap();
        fs::write(inner.join("word"), "hidden\r\n").unwrap();
        fs::write(inner.join("lines"), "one\ntwo\n\n").unwrap();
        fs::write(inner.join("bytes"), [0xff, 0xfe]).unwrap();
        fs::write(inner.join("large"), vec![b'x'; (LARGEST + 1) as usize]).unwrap();
        let top = folder.join("inner");
        let read = |name: &str| super::read(&top, name).map(|secret| secret.reveal().to_owned());
        let found = [read("db/word"), read("db/lines")];
        let refused: Vec<_> = [
            "../outside",
            "/etc/hostname",
            "db/../../outside",
            "db/none",
            "db/bytes",
            "db/large",
            "db",
            "a\0b",
        ]
        .map(read)
        .into_iter()
        .collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, [Ok("hidden".to_owned()), Ok("one\ntwo\n".to_owned())], "one line end goes");
        for refusal in refused {
            let refusal = refusal.unwrap_err();
            assert!(!refusal.contains("hidden"), "{refusal}");
        }
    }
}
