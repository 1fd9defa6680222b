//! What of a caller's request goes with a question to the provider.

use std::borrow::Cow;

use plugin::{Exchange, query};

use super::Inner;
use super::http::Pairs;
use super::sources::is_form;

/// What is looked for in requests.
#[derive(Default)]
pub(super) struct Wanted {
    /// Headers that are sent as such.
    pub(super) headers: Vec<String>,
    /// Arguments, of the query or of a form.
    pub(super) arguments: Vec<String>,
    /// Arguments that may also come as headers.
    pub(super) arguments_or_headers: Vec<String>,
    /// Headers that are sent as arguments.
    pub(super) headers_as_arguments: Vec<String>,
}

/// What was found.
#[derive(Default, Clone)]
pub(super) struct OfClient {
    /// Who serves the request.
    pub(super) worker: usize,
    pub(super) headers: Pairs,
    pub(super) arguments: Pairs,
}

/// What goes with each kind of question that a request may lead to.
#[derive(Default)]
pub(super) struct AskedWith {
    pub(super) tokens: OfClient,
    pub(super) introspection: OfClient,
    pub(super) user_info: OfClient,
}

impl Inner {
    /// What of a request goes with the questions it leads to.
    pub(super) fn asked_with(&self, exchange: &Exchange) -> AskedWith {
        let (introspection, user_info) = (self.introspection.as_ref(), self.user_info.as_ref());
        AskedWith {
            tokens: self.tokens.of_client(exchange),
            introspection: introspection.map(|method| method.of_client(exchange)).unwrap_or_default(),
            user_info: user_info.map(|method| method.of_client(exchange)).unwrap_or_default(),
        }
    }
}

impl Wanted {
    /// What a request has of it. A body counts that is at hand.
    pub(super) fn of(&self, exchange: &Exchange) -> OfClient {
        if self.is_nothing() {
            return OfClient { worker: exchange.worker.index, ..OfClient::default() };
        }
        let request = &exchange.request;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let header = |name: &String| Some((name.clone(), text(request.headers.get(name)?)));
        let form = exchange.body.as_deref().filter(|_| is_form(exchange));
        let argument = |name: &String| {
            let mut places = [request.query(), form].into_iter().flatten();
            let value: Cow<'_, [u8]> = places.find_map(|place| query::values(place, name).next())?;
            Some((name.clone(), text(&value)))
        };
        let arguments = self.arguments.iter().filter_map(argument);
        let either =
            self.arguments_or_headers.iter().filter_map(|name| argument(name).or_else(|| header(name)));
        let headers = self.headers_as_arguments.iter().filter_map(header);
        OfClient {
            worker: exchange.worker.index,
            headers: self.headers.iter().filter_map(header).collect(),
            arguments: arguments.chain(either).chain(headers).collect(),
        }
    }

    /// Whether nothing of requests goes with questions, so that answers are those of tokens alone.
    pub(super) fn is_nothing(&self) -> bool {
        [&self.headers, &self.arguments, &self.arguments_or_headers, &self.headers_as_arguments]
            .iter()
            .all(|names| names.is_empty())
    }
}

impl OfClient {
    /// Stands for it in what is remembered.
    pub(super) fn key(&self) -> String {
        let Self { worker: _, headers, arguments } = self;
        if headers.is_empty() && arguments.is_empty() {
            String::new()
        } else {
            format!("{headers:?} {arguments:?}")
        }
    }
}
