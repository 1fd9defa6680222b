//! Reads the files that people write, and says what is the matter where one cannot be read.

use std::fs;
use std::path::Path;

/// The text of a file.
///
/// # Errors
/// Why there is none: what the system says, or where it stops to be text.
pub fn read(file: &Path) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8: save the file in that encoding")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_saves_a_file_in_another_encoding_is_told_the_line() {
        let file = std::env::temp_dir().join(format!("biplane-{}-latin.yml", std::process::id()));
        fs::write(&file, b"one: 1\ntwo: \"M\xfcller\"\n").unwrap();
        assert_eq!(read(&file).unwrap_err(), "line 2 is not UTF-8: save the file in that encoding");
        fs::write(&file, "two: \"Müller\"").unwrap();
        assert_eq!(read(&file).unwrap(), "two: \"Müller\"");
        fs::remove_file(&file).unwrap();
        assert!(read(&file).unwrap_err().contains("No such file"));
    }
}
