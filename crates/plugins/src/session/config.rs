//! What can be configured about sessions.

use plugin::model::schema::Value;
use plugin::record;
use plugin::web_session::{Bond, Remembering, Settings, Storage, Timeouts, cookie};

/// What may be told of a session.
const PROPERTIES: &[&str] =
    &["absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"];
/// The longest time, in seconds: a hundred years.
const LONGEST: f64 = 3_155_760_000.0;

record! {
    /// Lets browsers in by a cookie, once another plugin has let them in.
    pub struct Config {
        /// What the cookies are encrypted and signed with: a long random text, the same for all gateways that should know
        /// each other's sessions. Without it, sessions end with the process.
        secret: Option<String>, [referenceable(), encrypted()];
        /// Where sessions are kept: in the cookie itself (`cookie`), or by this gateway (`kong`), where a logout ends them
        /// for whoever has a copy of the cookie. They outlive the process where there is a database of usage.
        storage: String = "cookie", [one_of(&["cookie", "kong"])];
        /// Whom sessions are for. A session of one audience is none of another.
        audience: String = "default";
        /// Seconds without a request after which a session ends; 0 for never.
        idling_timeout: f64 = 900, [custom_value(seconds)];
        /// Seconds after which a session gets a new id, at the next request in time, or else ends; 0 for never.
        rolling_timeout: f64 = 3600, [custom_value(seconds)];
        /// Seconds after which a session ends whatever happens; 0 for never.
        absolute_timeout: f64 = 86400, [custom_value(seconds)];
        /// Seconds for which a session kept by the gateway goes on under its old id when it has got a new one, for requests under
        /// way.
        stale_ttl: f64 = 10, [custom_value(seconds)];
        /// Name of the cookie.
        cookie_name: String = "session";
        /// Path for which browsers send the cookie.
        cookie_path: String = "/";
        /// Domain for which browsers send the cookie, with all hosts below it. The host of the request alone without it.
        cookie_domain: Option<String>;
        /// Whether browsers send the cookie with requests that other sites cause. `Default` leaves that to them.
        cookie_same_site: String = "Strict", [one_of(&["Strict", "Lax", "None", "Default"])];
        /// Whether scripts in the browser do not see the cookie.
        cookie_http_only: bool = true;
        /// Whether browsers send the cookie over TLS only.
        cookie_secure: bool = true;
        /// Whether a second cookie outlives the browser, by which a session begins again.
        remember: bool = false;
        /// Name of that cookie.
        remember_cookie_name: String = "remember";
        /// Seconds without a session after which a browser is forgotten; 0 for never.
        remember_rolling_timeout: f64 = 604_800, [custom_value(seconds)];
        /// Seconds after which a browser is forgotten whatever happens; 0 for never.
        remember_absolute_timeout: f64 = 2_592_000, [custom_value(seconds)];
        /// What clients are told of their session, in `Session-...` headers.
        response_headers: Option<Vec<String>>, [each(one_of(PROPERTIES))];
        /// What the upstream is told of the session, in `Session-...` headers.
        request_headers: Option<Vec<String>>, [each(one_of(PROPERTIES))];
        /// Whether bodies are searched for `logout_post_arg`. Those of `logout_methods` are then held in memory.
        read_body_for_logout: bool = false;
        /// Methods of requests that may end the session.
        logout_methods: Vec<String> = ["POST", "DELETE"], [each(one_of(&["POST", "DELETE", "GET"]))];
        /// Query argument that ends the session.
        logout_query_arg: String = "session_logout";
        /// Field of a form, multipart or JSON body that ends the session.
        logout_post_arg: String = "session_logout";
        /// Whether only a hash of the consumer's name is in the session.
        hash_subject: bool = false;
        /// Whether sessions are found by audience and subject where they are kept, with `storage: kong`.
        store_metadata: bool = false;
        /// What a session must not be taken away from: the client's address, the scheme, the browser.
        bind: Option<Vec<String>>, [each(one_of(&["ip", "scheme", "user-agent"]))];
        /// Whether the cookies of sessions are taken out of the request before it goes upstream.
        hide_credentials: bool = false, [extension()];
    }
}

fn seconds(value: &Value) -> Result<(), String> {
    let number = value.as_f64().unwrap_or(-1.0);
    if (0.0..=LONGEST).contains(&number) {
        return Ok(());
    }
    Err(format!("expected a number of seconds from 0 to {LONGEST}"))
}

impl Config {
    /// The same as the contract has it.
    pub(super) fn settings(&self, storage: Storage) -> Settings {
        Settings {
            secret: self.secret.clone(),
            audience: self.audience.clone(),
            cookie: self.cookie(),
            timeouts: Timeouts {
                idling: self.idling_timeout as u64,
                rolling: self.rolling_timeout as u64,
                absolute: self.absolute_timeout as u64,
            },
            remember: self.remember.then(|| Remembering {
                cookie_name: self.remember_cookie_name.clone(),
                timeouts: Timeouts {
                    idling: 0,
                    rolling: self.remember_rolling_timeout as u64,
                    absolute: self.remember_absolute_timeout as u64,
                },
            }),
            storage,
            stale_ttl: self.stale_ttl as u64,
            bind: self.bonds(),
            hash_subject: self.hash_subject,
            lists: self.store_metadata,
        }
    }

    fn cookie(&self) -> cookie::Settings {
        cookie::Settings {
            name: self.cookie_name.clone(),
            path: Some(self.cookie_path.clone()),
            domain: self.cookie_domain.clone(),
            same_site: (self.cookie_same_site != "Default").then(|| self.cookie_same_site.clone()),
            http_only: self.cookie_http_only,
            secure: self.cookie_secure,
        }
    }

    fn bonds(&self) -> Vec<Bond> {
        let bond = |name: &String| match name.as_str() {
            "ip" => Bond::Ip,
            "scheme" => Bond::Scheme,
            _ => Bond::UserAgent,
        };
        self.bind.iter().flatten().map(bond).collect()
    }
}
