//! What is told of a caller, upstream and to the client.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plugin::Headers;
use plugin::identity::OwnFields;
use plugin::web_session::Property;

use super::beside::Beside;
use super::claims::{self, Claims};
use super::config::{self, ClaimHeader, Config, told_header};
use super::possession::Binding;

/// What somebody is known by.
#[derive(Default, Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) access: &'a [u8],
    pub(super) id: Option<&'a str>,
    pub(super) refresh: Option<&'a str>,
    pub(super) user_info: Option<&'a Claims>,
    pub(super) introspection: Option<&'a Claims>,
    /// The same as they were signed.
    pub(super) user_info_token: Option<&'a str>,
    pub(super) introspection_token: Option<&'a str>,
    /// What the token itself says it is bound to, where others are asked about it.
    pub(super) bound: Option<&'a Binding>,
    /// The public keys that the tokens are signed with, as JSON.
    pub(super) access_key: Option<&'a str>,
    pub(super) id_key: Option<&'a str>,
    /// An ID token that the caller has brought beside its token, and that has not been joined to it yet.
    pub(super) beside: Option<&'a Beside>,
}

/// A part of the evidence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Access,
    Id,
    Refresh,
    UserInfo,
    Introspection,
    UserInfoToken,
    IntrospectionToken,
    AccessKey,
    IdKey,
}

/// What is told one way.
pub(super) struct Telling {
    claims: Vec<ClaimHeader>,
    evidence: Vec<EvidenceHeader>,
}

/// A header with a part of the evidence.
struct EvidenceHeader {
    name: String,
    with_scheme: bool,
    part: Part,
}

/// The fields that tell the upstream what a provider says, but for those in which callers bring their proof: that is looked at
/// first, and may be meant to be replaced.
pub(super) fn own_fields(config: &Config) -> OwnFields {
    let Telling { claims, evidence } = Telling::upstream(&config.claims);
    let Config { tokens, grants, sessions, claims: rules, .. } = config;
    let sessions = sessions.session_request_headers.iter().flatten();
    let sessions =
        sessions.filter_map(|name| Property::named(name)).map(|property| property.field().to_owned());
    let told = claims.into_iter().map(|told| told.header).chain(evidence.into_iter().map(|told| told.name));
    let told = told.chain(sessions).chain(rules.upstream_session_id_header.clone());
    let brought =
        [&tokens.bearer_token_header_name, &tokens.id_token_param_name, &grants.refresh_token_param_name];
    let is_brought = |name: &str| {
        let mut brought = brought.iter().filter_map(|name| name.as_deref()).chain(["authorization"]);
        brought.any(|other| name.eq_ignore_ascii_case(other))
    };
    OwnFields::new(told.filter(|name| !is_brought(name)))
}

impl Telling {
    pub(super) fn upstream(rules: &config::Claims) -> Self {
        let (claims, names) = (&rules.upstream_headers_claims, &rules.upstream_headers_names);
        Self {
            claims: headers(&rules.upstream_headers, claims, names),
            evidence: evidence_headers([
                (Part::Access, Some(&rules.upstream_access_token_header)),
                (Part::Id, rules.upstream_id_token_header.as_ref()),
                (Part::Refresh, rules.upstream_refresh_token_header.as_ref()),
                (Part::UserInfo, rules.upstream_user_info_header.as_ref()),
                (Part::Introspection, rules.upstream_introspection_header.as_ref()),
                (Part::UserInfoToken, rules.upstream_user_info_jwt_header.as_ref()),
                (Part::IntrospectionToken, rules.upstream_introspection_jwt_header.as_ref()),
                (Part::AccessKey, rules.upstream_access_token_jwk_header.as_ref()),
                (Part::IdKey, rules.upstream_id_token_jwk_header.as_ref()),
            ]),
        }
    }

    pub(super) fn downstream(rules: &config::Claims) -> Self {
        let (claims, names) = (&rules.downstream_headers_claims, &rules.downstream_headers_names);
        Self {
            claims: headers(&rules.downstream_headers, claims, names),
            evidence: evidence_headers([
                (Part::Access, rules.downstream_access_token_header.as_ref()),
                (Part::Id, rules.downstream_id_token_header.as_ref()),
                (Part::Refresh, rules.downstream_refresh_token_header.as_ref()),
                (Part::UserInfo, rules.downstream_user_info_header.as_ref()),
                (Part::Introspection, rules.downstream_introspection_header.as_ref()),
                (Part::UserInfoToken, rules.downstream_user_info_jwt_header.as_ref()),
                (Part::IntrospectionToken, rules.downstream_introspection_jwt_header.as_ref()),
                (Part::AccessKey, rules.downstream_access_token_jwk_header.as_ref()),
                (Part::IdKey, rules.downstream_id_token_jwk_header.as_ref()),
            ]),
        }
    }

    /// Whether this part of the evidence is told.
    pub(super) fn has(&self, part: Part) -> bool {
        self.evidence.iter().any(|header| header.part == part)
    }

    /// Takes out what others say in these headers.
    pub(super) fn clear(&self, headers: &mut Headers) {
        for header in &self.claims {
            headers.remove(&header.header);
        }
        for header in &self.evidence {
            // What the caller proves itself with is for `hide_credentials`.
            if !header.name.eq_ignore_ascii_case("authorization") {
                headers.remove(&header.name);
            }
        }
    }

    /// What is told. A value that cannot stand in a header is left out.
    pub(super) fn of(&self, claims: &Claims, evidence: &Evidence<'_>) -> Headers {
        let mut told = Headers::new();
        for header in &self.claims {
            if let Some(value) = claims::at(claims, &header.path).and_then(claims::text) {
                told.set(&header.header, value.as_bytes());
            }
        }
        for header in &self.evidence {
            if let Some(value) = header.part.of(evidence) {
                let scheme: &[u8] = if header.with_scheme { b"Bearer " } else { b"" };
                told.set(&header.name, &[scheme, &value].concat());
            }
        }
        told
    }
}

impl Part {
    fn of<'a>(self, evidence: &Evidence<'a>) -> Option<Cow<'a, [u8]>> {
        let base64 = |json: &[u8]| Cow::Owned(BASE64_STANDARD.encode(json).into_bytes());
        let encoded = |claims: &Claims| base64(&serde_json::to_vec(claims).unwrap_or_default());
        let key = |key: Option<&str>| key.map(|key| base64(key.as_bytes()));
        let text = |token: Option<&'a str>| token.map(|token| Cow::Borrowed(token.as_bytes()));
        match self {
            Self::Access => Some(Cow::Borrowed(evidence.access)).filter(|token| !token.is_empty()),
            Self::Id => text(evidence.id),
            Self::Refresh => text(evidence.refresh),
            Self::UserInfoToken => text(evidence.user_info_token),
            Self::IntrospectionToken => text(evidence.introspection_token),
            Self::UserInfo => evidence.user_info.map(encoded),
            Self::Introspection => evidence.introspection.map(encoded),
            Self::AccessKey => key(evidence.access_key),
            Self::IdKey => key(evidence.id_key),
        }
    }
}

/// Each setting is `name` or `name:bearer`; none for nothing.
fn evidence_headers<const COUNT: usize>(settings: [(Part, Option<&String>); COUNT]) -> Vec<EvidenceHeader> {
    let given = settings.into_iter().filter_map(|(part, setting)| Some((part, setting?.as_str())));
    let header = |(part, setting): (Part, &str)| {
        let (name, with_scheme) = told_header(setting);
        EvidenceHeader { name: name.to_owned(), with_scheme, part }
    };
    given.filter(|(_, setting)| !setting.is_empty()).map(header).collect()
}

/// Headers for claims, from both ways to say so.
fn headers(
    records: &Option<Vec<ClaimHeader>>,
    claims: &Option<Vec<String>>,
    names: &Option<Vec<String>>,
) -> Vec<ClaimHeader> {
    let pairs = super::pairs(claims, names).into_iter();
    let pairs = pairs.map(|(claim, header)| ClaimHeader { header, path: vec![claim] });
    records.iter().flatten().cloned().chain(pairs).collect()
}
