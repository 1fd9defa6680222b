//! Sessions of browsers: who a request comes from, by a cookie that nobody else can make.
//!
//! A session has a random id, a subject, data that only its room understands, and three clocks: since it began, since it
//! was renewed, and since it was used. It is sealed in its cookie, or kept elsewhere with its id sealed there. A login
//! always begins a session with a new id, and so does a renewal; nothing of a cookie that does not open is ever used.
//!
//! In `access` a room opens the session; in `header_filter` it saves it, which writes cookies where something changed. Where
//! gateways share sessions, `access` fetches them before and keeps them after, see [`shared`].

pub mod cookie;
mod keeping;
mod listing;
pub mod local;
mod opened;
mod sealed;
mod session;
mod settings;
pub mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::{Headers, Known};

use crate::build::{Build, BuildError};
use crate::exchange::Exchange;
use crate::views::HeaderFilter;

use cookie::Present;
use keeping::{Keeping, push};
use local::{Forgotten, Kept, Local, Name};
use opened::Change;
pub use opened::Opened;
pub use sealed::{Sealer, random};
use session::Session;
pub use session::{Property, Timeouts};
pub use settings::{Bond, Remembering, Settings, Storage};
use shared::{Fetched, Shared};

/// What cookies are sealed for.
const PURPOSE: &str = "biplane web session";

/// The sessions of a room. See the module documentation.
pub struct Sessions {
    sealer: Arc<Sealer>,
    first: Keeping,
    remember: Option<Keeping>,
    place: Place,
    audience: String,
    stale_ttl: u64,
    bind: Vec<Bond>,
    hash_subject: bool,
    lists: bool,
}

/// Where the sessions of a room are.
enum Place {
    Cookies,
    Local(Arc<Local>),
    Shared(Shared),
}

impl Sessions {
    /// Sessions with these settings. `prefix` stands before the names of fields in errors: `config.`.
    ///
    /// # Errors
    /// The field that cannot be honoured.
    pub fn new(settings: &Settings, prefix: &str, cx: &Build<'_>) -> Result<Self, BuildError> {
        let remember = match &settings.remember {
            Some(remember) if remember.cookie_name == settings.cookie.name => {
                let message = "is the name of the session's own cookie: give it another one";
                return Err(BuildError::new(format!("{prefix}remember_cookie_name"), message));
            }
            Some(remember) => Some(Keeping::remembering(settings, remember, prefix)?),
            None => None,
        };
        if settings.lists && matches!(settings.storage, Storage::Cookie) {
            let message = "sessions in their cookies are in no list: keep them elsewhere, or leave it off";
            return Err(BuildError::new(format!("{prefix}store_metadata"), message));
        }
        Ok(Self {
            sealer: Arc::new(sealer(settings.secret.as_deref(), prefix, cx)?),
            first: Keeping::first(settings, prefix)?,
            remember,
            place: match &settings.storage {
                Storage::Cookie => Place::Cookies,
                Storage::Local(local) => Place::Local(local.clone()),
                Storage::Shared(shared) => Place::Shared(shared.clone()),
            },
            audience: settings.audience.clone(),
            stale_ttl: settings.stale_ttl,
            bind: settings.bind.clone(),
            hash_subject: settings.hash_subject,
            lists: settings.lists,
        })
    }

    /// The session of the request, if it has one that has not ended. One that gateways share has been fetched before, see
    /// [`Self::open_fetched`].
    #[must_use]
    pub fn open(&self, exchange: &Exchange) -> Option<Opened> {
        self.open_fetched(exchange, &Fetched::default())
    }

    /// The same, with what has been fetched of it.
    #[must_use]
    pub fn open_fetched(&self, exchange: &Exchange, fetched: &Fetched) -> Option<Opened> {
        let now = exchange.record.started_ms / 1000;
        let [first, second] = &fetched.0;
        if let Some(session) = self.read(&self.first, exchange, now, first.as_deref()) {
            return Some(self.refreshed(session, exchange, now));
        }
        let remembered = self.read(self.remember.as_ref()?, exchange, now, second.as_deref())?;
        let session = Session::new(now, &remembered.subject, remembered.data.clone())?;
        Some(Opened { remembered: Some(remembered), ..self.opened(session, Change::New, exchange) })
    }

    /// A session that begins with this request, with an id that nobody knows. None if there are no random numbers.
    #[must_use]
    pub fn begin(&self, exchange: &Exchange, subject: &str, data: Vec<u8>) -> Option<Opened> {
        let now = exchange.record.started_ms / 1000;
        let session = if self.hash_subject {
            let hash = digest(&SHA256, subject.as_bytes());
            Session::new(now, &URL_SAFE_NO_PAD.encode(hash), data)?
        } else {
            Session::new(now, subject, data)?
        };
        Some(self.opened(session, Change::New, exchange))
    }

    /// Whether the request brings a session: one of its cookies opens, whatever has become of the session since.
    #[must_use]
    pub fn is_brought(&self, exchange: &Exchange) -> bool {
        match self.place {
            Place::Cookies => self.open(exchange).is_some(),
            Place::Local(_) | Place::Shared(_) => {
                self.keepings().any(|keeping| self.id(keeping, exchange).is_some())
            }
        }
    }

    fn opened(&self, session: Session, change: Change, exchange: &Exchange) -> Opened {
        let present = self.present(exchange);
        Opened { session, change, remembered: None, next_remembered: None, present }
    }

    /// The session with other data, and with another id, so that what is known of the old one is of no use. None if there
    /// are no random numbers.
    #[must_use]
    pub fn replace(&self, opened: Opened, exchange: &Exchange, data: Vec<u8>) -> Option<Opened> {
        let now = exchange.record.started_ms / 1000;
        let before = opened.session;
        let session = Session { data, ..before.renewed(before.created, now)? };
        let change = match opened.change {
            // The id of `before` is not known anywhere yet.
            Change::New | Change::Renewed(_) => opened.change,
            Change::Nothing | Change::Used => Change::Renewed(before.id),
        };
        Some(Opened { session, change, ..opened })
    }

    /// Takes the cookies of sessions out of the request, so that the upstream does not get to know them.
    pub fn hide(&self, request: &mut Headers) {
        self.keepings().for_each(|keeping| keeping.cookie.hide(request));
    }

    /// Keeps the session and writes its cookies, as far as something has changed. What gateways share has been kept before.
    ///
    /// # Errors
    /// Why the session is not kept; nothing has been written then.
    pub fn save(&self, opened: &Opened, cx: &mut HeaderFilter<'_>) -> Result<(), &'static str> {
        let now = cx.record.started_ms / 1000;
        match (opened.change, &self.place) {
            (Change::Nothing, _) | (Change::Used, Place::Shared(_)) => return Ok(()),
            (Change::Used, Place::Local(local)) => {
                let sealed = self.sealed(&self.first, &opened.session).ok_or(NO_RANDOM)?;
                local.update(&name_of(&opened.session.id), sealed.into_bytes());
                return Ok(());
            }
            _ => {}
        }
        if let Place::Local(local) = &self.place {
            let renewed = if let Change::Renewed(old) = opened.change { Some(old) } else { None };
            let before = renewed.or_else(|| opened.remembered.as_ref().map(|remembered| remembered.id));
            let stale = now.saturating_add(self.stale_ttl);
            // It has been ended while the upstream was at work: what would come after it is not.
            if before.is_some_and(|before| !local.shorten(&name_of(&before), stale)) {
                return Ok(());
            }
        }
        let [first, second] = opened.present;
        self.write(&self.first, first, &opened.session, cx, now)?;
        let Some(remember) = self.remember.as_ref().filter(|_| opened.change == Change::New) else {
            return Ok(());
        };
        let next = opened.next_remembered.clone().or_else(|| opened.to_remember(now)).ok_or(NO_RANDOM)?;
        self.write(remember, second, &next, cx, now)
    }

    /// Ends the session: what is in this process is forgotten, and the browser forgets its cookies. What gateways share is
    /// for [`Self::ending`].
    pub fn end(&self, opened: &Opened, exchange: &Exchange, response: &mut Headers) -> Forgotten {
        for (keeping, present) in self.keepings().zip(opened.present) {
            keeping.cookie.withdraw(present, response);
        }
        self.discard(opened, exchange)
    }

    /// Forgets what is in this process of the session: another one takes its place.
    pub fn discard(&self, opened: &Opened, exchange: &Exchange) -> Forgotten {
        let mut forgotten = Forgotten::default();
        if let Place::Local(local) = &self.place {
            self.ids(opened, exchange).for_each(|id| local.remove(&name_of(&id), &mut forgotten));
        }
        forgotten
    }

    /// All under which something may be kept of the session.
    fn ids(&self, opened: &Opened, exchange: &Exchange) -> impl Iterator<Item = [u8; 32]> {
        let old = if let Change::Renewed(old) = opened.change { Some(old) } else { None };
        let remembered = self.remember.as_ref().and_then(|keeping| self.id(keeping, exchange));
        [Some(opened.session.id), old, remembered].into_iter().flatten()
    }

    /// Sets a field for each of `properties`, in place of any that the client has sent.
    pub fn tell(&self, opened: &Opened, properties: &[Property], now: u64, headers: &mut Headers) {
        for property in properties {
            headers.remove(property.field());
            if let Some(value) = property.of(&opened.session, &self.first.timeouts, &self.audience, now) {
                headers.set(property.field(), value.as_bytes());
            }
        }
    }

    /// The session is used: its clocks go back where that is due.
    fn refreshed(&self, mut session: Session, exchange: &Exchange, now: u64) -> Opened {
        let timeouts = &self.first.timeouts;
        let mut change = Change::Nothing;
        if timeouts.want_renewal(&session, now) {
            if let Some(renewed) = session.renewed(session.created, now) {
                change = Change::Renewed(session.id);
                session = renewed;
            }
        } else if timeouts.want_touch(&session, now) {
            session.touched = now;
            change = Change::Used;
        }
        self.opened(session, change, exchange)
    }

    fn keepings(&self) -> impl Iterator<Item = &Keeping> {
        [Some(&self.first), self.remember.as_ref()].into_iter().flatten()
    }

    fn present(&self, exchange: &Exchange) -> [Present; 2] {
        let of = |keeping: &Keeping| keeping.cookie.present(&exchange.request.headers);
        [of(&self.first), self.remember.as_ref().map_or_else(Present::default, of)]
    }

    /// What the cookie holds: a session, or the id of one.
    fn content(&self, keeping: &Keeping, exchange: &Exchange) -> Option<Vec<u8>> {
        let text = keeping.cookie.read(&exchange.request.headers)?;
        self.sealer.open(&self.context(keeping, exchange), &text)
    }

    /// The id in the cookie, where there is nothing else in it.
    fn id(&self, keeping: &Keeping, exchange: &Exchange) -> Option<[u8; 32]> {
        match self.place {
            Place::Cookies => None,
            Place::Local(_) | Place::Shared(_) => self.content(keeping, exchange)?.try_into().ok(),
        }
    }

    fn read(
        &self,
        keeping: &Keeping,
        exchange: &Exchange,
        now: u64,
        fetched: Option<&[u8]>,
    ) -> Option<Session> {
        let stored = |id: &[u8; 32], content: &[u8]| {
            Session::from_bytes(&self.sealer.open(&keeping.context_of_stored(id), content)?)
        };
        let session = match &self.place {
            Place::Cookies => Session::from_bytes(&self.content(keeping, exchange)?)?,
            Place::Local(local) => {
                let id = self.id(keeping, exchange)?;
                stored(&id, &local.find(&name_of(&id), now)?.content)?
            }
            Place::Shared(_) => stored(&self.id(keeping, exchange)?, fetched?)?,
        };
        keeping.timeouts.allow(&session, now).then_some(session)
    }

    fn write(
        &self,
        keeping: &Keeping,
        present: Present,
        session: &Session,
        cx: &mut HeaderFilter<'_>,
        now: u64,
    ) -> Result<(), &'static str> {
        let content = if let Place::Cookies = self.place { session.to_bytes() } else { session.id.to_vec() };
        let text = self.sealer.seal(&self.context(keeping, cx), &content).ok_or(NO_RANDOM)?;
        let left = keeping.timeouts.left(session, now);
        let age = left.filter(|_| keeping.persistent);
        if !keeping.cookie.write(present, &text, age, cx.headers()) {
            return Err("the session is too large for cookies");
        }
        if let Place::Local(local) = &self.place {
            // A session is good in the last second of its time, too.
            let gone = left.map_or(u64::MAX, |left| now.saturating_add(left).saturating_add(1));
            let content = self.sealed(keeping, session).ok_or(NO_RANDOM)?.into_bytes();
            let subject = self.lists.then(|| listing::name(&self.audience, &session.subject));
            local.put(name_of(&session.id), Kept { content, gone, subject });
        }
        Ok(())
    }

    /// A session as it is kept: good under its own id and for its own cookie alone.
    fn sealed(&self, keeping: &Keeping, session: &Session) -> Option<String> {
        self.sealer.seal(&keeping.context_of_stored(&session.id), &session.to_bytes())
    }

    fn context(&self, keeping: &Keeping, exchange: &Exchange) -> Vec<u8> {
        let mut context = keeping.context.clone();
        for bond in &self.bind {
            match bond {
                Bond::Ip => push(&mut context, exchange.client.ip.to_string().as_bytes()),
                Bond::Scheme => push(&mut context, exchange.scheme.as_str().as_bytes()),
                Bond::UserAgent => {
                    push(&mut context, exchange.request.headers.known(Known::UserAgent).unwrap_or_default());
                }
            }
        }
        context
    }
}

/// By what a session with this id is found in this process.
fn name_of(id: &[u8; 32]) -> Name {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, id).as_ref());
    name
}

fn sealer(secret: Option<&str>, prefix: &str, cx: &Build<'_>) -> Result<Sealer, BuildError> {
    if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
        return Ok(Sealer::new(secret.as_bytes(), PURPOSE));
    }
    tracing::warn!(
        plugin = cx.row.name,
        "sessions have a random secret: they end with the process, and other gateways do not know them; set `secret`"
    );
    let field = || format!("{prefix}secret");
    Sealer::of_process(cx.services, PURPOSE).map_err(|problem| BuildError::new(field(), problem))
}

const NO_RANDOM: &str = "the system gives no random numbers";
