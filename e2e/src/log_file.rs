//! Waits for a line in a log file the gateway writes.

use crate::case::LogLine;
use crate::expect;
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// Polls until some line of the file fits, at most `patience`.
pub(crate) fn expect_line(wanted: &LogLine, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        let text = std::fs::read_to_string(&wanted.file).unwrap_or_default();
        let nearest = match search(wanted, &text) {
            Ok(()) => return lacks(wanted, &text),
            Err(nearest) => nearest,
        };
        if Instant::now() > deadline {
            return Err(format!("{} has no such line; nearest: {nearest}", wanted.file));
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Looks for what must not have been written, by this request or one before it.
fn lacks(wanted: &LogLine, text: &str) -> Result<(), String> {
    match wanted.lacks.iter().find(|part| expect::text_holds(part, text)) {
        Some(part) => Err(format!("{} holds {part:?}", wanted.file)),
        None => Ok(()),
    }
}

/// Looks at every line; the error shows the line with the fewest differences.
fn search(wanted: &LogLine, text: &str) -> Result<(), String> {
    let mut nearest: Option<(usize, String)> = None;
    for line in text.lines() {
        let problems = match serde_json::from_str::<Value>(line) {
            Ok(found) => {
                let mut problems = expect::json("line", &wanted.json, &found);
                let present = wanted.absent.iter().filter(|pointer| found.pointer(pointer).is_some());
                problems.extend(present.map(|pointer| format!("line has {pointer}")));
                problems
            }
            Err(error) => vec![format!("no JSON ({error})")],
        };
        if problems.is_empty() {
            return Ok(());
        }
        if nearest.as_ref().is_none_or(|(count, _)| problems.len() < *count) {
            nearest = Some((problems.len(), format!("{}\n  {line}", problems.join("\n  "))));
        }
    }
    Err(nearest.map_or_else(|| "the file is empty or absent".to_owned(), |(_, text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn any_line_may_fit_and_absent_members_must_be_absent() {
        let text = "{\"a\":1}\n{\"a\":2,\"b\":{\"c\":3}}\n";
        let wanted = |json: Value, absent: &[&str]| LogLine {
            file: String::new(),
            json,
            absent: absent.iter().map(|&pointer| pointer.to_owned()).collect(),
            lacks: Vec::new(),
        };
        assert!(search(&wanted(json!({"a": 2}), &[]), text).is_ok());
        assert!(search(&wanted(json!({"a": 2}), &["/b/c"]), text).is_err());
        assert!(search(&wanted(json!({"a": 3}), &[]), text).unwrap_err().contains("expected 3"));
        assert!(search(&wanted(json!({}), &[]), "").is_err());
    }

    #[test]
    fn what_must_not_be_written_is_looked_for_in_every_line() {
        let path = std::env::temp_dir().join(format!("biplane-log-{}", std::process::id()));
        std::fs::write(&path, "{\"a\":\"s3cret\"}\n{\"a\":2}\n").unwrap();
        let held = |part: &str| {
            let (file, lacks) = (path.display().to_string(), vec![part.to_owned()]);
            let wanted = LogLine { file, json: json!({"a": 2}), absent: Vec::new(), lacks };
            expect_line(&wanted, Duration::ZERO).is_err()
        };
        let found = ["s3cret", "~s[0-9]cret", "secret", "~s[a-z]cret"].map(held);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, [true, true, false, false]);
    }
}
