#![doc = include_str!("doc.md")]

mod groups;
mod inquiry;

use plugin::consumers::Consumers;
use plugin::ldap::{Account, Directory, Fields, Gatekeeper, Server};
use plugin::model::secret::Secret;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

use groups::{Places, Requirements};
use inquiry::Searching;

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in whom a search in a directory finds and whose password it knows.
    pub struct Config {
        ..fields: Fields;
        /// Port of the directory; 636 is usual with `ldaps`.
        ldap_port: f64 = 389, [between(0, 65535)];
        /// Distinguished name of an account that may search for users. Without it a user's name is made of `attribute`, the
        /// username and `base_dn`, and users look for their groups themselves.
        bind_dn: Option<String>, [referenceable()];
        /// Its password.
        ldap_password: Option<String>, [referenceable(), encrypted()];
        /// Id or username of a consumer that stands for callers who do not get in. Without it they are refused.
        anonymous: Option<String> = "";
        /// Fields of a consumer that the username is compared with, in this order.
        consumer_by: Vec<String> = ["custom_id", "username"], [each(one_of(&["custom_id", "username"]))];
        /// Whether no consumer is looked for. Otherwise who is none is refused.
        consumer_optional: bool = false;
        /// Distinguished name right below which groups are; `base_dn` if left out.
        group_base_dn: Option<String>;
        /// Attribute that names groups in their distinguished names, such as `cn`; `attribute` if left out.
        group_name_attribute: Option<String>, [matches("^[A-Za-z][A-Za-z0-9-]*$|^[0-9]+([.][0-9]+)+$")];
        /// Attribute that tells who is in which group: of users, as `memberOf` is, or of groups where it is `member`,
        /// `uniqueMember` or `memberUid`.
        group_member_attribute: String = "memberOf", [matches("^[A-Za-z][A-Za-z0-9-]*$|^[0-9]+([.][0-9]+)+$")];
        /// Groups one of which the user has to be in. Several in one text, with spaces between, mean all of those.
        groups_required: Option<Vec<String>>, [each(matches("[^[:space:]]"))];
        /// Whether what searches find is logged. Entries of users are nobody's business: for finding faults only.
        log_search_results: bool = false;
    }
}

/// The room, ready to run.
pub struct LdapAuthAdvanced(Gatekeeper<Searching>);

impl Plugin for LdapAuthAdvanced {
    const NAME: &'static str = "ldap-auth-advanced";
    const PRIORITY: i64 = 1200;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        if config.consumer_by.is_empty() && !config.consumer_optional {
            let message = "no consumer could ever be found: name a field, or set consumer_optional to true";
            return Err(BuildError::new("config.consumer_by", message));
        }
        let fields = &config.fields;
        let server = config.server()?;
        let places = Places::of(&config)?;
        let account = config.account()?;
        let question = format!("{server:?}:{account:?}:{}:{}:{places:?}", fields.attribute, fields.base_dn);
        let open = |server: Server| {
            let opened = Directory::open(cx.services, server);
            opened.map_err(|message| BuildError::new(fields.tls_field(), message))
        };
        let service = account.map(|account| open(Server { account: Some(account), ..server.clone() }));
        let by = &config.consumer_by;
        let inquiry = Searching {
            service: service.transpose()?,
            users: open(server)?,
            base_dn: fields.base_dn.clone(),
            attribute: fields.attribute.clone(),
            places,
            required: Requirements::new(config.groups_required.as_deref().unwrap_or_default()),
            consumers: (!config.consumer_optional).then(|| Consumers::new(by, false, cx)).transpose()?,
            logs: config.log_search_results,
        };
        let anonymous = config.anonymous.as_deref();
        Ok(Self(Gatekeeper::new(fields, anonymous, inquiry, (Self::NAME, &question), cx)?))
    }
}

impl Config {
    fn server(&self) -> Result<Server, BuildError> {
        if self.ldap_port.fract() != 0.0 {
            return Err(BuildError::new("config.ldap_port", "is no port: a whole number is expected"));
        }
        self.fields.server(self.ldap_port as u16, None)
    }

    fn account(&self) -> Result<Option<Account>, BuildError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match (given(&self.bind_dn), given(&self.ldap_password)) {
            (None, _) => Ok(None),
            (Some(dn), Some(password)) => Ok(Some(Account { dn, password: Secret::new(password) })),
            (Some(_), None) => {
                let message =
                    "bind_dn needs a password: directories take an empty one for a wish to be nobody";
                Err(BuildError::new("config.ldap_password", message))
            }
        }
    }
}

impl Phases for LdapAuthAdvanced {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        self.0.decide(cx)
    }
}
