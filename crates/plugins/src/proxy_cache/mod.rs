#![doc = include_str!("doc.md")]

mod admin;
mod collect;
mod content_type;
mod control;
mod key;
mod store;

use std::sync::Arc;

use ahash::RandomState;
use plugin::admin::Endpoint;
use plugin::collect::repeatable;
use plugin::model::schema::Value;
use plugin::{
    Access, BodyFilter, BodyMode, Build, BuildError, Detour, Exchange, Flow, HeaderFilter, Headers, Known,
    Method, Phase, Phases, Plugin, Scopes, Source, media, record,
};

use collect::Collecting;
use content_type::ContentType;
use control::Directives;
use key::{Key, Recipe};
use store::{Edition, Entry, Store};

record! {
    /// Settings of strategy `memory`.
    pub struct Memory {
        /// Name of the store. Instances with the same name share one, of 128 MiB.
        dictionary_name: String = "kong_db_cache";
    }
}

record! {
    /// Which fields about caching a response carries.
    pub struct ResponseHeaders {
        /// `Age`, on responses from the cache.
        age: bool = true;
        /// `X-Cache-Status`: `Hit`, `Miss`, `Refresh` or `Bypass`.
        #[rename = "X-Cache-Status"]
        status: bool = true;
        /// `X-Cache-Key`: the key the response is stored under.
        #[rename = "X-Cache-Key"]
        key: bool = true;
    }
}

record! {
    /// Keeps responses of the upstream and answers later requests with them.
    pub struct Config {
        /// Where responses are kept: `memory`.
        strategy: String, [one_of(&["memory"])];
        /// Settings of strategy `memory`.
        memory: Memory;
        /// Status codes of responses that are kept.
        response_code: Vec<i64> = [200, 301, 404], [len_min(1), each(between(100, 900))];
        /// Methods of requests that are answered from the cache.
        request_method: Vec<String> = ["GET", "HEAD"], [each(one_of(&["HEAD", "GET", "POST", "PATCH", "PUT"]))];
        /// Media types of responses that are kept. Parameters must be the same as in the response, so
        /// `application/json` does not stand for `application/json; charset=utf-8`; `*/*` stands for any type
        /// without parameters.
        content_type: Vec<String> = ["text/plain", "application/json"], [each(custom_value(media_type))];
        /// Seconds that a response is fresh, unless `cache_control` says otherwise.
        cache_ttl: i64 = 300, [gt(0)];
        /// Seconds that a response is kept, whether fresh or not. Without it, as long as it is fresh.
        storage_ttl: Option<i64>, [gt(0)];
        /// Heed `Cache-Control` and its relatives in requests and responses (RFC 9111).
        cache_control: bool = false;
        /// Paths that differ only in case share a response.
        ignore_uri_case: bool = false;
        /// Query arguments that responses depend on. Without it, all.
        vary_query_params: Option<Vec<String>>;
        /// Request headers that responses depend on. Without it, none.
        vary_headers: Option<Vec<String>>;
        /// Which fields about caching a response carries.
        response_headers: ResponseHeaders;
    }
}

fn media_type(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match ContentType::parse(text.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(format!("'{text}' is not a media type such as application/json")),
    }
}

/// The room. See the module documentation.
pub struct ProxyCache {
    instance: Arc<Instance>,
    recipe: Recipe,
    methods: Vec<String>,
    codes: Vec<u16>,
    content_types: Vec<ContentType>,
    ttl: u64,
    storage_ttl: Option<u64>,
    heeds_control: bool,
    shows: ResponseHeaders,
    /// Makes numbers of paths.
    paths: RandomState,
}

/// Ties a plugin instance to its store, for the Admin API.
struct Instance {
    plugin: String,
    store: Arc<Store>,
}

/// A request that could be answered from the cache but was not.
#[derive(Clone, Copy)]
struct Pending {
    key: Key,
    edition: Edition,
    /// There is a response, but not one to use.
    refreshes: bool,
    authorized: bool,
    /// Where it was about to go when its key was made.
    destination: Destination,
}

/// Where a request goes, as far as a room that comes later may change it: a fallback, or a canary.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Destination {
    detour: Option<usize>,
    /// The path asked for, as a number; none on the way to another service, whose path is put before it later.
    path: Option<u64>,
}

/// A request that may change what is stored: the keys of what it makes untrue.
#[derive(Clone, Copy)]
struct Changing([Key; 2]);

/// The response of this request is not kept.
struct NotKept;

impl Plugin for ProxyCache {
    const NAME: &'static str = "proxy-cache";
    const PRIORITY: i64 = 100;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter, Phase::BodyFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let dictionary = &config.memory.dictionary_name;
        let store = cx.services.keep(dictionary, Store::new);
        let plugin = cx.row.id.to_string();
        let key = format!("{plugin}/{dictionary}");
        let mut headers = config.vary_headers.unwrap_or_default();
        headers.iter_mut().for_each(|name| name.make_ascii_lowercase());
        headers.sort_unstable();
        let arguments = config.vary_query_params.unwrap_or_default();
        Ok(Self {
            instance: cx.services.keep(&key, || Instance { plugin, store }),
            recipe: Recipe { ignores_case: config.ignore_uri_case, arguments, headers },
            methods: config.request_method,
            codes: config.response_code.iter().filter_map(|code| u16::try_from(*code).ok()).collect(),
            content_types: config
                .content_type
                .iter()
                .filter_map(|kind| ContentType::parse(kind.as_bytes()))
                .collect(),
            ttl: config.cache_ttl.unsigned_abs(),
            storage_ttl: config.storage_ttl.map(i64::unsigned_abs),
            heeds_control: config.cache_control,
            shows: config.response_headers,
            paths: RandomState::new(),
        })
    }
}

impl Phases for ProxyCache {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let directives = self.directives(&cx.request.headers);
        let method = cx.request.method;
        let is_answered = self.methods.iter().any(|known| known == method.as_str());
        if directives.no_store || directives.no_cache || !is_answered {
            if self.heeds_control && !is_answered && !is_safe(method) {
                cx.remember(Changing([Method::Get, Method::Head].map(|method| self.recipe.key(cx, method))));
            }
            self.show_status(cx.decorate(), "Bypass");
            return Flow::Next;
        }
        let key = self.recipe.key(cx, method);
        if self.shows.key {
            cx.decorate().set_known(Known::XCacheKey, &key.to_hex());
        }
        let now = cx.worker.services.steady.now_ms();
        let authorized = self.heeds_control && cx.request.headers.contains_known(Known::Authorization);
        let entry = self.instance.store.find(&key, now);
        let stored = entry.is_some();
        if let Some(entry) = entry.filter(|entry| self.may_use(cx, entry, &directives, authorized, now)) {
            return self.answer(cx, &entry, now);
        }
        if directives.only_if_cached {
            return cx.answer(504).empty();
        }
        let (edition, destination) = (self.instance.store.edition(&key), self.destination(cx));
        cx.remember(Pending { key, edition, refreshes: stored, authorized, destination });
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let collecting = match cx.state::<Pending>().copied() {
            Some(pending) => self.begin(cx, pending).map(|collecting| (collecting, pending.refreshes)),
            // A response that failed after its head is followed by the gateway's own.
            None if cx.state::<Collecting>().is_some() => None,
            None => return self.forget_changed(cx),
        };
        match collecting {
            Some((collecting, refreshes)) => {
                self.show_status(cx.headers(), if refreshes { "Refresh" } else { "Miss" });
                cx.want_body(BodyMode::Observe);
                cx.remember(collecting);
            }
            None => {
                self.show_status(cx.headers(), "Bypass");
                cx.remember(NotKept);
            }
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        let (piece, last) = (cx.piece(), cx.is_last());
        let Some(collecting) = cx.state::<Collecting>() else { return };
        let fits = collecting.push(piece);
        if (last || !fits)
            && let Some(collecting) = cx.take_state::<Collecting>()
            && fits
        {
            collecting.store();
        }
    }
}

impl ProxyCache {
    fn directives(&self, headers: &Headers) -> Directives {
        if self.heeds_control { Directives::of(headers) } else { Directives::default() }
    }

    fn show_status(&self, headers: &mut Headers, status: &str) {
        if self.shows.status {
            headers.set_known(Known::XCacheStatus, status.as_bytes());
        }
    }

    /// Whether a stored response may answer the request.
    fn may_use(
        &self,
        cx: &Access<'_>,
        entry: &Entry,
        directives: &Directives,
        authorized: bool,
        now: u64,
    ) -> bool {
        if !self.heeds_control {
            return entry.age(now) <= self.ttl;
        }
        let varies = entry.vary.as_ref().is_some_and(|(names, digest)| Key::of_headers(cx, names) != *digest);
        !varies && (entry.shareable || !authorized) && directives.accept(entry, now)
    }

    fn answer(&self, cx: &mut Access<'_>, entry: &Entry, now: u64) -> Flow {
        self.show_status(cx.decorate(), "Hit");
        if self.shows.age {
            let age = itoa::Buffer::new().format(entry.age(now)).to_owned();
            cx.decorate().set_known(Known::Age, age.as_bytes());
        }
        cx.answer(entry.status).standing_in().headers(&entry.headers).body(entry.body.clone())
    }

    fn destination(&self, exchange: &Exchange) -> Destination {
        let detour = exchange.detour.as_ref();
        let leads_to_a_service = detour.is_some_and(|detour| detour.service().is_some());
        let path = (!leads_to_a_service).then(|| self.paths.hash_one(&exchange.upstream.path));
        Destination { detour: detour.map(Detour::number), path }
    }

    /// Forgets what an answer says has changed (RFC 9111 4.4).
    fn forget_changed(&self, cx: &mut HeaderFilter<'_>) {
        if let Some(Changing(keys)) = cx.state::<Changing>().copied()
            && cx.source == Source::Upstream
            && (200..400).contains(&cx.response.status)
        {
            for key in &keys {
                self.instance.store.remove(key);
            }
        }
    }

    /// Begins to collect the response, if it is one to be kept: not one of somebody else than the key was made for.
    fn begin(&self, cx: &HeaderFilter<'_>, pending: Pending) -> Option<Collecting> {
        if pending.destination != self.destination(cx) {
            return None;
        }
        let response = &cx.response;
        let headers = &response.headers;
        let head_only = cx.request.method == Method::Head;
        if cx.source != Source::Upstream || !self.keeps_status(response.status) || !self.keeps_type(headers) {
            return None;
        }
        let now = cx.worker.services.clock.now_ms() / 1000;
        let directives = self.directives(headers);
        let forbidden = directives.no_store || directives.no_cache || directives.private;
        let shareable = directives.is_shareable();
        if forbidden || (pending.authorized && !shareable) {
            return None;
        }
        let ttl = if self.heeds_control { directives.lifetime(headers, now) } else { self.ttl };
        let initial_age = if self.heeds_control { control::initial_age(headers, now) } else { 0 };
        if ttl <= initial_age && self.heeds_control {
            return None;
        }
        let entry = Entry {
            status: response.status,
            headers: repeatable(headers, head_only),
            body: bytes::Bytes::new(),
            stored_ms: cx.worker.services.steady.now_ms(),
            stored_at: now,
            initial_age,
            ttl,
            storage_ttl: self.storage_ttl.unwrap_or(ttl - initial_age),
            shareable,
            must_revalidate: directives.forbids_stale(),
            vary: if self.heeds_control { varies_by(cx, headers)? } else { None },
        };
        let expected = if head_only { None } else { headers.known(Known::ContentLength) };
        Collecting::new((pending.key, pending.edition), entry, expected, self.instance.store.clone())
    }

    /// Whether the status code is one of those that are kept. Parts and confirmations never answer another request.
    fn keeps_status(&self, status: u16) -> bool {
        self.codes.contains(&status) && !matches!(status, 206 | 304)
    }

    fn keeps_type(&self, headers: &Headers) -> bool {
        let mut values = headers.known_all(Known::ContentType);
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some(found) = ContentType::parse(value) else { return false };
        self.content_types.iter().any(|kept| kept.covers(&found))
    }
}

/// Whether requests with the method change nothing (RFC 9110 9.2.1).
fn is_safe(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options | Method::Trace)
}

/// The request fields named by `Vary` with the digest of their values; none if the response varies by everything.
#[allow(clippy::option_option)]
fn varies_by(cx: &HeaderFilter<'_>, headers: &Headers) -> Option<Option<(Vec<String>, Key)>> {
    let named = headers.known_all(Known::Vary).flat_map(media::list);
    let mut names: Vec<String> =
        named.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    if names.iter().any(|name| name == "*") {
        return None;
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Some(None);
    }
    let digest = Key::of_headers(cx, &names);
    Some(Some((names, digest)))
}

#[cfg(test)]
mod apart_tests;
#[cfg(test)]
mod tests;
