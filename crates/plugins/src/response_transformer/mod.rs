#![doc = include_str!("doc.md")]

mod json;

use std::borrow::Cow;

use plugin::edits::{
    Edits, Setting, entry, header_entry, header_rename, header_setting, name_of, pair_of, renames,
};
use plugin::{
    BodyFilter, BodyMode, Build, BuildError, HeaderFilter, Known, Method, Phase, Phases, Plugin, Scopes,
    record,
};

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

/// The room. See the module documentation.
pub struct ResponseTransformer {
    headers: Edits<String>,
    /// Values are JSON texts.
    json: Edits<String>,
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
        let headers = Edits {
            remove: remove.headers.iter().map(|entry| name_of(entry).to_owned()).collect(),
            rename: renames(&rename.headers),
            replace: settings(&replace.headers),
            add: settings(&add.headers),
            append: settings(&append.headers),
        };
        let json = Edits {
            remove: remove.json.clone(),
            rename: renames(&rename.json),
            replace: json::settings(&replace.json, &replace.json_types),
            add: json::settings(&add.json, &add.json_types),
            append: json::settings(&append.json, &append.json_types),
        };
        Ok(Self { headers, json })
    }
}

fn settings(entries: &[String]) -> Vec<Setting<String>> {
    let pairs = entries.iter().filter_map(|entry| pair_of(entry));
    pairs.map(|(name, value)| Setting { name: name.to_owned(), value: value.to_owned() }).collect()
}

impl Phases for ResponseTransformer {
    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        self.headers.apply(cx.headers(), |value| Cow::Borrowed(value.as_bytes()));
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
        if let Some(edited) = json::edited(cx.piece(), &self.json) {
            cx.replace(edited);
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
