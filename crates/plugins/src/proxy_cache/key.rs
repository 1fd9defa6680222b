//! The key of a response: a digest of all that the response may depend on.

use aws_lc_rs::digest::{Context, SHA256};
use plugin::collect::dependencies;
use plugin::{Access, Exchange, Method, query, target};

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

/// Which parts of a request make its key.
pub struct Recipe {
    /// The path counts without regard to case.
    pub ignores_case: bool,
    /// Names of query arguments that count; all when empty.
    pub arguments: Vec<String>,
    /// Lower-case names of request headers that count.
    pub headers: Vec<String>,
}

impl Key {
    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |letter: u8| (letter as char).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(key))
    }

    /// The digest of the values that `headers` have in a request.
    pub fn of_headers(exchange: &Exchange, headers: &[String]) -> Self {
        let mut digest = Digest::new();
        digest.headers(exchange, headers);
        digest.finish()
    }
}

impl Recipe {
    /// The key of a request with `method`.
    pub fn key(&self, cx: &Access<'_>, method: Method) -> Key {
        let mut digest = Digest::new();
        // Somebody who is no consumer is told apart by the credential.
        let consumer = cx.identity.consumer_id();
        let caller = consumer.or_else(|| cx.identity.credential().map(|credential| credential.id));
        let route = cx.matched.as_ref().map(|matched| matched.route.id);
        for id in [caller, route] {
            digest.part(id.as_ref().map_or(&[], |id| id.as_bytes()));
        }
        digest.part(method.as_str().as_bytes());
        digest.part(cx.scheme.as_str().as_bytes());
        digest.lower_case(cx.request.host().unwrap_or_default());
        // What a room has made of the path counts, too.
        for path in [cx.request.path(), &cx.upstream.path] {
            if self.ignores_case {
                digest.lower_case(path);
            } else {
                digest.part(path);
            }
        }
        dependencies(cx, |part| digest.part(part));
        self.arguments(cx.request.query().unwrap_or_default(), &mut digest);
        digest.headers(cx, &self.headers);
        digest.finish()
    }

    /// Arguments count sorted by name; those of one name keep their order.
    fn arguments(&self, text: &[u8], digest: &mut Digest) {
        let counts = |name: &[u8]| {
            let decoded = query::decoded(name);
            self.arguments.is_empty() || self.arguments.iter().any(|known| *known.as_bytes() == *decoded)
        };
        let pairs = target::query_pairs(text, usize::MAX).filter(|pair| counts(pair.name));
        let mut pairs: Vec<(&[u8], &[u8])> = pairs.map(|pair| (pair.name, pair.raw)).collect();
        pairs.sort_by_key(|(name, _)| *name);
        digest.count(pairs.len());
        for (_, raw) in pairs {
            digest.part(raw);
        }
    }
}

/// A digest of parts, each with its length, so that no two lists of parts look the same.
struct Digest(Context);

impl Digest {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_be_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.count(part.len());
        self.0.update(part);
    }

    fn lower_case(&mut self, part: &[u8]) {
        self.count(part.len());
        for piece in part.chunks(64) {
            let mut lower = [0; 64];
            let lower = &mut lower[..piece.len()];
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            self.0.update(lower);
        }
    }

    fn headers(&mut self, exchange: &Exchange, names: &[String]) {
        for name in names {
            let headers = &exchange.request.headers;
            self.count(headers.count(name));
            for value in headers.all(name) {
                self.part(value);
            }
        }
    }

    fn finish(self) -> Key {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.finish().as_ref());
        Key(key)
    }
}
