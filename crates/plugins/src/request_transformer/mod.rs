#![doc = include_str!("doc.md")]

mod arguments;
mod body;
mod rules;
mod template;

use std::borrow::Cow;
use std::cell::RefCell;

use plugin::confidential::Places;
use plugin::edits::{self, Setting, entry, header_entry, header_rename};
use plugin::model::schema::Value as Json;
use plugin::model::secret::is_reference;
use plugin::{Access, Build, BuildError, Flow, Known, Method, Phase, Phases, Plugin, Scopes, record, target};

use body::Kind;
use rules::{Rendered, Rules, Templates, Value};
use template::Template;

record! {
    /// What is removed.
    pub struct Remove {
        /// Names of arguments of the body.
        body: Vec<String> = [];
        /// Names of headers.
        headers: Vec<String> = [], [each(custom_value(header_entry))];
        /// Names of query arguments.
        querystring: Vec<String> = [];
    }
}

record! {
    /// What gets another name. A header or argument that has the new name already gives way.
    pub struct Rename {
        /// `old:new` names of arguments of the body.
        body: Vec<String> = [], [each(custom_value(entry))];
        /// `old:new` names of headers.
        headers: Vec<String> = [], [each(custom_value(header_rename))];
        /// `old:new` names of query arguments.
        querystring: Vec<String> = [], [each(custom_value(entry))];
    }
}

record! {
    /// What gets another value where it is there; values are templates.
    pub struct Replace {
        /// `name:value` of arguments of the body.
        body: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
        /// `name:value` of headers. `host` can be replaced too. A reference to a secret stands for both, the name and the value.
        headers: Vec<String> = [], [each(referenceable()), each(custom_value(header_setting))];
        /// `name:value` of query arguments.
        querystring: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
        /// The path sent upstream, a template. It replaces the whole path, that of the service included.
        uri: Option<String>, [custom_value(template)];
    }
}

record! {
    /// What is added where it is not there; values are templates.
    pub struct Add {
        /// `name:value` of arguments of the body.
        body: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
        /// `name:value` of headers; a reference to a secret stands for both.
        headers: Vec<String> = [], [each(referenceable()), each(custom_value(header_setting))];
        /// `name:value` of query arguments.
        querystring: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
    }
}

record! {
    /// What is put beside values that are there; values are templates.
    pub struct Append {
        /// `name:value` of arguments of the body; not for multipart bodies.
        body: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
        /// `name:value` of headers; a reference to a secret stands for both.
        headers: Vec<String> = [], [each(referenceable()), each(custom_value(header_setting))];
        /// `name:value` of query arguments.
        querystring: Vec<String> = [], [each(referenceable()), each(custom_value(setting))];
    }
}

record! {
    /// Changes requests before they go upstream.
    pub struct Config {
        /// The method sent upstream. With GET, HEAD or TRACE a form in the body moves to the query.
        http_method: Option<String>, [http_method()];
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

fn setting(value: &Json) -> Result<(), String> {
    entry(value)?;
    let (_, source) = edits::sides_of(value.as_str().unwrap_or_default());
    Template::parse(source).map(drop)
}

fn template(value: &Json) -> Result<(), String> {
    Template::parse(value.as_str().unwrap_or_default()).map(drop)
}

fn header_setting(value: &Json) -> Result<(), String> {
    setting(value)?;
    edits::header_setting(value)
}

/// The room. See the module documentation.
pub struct RequestTransformer {
    uri: Option<Value>,
    method: Option<Method>,
    /// Values for the host, which is no field like others: it can only be replaced.
    hosts: Vec<Setting<Value>>,
    headers: Rules,
    query: Rules,
    body: Rules,
    templates: Templates,
}

thread_local! {
    /// The texts of templates, in memory that is used again by the next request of the worker.
    static RENDERED: RefCell<Rendered> = RefCell::default();
}

impl Plugin for RequestTransformer {
    const NAME: &'static str = "request-transformer";
    const PRIORITY: i64 = 801;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn secrets(config: &Config, written: &Config, places: &mut Places) {
        let headers = [
            (&config.replace.headers, &written.replace.headers),
            (&config.add.headers, &written.add.headers),
            (&config.append.headers, &written.append.headers),
        ];
        let arguments = [
            (&config.replace.querystring, &written.replace.querystring),
            (&config.add.querystring, &written.add.querystring),
            (&config.append.querystring, &written.append.querystring),
        ];
        names_of_secrets(headers).for_each(|header| places.header(header));
        names_of_secrets(arguments).for_each(|argument| places.argument(argument));
    }

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let mut templates = Templates::default();
        let uri = config.replace.uri.as_deref().filter(|uri| !uri.is_empty());
        let Config { remove, rename, replace, add, append, .. } = &config;
        let mut rules = |part: &str, [remove, rename, replace, add, append]: [&Vec<String>; 5]| {
            Ok::<_, BuildError>(Rules {
                remove: remove.iter().map(|entry| edits::name_of(entry).to_owned()).collect(),
                rename: edits::renames(rename),
                replace: templates.settings(&format!("replace.{part}"), replace)?,
                add: templates.settings(&format!("add.{part}"), add)?,
                append: templates.settings(&format!("append.{part}"), append)?,
            })
        };
        let headers = [&remove.headers, &rename.headers, &replace.headers, &add.headers, &append.headers];
        let body = [&remove.body, &rename.body, &replace.body, &add.body, &append.body];
        let query = [
            &remove.querystring,
            &rename.querystring,
            &replace.querystring,
            &add.querystring,
            &append.querystring,
        ];
        let mut headers = rules("headers", headers)?;
        Ok(Self {
            hosts: take_hosts(&mut headers),
            headers,
            query: rules("querystring", query)?,
            body: rules("body", body)?,
            uri: uri.map(|uri| templates.value("replace.uri", uri)).transpose()?,
            method: config.http_method.as_deref().and_then(|name| Method::from_bytes(name.as_bytes())),
            templates,
        })
    }
}

/// The names in entries that were written as references.
fn names_of_secrets<'c>(lists: [(&'c Vec<String>, &'c Vec<String>); 3]) -> impl Iterator<Item = &'c str> {
    let entries = lists.into_iter().flat_map(|(entries, written)| entries.iter().zip(written));
    entries.filter(|(_, written)| is_reference(written)).map(|(entry, _)| edits::name_of(entry))
}

/// Takes out what is said about the host, and returns the values that are to replace it.
fn take_hosts(headers: &mut Rules) -> Vec<Setting<Value>> {
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    headers.remove.retain(|name| !is_host(name));
    headers.rename.retain(|(from, to)| !is_host(from) && !is_host(to));
    headers.add.retain(|setting| !is_host(&setting.name));
    headers.append.retain(|setting| !is_host(&setting.name));
    headers.replace.extract_if(.., |setting| is_host(&setting.name)).collect()
}

impl Phases for RequestTransformer {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if cx.body().is_none() && self.wants_body(cx) {
            return Flow::ReadBody;
        }
        RENDERED.with_borrow_mut(|rendered| {
            self.templates.render(cx, rendered);
            self.transform(cx, rendered);
        });
        Flow::Next
    }
}

impl RequestTransformer {
    /// Whether the body may have to be changed, as far as the head tells.
    fn wants_body(&self, cx: &Access<'_>) -> bool {
        let kind = Kind::of(&cx.request.headers);
        let edits = !self.body.is_empty() && (kind.is_some() || self.headers.touches("content-type"));
        edits || (self.moves_form() && kind == Some(Kind::Form))
    }

    /// The new method has no use for a body.
    fn moves_form(&self) -> bool {
        matches!(self.method, Some(Method::Get | Method::Head | Method::Trace))
    }

    fn transform(&self, cx: &mut Access<'_>, rendered: &Rendered) {
        if let Some(uri) = &self.uri {
            replace_uri(cx, rendered.text(uri));
        }
        if let Some(method) = self.method {
            cx.set_upstream_method(method);
            if self.moves_form() && Kind::of(&cx.request.headers) == Some(Kind::Form) {
                move_form(cx);
            }
        }
        for Setting { value, .. } in &self.hosts {
            // A value taken from the request may be anything; what is no host is not sent as one.
            let host = rendered.text(value);
            if target::is_authority(host) {
                cx.set_upstream_host(host);
            }
        }
        self.headers.apply(cx.headers(), |value| Cow::Borrowed(rendered.text(value)));
        if !self.body.is_empty() {
            edit_body(cx, &self.body, rendered);
        }
        if !self.query.is_empty()
            && let Some(query) = arguments::edited(&cx.upstream.query, &self.query, rendered)
        {
            cx.set_upstream_query(Some(query.as_slice()).filter(|query| !query.is_empty()));
        }
    }
}

/// Sets the path, escaped so that no value can end the request line. A query in it goes before the request's own.
fn replace_uri(cx: &mut Access<'_>, uri: &[u8]) {
    let mark = uri.iter().position(|byte| *byte == b'?');
    let (path, query) = uri.split_at(mark.unwrap_or(uri.len()));
    let mut escaped = Vec::with_capacity(path.len() + 1);
    if !path.starts_with(b"/") {
        escaped.push(b'/');
    }
    escape_uri(path, &mut escaped);
    cx.set_upstream_path(&escaped);
    if mark.is_some() {
        let mut joined = Vec::with_capacity(query.len() + cx.upstream.query.len());
        escape_uri(&query[1..], &mut joined);
        join_query(cx, joined);
    }
}

/// Escapes what may not stand in a path or query; sound percent-encodings stay.
fn escape_uri(text: &[u8], out: &mut Vec<u8>) {
    for (at, byte) in text.iter().enumerate() {
        let digit = |offset: usize| text.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        let safe = match byte {
            b'%' => digit(1) && digit(2),
            byte => byte.is_ascii_alphanumeric() || b"!$&'()*+,/:;=?@[]-._~".contains(byte),
        };
        arguments::escape(*byte, safe, out);
    }
}

/// Puts `query` in front of the query there is.
fn join_query(cx: &mut Access<'_>, mut query: Vec<u8>) {
    if !query.is_empty() && !cx.upstream.query.is_empty() {
        query.push(b'&');
    }
    query.extend_from_slice(&cx.upstream.query);
    cx.set_upstream_query(Some(&query));
}

/// Moves a form from the body to the end of the query.
fn move_form(cx: &mut Access<'_>) {
    let Some(body) = cx.body().filter(|body| !body.is_empty()) else { return };
    let mut query = cx.upstream.query.clone();
    if !query.is_empty() {
        query.push(b'&');
    }
    escape_uri(body, &mut query);
    cx.set_upstream_query(Some(&query));
    cx.set_body(Vec::new());
}

fn edit_body(cx: &mut Access<'_>, rules: &Rules, rendered: &Rendered) {
    let Some(kind) = Kind::of(&cx.request.headers) else { return };
    let Some(text) = cx.body() else { return };
    let content_type = cx.request.headers.known(Known::ContentType).unwrap_or_default();
    if let Some(edited) = body::edited(kind, content_type, text, rules, rendered) {
        cx.set_body(edited);
    }
}

#[cfg(test)]
mod tests;
