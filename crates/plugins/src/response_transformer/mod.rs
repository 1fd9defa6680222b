#![doc = include_str!("doc.md")]

mod json;

use plugin::model::schema::Value;
use plugin::{
    BodyFilter, BodyMode, Build, BuildError, HeaderFilter, Known, Method, Phase, Phases, Plugin, Scopes,
    record,
};

use json::Edits;

record! {
    /// What is removed.
    pub struct Remove {
        /// Names of headers.
        headers: Vec<String> = [], [each(custom_value(header_entry))];
        /// Names of members of the JSON body.
        json: Vec<String> = [];
    }
}

record! {
    /// What gets another name. What has the new name already gives way.
    pub struct Rename {
        /// `old:new` names of headers.
        headers: Vec<String> = [], [each(custom_value(header_rename))];
        /// `old:new` names of members of the JSON body.
        json: Vec<String> = [], [each(custom_value(entry))];
    }
}

record! {
    /// What gets another value where it is there.
    pub struct Replace {
        /// `name:value` of headers.
        headers: Vec<String> = [], [each(custom_value(header_setting))];
        /// `name:value` of members of the JSON body.
        json: Vec<String> = [], [each(custom_value(entry))];
        /// Types of the values in `json`, in the same order; those without one are strings.
        json_types: Vec<String> = [], [each(one_of(&["boolean", "number", "string"]))];
    }
    checks: [custom_fields(json::check_types)]
}

record! {
    /// What is added where it is not there.
    pub struct Add {
        /// `name:value` of headers.
        headers: Vec<String> = [], [each(custom_value(header_setting))];
        /// `name:value` of members of the JSON body.
        json: Vec<String> = [], [each(custom_value(entry))];
        /// Types of the values in `json`, in the same order; those without one are strings.
        json_types: Vec<String> = [], [each(one_of(&["boolean", "number", "string"]))];
    }
    checks: [custom_fields(json::check_types)]
}

record! {
    /// What is put beside values that are there.
    pub struct Append {
        /// `name:value` of headers.
        headers: Vec<String> = [], [each(custom_value(header_setting))];
        /// `name:value` of members of the JSON body.
        json: Vec<String> = [], [each(custom_value(entry))];
        /// Types of the values in `json`, in the same order; those without one are strings.
        json_types: Vec<String> = [], [each(one_of(&["boolean", "number", "string"]))];
    }
    checks: [custom_fields(json::check_types)]
}

record! {
    /// Changes responses before they go to the client.
    pub struct Config {
        /// First, these are removed.
        remove: Remove;
        /// Then these get another name.
        rename: Rename;
        /// Then these get another value, where they are there.
        replace: Replace;
        /// Then these are added, where they are not there.
        add: Add;
        /// At last these values are put beside those that are there.
        append: Append;
    }
}

fn entry(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.starts_with(':') || !text.contains(':') {
        return Err(format!("invalid value: {text}"));
    }
    Ok(())
}

fn header_entry(value: &Value) -> Result<(), String> {
    is_header(value.as_str().unwrap_or_default().split(':').next().unwrap_or_default())
}

fn header_rename(value: &Value) -> Result<(), String> {
    entry(value)?;
    let (from, to) = pair(value.as_str().unwrap_or_default());
    for name in [from, to] {
        is_header(name)?;
        is_free(name)?;
    }
    Ok(())
}

fn header_setting(value: &Value) -> Result<(), String> {
    entry(value)?;
    header_entry(value)?;
    is_free(pair(value.as_str().unwrap_or_default()).0)
}

fn is_header(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("'{name}' is not a valid header"))
}

/// The fields that say where a message ends are the gateway's.
fn is_free(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding") {
        return Err(format!("'{name}' frames the message and cannot be set"));
    }
    Ok(())
}

/// Both sides of a `name:value` entry.
fn pair(entry: &str) -> (&str, &str) {
    let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
    (name, value.trim_start_matches(':'))
}

/// Entries with a value; one without does nothing.
fn pairs(entries: &[String]) -> Vec<(String, String)> {
    let pairs = entries.iter().map(|entry| pair(entry)).filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The room. See the module documentation.
pub struct ResponseTransformer {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, String)>,
    add: Vec<(String, String)>,
    append: Vec<(String, String)>,
    json: Edits,
}

/// The body of this response is to be edited.
struct EditsBody;

impl Plugin for ResponseTransformer {
    const NAME: &'static str = "response-transformer";
    const PRIORITY: i64 = 800;
    const RUNS: &'static [Phase] = &[Phase::HeaderFilter, Phase::BodyFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let Config { remove, rename, replace, add, append } = &config;
        let json = Edits {
            remove: remove.json.clone(),
            rename: pairs(&rename.json),
            replace: json::settings(&replace.json, &replace.json_types),
            add: json::settings(&add.json, &add.json_types),
            append: json::settings(&append.json, &append.json_types),
        };
        Ok(Self {
            remove: remove.headers.iter().map(|entry| pair(entry).0.to_owned()).collect(),
            rename: pairs(&rename.headers),
            replace: pairs(&replace.headers),
            add: pairs(&add.headers),
            append: pairs(&append.headers),
            json,
        })
    }
}

impl Phases for ResponseTransformer {
    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        self.edit_headers(cx);
        if !self.json.is_empty() && has_json_body(cx) {
            cx.headers().remove_known(Known::ContentLength);
            cx.want_body(BodyMode::Whole);
            cx.remember(EditsBody);
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        if cx.state::<EditsBody>().is_none() {
            return;
        }
        if let Some(edited) = self.json.apply(cx.piece()) {
            cx.replace(edited);
        }
    }
}

impl ResponseTransformer {
    fn edit_headers(&self, cx: &mut HeaderFilter<'_>) {
        let headers = cx.headers();
        for name in &self.remove {
            headers.remove(name);
        }
        for (from, to) in &self.rename {
            if !from.eq_ignore_ascii_case(to) && headers.contains(from) {
                headers.remove(to);
                headers.rename(from, to);
            }
        }
        for (name, value) in &self.replace {
            if headers.contains(name) && !headers.set(name, value.as_bytes()) {
                // The value cannot stand in a field; the one that was to be replaced must not stay for that.
                headers.remove(name);
            }
        }
        for (name, value) in &self.add {
            if !headers.contains(name) {
                headers.append(name, value.as_bytes());
            }
        }
        for (name, value) in &self.append {
            headers.append(name, value.as_bytes());
        }
    }
}

/// Whether the response has a body, and one that is JSON and not compressed.
fn has_json_body(cx: &HeaderFilter<'_>) -> bool {
    let bodiless = cx.request.method == Method::Head || matches!(cx.response.status, 101 | 204 | 304);
    let headers = &cx.response.headers;
    let plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    let json = b"application/json";
    !bodiless
        && headers.known_all(Known::ContentEncoding).all(plain)
        && headers
            .known(Known::ContentType)
            .is_some_and(|value| value.windows(json.len()).any(|part| part.eq_ignore_ascii_case(json)))
}

#[cfg(test)]
mod tests;
