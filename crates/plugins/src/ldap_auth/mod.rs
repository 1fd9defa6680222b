#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::identity::Caller;
use plugin::ldap::{Admission, Directory, Fields, Gatekeeper, Groups, Inquiry, Refusal, Unanswered, escaped};
use plugin::{Access, Build, BuildError, Flow, Headers, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in whose password a directory knows.
    pub struct Config {
        ..fields: Fields;
        /// Port of the directory; 636 is usual with `ldaps`.
        ldap_port: u16 = 389, [port()];
        /// Id or username of a consumer that stands for callers without valid credentials. Without it they are refused.
        anonymous: Option<String>;
    }
}

/// The room, ready to run.
pub struct LdapAuth(Gatekeeper<ByName>);

/// Whose name follows from the username.
struct ByName {
    directory: Arc<Directory>,
    base_dn: String,
    attribute: String,
}

impl Plugin for LdapAuth {
    const NAME: &'static str = "ldap-auth";
    const PRIORITY: i64 = 1200;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let fields = config.fields;
        let server = fields.server(config.ldap_port, None)?;
        let question = format!("{server:?}:{}:{}", fields.attribute, fields.base_dn);
        let directory = Directory::open(cx.services, server);
        let inquiry = ByName {
            directory: directory.map_err(|message| BuildError::new(fields.tls_field(), message))?,
            base_dn: fields.base_dn.clone(),
            attribute: fields.attribute.clone(),
        };
        let anonymous = config.anonymous.as_deref();
        Ok(Self(Gatekeeper::new(&fields, anonymous, inquiry, (Self::NAME, &question), cx)?))
    }
}

impl Phases for LdapAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        self.0.decide(cx)
    }
}

impl Inquiry for ByName {
    async fn ask(
        &self,
        worker: usize,
        username: &str,
        password: &[u8],
    ) -> Result<Option<Groups>, Unanswered> {
        let dn = format!("{}={},{}", self.attribute, escaped(username), self.base_dn);
        let known = self.directory.knows(worker, &dn, password).await?;
        Ok(known.then(Groups::default))
    }

    fn admit(&self, username: &str, _groups: &Groups) -> Result<Admission, Refusal> {
        let caller = Caller::of_directory(LdapAuth::NAME, None, username);
        Ok(Admission { caller, groups: None, headers: Headers::new() })
    }
}
