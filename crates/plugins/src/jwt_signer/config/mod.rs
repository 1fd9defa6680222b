//! The configuration. Both tokens have the same settings, and tokens and answers about them are judged by the same rules: each
//! is declared once, and gets its names from a table.

mod names;
mod token;

use plugin::model::Map;
use plugin::model::schema::{Reading, Record, RecordSchema, ValueError};
use plugin::record;
use serde_json::{Map as Object, Value};

use names::Names;
pub(super) use token::{ClientCertificate, Settings, Verification};

record! {
    /// Verifies tokens, and signs them anew for services.
    pub struct General {
        /// Claims that both signed tokens get unless they have them. A text that is JSON is read as such.
        add_claims: Map<String> = {};
        /// Claims that both signed tokens get in any case. A text that is JSON is read as such.
        set_claims: Map<String> = {};
        /// Whether tokens signed with a secret (HS256, HS384, HS512) are accepted, too. The document of keys must then be one that
        /// nobody else can read.
        enable_hs_signatures: bool = false;
        /// Whether the log line of a request tells what came of its tokens.
        enable_instrumentation: bool = false;
        /// The protection space that callers without a good token are told of.
        realm: Option<String>;
    }
}

/// Which of the two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    Channel,
}

impl Kind {
    /// How its fields begin.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Access => "access_token",
            Self::Channel => "channel_token",
        }
    }

    fn names(self) -> [Names; 3] {
        match self {
            Self::Access => [names::ACCESS, names::ACCESS_TOKEN, names::ACCESS_ANSWER],
            Self::Channel => [names::CHANNEL, names::CHANNEL_TOKEN, names::CHANNEL_ANSWER],
        }
    }
}

/// The settings of one token.
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) settings: Settings,
    /// How the token is judged.
    pub(super) token: Verification,
    /// How an answer of the introspection endpoint is judged.
    pub(super) answer: Verification,
}

/// All settings.
pub struct Config {
    pub(super) general: General,
    pub(super) access: Token,
    pub(super) channel: Token,
}

impl Token {
    /// The name that the field `short` of the settings has for this token.
    pub(super) fn field(&self, short: &str) -> String {
        let [settings, ..] = self.kind.names();
        let name = settings.iter().find(|(known, _)| *known == short).map_or(short, |(_, name)| name);
        format!("config.{name}")
    }

    fn schema(kind: Kind) -> Vec<RecordSchema> {
        let [settings, token, answer] = kind.names();
        let mut schema = renamed(Settings::schema(), settings);
        if kind == Kind::Channel {
            // Nothing is done with a channel token unless it is said where to find it.
            for field in &mut schema.fields {
                let is_of_access = ["request_header", "upstream_header", "introspection_hint"]
                    .iter()
                    .any(|short| settings.contains(&(*short, field.name)));
                field.default = field.default.take().filter(|_| !is_of_access);
            }
        }
        vec![schema, renamed(Verification::schema(), token), renamed(Verification::schema(), answer)]
    }

    fn from_value(kind: Kind, value: &Value) -> Result<Self, ValueError> {
        let [settings, token, answer] = kind.names();
        Ok(Self {
            kind,
            settings: Settings::from_value(&part(value, settings))?,
            token: Verification::from_value(&part(value, token))?,
            answer: Verification::from_value(&part(value, answer))?,
        })
    }
}

impl Record for Config {
    fn schema() -> RecordSchema {
        let mut parts = Token::schema(Kind::Access);
        parts.extend(Token::schema(Kind::Channel));
        parts.push(General::schema());
        RecordSchema::joined(parts)
    }

    fn read(reading: &mut Reading<'_>) -> Result<Self, ValueError> {
        let value = reading.whole();
        Ok(Self {
            general: General::from_value(&value)?,
            access: Token::from_value(Kind::Access, &value)?,
            channel: Token::from_value(Kind::Channel, &value)?,
        })
    }
}

/// The same fields under the names of a table.
fn renamed(mut schema: RecordSchema, names: Names) -> RecordSchema {
    schema.fields.retain_mut(|field| {
        let name = names.iter().find(|(short, _)| *short == field.name);
        if let Some((_, name)) = name {
            field.name = name;
        }
        name.is_some()
    });
    schema
}

/// The part of a value that a table names, under its short names.
fn part(value: &Value, names: Names) -> Value {
    let members = names.iter().map(|(short, name)| ((*short).to_owned(), value[*name].clone()));
    Value::Object(members.collect::<Object<_, _>>())
}
