//! What a failing case prints: the differences first, then everything that was sent, received and seen.

use crate::case::Check;
use crate::case::Step;
use crate::client::Exchange;
use crate::echo::Seen;
use crate::message::Message;

/// Longer texts are cut: the start shows the point.
const MOST_SHOWN: usize = 3000;
/// The failures shown of one case.
const MOST_FAILURES: usize = 12;

/// One exchange that went wrong.
pub(crate) fn exchange(step: &Step, exchange: &Exchange, seen: &[Seen], problems: &[String]) -> String {
    let mut text = String::new();
    if !step.note.is_empty() {
        text.push_str(&format!("{}\n", step.note));
    }
    for problem in problems {
        text.push_str(&format!("  ! {problem}\n"));
    }
    text.push_str(&quoted(">", &String::from_utf8_lossy(&exchange.sent)));
    for reply in &exchange.replies {
        for interim in &reply.interim {
            text.push_str(&quoted("<", &message(interim)));
        }
        text.push_str(&quoted("<", &message(&reply.message)));
    }
    if seen.is_empty() {
        text.push_str("  upstream saw nothing\n");
    }
    for one in seen {
        text.push_str(&format!("  upstream {} on connection {}:\n", one.server, one.connection));
        text.push_str(&quoted("|", &message(&one.message)));
    }
    text
}

/// A `check` that went wrong.
pub(crate) fn check(number: usize, check: &Check, problems: &[String], output: &str) -> String {
    let mut text = format!("check {number}: {}\n", check.note);
    for problem in problems {
        text.push_str(&format!("  ! {problem}\n"));
    }
    text + &quoted("|", &check.config) + &quoted("<", output)
}

/// All failures of a case with what the gateway wrote.
pub(crate) fn case(failures: &[String], output: &str) -> String {
    let shown = &failures[..failures.len().min(MOST_FAILURES)];
    let mut text = format!("{} failed\n\n{}", failures.len(), shown.join("\n"));
    if failures.len() > shown.len() {
        text.push_str(&format!("\n... and {} more\n", failures.len() - shown.len()));
    }
    if !output.is_empty() {
        text.push_str(&format!("\nthe gateway wrote:\n{}", quoted("|", output)));
    }
    text
}

fn message(message: &Message) -> String {
    let lines = |headers: &[(String, String)]| -> String {
        headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    };
    let trailers = lines(&message.trailers);
    format!("{}\n{}\n{}{trailers}", message.start_line, lines(&message.headers), message.text())
}

fn quoted(mark: &str, text: &str) -> String {
    let cut: String = text.chars().take(MOST_SHOWN).collect();
    let mut quoted: String = cut.lines().map(|line| format!("  {mark} {}\n", line.escape_debug())).collect();
    if cut.len() < text.len() {
        quoted.push_str(&format!("  {mark} ... ({} bytes in all)\n", text.len()));
    }
    quoted
}
