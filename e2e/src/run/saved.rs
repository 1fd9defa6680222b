//! What a step keeps of a reply for later ones.

use crate::message::Message;
use regex::Regex;
use serde_json::Value;

/// What stands at `place`: the name of a header, or a pointer into a JSON body, which begins with `/`. Behind a ` ~`
/// there is a regular expression; what its group takes is the value then.
pub(super) fn value(place: &str, message: &Message) -> Result<String, String> {
    let (place, pattern) = place.split_once(" ~").map_or((place, None), |(place, text)| (place, Some(text)));
    let value = if place.starts_with('/') { member(place, message)? } else { header(place, message)? };
    let Some(pattern) = pattern else { return Ok(value) };
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    let group = regex.captures(&value).and_then(|found| found.get(1));
    group.map(|group| group.as_str().to_owned()).ok_or_else(|| format!("{place}: no {pattern} in {value:?}"))
}

fn header(name: &str, message: &Message) -> Result<String, String> {
    let value = message.values(name).first().copied().map(str::to_owned);
    value.ok_or_else(|| format!("no header {name} to save"))
}

fn member(pointer: &str, message: &Message) -> Result<String, String> {
    let body: Value =
        serde_json::from_slice(&message.body).map_err(|error| format!("{error}: {}", message.text()))?;
    match body.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(format!("no text at {pointer} to save: {body}")),
    }
}
